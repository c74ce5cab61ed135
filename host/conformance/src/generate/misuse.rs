//! Specs that can't be meant: mistakes that people make. Every one of them is to be refused.

use serde_json::{Value, json};

use super::{Variant, places, sample::range};

/// A name that no schema has.
const TYPO: &str = "tpyo";

/// Every mistake of one place that can be made with `spec`.
pub(crate) fn misuse(schema: &Value, spec: &Value) -> Vec<Variant> {
    let mut found = vec![];
    for place in places(schema, spec) {
        let title = place.title();
        let mut wrong = |what: &str, value: Value| {
            found.extend(Variant::new(spec, &place.path, format!("{title} is {what}"), value));
        };
        match place.schema["type"].as_str() {
            Some("string") => {
                wrong("a number instead of a text", json!(7));
                wrong("a list instead of a text", json!(["x"]));
            }
            Some("integer" | "number") => wrong("a text instead of a number", json!("many")),
            Some("boolean") => wrong("a text instead of true or false", json!("yes")),
            Some("object") => wrong("a list instead of an object", json!([])),
            Some("array") => wrong("an object instead of a list", json!({"0": "x"})),
            _ => {}
        }
        let (lowest, highest) = range(place.schema);
        if place.is("integer") {
            wrong("no whole number", json!(1.5));
            if place.schema.get("minimum").is_some() {
                wrong("too small", json!(lowest.saturating_sub(1)));
            }
            if place.schema.get("maximum").is_some() {
                wrong("too large", json!(highest.saturating_add(1)));
            }
        }
        if let Some(longest) = place.schema["maxLength"].as_u64().and_then(|n| usize::try_from(n).ok()) {
            wrong("too long", json!("x".repeat(longest.saturating_add(1))));
        }
        if place.schema["enum"].is_array() && place.is("string") {
            wrong("none of its values", json!("none-of-these"));
        }
        let fields = place.value.and_then(Value::as_object);
        if place.schema["properties"].is_object() && fields.is_some() {
            let path = format!("{}/{TYPO}", place.path);
            found.extend(Variant::new(spec, &path, format!("{title} has an unknown field"), json!("x")));
        }
        if place.required && !place.path.is_empty() && place.schema.get("default").is_none() {
            found.extend(Variant::without(spec, &place.path, format!("{title} is missing")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::tests::{schema, spec};
    use super::*;

    #[test]
    fn no_mistake_is_valid() {
        let (schema, spec) = (schema(), spec());
        let parsed = senren_schema::Schema::parse(&schema).ok();
        let found = misuse(&schema, &spec);
        for variant in &found {
            let refused = parsed.as_ref().is_some_and(|parsed| !parsed.validate(&variant.spec).is_empty());
            assert!(refused, "{}: {}", variant.what, variant.spec);
        }
        let all: Vec<_> = found.iter().map(|variant| variant.what.as_str()).collect();
        for wanted in [
            "the spec has an unknown field",
            "more has an unknown field",
            "size is missing",
            "size is too small",
            "size is too large",
            "tier is none of its values",
            "more.name is too long",
            "on is a text instead of true or false",
        ] {
            assert!(all.contains(&wanted), "{wanted}: {all:#?}");
        }
    }
}
