//! JSON merge patches (RFC 7386) and JSON patches (RFC 6902).

use serde_json::Value;

/// Merges `patch` into `target`: null removes, objects merge, everything else replaces.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    for (name, change) in changes {
        if change.is_null() {
            target.as_object_mut().map(|fields| fields.remove(name));
        } else {
            merge(&mut target[name], change);
        }
    }
}

/// Applies the operations of a JSON patch, all or nothing.
pub fn apply(target: &mut Value, patch: &Value) -> Result<(), String> {
    let operations = patch.as_array().ok_or("a JSON patch must be a list of operations")?;
    let mut out = target.clone();
    for operation in operations {
        step(&mut out, operation)?;
    }
    *target = out;
    Ok(())
}

fn step(target: &mut Value, operation: &Value) -> Result<(), String> {
    let text = |field: &str| {
        operation[field]
            .as_str()
            .ok_or_else(|| format!("a JSON patch operation needs {field:?}: {operation}"))
    };
    let value = || operation.get("value").cloned().ok_or_else(|| format!("no value in {operation}"));
    let path = text("path")?;
    match text("op")? {
        "add" => add(target, path, value()?),
        "remove" => remove(target, path).map(drop),
        "replace" => {
            // As a real server does: a field of an object need not be there.
            let in_object = || {
                let (parent, last) = split(path).ok()?;
                Some((target.pointer(parent)?.as_object()?, last)).map(|_| ())
            };
            if target.pointer(path).is_none() && in_object().is_none() {
                return Err(missing(path));
            }
            match target.pointer_mut(path) {
                Some(place) => *place = value()?,
                None => add(target, path, value()?)?,
            }
            Ok(())
        }
        "test" => {
            let found = target.pointer(path).ok_or_else(|| missing(path))?;
            if *found == value()? { Ok(()) } else { Err(format!("testing path {path} value failed")) }
        }
        "copy" => {
            let from = text("from")?;
            let found = target.pointer(from).cloned().ok_or_else(|| missing(from))?;
            add(target, path, found)
        }
        "move" => {
            let found = remove(target, text("from")?)?;
            add(target, path, found)
        }
        other => Err(format!("unknown JSON patch operation {other:?}")),
    }
}

fn missing(path: &str) -> String {
    format!("doc is missing path: {path}")
}

fn split(path: &str) -> Result<(&str, String), String> {
    let (parent, last) = path.rsplit_once('/').ok_or_else(|| format!("invalid JSON pointer {path:?}"))?;
    Ok((parent, last.replace("~1", "/").replace("~0", "~")))
}

fn add(target: &mut Value, path: &str, value: Value) -> Result<(), String> {
    if path.is_empty() {
        *target = value;
        return Ok(());
    }
    let (parent, last) = split(path)?;
    match target.pointer_mut(parent) {
        Some(Value::Object(fields)) => {
            fields.insert(last, value);
            Ok(())
        }
        Some(Value::Array(items)) => {
            let at = if last == "-" { items.len() } else { last.parse().map_err(|_| missing(path))? };
            if at > items.len() {
                return Err(missing(path));
            }
            items.insert(at, value);
            Ok(())
        }
        _ => Err(missing(path)),
    }
}

fn remove(target: &mut Value, path: &str) -> Result<Value, String> {
    let (parent, last) = split(path)?;
    match target.pointer_mut(parent) {
        Some(Value::Object(fields)) => fields.remove(&last).ok_or_else(|| missing(path)),
        Some(Value::Array(items)) => match last.parse::<usize>() {
            Ok(at) if at < items.len() => Ok(items.remove(at)),
            _ => Err(missing(path)),
        },
        _ => Err(missing(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(patch: Value, after: Result<Value, ()>) {
        let mut target = json!({"a": {"b": [1, 2]}, "c/d": "x"});
        let result = apply(&mut target, &patch);
        match after {
            Ok(after) => assert_eq!((result, target), (Ok(()), after), "{patch}"),
            Err(()) => assert!(result.is_err() && target["c/d"] == "x", "{patch}"),
        }
    }

    #[test]
    fn json_patches_do_what_the_standard_says() {
        check(
            json!([{"op": "add", "path": "/a/b/1", "value": 9}]),
            Ok(json!({"a": {"b": [1, 9, 2]}, "c/d": "x"})),
        );
        check(
            json!([{"op": "add", "path": "/a/b/-", "value": 9}]),
            Ok(json!({"a": {"b": [1, 2, 9]}, "c/d": "x"})),
        );
        check(json!([{"op": "remove", "path": "/c~1d"}]), Ok(json!({"a": {"b": [1, 2]}})));
        check(
            json!([{"op": "move", "from": "/a/b", "path": "/e"}]),
            Ok(json!({"a": {}, "c/d": "x", "e": [1, 2]})),
        );
        check(json!([{"op": "remove", "path": "/c~1d"}, {"op": "test", "path": "/a", "value": 1}]), Err(()));
        check(json!([{"op": "replace", "path": "/none/below", "value": 1}]), Err(()));
        check(json!([{"op": "replace", "path": "/a/b/7", "value": 1}]), Err(()));
        check(
            json!([{"op": "replace", "path": "/e", "value": 1}]),
            Ok(json!({"a": {"b": [1, 2]}, "c/d": "x", "e": 1})),
        );
    }

    #[test]
    fn merge_patches_remove_with_null() {
        let mut target = json!({"a": {"b": 1, "c": 2}, "l": [1]});
        merge(&mut target, &json!({"a": {"b": null, "d": {"e": null}}, "l": [2]}));
        assert_eq!(target, json!({"a": {"c": 2, "d": {}}, "l": [2]}));
    }
}
