//! Sets of fields, as `metadata.managedFields[].fieldsV1` writes them.
//!
//! A path's steps are kept in their written form (`f:spec`, `k:{"name":"a"}`, `v:"x"`), which is canonical, so
//! that comparing text compares steps. A path can be a member while paths below it are members too; in
//! `fieldsV1` that is the `.`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::shape::{Grain, ListMap, Shape};

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step(String);

impl Step {
    /// The field of an object.
    pub fn field(name: &str) -> Step {
        Step(format!("f:{name}"))
    }

    /// An item of a list that merges item by item; `None` if the item has no value for any of the keys.
    pub fn item(grain: Grain<'_>, item: &Value) -> Option<Step> {
        match grain {
            Grain::Items(list) => Step::keyed(list, item),
            Grain::Set => Some(Step(format!("v:{item}"))),
            Grain::Whole | Grain::Fields => None,
        }
    }

    fn keyed(list: &ListMap, item: &Value) -> Option<Step> {
        let mut keys: Vec<(&str, &Value)> = Vec::with_capacity(list.keys.len());
        for (key, default) in &list.keys {
            keys.extend(item.get(key).or(default.as_ref()).map(|value| (key.as_str(), value)));
        }
        if keys.is_empty() {
            return None;
        }
        keys.sort_by_key(|(key, _)| *key);
        let mut text = String::from("k:{");
        for (at, (key, value)) in keys.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            text.push_str(&format!("{comma}{}:{value}", Value::from(*key)));
        }
        text.push('}');
        Some(Step(text))
    }

    fn field_name(&self) -> Option<&str> {
        self.0.strip_prefix("f:")
    }

    /// As error messages show it: `.spec`, `[name="a"]`, `[="x"]`.
    pub fn display(&self) -> String {
        if let Some(name) = self.field_name() {
            return format!(".{name}");
        }
        if let Some(value) = self.0.strip_prefix("v:") {
            return format!("[={value}]");
        }
        let keys = self.0.strip_prefix("k:").and_then(|text| serde_json::from_str::<Map<_, _>>(text).ok());
        let listed: Vec<String> = keys
            .unwrap_or_default()
            .iter()
            .map(|(key, value): (&String, &Value)| format!("{key}={value}"))
            .collect();
        format!("[{}]", listed.join(","))
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    member: bool,
    below: FieldSet,
}

/// A set of paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSet {
    nodes: BTreeMap<Step, Node>,
}

impl FieldSet {
    /// Reads `fieldsV1`. What makes no sense is left out, as a real server resets broken managedFields.
    pub fn parse(value: &Value) -> FieldSet {
        let mut set = FieldSet::default();
        let Value::Object(steps) = value else { return set };
        for (step, below) in steps {
            if step == "." {
                continue;
            }
            let inner = FieldSet::parse(below);
            let member = inner.nodes.is_empty() || below.get(".").is_some();
            set.nodes.insert(Step(step.clone()), Node { member, below: inner });
        }
        set
    }

    /// Writes `fieldsV1`.
    pub fn to_value(&self) -> Value {
        let mut out = Map::new();
        for (step, node) in &self.nodes {
            let mut below = node.below.to_value();
            if let Value::Object(fields) = &mut below
                && node.member
                && !fields.is_empty()
            {
                fields.insert(".".into(), Value::Object(Map::new()));
            }
            out.insert(step.0.clone(), below);
        }
        Value::Object(out)
    }

    /// Adds a path.
    pub fn insert(&mut self, path: &[Step]) {
        let Some((first, rest)) = path.split_first() else { return };
        let node = self.nodes.entry(first.clone()).or_default();
        if rest.is_empty() { node.member = true } else { node.below.insert(rest) }
    }

    /// No path at all.
    pub fn is_empty(&self) -> bool {
        self.nodes.values().all(|node| !node.member && node.below.is_empty())
    }

    /// Whether this very step is a member.
    pub fn has(&self, step: &Step) -> bool {
        self.nodes.get(step).is_some_and(|node| node.member)
    }

    /// The paths below a step.
    pub fn below(&self, step: &Step) -> Option<&FieldSet> {
        self.nodes.get(step).map(|node| &node.below).filter(|below| !below.nodes.is_empty())
    }

    /// Paths in either.
    pub fn union(mut self, other: &FieldSet) -> FieldSet {
        self.add(other);
        self
    }

    fn add(&mut self, other: &FieldSet) {
        for (step, theirs) in &other.nodes {
            let ours = self.nodes.entry(step.clone()).or_default();
            ours.member |= theirs.member;
            ours.below.add(&theirs.below);
        }
    }

    /// Paths in both.
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        self.combine(other, |ours, theirs| ours && theirs, false)
    }

    /// Paths in this one only.
    pub fn difference(&self, other: &FieldSet) -> FieldSet {
        self.combine(other, |ours, theirs| ours && !theirs, true)
    }

    fn combine(&self, other: &FieldSet, keep: fn(bool, bool) -> bool, alone: bool) -> FieldSet {
        let mut nodes = BTreeMap::new();
        for (step, ours) in &self.nodes {
            let node = match other.nodes.get(step) {
                Some(theirs) => Node {
                    member: keep(ours.member, theirs.member),
                    below: ours.below.combine(&theirs.below, keep, alone),
                },
                None if alone => ours.clone(),
                None => continue,
            };
            if node.member || !node.below.nodes.is_empty() {
                nodes.insert(step.clone(), node);
            }
        }
        FieldSet { nodes }
    }

    /// Without these paths and everything below them.
    pub fn without(mut self, paths: &[&[&str]]) -> FieldSet {
        for path in paths {
            self.cut(path);
        }
        self
    }

    fn cut(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else { return };
        let step = Step::field(first);
        if rest.is_empty() {
            self.nodes.remove(&step);
        } else if let Some(node) = self.nodes.get_mut(&step) {
            node.below.cut(rest);
            if !node.member && node.below.nodes.is_empty() {
                self.nodes.remove(&step);
            }
        }
    }

    /// Without this one field's own membership; paths below it stay.
    pub fn without_member(mut self, name: &str) -> FieldSet {
        let step = Step::field(name);
        if let Some(node) = self.nodes.get_mut(&step) {
            node.member = false;
            if node.below.nodes.is_empty() {
                self.nodes.remove(&step);
            }
        }
        self
    }

    /// Keeps only what is below this field.
    pub fn only(mut self, name: &str) -> FieldSet {
        let step = Step::field(name);
        self.nodes.retain(|own, _| *own == step);
        self
    }

    /// With the structs on the way to each member as members, so that removing all of a struct's fields also
    /// removes the struct.
    pub fn with_structs(&self, shape: &Shape) -> FieldSet {
        let mut nodes = BTreeMap::new();
        for (step, node) in &self.nodes {
            let (inner, named) = match step.field_name() {
                Some(name) => shape.field(name),
                None => (shape.item(), false),
            };
            let member = node.member || (named && !node.below.nodes.is_empty());
            nodes.insert(step.clone(), Node { member, below: node.below.with_structs(inner) });
        }
        FieldSet { nodes }
    }

    /// The members as error messages show them.
    pub fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect("", &mut out);
        out
    }

    fn collect(&self, prefix: &str, out: &mut Vec<String>) {
        for (step, node) in &self.nodes {
            let path = format!("{prefix}{}", step.display());
            if node.member {
                out.push(path.clone());
            }
            node.below.collect(&path, out);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn check(value: Value) {
        assert_eq!(FieldSet::parse(&value).to_value(), value);
    }

    #[test]
    fn what_is_read_is_written_again() {
        check(json!({}));
        check(json!({"f:a": {}, "f:b": {".": {}, "f:c": {}}}));
        check(json!({"f:ports": {"k:{\"port\":1,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}}));
        check(json!({"f:finalizers": {".": {}, "v:\"x\"": {}}}));
    }

    #[test]
    fn difference_and_intersection_look_at_members_only() {
        let a = FieldSet::parse(&json!({"f:a": {".": {}, "f:b": {}, "f:c": {}}}));
        let b = FieldSet::parse(&json!({"f:a": {"f:b": {}}}));
        assert_eq!(a.difference(&b).to_value(), json!({"f:a": {".": {}, "f:c": {}}}));
        assert_eq!(a.intersection(&b).to_value(), json!({"f:a": {"f:b": {}}}));
        assert_eq!(b.difference(&a), FieldSet::default());
    }

    #[test]
    fn paths_read_like_those_of_a_server() {
        let set = FieldSet::parse(
            &json!({"f:spec": {"f:ports": {"k:{\"port\":1,\"protocol\":\"TCP\"}": {"f:name": {}}},
            "f:names": {"v:\"x\"": {}}}}),
        );
        assert_eq!(set.paths(), [".spec.names[=\"x\"]", ".spec.ports[port=1,protocol=\"TCP\"].name"]);
    }
}
