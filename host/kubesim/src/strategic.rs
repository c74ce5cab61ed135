//! Strategic merge patches: merge patches that know which lists merge item by item, and by which key.
//!
//! What `kubectl apply`, `edit` and `label` send for built-in kinds. The keys are those of the kind's [`Shape`], of
//! which a patch uses the first; where the two differ in a real server, [`key_of`] says so. Directives: `$patch`,
//! `$retainKeys`, `$setElementOrder/<list>`, `$deleteFromPrimitiveList/<list>`.

use serde_json::{Map, Value};

use crate::shape::{Grain, Shape};

const DIRECTIVE: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

type Fields = Map<String, Value>;
type Result<T> = std::result::Result<T, String>;

/// Applies a patch to an object whose shape is known.
pub fn apply(target: &mut Value, patch: &Value, shape: &Shape) -> Result<()> {
    let (Value::Object(fields), Value::Object(patch)) = (std::mem::take(target), patch) else {
        return Err("a strategic merge patch must be an object".into());
    };
    *target = Value::Object(merge_fields(fields, patch, shape)?);
    Ok(())
}

fn merge_fields(mut fields: Fields, patch: &Fields, shape: &Shape) -> Result<Fields> {
    match patch.get(DIRECTIVE).map(|directive| directive.as_str().unwrap_or_default()) {
        None | Some("merge") => {}
        Some("replace") => return Ok(without_directives(patch)),
        Some("delete") => return Ok(Fields::new()),
        Some(other) => return Err(format!("unrecognized patch directive: {other:?}")),
    }
    if let Some(kept) = patch.get(RETAIN) {
        retain(&mut fields, patch, kept)?;
    }
    for (name, change) in patch {
        if let Some(list) = name.strip_prefix(ORDER) {
            reorder(&mut fields, patch, list, change, shape)?;
        } else if let Some(list) = name.strip_prefix(DELETE) {
            if let (Some(Value::Array(items)), Value::Array(gone)) = (fields.get_mut(list), change) {
                items.retain(|item| !gone.contains(item));
            }
        } else if [DIRECTIVE, RETAIN].contains(&name.as_str())
            || patch.contains_key(&format!("{ORDER}{name}"))
        {
            // Done above, or together with its order.
        } else if change.is_null() {
            fields.remove(name);
        } else {
            let before = fields.remove(name);
            fields.insert(name.clone(), merge(before, change, shape.field(name).0, name)?);
        }
    }
    Ok(fields)
}

fn merge(before: Option<Value>, change: &Value, shape: &Shape, name: &str) -> Result<Value> {
    Ok(match (before, change) {
        (Some(Value::Object(fields)), Value::Object(patch)) => {
            Value::Object(merge_fields(fields, patch, shape)?)
        }
        (Some(Value::Array(items)), Value::Array(patch)) => {
            Value::Array(merge_list(items, patch, shape, name)?)
        }
        // There is nothing to merge with, but what it says about merging is still not data.
        (_, Value::Object(patch)) => Value::Object(merge_fields(Fields::new(), patch, shape)?),
        (_, Value::Array(patch)) => Value::Array(merge_list(Vec::new(), patch, shape, name)?),
        (_, other) => other.clone(),
    })
}

/// How the items of a list are known.
enum Key<'a> {
    /// They aren't: the list is replaced.
    None,
    /// By their value.
    Scalar,
    /// By this field.
    Field(&'a str),
}

fn key_of<'a>(shape: &'a Shape, name: &str, list: &Value) -> Key<'a> {
    match (shape.grain(list), name) {
        // Lists by key for server-side apply, but not for patches.
        (_, "claims") => Key::None,
        // The other way round.
        (Grain::Whole, "hostIPs") => Key::Field("ip"),
        (Grain::Whole, "conditions") => Key::Field("type"),
        (Grain::Items(list), _) => list.keys.first().map_or(Key::None, |(key, _)| Key::Field(key)),
        (Grain::Set, _) => Key::Scalar,
        _ => Key::None,
    }
}

fn merge_list(items: Vec<Value>, patch: &[Value], shape: &Shape, name: &str) -> Result<Vec<Value>> {
    match key_of(shape, name, &Value::Array(Vec::new())) {
        Key::None => Ok(patch.iter().map(plain).collect()),
        Key::Scalar => {
            let mut merged = items.clone();
            merged.extend(patch.iter().filter(|item| !items.contains(item)).cloned());
            Ok(in_order(merged, patch, &items, |item| Some(item)))
        }
        Key::Field(key) => {
            let before = items.clone();
            let merged = merge_items(items, patch, key, shape)?;
            Ok(in_order(merged, patch, &before, |item| item.get(key)))
        }
    }
}

fn merge_items(mut items: Vec<Value>, patch: &[Value], key: &str, shape: &Shape) -> Result<Vec<Value>> {
    let replaces = |change: &Value| change[DIRECTIVE] == "replace";
    if patch.iter().any(replaces) {
        let rest = patch.iter().filter(|change| !replaces(change) || change.get(key).is_some());
        return Ok(rest.map(plain).collect());
    }
    for change in patch {
        let Value::Object(fields) = change else {
            return Err(format!("expected objects in a list that is merged by {key:?}"));
        };
        let id = change
            .get(key)
            .ok_or_else(|| format!("map: {change} does not contain declared merge key: {key}"))?;
        let at = items.iter().position(|item| item.get(key) == Some(id));
        match (fields.get(DIRECTIVE).and_then(Value::as_str), at) {
            (Some("delete"), _) => items.retain(|item| item.get(key) != Some(id)),
            (_, Some(at)) => items[at] = merge(Some(items[at].take()), change, shape.item(), "")?,
            (_, None) => items.push(merge(None, change, shape.item(), "")?),
        }
    }
    Ok(items)
}

/// Puts a list in the order that the patch gives; `$setElementOrder` may come with or without changes of the list.
fn reorder(fields: &mut Fields, patch: &Fields, name: &str, order: &Value, shape: &Shape) -> Result<()> {
    let Value::Array(order) = order else { return Err(format!("{ORDER}{name} must be a list")) };
    let shape = shape.field(name).0;
    let before: Vec<Value> = fields.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let change = patch.get(name);
    if change.is_some_and(Value::is_null) {
        fields.remove(name);
        return Ok(());
    }
    let mut merged = match change.and_then(Value::as_array) {
        Some(changes) => merge_list(before.clone(), changes, shape, name)?,
        None => before.clone(),
    };
    if let Some(Value::Array(gone)) = patch.get(&format!("{DELETE}{name}")) {
        merged.retain(|item| !gone.contains(item));
    }
    if merged.is_empty() && !fields.contains_key(name) && change.is_none() {
        return Ok(());
    }
    let merged = match key_of(shape, name, &Value::Array(Vec::new())) {
        Key::None => merged,
        Key::Scalar => in_order(merged, order, &before, |item| Some(item)),
        Key::Field(key) => in_order(merged, order, &before, |item| item.get(key)),
    };
    fields.insert(name.to_owned(), merged.into());
    Ok(())
}

/// The items that `wanted` names in its order, the others where they were among them.
fn in_order(
    items: Vec<Value>,
    wanted: &[Value],
    before: &[Value],
    key: impl for<'a> Fn(&'a Value) -> Option<&'a Value>,
) -> Vec<Value> {
    let place = |list: &[Value], item: &Value| list.iter().position(|other| key(other) == key(item));
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        items.into_iter().partition(|item| place(wanted, item).is_some());
    named.sort_by_key(|item| place(wanted, item));
    others.sort_by_key(|item| place(before, item));
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    let mut out = Vec::new();
    loop {
        let first = match (others.peek(), named.peek()) {
            (Some(other), Some(name)) => match (place(before, other), place(before, name)) {
                (Some(other), Some(name)) => other < name,
                _ => false,
            },
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return out,
        };
        out.extend(if first { others.next() } else { named.next() });
    }
}

/// Removes what is not to be kept; a patch that sets what it doesn't keep makes no sense.
fn retain(fields: &mut Fields, patch: &Fields, kept: &Value) -> Result<()> {
    let kept: Vec<&str> = kept.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let odd = patch
        .iter()
        .find(|(name, value)| !name.starts_with('$') && !value.is_null() && !kept.contains(&name.as_str()));
    if let Some((name, _)) = odd {
        return Err(format!("the patch sets {name:?}, which its {RETAIN} does not keep"));
    }
    fields.retain(|name, _| kept.contains(&name.as_str()));
    Ok(())
}

/// A value of a patch as data.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(without_directives(fields)),
        Value::Array(items) => items.iter().map(plain).collect(),
        other => other.clone(),
    }
}

fn without_directives(fields: &Fields) -> Fields {
    let is_data = |name: &str, value: &Value| {
        ![DIRECTIVE, RETAIN].contains(&name)
            && !name.starts_with(ORDER)
            && !name.starts_with(DELETE)
            && !value.is_null()
    };
    let data = fields.iter().filter(|(name, value)| is_data(name, value));
    data.map(|(name, value)| (name.clone(), plain(value))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::{builtin_shapes, kinds};

    fn patched(spec: Value, patch: Value) -> Result<Value> {
        let mut pod = json!({"metadata": {"finalizers": ["a", "b"]}, "spec": spec});
        apply(&mut pod, &patch, &builtin_shapes::of(&kinds::PODS))?;
        Ok(pod)
    }

    fn check(spec: Value, patch: Value, wanted: Value) {
        assert_eq!(patched(spec, json!({"spec": patch})).unwrap()["spec"], wanted, "{patch}");
    }

    #[test]
    fn lists_that_have_a_key_merge_item_by_item() {
        let spec = || json!({"containers": [{"name": "a", "image": "1", "args": ["x"]}, {"name": "b"}]});
        check(
            spec(),
            json!({"containers": [{"name": "b", "image": "2"}, {"name": "a", "args": ["y", "z"]}]}),
            json!({"containers": [{"name": "b", "image": "2"}, {"name": "a", "image": "1", "args": ["y", "z"]}]}),
        );
        check(
            spec(),
            json!({"containers": [{"name": "a", "$patch": "delete"}]}),
            json!({"containers": [{"name": "b"}]}),
        );
        check(
            spec(),
            json!({"containers": [{"$patch": "replace"}, {"name": "c"}]}),
            json!({"containers": [{"name": "c"}]}),
        );
        check(
            spec(),
            json!({"containers": [{"name": "a", "$patch": "replace", "image": "3"}]}),
            json!({"containers": [{"name": "a", "image": "3"}]}),
        );
        check(
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 1}, {"containerPort": 2}]}]}),
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 2, "name": "two"}]}]}),
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 1}, {"containerPort": 2, "name": "two"}]}]}),
        );
    }

    #[test]
    fn null_removes_and_other_lists_are_replaced() {
        check(
            json!({"hostname": "h", "tolerations": [{"key": "a"}], "nodeSelector": {"a": "1"}}),
            json!({"hostname": null, "none": null, "tolerations": [{"key": "b"}], "nodeSelector": {"b": "2"}}),
            json!({"tolerations": [{"key": "b"}], "nodeSelector": {"a": "1", "b": "2"}}),
        );
        check(json!({"a": {"b": 1}}), json!({"a": {"$patch": "replace", "c": 2}}), json!({"a": {"c": 2}}));
        check(json!({"a": {"b": 1}}), json!({"a": {"$patch": "delete"}}), json!({"a": {}}));
        check(
            json!({}),
            json!({"a": {"b": null, "c": {"$retainKeys": ["d"], "d": 1}}}),
            json!({"a": {"c": {"d": 1}}}),
        );
    }

    #[test]
    fn an_order_holds_for_what_is_not_changed_too() {
        check(
            json!({"containers": [{"name": "a"}, {"name": "mine"}, {"name": "b"}]}),
            json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}, {"name": "c"}],
                "containers": [{"name": "c"}]}),
            json!({"containers": [{"name": "mine"}, {"name": "b"}, {"name": "a"}, {"name": "c"}]}),
        );
        check(
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}),
            json!({"containers": [{"name": "b"}, {"name": "a"}]}),
        );
    }

    #[test]
    fn scalars_come_and_go_by_value() {
        let finalizers =
            |patch: Value| patched(json!({}), json!({"metadata": patch})).unwrap()["metadata"].take();
        assert_eq!(finalizers(json!({"finalizers": ["c", "a"]})), json!({"finalizers": ["c", "a", "b"]}));
        let gone =
            json!({"$deleteFromPrimitiveList/finalizers": ["a"], "$setElementOrder/finalizers": ["b"]});
        assert_eq!(finalizers(gone), json!({"finalizers": ["b"]}));
    }

    #[test]
    fn keys_that_are_not_retained_go() {
        let volumes = json!({"volumes": [{"name": "v", "emptyDir": {}}]});
        let patch = json!({"volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "c"}}]});
        check(volumes, patch, json!({"volumes": [{"name": "v", "configMap": {"name": "c"}}]}));
        assert!(patched(json!({"a": {}}), json!({"spec": {"a": {"$retainKeys": [], "b": 1}}})).is_err());
    }

    #[test]
    fn an_item_without_its_key_is_refused() {
        assert!(patched(json!({}), json!({"spec": {"containers": [{"image": "x"}]}})).is_err());
        assert!(patched(json!({}), json!({"spec": {"$patch": "melt"}})).is_err());
    }
}
