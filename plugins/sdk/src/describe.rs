//! What a plugin says about itself.

use serde_json::Value;

use crate::wit::{ApiKind, Descriptor, Fault, ResourceType, Violation};
use crate::{Controller, Schema};

/// What a type of database is called, and which Kubernetes objects it has to do with.
#[derive(Clone, Debug)]
pub struct Description {
    kind: &'static str,
    plural: &'static str,
    short_names: Vec<String>,
    columns: Vec<Value>,
    example: Value,
    owns: Vec<ApiKind>,
    observes: Vec<ApiKind>,
    requires: Vec<&'static str>,
}

impl Description {
    /// Kind of the custom resource, and its plural in lower case: `RedisDatabase`, `redisdatabases`.
    pub fn new(kind: &'static str, plural: &'static str) -> Self {
        Self {
            kind,
            plural,
            short_names: Vec::new(),
            columns: Vec::new(),
            example: Value::Object(Default::default()),
            owns: Vec::new(),
            observes: Vec::new(),
            requires: Vec::new(),
        }
    }

    /// For kubectl.
    pub fn short_name(mut self, name: &str) -> Self {
        self.short_names.push(name.to_owned());
        self
    }

    /// A column of `kubectl get`: its name, its type (`string`, `integer`, …), and a JSONPath into the custom
    /// resource (`.spec.memory_mb`).
    pub fn column(mut self, name: &str, kind: &str, json_path: &str) -> Self {
        self.columns.push(serde_json::json!({"name": name, "type": kind, "jsonPath": json_path}));
        self
    }

    /// A small spec that works. Default: `{}`.
    pub fn example(mut self, spec: Value) -> Self {
        self.example = spec;
        self
    }

    /// Kinds that `reconcile` declares, each as `(apiVersion, kind)`.
    pub fn owns<const N: usize>(mut self, kinds: [(&str, &str); N]) -> Self {
        self.owns.extend(kinds.map(api_kind));
        self
    }

    /// Kinds that `reconcile` wants to see besides those.
    pub fn observes<const N: usize>(mut self, kinds: [(&str, &str); N]) -> Self {
        self.observes.extend(kinds.map(api_kind));
        self
    }

    /// A feature of the host without which it cannot work: `ask-exec`, `secret-random`, `secret-tls`.
    pub fn requires(mut self, feature: &'static str) -> Self {
        self.requires.push(feature);
        self
    }

    /// As the contract has it.
    pub fn of<C: Controller>() -> ResourceType {
        let described = C::describe();
        ResourceType {
            name: C::TYPE.to_owned(),
            kind: described.kind.to_owned(),
            plural: described.plural.to_owned(),
            short_names: described.short_names,
            spec_schema: C::schema().into_json(),
            printer_columns: Value::Array(described.columns).to_string(),
            example: described.example.to_string(),
            owns: described.owns,
            observes: described.observes,
            extras: Vec::new(),
        }
    }
}

fn api_kind((api_version, kind): (&str, &str)) -> ApiKind {
    ApiKind { api_version: api_version.to_owned(), kind: kind.to_owned() }
}

/// For [`export!`](crate::export): what `C` needs besides what `requires` already says.
pub fn also_requires<C: Controller>(requires: &mut Vec<String>) {
    for feature in C::describe().requires {
        if !requires.iter().any(|known| known == feature) {
            requires.push(feature.to_owned());
        }
    }
}

/// For [`export!`](crate::export).
pub fn descriptor(
    name: &str,
    version: &str,
    config: Schema,
    types: Vec<ResourceType>,
    requires: Vec<String>,
) -> Descriptor {
    Descriptor {
        name: name.to_owned(),
        version: version.to_owned(),
        types,
        config_schema: config.into_json(),
        requires,
        extras: Vec::new(),
    }
}

/// For [`export!`](crate::export): the host asks for types that this plugin described, and no others.
pub fn unknown_type(name: &str) -> Fault {
    Fault::permanent("UnknownType", format!("this plugin does not serve the type {name:?}"))
}

impl From<Fault> for Violation {
    /// Of the spec as a whole.
    fn from(fault: Fault) -> Self {
        Violation { path: String::new(), code: fault.code, message: fault.message }
    }
}
