//! Calls and answers as people read them. Documents inside the contract's records are JSON in a text; here they are
//! plain JSON, and back again.

use senren_engine::{Answer, Call, CallError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Fields of the contract's records that hold JSON in a text, or a list of such.
const DOCUMENTS: [&str; 19] = [
    "after",
    "before",
    "config",
    "config_schema",
    "current",
    "desired",
    "details",
    "example",
    "last_status",
    "object",
    "observed",
    "output",
    "params",
    "pod",
    "pods",
    "printer_columns",
    "spec",
    "spec_schema",
    "state",
];

/// In place of a document that is no JSON.
const NOT_JSON: &str = "(not JSON)";

/// As people read it.
pub(crate) fn of(record: &impl Serialize) -> Value {
    let mut value = serde_json::to_value(record).unwrap_or_default();
    walk(&mut value, &|document| {
        if let Value::String(text) = document {
            *document = serde_json::from_str(text)
                .unwrap_or_else(|_| serde_json::json!({ NOT_JSON: std::mem::take(text) }));
        }
    });
    // What `admit` answers is a document by itself.
    if let Some(Value::String(text)) = value.pointer("/admit/Ok")
        && let Ok(document) = serde_json::from_str(text)
    {
        value["admit"]["Ok"] = document;
    }
    value
}

/// The call that [`of`] wrote.
pub(crate) fn call(readable: &Value) -> Result<Call, serde_json::Error> {
    let mut value = readable.clone();
    walk(&mut value, &|document| match document {
        // An absent one.
        Value::Null => {}
        Value::Object(fields) if fields.contains_key(NOT_JSON) => *document = fields[NOT_JSON].take(),
        _ => *document = Value::String(document.to_string()),
    });
    serde_json::from_value(value)
}

/// What became of a call, as people read it.
pub(crate) fn answer(answer: &Result<Answer, CallError>) -> Value {
    match answer {
        Ok(answer) => of(answer),
        Err(error) => serde_json::json!({"error": error.reason(), "message": error.to_string()}),
    }
}

fn walk(value: &mut Value, change: &impl Fn(&mut Value)) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| walk(item, change)),
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    _ if !DOCUMENTS.contains(&name.as_str()) => walk(field, change),
                    Value::Array(list) if matches!(name.as_str(), "observed" | "pods") => {
                        list.iter_mut().for_each(change);
                    }
                    document => change(document),
                }
            }
        }
        _ => {}
    }
}

/// A reproduction that was written to a file, and what came of making its call again.
#[derive(Debug, Serialize)]
pub struct Replayed {
    /// The call.
    pub call: Value,
    /// What the plugin answers now.
    pub answered: Value,
    /// What was wanted, where the file says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
}

/// As a file has it: a reproduction, or its call alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum File {
    Reproduction { call: Value, wanted: Option<String> },
    Call(Value),
}

impl Replayed {
    /// Makes the call in `file` of `plugin`.
    pub async fn of(plugin: &senren_engine::Plugin, file: &str) -> anyhow::Result<Self> {
        let (readable, wanted) = match serde_json::from_str(file)? {
            File::Reproduction { call, wanted } => (call, wanted),
            File::Call(call) => (call, None),
        };
        let answered = answer(&plugin.answer(call(&readable)?).await);
        Ok(Self { call: readable, answered, wanted })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn check(written: Call, read: Value) {
        let readable = of(&written);
        assert_eq!(readable, read);
        assert_eq!(call(&readable).unwrap(), written);
    }

    #[test]
    fn documents_are_plain_json_and_become_texts_again() {
        let text = |value: Value| value.to_string();
        check(
            Call::Admit { resource_type: "x".into(), spec: text(json!({"a": [1, "b"]})) },
            json!({"admit": {"resource_type": "x", "spec": {"a": [1, "b"]}}}),
        );
        check(
            Call::Diff { resource_type: "x".into(), current: None, desired: Some(text(json!("text"))) },
            json!({"diff": {"resource_type": "x", "current": null, "desired": "text"}}),
        );
        check(
            Call::Admit { resource_type: "x".into(), spec: "{".into() },
            json!({"admit": {"resource_type": "x", "spec": {NOT_JSON: "{"}}}),
        );
    }

    #[test]
    fn the_spec_that_admit_answers_is_a_document() {
        assert_eq!(of(&Answer::Admit(Ok("{\"a\":1}".into()))), json!({"admit": {"Ok": {"a": 1}}}));
    }
}
