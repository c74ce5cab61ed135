//! Values that a schema accepts.

use serde_json::{Map, Value, json};

use super::pattern::matching;

/// A value for `schema`, as plain as can be; `None` where none can be thought of.
pub(crate) fn sample(schema: &Value) -> Option<Value> {
    if let Some(default) = schema.get("default") {
        return Some(default.clone());
    }
    if let Some(first) = schema["enum"].as_array().and_then(|values| values.first()) {
        return Some(first.clone());
    }
    match schema["type"].as_str() {
        Some("boolean") => Some(json!(false)),
        Some("integer") => Some(json!(near(schema, 1))),
        Some("number") => Some(json!(schema["minimum"].as_f64().unwrap_or(1.0))),
        Some("string") => texts(schema, 1).into_iter().next(),
        Some("array") => {
            let fewest = schema["minItems"].as_u64().unwrap_or(0);
            (0..fewest).map(|_| sample(&schema["items"])).collect::<Option<Vec<_>>>().map(Value::Array)
        }
        Some("object") => {
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let field = |name: &str| Some((name.to_owned(), sample(&schema["properties"][name])?));
            required.map(field).collect::<Option<Map<_, _>>>().map(Value::Object)
        }
        _ if schema["x-kubernetes-int-or-string"] == true => Some(json!(1)),
        _ => None,
    }
}

/// Texts for a schema of type string, at most so many.
pub(crate) fn texts(schema: &Value, count: usize) -> Vec<Value> {
    let texts = match schema["pattern"].as_str() {
        Some(pattern) => matching(pattern, count * 2),
        None => ["a", "changed", "b"].map(str::to_owned).to_vec(),
    };
    let shortest = schema["minLength"].as_u64().unwrap_or(0);
    let longest = schema["maxLength"].as_u64().unwrap_or(u64::MAX);
    let fits = |text: &String| (shortest..=longest).contains(&(text.chars().count() as u64));
    let padded = texts.into_iter().map(|text| match usize::try_from(shortest) {
        Ok(shortest) if schema["pattern"].is_null() => format!("{text:a<shortest$}"),
        _ => text,
    });
    padded.filter(fits).take(count).map(Value::String).collect()
}

/// An integer in the schema's range, as near to `wish` as can be.
pub(crate) fn near(schema: &Value, wish: i64) -> i64 {
    let step = schema["multipleOf"].as_i64().filter(|step| *step > 0).unwrap_or(1);
    let (lowest, highest) = range(schema);
    let clamped = wish.clamp(lowest, highest.max(lowest));
    let up = clamped
        .div_euclid(step)
        .saturating_add(i64::from(clamped.rem_euclid(step) != 0))
        .saturating_mul(step);
    if up <= highest { up } else { clamped.div_euclid(step) * step }
}

/// The least and the greatest integer that a schema accepts; what JSON readers can be trusted with, where it has no say.
pub(crate) fn range(schema: &Value) -> (i64, i64) {
    const SAFE: i64 = (1 << 53) - 1;
    let bound = |keyword: &str, exclusive: &str, inwards: i64, otherwise: i64| {
        let bound = schema[keyword].as_i64().or(schema[keyword].as_f64().map(|bound| bound as i64));
        match (bound, &schema[exclusive]) {
            (Some(bound), Value::Bool(true)) => bound + inwards,
            (Some(bound), _) => bound,
            (None, Value::Number(bound)) => bound.as_i64().map_or(otherwise, |bound| bound + inwards),
            _ => otherwise,
        }
    };
    (bound("minimum", "exclusiveMinimum", 1, -SAFE), bound("maximum", "exclusiveMaximum", -1, SAFE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_as_plain_as_can_be() {
        for (schema, value) in [
            (json!({"type": "integer", "minimum": 16, "multipleOf": 10}), json!(20)),
            (json!({"type": "integer", "maximum": -5}), json!(-5)),
            (json!({"type": "string", "minLength": 3}), json!("aaa")),
            (json!({"type": "string", "enum": ["x", "y"]}), json!("x")),
            (json!({"type": "boolean", "default": true}), json!(true)),
            (json!({"type": "array", "minItems": 2, "items": {"type": "boolean"}}), json!([false, false])),
            (
                json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}),
                json!({"a": 1}),
            ),
        ] {
            assert_eq!(sample(&schema), Some(value), "{schema}");
        }
    }
}
