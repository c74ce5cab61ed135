//! What a custom resource must be: what its definition's schema prunes, defaults and refuses, in the words of a real
//! server.
//!
//! An update is refused only for what it changes: a schema may have become stricter since the object was stored, and
//! nobody could take a finalizer off it otherwise.

use senren_schema::{Schema, Violation};
use serde_json::Value;

use crate::service::Printed;
use crate::status::Cause;
use crate::write::Part;

/// What a kind made by a CustomResourceDefinition adds to the built-in ones.
#[derive(Debug)]
pub struct Custom {
    /// Name of the definition.
    pub definition: String,
    schema: Schema,
    status: bool,
    columns: Vec<Printed>,
    /// The schema as the definition has it, for documentation.
    source: Value,
}

impl Custom {
    /// What a definition makes of this schema; `None` if it is none.
    pub(crate) fn new(
        definition: String,
        source: &Value,
        status: bool,
        columns: Vec<Printed>,
    ) -> Option<Custom> {
        let schema = Schema::parse_crd(source).ok()?;
        Some(Custom { definition, schema, status, columns, source: source.clone() })
    }

    /// The schema as it was written.
    pub(crate) fn source(&self) -> &Value {
        &self.source
    }

    /// What a table shows beside the name.
    pub(crate) fn columns(&self) -> &[Printed] {
        &self.columns
    }

    /// Drops the fields that the schema doesn't know.
    pub(crate) fn prune(&self, object: &mut Value) {
        self.schema.prune(object);
    }

    /// Fills in the schema's defaults.
    pub(crate) fn default(&self, object: &mut Value) {
        self.schema.apply_defaults(object);
    }

    /// What is wrong with a custom resource; of the part that is written, and where it is not as it was.
    pub(crate) fn check(&self, old: Option<&Value>, object: &Value, part: Part) -> Vec<Cause> {
        let concerned = |violation: &&Violation| {
            let of_status = violation.path == "/status" || violation.path.starts_with("/status/");
            (!self.status || of_status == (part == Part::Status))
                && !old.is_some_and(|old| is_as_before(&self.source, old, object, violation))
        };
        let violations = self.schema.validate_pruned(object);
        violations.iter().filter(concerned).map(|violation| self.cause(object, violation, part)).collect()
    }

    fn cause(&self, object: &Value, violation: &Violation, part: Part) -> Cause {
        let field = dotted(&violation.path);
        let value = object.pointer(&violation.path).cloned().unwrap_or_default();
        let rule = self.rule(&violation.path);
        // A status is validated by itself, and so is its field named.
        let named =
            if part == Part::Status { field.strip_prefix("status.").unwrap_or(&field) } else { &field };
        let limit = |keyword: &str| rule.and_then(|rule| rule.get(keyword)).filter(|limit| !limit.is_null());
        let should = |keyword: &str, words: &dyn Fn(&Value) -> String| {
            limit(keyword).map(|limit| {
                Cause::invalid(field.clone(), &value, &format!("{named} in body {}", words(limit)))
            })
        };
        let or_equal =
            |exclusive: &str| if limit(exclusive) == Some(&Value::Bool(true)) { "" } else { " or equal to" };
        let found = match violation.code.as_str() {
            "required" => Some(Cause::required(field.clone(), "")),
            "type" => rule.map(|rule| {
                let wanted = if rule["x-kubernetes-int-or-string"] == true {
                    "integer,string"
                } else {
                    rule["type"].as_str().unwrap_or("object")
                };
                let is = type_of(&value);
                let message =
                    format!("Invalid value: {is:?}: {named} in body must be of type {wanted}: {is:?}");
                Cause { reason: "FieldValueTypeInvalid", field: field.clone(), message }
            }),
            "enum" => limit("enum").and_then(Value::as_array).map(|allowed| {
                let allowed: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
                Cause::not_supported(field.clone(), &value, &allowed)
            }),
            "duplicate" => Some(Cause::duplicate(field.clone(), &self.identity(&violation.path, &value))),
            "minimum" => should("minimum", &|limit| {
                format!("should be greater than{} {limit}", or_equal("exclusiveMinimum"))
            }),
            "maximum" => should("maximum", &|limit| {
                format!("should be less than{} {limit}", or_equal("exclusiveMaximum"))
            }),
            "multiple-of" => should("multipleOf", &|limit| format!("should be a multiple of {limit}")),
            "pattern" => {
                should("pattern", &|limit| format!("should match '{}'", limit.as_str().unwrap_or_default()))
            }
            "min-length" => should("minLength", &|limit| format!("should be at least {limit} chars long")),
            "min-items" => should("minItems", &|limit| format!("should have at least {limit} items")),
            "min-properties" => {
                should("minProperties", &|limit| format!("should have at least {limit} properties"))
            }
            "max-length" => limit("maxLength").map(|limit| {
                let message = format!("Too long: may not be more than {limit} bytes");
                Cause { reason: "FieldValueTooLong", field: field.clone(), message }
            }),
            "max-items" => limit("maxItems").map(|limit| Cause::too_many(field.clone(), &value, limit)),
            "max-properties" => {
                limit("maxProperties").map(|limit| Cause::too_many(field.clone(), &value, limit))
            }
            _ => None,
        };
        // Of what a combination of schemas says there is no one rule to quote.
        found.unwrap_or_else(|| {
            Cause::invalid(field.clone(), &value, &format!("{named} in body {}", violation.message))
        })
    }

    /// The part of the schema that speaks about a path.
    fn rule(&self, path: &str) -> Option<&Value> {
        path.split('/').skip(1).try_fold(&self.source, below)
    }

    /// What an item of a list must not share with another: its keys, or all of it.
    fn identity(&self, path: &str, item: &Value) -> Value {
        let list = path.rsplit_once('/').and_then(|(list, _)| self.rule(list));
        match list.and_then(|list| list["x-kubernetes-list-map-keys"].as_array()) {
            Some(keys) => {
                let keys = keys.iter().filter_map(Value::as_str);
                keys.map(|key| (key.to_owned(), item[key].clone())).collect::<serde_json::Map<_, _>>().into()
            }
            None => item.clone(),
        }
    }
}

/// The schema of a field or an item.
fn below<'a>(schema: &'a Value, token: &str) -> Option<&'a Value> {
    let name = token.replace("~1", "/").replace("~0", "~");
    let named = schema["properties"].get(&name).or_else(|| schema.get("additionalProperties"));
    if schema["type"] == "array" { schema.get("items") } else { named.filter(|schema| schema.is_object()) }
}

/// Whether what a violation is about, or something that it is in, was the same before. Items of a list are the same only
/// if the list says by which keys they are known.
fn is_as_before(schema: &Value, old: &Value, new: &Value, violation: &Violation) -> bool {
    // What is missing is the fault of what it is missing from.
    let path = match violation.path.rsplit_once('/') {
        Some((parent, _)) if violation.code == "required" => parent,
        _ => &violation.path,
    };
    let none = Value::Null;
    let (mut schema, mut old, mut new) = (schema, old, new);
    for token in path.split('/').skip(1) {
        if old == new {
            return true;
        }
        let name = token.replace("~1", "/").replace("~0", "~");
        let (was, is) = match new {
            Value::Array(items) => {
                let Some(item) = name.parse().ok().and_then(|at: usize| items.get(at)) else { return false };
                let keys =
                    schema["x-kubernetes-list-map-keys"].as_array().map(Vec::as_slice).unwrap_or_default();
                let same =
                    |other: &&Value| keys.iter().filter_map(Value::as_str).all(|key| other[key] == item[key]);
                let mut before = old.as_array().into_iter().flatten().filter(|_| !keys.is_empty());
                (before.find(same), Some(item))
            }
            _ => (old.get(&name), new.get(&name)),
        };
        let (Some(was), Some(is)) = (was, is) else { return false };
        (old, new) = (was, is);
        schema = below(schema, token).unwrap_or(&none);
    }
    old == new
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// `/spec/list/0` as `spec.list[0]`.
pub(crate) fn dotted(pointer: &str) -> String {
    let mut out = String::new();
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        if token.bytes().all(|b| b.is_ascii_digit()) && !token.is_empty() {
            out.push_str(&format!("[{token}]"));
        } else {
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(&token);
        }
    }
    out
}
