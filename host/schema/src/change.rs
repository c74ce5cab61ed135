//! What differs between two values, and what changing it does to a running database.

use crate::{
    node::{ListType, Node},
    push_token,
};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// What `x-senren-effect` may say, the mildest first.
pub const EFFECTS: [&str; 5] = [IN_PLACE, "rolling-restart", "rebalance", "recreate", "forbidden"];
const IN_PLACE: &str = "in-place";

/// One leaf that differs.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct FieldChange {
    /// JSON Pointer; in a list, the index is that of the new list where the item is still there.
    pub path: String,
    /// Absent where the field is new.
    pub before: Option<Value>,
    /// Absent where the field is gone.
    pub after: Option<Value>,
    /// One of [`EFFECTS`].
    pub effect: String,
}

pub(crate) fn changes(root: &Node, before: &Value, after: &Value) -> Vec<FieldChange> {
    let mut walk = Walk { path: String::new(), out: Vec::new() };
    walk.value(Some(root), IN_PLACE, Some(before), Some(after));
    walk.out
}

struct Walk {
    path: String,
    out: Vec<FieldChange>,
}

impl Walk {
    fn value(&mut self, node: Option<&Node>, above: &str, before: Option<&Value>, after: Option<&Value>) {
        if before == after {
            return;
        }
        let effect = node.and_then(|node| node.effect).unwrap_or(above);
        let nothing = Map::new();
        match (before, after) {
            (Some(Value::Object(before)), Some(Value::Object(after))) => {
                self.fields(node, effect, before, after)
            }
            // A whole object that comes or goes is told field by field, because each may have its own effect.
            (None, Some(Value::Object(after))) if !after.is_empty() => {
                self.fields(node, effect, &nothing, after)
            }
            (Some(Value::Object(before)), None) if !before.is_empty() => {
                self.fields(node, effect, before, &nothing)
            }
            (Some(Value::Array(before)), Some(Value::Array(after))) => {
                self.items(node, effect, before, after)
            }
            _ => self.leaf(effect, before, after),
        }
    }

    fn fields(
        &mut self,
        node: Option<&Node>,
        effect: &str,
        before: &Map<String, Value>,
        after: &Map<String, Value>,
    ) {
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for name in names {
            let field = node.and_then(|node| node.field(name));
            self.at(name, |walk| walk.value(field, effect, before.get(name), after.get(name)));
        }
    }

    fn items(&mut self, node: Option<&Node>, effect: &str, before: &[Value], after: &[Value]) {
        let item = node.and_then(|node| node.items.as_deref());
        match node.map(|node| &node.list_type) {
            Some(ListType::Map(keys)) => self.keyed_items(item, effect, keys, before, after),
            Some(ListType::Set) => {
                let has = |list: &[Value], item: &Value| list.contains(item);
                for (index, gone) in before.iter().enumerate().filter(|(_, value)| !has(after, value)) {
                    self.at(&index.to_string(), |walk| walk.value(item, effect, Some(gone), None));
                }
                for (index, new) in after.iter().enumerate().filter(|(_, value)| !has(before, value)) {
                    self.at(&index.to_string(), |walk| walk.value(item, effect, None, Some(new)));
                }
            }
            _ => {
                for index in 0..before.len().max(after.len()) {
                    self.at(&index.to_string(), |walk| {
                        walk.value(item, effect, before.get(index), after.get(index))
                    });
                }
            }
        }
    }

    /// Items that carry keys are the same item wherever they stand.
    fn keyed_items(
        &mut self,
        item: Option<&Node>,
        effect: &str,
        keys: &[String],
        before: &[Value],
        after: &[Value],
    ) {
        let same = |a: &Value, b: &Value| keys.iter().all(|key| a.get(key) == b.get(key));
        for (index, old) in before.iter().enumerate() {
            if !after.iter().any(|new| same(old, new)) {
                self.at(&index.to_string(), |walk| walk.value(item, effect, Some(old), None));
            }
        }
        for (index, new) in after.iter().enumerate() {
            let old = before.iter().find(|old| same(old, new));
            self.at(&index.to_string(), |walk| walk.value(item, effect, old, Some(new)));
        }
    }

    fn leaf(&mut self, effect: &str, before: Option<&Value>, after: Option<&Value>) {
        self.out.push(FieldChange {
            path: self.path.clone(),
            before: before.cloned(),
            after: after.cloned(),
            effect: effect.to_owned(),
        });
    }

    fn at(&mut self, token: &str, step: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        push_token(&mut self.path, token);
        step(self);
        self.path.truncate(length);
    }
}
