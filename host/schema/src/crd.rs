//! A schema as an apiserver takes it: it refuses unknown `x-` extensions and has no `const`.

use serde_json::{Map, Value};

pub(crate) fn to_crd(schema: &Value) -> Value {
    let Value::Object(keywords) = schema else { return schema.clone() };
    let mut out = Map::new();
    for (keyword, value) in keywords {
        match keyword.as_str() {
            keyword if keyword.starts_with("x-senren-") => {}
            "const" => {
                out.insert("enum".into(), Value::Array(vec![value.clone()]));
            }
            // The keys below are names of fields, never keywords.
            "properties" => {
                out.insert(keyword.clone(), each(value));
            }
            "items" | "additionalProperties" | "not" => {
                out.insert(keyword.clone(), to_crd(value));
            }
            "allOf" | "anyOf" | "oneOf" => {
                out.insert(keyword.clone(), list(value));
            }
            _ => {
                out.insert(keyword.clone(), value.clone());
            }
        }
    }
    Value::Object(out)
}

fn each(properties: &Value) -> Value {
    match properties {
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(name, schema)| (name.clone(), to_crd(schema))).collect())
        }
        other => other.clone(),
    }
}

fn list(schemas: &Value) -> Value {
    match schemas {
        Value::Array(schemas) => Value::Array(schemas.iter().map(to_crd).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn our_extensions_go_and_fields_that_are_called_like_them_stay() {
        let crd = to_crd(&json!({
            "type": "object", "x-senren-effect": "in-place",
            "properties": {
                "x-senren-effect": {"type": "string", "x-senren-effect": "recreate", "const": "a"},
                "list": {"type": "array", "items": {"type": "integer", "x-senren-effect": "rebalance"}},
            },
            "default": {"x-senren-effect": "a"},
        }));
        assert_eq!(
            crd,
            json!({
                "type": "object",
                "properties": {
                    "x-senren-effect": {"type": "string", "enum": ["a"]},
                    "list": {"type": "array", "items": {"type": "integer"}},
                },
                "default": {"x-senren-effect": "a"},
            })
        );
    }
}
