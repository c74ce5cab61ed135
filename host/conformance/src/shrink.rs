//! Makes a value smaller, as long as it still shows what it is to show.
//!
//! Greedy: whole branches first, then what is in them, until nothing more can go. Not the smallest there is, but small
//! enough to read.

use serde_json::Value;

/// The smallest found of what `value` can be cut down to such that `shows` holds, which it does for `value`. Asks
/// `shows` at most `budget` times. What `keep` says of a JSON Pointer is left alone.
pub(crate) fn shrink(
    value: &Value,
    budget: usize,
    keep: &dyn Fn(&str) -> bool,
    mut shows: impl FnMut(&Value) -> bool,
) -> Value {
    let (mut best, mut left) = (value.clone(), budget);
    loop {
        let before = best.clone();
        // From the outside in: parents come before their children.
        let mut pointers = vec![];
        list(&best, &mut String::new(), &mut pointers);
        for pointer in pointers.into_iter().filter(|pointer| !keep(pointer)) {
            for smaller in candidates(&best, &pointer) {
                if left == 0 {
                    return best;
                }
                left -= 1;
                if shows(&smaller) {
                    best = smaller;
                    break;
                }
            }
        }
        if best == before {
            return best;
        }
    }
}

/// Every place below the root; the last items of a list first, so that removing one moves none that is still to come.
fn list(value: &Value, at: &mut String, out: &mut Vec<String>) {
    let mut below = |token: &str, value: &Value| {
        let length = at.len();
        at.push('/');
        at.push_str(&token.replace('~', "~0").replace('/', "~1"));
        out.push(at.clone());
        list(value, at, out);
        at.truncate(length);
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, field)| below(name, field)),
        Value::Array(items) => {
            items.iter().enumerate().rev().for_each(|(index, item)| below(&index.to_string(), item));
        }
        _ => {}
    }
}

/// `value` without what is at `pointer`, or with less there; the smallest first.
fn candidates(value: &Value, pointer: &str) -> Vec<Value> {
    let Some(found) = value.pointer(pointer) else { return vec![] };
    let mut smaller = vec![without(value, pointer)];
    if let Value::String(text) = found {
        let length = text.chars().count();
        for keep in [length / 8, length / 2].into_iter().filter(|keep| length > 16 && *keep < length) {
            let mut shorter = value.clone();
            if let Some(place) = shorter.pointer_mut(pointer) {
                *place = Value::String(text.chars().take(keep).collect());
                smaller.push(shorter);
            }
        }
    }
    smaller
}

fn without(value: &Value, pointer: &str) -> Value {
    let mut value = value.clone();
    let (parent, token) = pointer.rsplit_once('/').unwrap_or_default();
    match value.pointer_mut(parent) {
        Some(Value::Object(fields)) => {
            fields.remove(&token.replace("~1", "/").replace("~0", "~"));
        }
        Some(Value::Array(items)) => {
            if let Some(index) = token.parse().ok().filter(|index| *index < items.len()) {
                items.remove(index);
            }
        }
        _ => {}
    }
    value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_does_not_matter_goes() {
        let value = json!({"a": {"b": [1, 2, {"c": "x", "d": 3}], "e": 1}, "f/g": [], "h": "y"});
        let shows = |value: &Value| {
            let items = value.pointer("/a/b").and_then(Value::as_array);
            items.is_some_and(|items| items.iter().any(|item| item["d"] == 3))
        };
        assert_eq!(shrink(&value, 1000, &|_| false, shows), json!({"a": {"b": [{"d": 3}]}}));
        let kept = shrink(&value, 1000, &|pointer| pointer == "/h", shows);
        assert_eq!(kept, json!({"a": {"b": [{"d": 3}]}, "h": "y"}));
    }

    #[test]
    fn long_texts_get_shorter_and_the_budget_is_kept() {
        let value = json!({"text": "x".repeat(1000)});
        let mut asked = 0;
        let long = |value: &Value| value["text"].as_str().is_some_and(|text| text.len() >= 20);
        let small = shrink(&value, 1000, &|_| false, |value| {
            asked += 1;
            long(value)
        });
        assert!(small["text"].as_str().is_some_and(|text| (20..200).contains(&text.len())), "{small}");
        assert!(asked < 100);
        assert_eq!(shrink(&value, 0, &|_| false, long), value);
    }
}
