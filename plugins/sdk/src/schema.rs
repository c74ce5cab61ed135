//! The schema of a spec: built in code, because defaults and the effects of a change are read from it too, so that
//! each is said once.

use serde_json::{Map, Value, json};

use crate::Effect;

/// A structural JSON Schema.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema(Map<String, Value>);

impl Schema {
    /// An object with these properties and no others. Those without a default are optional unless [`required`]
    /// names them.
    ///
    /// [`required`]: Schema::required
    pub fn object<const N: usize>(properties: [(&str, Schema); N]) -> Self {
        let properties =
            properties.into_iter().map(|(name, schema)| (name.to_owned(), Value::Object(schema.0)));
        Self::of("object").with("properties", Value::Object(properties.collect()))
    }

    /// An object with any keys, whose values are all alike.
    pub fn map(values: Schema) -> Self {
        Self::of("object").with("additionalProperties", Value::Object(values.0))
    }

    /// A list.
    pub fn list(items: Schema) -> Self {
        Self::of("array").with("items", Value::Object(items.0))
    }

    /// Text.
    pub fn string() -> Self {
        Self::of("string")
    }

    /// One of a few texts.
    pub fn one_of<const N: usize>(values: [&str; N]) -> Self {
        Self::string().with("enum", json!(values.as_slice()))
    }

    /// A whole number.
    pub fn integer() -> Self {
        Self::of("integer")
    }

    /// `true` or `false`.
    pub fn boolean() -> Self {
        Self::of("boolean")
    }

    fn of(kind: &str) -> Self {
        Self(Map::new()).with("type", kind)
    }

    /// What it is, for people.
    pub fn describe(self, text: &str) -> Self {
        self.with("description", text)
    }

    /// The value where none is given. An object's own default must be given (`json!({})`) for those inside of it
    /// to take effect.
    pub fn default(self, value: impl Into<Value>) -> Self {
        self.with("default", value)
    }

    /// What a change of the value does to a running database; for everything below, until said otherwise there.
    pub fn effect(self, effect: Effect) -> Self {
        self.with("x-senren-effect", effect.as_str())
    }

    /// Least value of a number.
    pub fn minimum(self, least: i64) -> Self {
        self.with("minimum", least)
    }

    /// Greatest value of a number.
    pub fn maximum(self, greatest: i64) -> Self {
        self.with("maximum", greatest)
    }

    /// Regular expression that a text must match, with `^` and `$` where the whole of it must.
    pub fn pattern(self, pattern: &str) -> Self {
        self.with("pattern", pattern)
    }

    /// Properties of an object that must be there.
    pub fn required<const N: usize>(self, names: [&str; N]) -> Self {
        self.with("required", json!(names.as_slice()))
    }

    /// Any other keyword.
    pub fn with(mut self, keyword: &str, value: impl Into<Value>) -> Self {
        self.0.insert(keyword.to_owned(), value.into());
        self
    }

    /// As text.
    pub fn into_json(self) -> String {
        Value::Object(self.0).to_string()
    }

    pub(crate) fn keywords(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Fills in what is missing and has a default, as Kubernetes does: from the outside in.
    pub fn fill_defaults(&self, value: &mut Value) {
        fill(&self.0, value);
    }
}

fn fill(schema: &Map<String, Value>, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::Object(properties)) = schema.get("properties") {
                for (name, property) in properties.iter().filter_map(|(name, p)| Some((name, p.as_object()?)))
                {
                    if let (Some(default), false) = (property.get("default"), fields.contains_key(name)) {
                        fields.insert(name.clone(), default.clone());
                    }
                    if let Some(field) = fields.get_mut(name) {
                        fill(property, field);
                    }
                }
            }
            if let Some(Value::Object(each)) = schema.get("additionalProperties") {
                fields.values_mut().for_each(|field| fill(each, field));
            }
        }
        Value::Array(items) => {
            if let Some(Value::Object(each)) = schema.get("items") {
                items.iter_mut().for_each(|item| fill(each, item));
            }
        }
        _ => {}
    }
}

/// Drops fields that are `null`: where a Rust `Option` is empty, a structural schema wants nothing there.
pub(crate) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Schema {
        Schema::object([
            ("memory_mb", Schema::integer().minimum(16).default(64)),
            ("name", Schema::string()),
            (
                "persistence",
                Schema::object([("enabled", Schema::boolean().default(true)), ("size", Schema::string())])
                    .default(json!({})),
            ),
            ("backup", Schema::object([("keep", Schema::integer().default(7))])),
            ("sets", Schema::list(Schema::object([("weight", Schema::integer().default(1))]))),
            ("by_key", Schema::map(Schema::object([("weight", Schema::integer().default(2))]))),
        ])
    }

    #[test]
    fn defaults_are_filled_in_from_the_outside_in() {
        for (given, filled) in [
            (json!({}), json!({"memory_mb": 64, "persistence": {"enabled": true}})),
            (
                json!({"memory_mb": 16, "persistence": {"enabled": false}, "backup": {}}),
                json!({"memory_mb": 16, "persistence": {"enabled": false}, "backup": {"keep": 7}}),
            ),
            (
                json!({"memory_mb": 1, "persistence": {"enabled": true}, "sets": [{}], "by_key": {"a": {}}}),
                json!({
                    "memory_mb": 1, "persistence": {"enabled": true},
                    "sets": [{"weight": 1}], "by_key": {"a": {"weight": 2}},
                }),
            ),
        ] {
            let mut value = given.clone();
            schema().fill_defaults(&mut value);
            assert_eq!(value, filled, "from {given}");
        }
    }

    #[test]
    fn an_empty_option_is_nothing_and_not_null() {
        let mut value = json!({"a": null, "b": {"c": null, "d": 1}, "e": [{"f": null}]});
        drop_nulls(&mut value);
        assert_eq!(value, json!({"b": {"d": 1}, "e": [{}]}));
    }
}
