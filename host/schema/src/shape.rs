//! What an apiserver does to a custom resource's shape before it looks at values: defaulting and pruning.

use crate::node::{Additional, Node};
use serde_json::Value;

pub(crate) fn apply_defaults(node: &Node, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, property) in &node.properties {
                let Some(default) = &property.default else { continue };
                if fields.get(name).is_none_or(|present| present.is_null() && !property.nullable) {
                    fields.insert(name.clone(), default.clone());
                }
            }
            for (name, field) in fields.iter_mut() {
                let Some(schema) = node.field(name) else { continue };
                replace_null(schema, field);
                apply_defaults(schema, field);
            }
            // A null that isn't allowed and has no default counts as absent.
            fields.retain(|name, field| {
                !field.is_null() || node.field(name).is_none_or(|schema| !refuses_null(schema))
            });
        }
        Value::Array(items) => {
            let Some(schema) = &node.items else { return };
            for item in items {
                replace_null(schema, item);
                apply_defaults(schema, item);
            }
        }
        _ => {}
    }
}

fn replace_null(schema: &Node, value: &mut Value) {
    if let (true, false, Some(default)) = (value.is_null(), schema.nullable, &schema.default) {
        *value = default.clone();
    }
}

/// A node without a type (preserved unknown fields) takes a null as it takes anything.
fn refuses_null(schema: &Node) -> bool {
    !schema.nullable && (schema.kind.is_some() || schema.int_or_string)
}

pub(crate) fn prune(node: &Node, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if !matches!(node.additional, Additional::Anything) {
                fields.retain(|name, _| node.field(name).is_some() || node.tolerates(name));
            }
            for (name, field) in fields.iter_mut() {
                if let Some(schema) = node.field(name) {
                    prune(schema, field);
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = &node.items else { return };
            items.iter_mut().for_each(|item| prune(schema, item));
        }
        _ => {}
    }
}
