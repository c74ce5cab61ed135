//! Structural JSON Schema, as Kubernetes has it: parse, validate, default, prune, and the effect of a change.
//! (interface first; the bodies follow)
#![allow(clippy::todo, missing_docs)]
use serde_json::Value;
use std::sync::Arc;

/// A parsed structural schema; cheap to clone.
#[derive(Debug, Clone)]
pub struct Schema(Arc<()>);

impl Schema {
    pub fn parse(_schema: &Value) -> Result<Schema, SchemaError> {
        todo!()
    }
    /// Every violation at once; fields that the schema doesn't know are violations.
    pub fn validate(&self, _value: &Value) -> Vec<Violation> {
        todo!()
    }
    /// As an apiserver judges a custom resource: unknown fields are pruned by it, hence no violation.
    pub fn validate_pruned(&self, _value: &Value) -> Vec<Violation> {
        todo!()
    }
    /// Fills in defaults as an apiserver does.
    pub fn apply_defaults(&self, _value: &mut Value) {
        todo!()
    }
    /// Drops unknown fields.
    pub fn prune(&self, _value: &mut Value) {
        todo!()
    }
    /// The leaf differences, each with the effect that applies.
    pub fn changes(&self, _before: &Value, _after: &Value) -> Vec<FieldChange> {
        todo!()
    }
    /// The schema for a CRD: `x-senren-*` stripped.
    pub fn to_crd(&self) -> Value {
        todo!()
    }
}

/// Why a schema is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("schema at {pointer:?}: {message}")]
pub struct SchemaError {
    pub pointer: String,
    pub message: String,
}

/// One thing that is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Violation {
    pub path: String,
    pub code: String,
    pub message: String,
}

/// One leaf that differs.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct FieldChange {
    pub path: String,
    pub before: Option<Value>,
    pub after: Option<Value>,
    pub effect: String,
}
