//! Objects as rows: what `kubectl get` shows, which asks for it by `Accept: …;as=Table`.
//!
//! The columns of built-in kinds are those of a real server (`builtin`, `pods`), those of custom resources are their
//! definition's.

mod builtin;
mod human;
mod path;
mod pods;

use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) use path::Path;

use crate::kinds::Kind;

/// How much of an object comes with its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Include {
    Nothing,
    Metadata,
    Object,
}

/// One column. Those of a priority above 0 are shown by `-o wide` only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub name: String,
    pub kind: String,
    pub format: String,
    pub description: String,
    pub priority: i64,
}

/// A column of a definition.
#[derive(Debug, Clone)]
pub(crate) struct Printed {
    pub column: Column,
    pub path: Path,
}

/// The additional columns of a version of a definition; the error names the first that isn't supported.
pub(crate) fn printed(version: &Value) -> Result<Vec<Printed>, String> {
    let Some(columns) = version["additionalPrinterColumns"].as_array() else {
        let age = json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"});
        return Ok(vec![Printed::of(&age)?]);
    };
    columns.iter().map(Printed::of).collect()
}

impl Printed {
    fn of(column: &Value) -> Result<Printed, String> {
        let text = |field: &str| column[field].as_str().unwrap_or_default().to_owned();
        Ok(Printed {
            path: Path::parse(&text("jsonPath"))?,
            column: Column {
                name: text("name"),
                kind: text("type"),
                format: text("format"),
                description: match text("description") {
                    none if none.is_empty() => {
                        format!(
                            "Custom resource definition column (in JSONPath format): {}",
                            text("jsonPath")
                        )
                    }
                    given => given,
                },
                priority: column["priority"].as_i64().unwrap_or_default(),
            },
        })
    }

    fn cell(&self, object: &Value, now: Timestamp) -> Value {
        let Some(found) = self.path.find(object) else { return Value::Null };
        match self.column.kind.as_str() {
            "string" => match found {
                Value::String(_) | Value::Null => found.clone(),
                other => other.to_string().into(),
            },
            "integer" => found.as_f64().map_or(Value::Null, |number| json!(number.trunc() as i64)),
            "number" if found.is_number() => found.clone(),
            "boolean" if found.is_boolean() => found.clone(),
            "date" => match found.as_str().map(str::parse::<Timestamp>) {
                Some(Ok(at)) => human::since(at, now).into(),
                Some(Err(_)) => "<invalid>".into(),
                None => Value::Null,
            },
            _ => Value::Null,
        }
    }
}

/// A table of these objects; the columns are named only if wanted (a watch names them once).
pub(crate) fn table<'a>(
    kind: &Kind,
    objects: impl Iterator<Item = &'a Value>,
    meta: Value,
    include: Include,
    named: bool,
) -> Value {
    let now = Timestamp::now();
    let rows: Vec<Value> = objects
        .map(|object| json!({"cells": cells(kind, object, now), "object": included(object, include)}))
        .collect();
    let columns = if named { columns(kind).iter().map(Column::write).collect() } else { Vec::new() };
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "columnDefinitions": columns,
        "rows": rows})
}

fn included(object: &Value, include: Include) -> Value {
    match include {
        Include::Nothing => Value::Null,
        Include::Metadata => json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
            "metadata": object["metadata"]}),
        Include::Object => object.clone(),
    }
}

fn columns(kind: &Kind) -> Vec<Column> {
    let name = Column {
        name: "Name".into(),
        kind: "string".into(),
        format: "name".into(),
        description: "Name must be unique within a namespace.".into(),
        priority: 0,
    };
    match &kind.custom {
        Some(custom) => {
            [name].into_iter().chain(custom.columns().iter().map(|printed| printed.column.clone())).collect()
        }
        None => builtin::columns(&kind.resource).unwrap_or_else(|| vec![name]),
    }
}

fn cells(kind: &Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    match &kind.custom {
        Some(custom) => {
            let own = custom.columns().iter().map(|printed| printed.cell(object, now));
            [object["metadata"]["name"].clone()].into_iter().chain(own).collect()
        }
        None => builtin::cells(&kind.resource, object, now)
            .unwrap_or_else(|| vec![object["metadata"]["name"].clone()]),
    }
}

impl Column {
    fn write(&self) -> Value {
        json!({"name": self.name, "type": self.kind, "format": self.format, "description": self.description,
            "priority": self.priority})
    }
}
