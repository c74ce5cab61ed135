//! Specs to try a plugin with, made from its schema: neighbours of a spec that works, what can't be meant, and what can
//! only just be meant. Deterministic: the same schema has the same ones.

mod extremes;
mod misuse;
mod mutations;
mod pattern;
mod sample;

use serde_json::Value;

pub(crate) use self::{extremes::extremes, misuse::misuse, mutations::mutations};

/// A spec that differs from another in one place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Variant {
    /// JSON Pointer to the place.
    pub path: String,
    /// What is different, in a few words: `memory_mb 64 → 65`.
    pub what: String,
    /// The spec.
    pub spec: Value,
}

impl Variant {
    fn new(spec: &Value, path: &str, what: impl Into<String>, value: Value) -> Option<Self> {
        let mut spec = spec.clone();
        put(&mut spec, path, value)?;
        Some(Self { path: path.to_owned(), what: what.into(), spec })
    }

    fn without(spec: &Value, path: &str, what: impl Into<String>) -> Option<Self> {
        let mut spec = spec.clone();
        let (parent, name) = path.rsplit_once('/')?;
        spec.pointer_mut(parent)?.as_object_mut()?.remove(&unescape(name))?;
        Some(Self { path: path.to_owned(), what: what.into(), spec })
    }
}

/// A place in a schema, and what a spec has there.
pub(crate) struct Place<'a> {
    /// JSON Pointer into the spec.
    pub path: String,
    pub schema: &'a Value,
    /// What is there, if anything.
    pub value: Option<&'a Value>,
    /// The object that it is in can't do without it.
    pub required: bool,
}

impl Place<'_> {
    fn is(&self, kind: &str) -> bool {
        self.schema["type"] == kind
    }

    /// `persistence.size`
    fn title(&self) -> String {
        dotted(&self.path)
    }
}

/// `/persistence/size` → `persistence.size`; the root is `the spec`.
pub(crate) fn dotted(path: &str) -> String {
    match path.trim_start_matches('/') {
        "" => "the spec".to_owned(),
        path => path.split('/').map(unescape).collect::<Vec<_>>().join("."),
    }
}

/// Every place of a schema whose parent is there in `spec`: the root, properties, the keys of maps, items of lists.
pub(crate) fn places<'a>(schema: &'a Value, spec: &'a Value) -> Vec<Place<'a>> {
    let mut found = vec![];
    let root = Place { path: String::new(), schema, value: Some(spec), required: true };
    walk(root, &mut found);
    found
}

fn walk<'a>(place: Place<'a>, found: &mut Vec<Place<'a>>) {
    let mut below = vec![];
    let path = |token: &str| format!("{}/{}", place.path, escape(token));
    let required = |name: &str| {
        place.schema["required"].as_array().is_some_and(|names| names.iter().any(|required| required == name))
    };
    if let (Some(properties), Some(Value::Object(fields))) =
        (place.schema["properties"].as_object(), place.value)
    {
        below.extend(properties.iter().map(|(name, schema)| Place {
            path: path(name),
            schema,
            value: fields.get(name),
            required: required(name),
        }));
    }
    if let (schema @ Value::Object(_), Some(Value::Object(fields))) =
        (&place.schema["additionalProperties"], place.value)
    {
        below.extend(fields.iter().map(|(name, value)| Place {
            path: path(name),
            schema,
            value: Some(value),
            required: false,
        }));
    }
    if let (schema @ Value::Object(_), Some(Value::Array(items))) = (&place.schema["items"], place.value) {
        below.extend(items.iter().enumerate().map(|(index, value)| Place {
            path: path(&index.to_string()),
            schema,
            value: Some(value),
            required: false,
        }));
    }
    found.push(place);
    below.into_iter().for_each(|place| walk(place, found));
}

/// Puts a value where its parent is.
fn put(spec: &mut Value, path: &str, value: Value) -> Option<()> {
    if path.is_empty() {
        *spec = value;
        return Some(());
    }
    let (parent, name) = path.rsplit_once('/')?;
    match spec.pointer_mut(parent)? {
        Value::Object(fields) => {
            fields.insert(unescape(name), value);
        }
        Value::Array(items) => *items.get_mut(name.parse::<usize>().ok()?)? = value,
        _ => return None,
    }
    Some(())
}

fn escape(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}

fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

/// As people write a value in a sentence, not too long.
pub(crate) fn brief(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    /// A schema with one of each.
    pub(crate) fn schema() -> Value {
        json!({"type": "object", "required": ["size"], "properties": {
            "size": {"type": "integer", "minimum": 1, "maximum": 8},
            "tier": {"type": "string", "enum": ["a", "b"], "default": "a"},
            "on": {"type": "boolean", "default": false},
            "version": {"type": "string", "pattern": "^(7\\.[024]|8\\.[0-9])$"},
            "free": {"type": "string"},
            "more": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "list": {"type": "array", "maxItems": 3, "items": {"type": "integer"}},
        }})
    }

    pub(crate) fn spec() -> Value {
        json!({"size": 2, "tier": "a", "on": false, "version": "7.2", "more": {}, "labels": {"x/y": "z"}, "list": [1]})
    }

    #[test]
    fn every_place_is_found_with_its_pointer() {
        let (schema, spec) = (schema(), spec());
        let found: Vec<_> = places(&schema, &spec).into_iter().map(|place| place.path).collect();
        let wanted = [
            "",
            "/free",
            "/labels",
            "/labels/x~1y",
            "/list",
            "/list/0",
            "/more",
            "/more/name",
            "/on",
            "/size",
            "/tier",
            "/version",
        ];
        assert_eq!(found, wanted);
        assert_eq!(dotted("/labels/x~1y"), "labels.x/y");
    }

    #[test]
    fn a_variant_differs_in_one_place() {
        let spec = spec();
        assert_eq!(
            Variant::new(&spec, "/more/name", "x", json!("n")).unwrap().spec["more"],
            json!({"name": "n"})
        );
        assert_eq!(Variant::new(&spec, "/labels/x~1y", "x", json!("n")).unwrap().spec["labels"]["x/y"], "n");
        assert_eq!(Variant::new(&spec, "/list/0", "x", json!(5)).unwrap().spec["list"], json!([5]));
        assert_eq!(Variant::new(&spec, "/none/of/this", "x", json!(5)), None);
        assert!(Variant::without(&spec, "/size", "x").unwrap().spec.get("size").is_none());
    }
}
