//! Specs that the schema accepts, though only just: the largest, the longest, the oddest. A plugin refuses them, or it
//! makes something of them that works.

use serde_json::{Map, Value, json};

use super::{
    Place, Variant, brief, places,
    sample::{near, range, sample},
};

/// As long as a text may get where nothing limits it: more than any object in Kubernetes holds.
const LONG: usize = 1_600_000;
/// As many items or keys as a careless program writes.
const MANY: usize = 3_000;
/// What is in people's texts: quotes, a second line, templates, paths, other scripts.
const ODD: [&str; 6] =
    ["", " ", "say \"hi\"\nand: [go", "${HOME} $(id) {{ .Values }}", "../../etc/passwd", "データ🚀"];

/// Every such spec that differs from `spec` in one place.
pub(crate) fn extremes(schema: &Value, spec: &Value) -> Vec<Variant> {
    let mut found = vec![];
    for place in places(schema, spec) {
        for value in values(&place) {
            let what = format!("{} is {}", place.title(), brief(&value));
            found.extend(Variant::new(spec, &place.path, what, value));
        }
    }
    found
}

fn values(place: &Place) -> Vec<Value> {
    let schema = place.schema;
    if schema["enum"].is_array() {
        return vec![];
    }
    let count = |keyword: &str, most: usize| {
        let limit = schema[keyword].as_u64().and_then(|limit| usize::try_from(limit).ok());
        limit.unwrap_or(usize::MAX).min(most)
    };
    match schema["type"].as_str() {
        Some("integer") => {
            let (lowest, highest) = range(schema);
            [lowest, highest, 0].map(|wish| json!(near(schema, wish))).into()
        }
        Some("string") => {
            let long = "x".repeat(count("maxLength", LONG));
            ODD.iter().map(|text| json!(text)).chain([json!(long)]).collect()
        }
        Some("array") => {
            let many = sample(&schema["items"]).map(|item| vec![item; count("maxItems", MANY)]);
            [Some(vec![]), many].into_iter().flatten().map(Value::Array).collect()
        }
        Some("object") if schema["additionalProperties"].is_object() => {
            let Some(value) = sample(&schema["additionalProperties"]) else { return vec![] };
            let map = |names: &mut dyn Iterator<Item = String>| {
                Value::Object(names.map(|name| (name, value.clone())).collect::<Map<_, _>>())
            };
            let many = map(&mut (0..count("maxProperties", MANY)).map(|number| format!("key-{number}")));
            let odd = ODD.iter().filter(|name| !name.is_empty());
            odd.map(|name| map(&mut [(*name).to_owned()].into_iter())).chain([many]).collect()
        }
        _ => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{schema, spec};
    use super::*;

    #[test]
    fn limits_are_met_exactly_and_where_there_are_none_it_gets_large() {
        let (schema, spec) = (schema(), spec());
        let found = extremes(&schema, &spec);
        let of = |path: &str| -> Vec<&Value> {
            found
                .iter()
                .filter(|variant| variant.path == path)
                .filter_map(|variant| variant.spec.pointer(path))
                .collect()
        };
        assert_eq!(of("/size"), [&json!(1), &json!(8), &json!(1)]);
        assert!(of("/free").iter().any(|text| text.as_str().is_some_and(|text| text.len() == LONG)));
        assert!(of("/more/name").iter().any(|text| **text == json!("xxxxx")));
        assert!(of("/list").contains(&&json!([1, 1, 1])));
        assert!(of("/labels").iter().any(|map| map.as_object().is_some_and(|map| map.len() == MANY)));
    }
}
