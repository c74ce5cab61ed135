//! Structural JSON Schema: what a spec may look like, what is filled in, and what changing it does.
//!
//! This is the subset that Kubernetes accepts in a CustomResourceDefinition ("structural schemas"), because a
//! plugin's spec schema becomes one, plus a single extension of ours, `x-senren-effect`. The same code judges
//! specs at the API, and custom resources in the embedded Kubernetes API.
//!
//! Invariants:
//! - A keyword that this crate doesn't enforce is refused when the schema is parsed: a rule that is silently
//!   ignored is worse than none. (`x-kubernetes-validations` are for the apiserver. A `format` that it enforces is refused
//!   in the schema of a spec; any other is an annotation.)
//! - All functions are pure and total: no value makes them panic, and all violations are found at once.
//! - Whatever [`Schema::parse`] accepts, [`Schema::to_crd`] turns into something an apiserver accepts.
//!
//! What it must never do: resolve a `$ref`, read a file, know what a resource type is.

mod change;
mod crd;
mod node;
mod number;
mod parse;
mod pattern;
mod shape;
mod suggest;
mod validate;

pub use change::{EFFECTS, FieldChange};
pub use suggest::closest;
pub use validate::Violation;

use node::Node;
use serde_json::Value;
use std::sync::Arc;
use validate::Unknown;

/// A parsed structural schema; cheap to clone.
#[derive(Debug, Clone)]
pub struct Schema {
    root: Arc<Node>,
    source: Arc<Value>,
}

impl Schema {
    /// Parses the schema of a spec, as strictly as its author would wish: besides what is not structural, it
    /// refuses keywords that can't apply, required fields that don't exist, and defaults that aren't valid.
    pub fn parse(schema: &Value) -> Result<Schema, SchemaError> {
        parse::parse(schema, parse::Mode::Spec).map(|root| Schema::of(root, schema))
    }

    /// Parses the `openAPIV3Schema` of a CustomResourceDefinition, as leniently as an apiserver: the root is a
    /// Kubernetes object, so that `apiVersion`, `kind` and `metadata` are always part of it.
    pub fn parse_crd(schema: &Value) -> Result<Schema, SchemaError> {
        parse::parse(schema, parse::Mode::Crd).map(|root| Schema::of(root, schema))
    }

    fn of(root: Node, source: &Value) -> Schema {
        Schema { root: Arc::new(root), source: Arc::new(source.clone()) }
    }

    /// Everything that is wrong with `value`. A field that the schema doesn't know is a violation.
    pub fn validate(&self, value: &Value) -> Vec<Violation> {
        validate::validate(&self.root, value, Unknown::Refused)
    }

    /// As an apiserver validates a custom resource: it has pruned unknown fields, so they are no violation.
    pub fn validate_pruned(&self, value: &Value) -> Vec<Violation> {
        validate::validate(&self.root, value, Unknown::Ignored)
    }

    /// Fills in defaults as an apiserver does: only where the parent exists, in place of a null that isn't
    /// allowed too, and drops what remains of such nulls.
    pub fn apply_defaults(&self, value: &mut Value) {
        shape::apply_defaults(&self.root, value);
    }

    /// Drops the fields that the schema doesn't know, except under `x-kubernetes-preserve-unknown-fields`.
    pub fn prune(&self, value: &mut Value) {
        shape::prune(&self.root, value);
    }

    /// The leaves that differ, each with the effect that changing it has on a running database: the nearest
    /// `x-senren-effect` up the path, `in-place` if there is none.
    pub fn changes(&self, before: &Value, after: &Value) -> Vec<FieldChange> {
        change::changes(&self.root, before, after)
    }

    /// The schema as an apiserver takes it: `x-senren-*` stripped, `const` as a one-value `enum`.
    pub fn to_crd(&self) -> Value {
        crd::to_crd(&self.source)
    }
}

/// Why a schema is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("schema, at \"{pointer}\": {message}")]
pub struct SchemaError {
    /// JSON Pointer into the schema; empty for its root.
    pub pointer: String,
    /// What is wrong there and what to write instead.
    pub message: String,
}

/// Appends one reference token to a JSON Pointer (RFC 6901).
pub(crate) fn push_token(pointer: &mut String, token: &str) {
    pointer.push('/');
    for c in token.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            c => pointer.push(c),
        }
    }
}
