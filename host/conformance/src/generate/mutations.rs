//! Neighbours of a spec: changes that a user might make, one at a time.

use serde_json::{Value, json};

use super::{
    Place, Variant, brief, places,
    sample::{near, range, sample, texts},
};

/// How many other texts are tried in one place.
const TEXTS: usize = 3;

/// Every spec that differs from `spec` in one place, by a value that `schema` accepts there.
pub(crate) fn mutations(schema: &Value, spec: &Value) -> Vec<Variant> {
    let mut found: Vec<Variant> = vec![];
    for place in places(schema, spec) {
        for value in others(&place) {
            let before = place.value.map_or_else(|| "nothing".to_owned(), brief);
            let what = format!("{} {before} → {}", place.title(), brief(&value));
            found.extend(Variant::new(spec, &place.path, what, value));
        }
        if place.value.is_some() && may_go(&place) {
            found.extend(Variant::without(spec, &place.path, format!("{} taken away", place.title())));
        }
    }
    found
}

/// What could be there instead of what is.
fn others(place: &Place) -> Vec<Value> {
    let schema = place.schema;
    let mut others: Vec<Value> = match (place.value, schema["type"].as_str()) {
        _ if schema["enum"].is_array() => schema["enum"].as_array().cloned().unwrap_or_default(),
        (is, Some("boolean")) => vec![json!(!is.and_then(Value::as_bool).unwrap_or(false))],
        (is, Some("integer")) => integers(schema, is.and_then(Value::as_i64)),
        (Some(is), Some("number")) => {
            is.as_f64().map(|is| vec![json!(is + 1.0), json!(is / 2.0)]).unwrap_or_default()
        }
        (_, Some("string")) => texts(schema, TEXTS),
        (Some(Value::Array(items)), Some("array")) => lists(schema, items),
        (Some(Value::Object(fields)), Some("object")) if schema["additionalProperties"].is_object() => {
            let mut more = fields.clone();
            let new = sample(&schema["additionalProperties"]).map(|value| more.insert("added".into(), value));
            new.map(|_| vec![Value::Object(more)]).unwrap_or_default()
        }
        (None, _) => sample(schema).into_iter().collect(),
        _ => vec![],
    };
    others.retain(|other| place.value != Some(other));
    others
}

/// One more, one less, and twice as much.
fn integers(schema: &Value, is: Option<i64>) -> Vec<Value> {
    let (lowest, highest) = range(schema);
    let Some(is) = is else { return vec![json!(near(schema, 1))] };
    let step = schema["multipleOf"].as_i64().unwrap_or(1);
    let mut wishes = vec![is.saturating_add(step), is.saturating_sub(step), is.saturating_mul(2)];
    wishes.retain(|wish| (lowest..=highest).contains(wish));
    wishes.dedup();
    wishes.into_iter().map(|wish| json!(wish)).collect()
}

fn lists(schema: &Value, items: &[Value]) -> Vec<Value> {
    let mut lists = vec![];
    if let Some((_, fewer)) = items.split_last() {
        lists.push(fewer.to_vec());
    }
    if let Some(item) = sample(&schema["items"]) {
        lists.push(items.iter().cloned().chain([item]).collect());
    }
    let (fewest, most) =
        (schema["minItems"].as_u64().unwrap_or(0), schema["maxItems"].as_u64().unwrap_or(u64::MAX));
    lists.retain(|list| (fewest..=most).contains(&(list.len() as u64)));
    lists.into_iter().map(Value::Array).collect()
}

/// Without it, something else holds than its default, which would be put there again.
fn may_go(place: &Place) -> bool {
    let is_field = place.path.rsplit_once('/').is_some_and(|(_, name)| name.parse::<usize>().is_err());
    is_field && !place.required && place.schema.get("default").is_none()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{schema, spec};
    use super::*;

    #[test]
    fn neighbours_are_valid_and_say_what_is_different() {
        let (schema, spec) = (schema(), spec());
        let parsed = senren_schema::Schema::parse(&schema).ok();
        let found = mutations(&schema, &spec);
        for variant in &found {
            let wrong = parsed.as_ref().map(|parsed| parsed.validate(&variant.spec));
            assert_eq!(wrong, Some(vec![]), "{}", variant.what);
            assert_ne!(variant.spec, spec, "{}", variant.what);
        }
        let all: Vec<_> = found.iter().map(|variant| variant.what.as_str()).collect();
        for wanted in [
            "size 2 → 3",
            "size 2 → 1",
            "size 2 → 4",
            "tier \"a\" → \"b\"",
            "on false → true",
            "free nothing → \"a\"",
            "version taken away",
            "labels.x/y taken away",
            "list [1] → []",
            "list [1] → [1,1]",
            "list.0 1 → 2",
        ] {
            assert!(all.contains(&wanted), "{wanted}: {all:#?}");
        }
        assert!(!all.contains(&"size taken away") && !all.contains(&"tier taken away"), "{all:#?}");
    }
}
