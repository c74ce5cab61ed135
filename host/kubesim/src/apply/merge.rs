//! Values by the rules of their shape: which fields they have, how two differ, how they merge, and how fields
//! are taken away. The algorithms, down to list order, are those of `structured-merge-diff`.

use serde_json::{Map, Value};

use super::fields::{FieldSet, Step};
use crate::shape::{Grain, Shape};

/// The fields that applying `value` would own.
pub fn fields_of(value: &Value, shape: &Shape) -> FieldSet {
    let mut set = FieldSet::default();
    gather(value, shape, &mut Vec::new(), &mut set);
    set
}

fn gather(value: &Value, shape: &Shape, path: &mut Vec<Step>, set: &mut FieldSet) {
    match (shape.grain(value), value) {
        (Grain::Fields, Value::Object(fields)) => {
            for (name, inner) in fields {
                let (of, named) = shape.field(name);
                path.push(Step::field(name));
                gather(inner, of, path, set);
                let empty = inner.is_null() || inner.as_object().is_some_and(Map::is_empty);
                if empty || !named {
                    set.insert(path);
                }
                path.pop();
            }
        }
        (grain @ (Grain::Items(_) | Grain::Set), Value::Array(items)) => {
            for item in items {
                let Some(step) = Step::item(grain, item) else { continue };
                path.push(step);
                gather(item, shape.item(), path, set);
                set.insert(path);
                path.pop();
            }
        }
        _ => set.insert(path),
    }
}

/// How two values differ, by field.
#[derive(Debug, Default)]
pub struct Comparison {
    /// In the second only.
    pub added: FieldSet,
    /// In the first only.
    pub removed: FieldSet,
    /// In both, differently.
    pub modified: FieldSet,
}

/// How `new` differs from `old`.
pub fn compare(old: &Value, new: &Value, shape: &Shape) -> Comparison {
    let mut found = Comparison::default();
    Walk { found: &mut found, path: Vec::new() }.both(Some(old), Some(new), shape);
    found
}

struct Walk<'a> {
    found: &'a mut Comparison,
    path: Vec<Step>,
}

impl Walk<'_> {
    fn both(&mut self, old: Option<&Value>, new: Option<&Value>, shape: &Shape) {
        if old == new {
            return;
        }
        let grain = |value: Option<&Value>| value.map(|value| shape.grain(value));
        let bare = |value: Option<&Value>| value.is_none_or(is_bare);
        let whole = matches!(grain(old), Some(Grain::Whole)) || matches!(grain(new), Some(Grain::Whole));
        let null_and_more = old.is_some_and(Value::is_null) || new.is_some_and(Value::is_null);
        if (whole && !null_and_more) || (bare(old) && bare(new)) {
            return self.leaf(old, new);
        }
        match grain(new).filter(|g| !matches!(g, Grain::Whole)).or(grain(old)) {
            Some(Grain::Fields) => self.fields(old, new, shape),
            Some(grain @ (Grain::Items(_) | Grain::Set)) => self.items(grain, old, new, shape),
            _ => return self.leaf(old, new),
        }
        match (old, new) {
            (None, Some(_)) => self.found.added.insert(&self.path),
            (Some(_), None) => self.found.removed.insert(&self.path),
            _ => (),
        }
    }

    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>) {
        match (old, new) {
            (None, _) => self.found.added.insert(&self.path),
            (_, None) => self.found.removed.insert(&self.path),
            _ => self.found.modified.insert(&self.path),
        }
    }

    fn fields(&mut self, old: Option<&Value>, new: Option<&Value>, shape: &Shape) {
        let none = Map::new();
        let before = old.and_then(Value::as_object).unwrap_or(&none);
        let after = new.and_then(Value::as_object).unwrap_or(&none);
        let nothing = Value::Null;
        for name in before.keys().chain(after.keys().filter(|name| !before.contains_key(*name))) {
            let (of, _) = shape.field(name);
            let (mut was, mut is) = (before.get(name), after.get(name));
            if shape.always_has(name) {
                // On a real server it is there whenever its parent is, even when there is nothing in it.
                was = was.or(old.map(|_| &nothing));
                is = is.or(new.map(|_| &nothing));
                if was.is_some_and(is_bare) && is.is_some_and(is_bare) {
                    continue;
                }
            }
            self.path.push(Step::field(name));
            self.both(was, is, of);
            self.path.pop();
        }
    }

    fn items(&mut self, grain: Grain<'_>, old: Option<&Value>, new: Option<&Value>, shape: &Shape) {
        let index = |value: Option<&Value>| -> Vec<(Step, Value)> {
            let items = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            items.iter().filter_map(|item| Some((Step::item(grain, item)?, item.clone()))).collect()
        };
        let (before, after) = (index(old), index(new));
        for (step, was) in &before {
            let is = after.iter().find(|(other, _)| other == step).map(|(_, item)| item);
            self.item(step, Some(was), is, shape);
        }
        for (step, is) in &after {
            if !before.iter().any(|(other, _)| other == step) {
                self.item(step, None, Some(is), shape);
            }
        }
    }

    fn item(&mut self, step: &Step, old: Option<&Value>, new: Option<&Value>, shape: &Shape) {
        self.path.push(step.clone());
        self.both(old, new, shape.item());
        self.path.pop();
    }
}

fn is_bare(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// `live` with everything that `config` says.
pub fn merge(live: &Value, config: &Value, shape: &Shape) -> Value {
    match (shape.grain(config), live, config) {
        (Grain::Fields, Value::Object(before), Value::Object(wanted)) => {
            let mut out = before.clone();
            for (name, want) in wanted {
                let (of, _) = shape.field(name);
                let merged = before.get(name).map_or_else(|| want.clone(), |have| merge(have, want, of));
                out.insert(name.clone(), merged);
            }
            Value::Object(out)
        }
        (grain @ (Grain::Items(_) | Grain::Set), Value::Array(before), Value::Array(wanted)) => {
            Value::Array(merge_lists(grain, before, wanted, shape.item()))
        }
        _ => config.clone(),
    }
}

/// Merges two associative lists. Shared items come in the order of `wanted`; items that only `before` has stay
/// where they were relative to those around them.
fn merge_lists(grain: Grain<'_>, before: &[Value], wanted: &[Value], item: &Shape) -> Vec<Value> {
    let steps = |list: &[Value]| list.iter().map(|item| Step::item(grain, item)).collect::<Vec<_>>();
    let (left, right) = (steps(before), steps(wanted));
    let find = |list: &[Option<Step>], step: &Option<Step>| {
        step.as_ref().and_then(|step| list.iter().position(|other| other.as_ref() == Some(step)))
    };
    let mut out = Vec::with_capacity(before.len().max(wanted.len()));
    let (mut l, mut r) = (0, 0);
    while l < before.len() || r < wanted.len() {
        if l < before.len() {
            if find(&right, &left[l]).is_none() {
                out.push(before[l].clone());
                l += 1;
                continue;
            }
            let next_shared = right[r..].iter().find(|step| find(&left, step).is_some());
            if next_shared != Some(&left[l]) {
                // Shared, but not the next one in the order of `wanted`: it comes there.
                l += 1;
                continue;
            }
            if right.get(r) == Some(&left[l]) {
                l += 1;
            }
        }
        if r < wanted.len() {
            let merged = match find(&left, &right[r]) {
                Some(at) => merge(&before[at], &wanted[r], item),
                None => wanted[r].clone(),
            };
            out.push(merged);
            r += 1;
        }
    }
    out
}

/// `value` without the fields of `gone`. A member goes with everything below it.
pub fn remove(value: &mut Value, gone: &FieldSet, shape: &Shape) {
    match (shape.grain(value), value) {
        (Grain::Fields, Value::Object(fields)) => {
            fields.retain(|name, inner| {
                let step = Step::field(name);
                if gone.has(&step) {
                    return false;
                }
                if let Some(below) = gone.below(&step) {
                    remove(inner, below, shape.field(name).0);
                }
                true
            });
        }
        (grain @ (Grain::Items(_) | Grain::Set), Value::Array(items)) => {
            items.retain_mut(|inner| {
                let Some(step) = Step::item(grain, inner) else { return true };
                if gone.has(&step) {
                    return false;
                }
                if let Some(below) = gone.below(&step) {
                    remove(inner, below, shape.item());
                }
                true
            });
        }
        _ => (),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape;
    use serde_json::json;

    fn check_order(before: &[&str], wanted: &[&str], merged: &[&str]) {
        let shape = Shape::Set;
        assert_eq!(merge(&json!(before), &json!(wanted), &shape), json!(merged));
    }

    #[test]
    fn lists_keep_the_order_of_the_applied_one_and_the_places_of_the_others() {
        check_order(&["a", "b"], &["b", "a"], &["b", "a"]);
        check_order(&["a", "x", "b"], &["b", "a"], &["x", "b", "a"]);
        check_order(&["a", "x", "b"], &["n", "a", "b"], &["n", "a", "x", "b"]);
        check_order(&["x"], &["a"], &["x", "a"]);
        check_order(&["a", "b", "c"], &["c"], &["a", "b", "c"]);
    }

    #[test]
    fn a_list_without_keys_is_one_field() {
        let shape = shape::of_schema(&json!({"type": "object", "properties": {"spec": {"type": "object",
            "properties": {"list": {"type": "array", "items": {"type": "string"}}}}}}));
        let fields = fields_of(&json!({"spec": {"list": ["a", "b"]}}), &shape);
        assert_eq!(fields.to_value(), json!({"f:spec": {"f:list": {}}}));
    }

    #[test]
    fn a_new_map_is_added_with_its_keys_but_a_struct_that_is_always_there_is_not() {
        let shape = crate::builtin_shapes::of(&crate::kinds::STATEFUL_SETS);
        let new = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"replicas": 1, "template": {"spec": {
            "containers": [{"name": "c", "resources": {}}]}}}});
        let found = compare(&json!({}), &new, &shape);
        assert_eq!(
            found.added.to_value(),
            json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}},
                "f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {
                    "k:{\"name\":\"c\"}": {".": {}, "f:name": {}, "f:resources": {}}}}}}})
        );
        assert!(found.removed.is_empty() && found.modified.is_empty());
    }
}
