//! The rules of a structural schema that look at several keywords of a node at once.

use super::{Mode, Parsed, Parser, Place};
use crate::{
    node::{Additional, Kind, ListType, Node},
    number, shape,
    validate::{self, Unknown},
};
use serde_json::{Map, Value};
use std::cmp::Ordering;

impl Parser {
    pub(super) fn rules(&mut self, node: &Node, keywords: &Map<String, Value>, place: Place) -> Parsed<()> {
        if place == Place::Structure {
            self.has_a_type(node)?;
            self.list_rules(node)?;
            self.conditions_speak_of_known_fields(node)?;
        }
        if !node.properties.is_empty() && !matches!(node.additional, Additional::Nothing) {
            return Err(
                self.error("has both `properties` and `additionalProperties`: only one of them can be")
            );
        }
        if self.mode == Mode::Spec {
            self.keywords_apply(node, keywords)?;
            self.bounds_leave_something(node)?;
            self.enumeration_fits(node)?;
            self.required_fields_exist(node, place)?;
        }
        self.default_is_valid(node)
    }

    fn has_a_type(&self, node: &Node) -> Parsed<()> {
        if node.kind.is_none() && !node.int_or_string && !node.preserve_unknown {
            return Err(self.error(
                "has no `type`; where any value goes, write \"x-kubernetes-preserve-unknown-fields\": true",
            ));
        }
        if node.kind.is_some() && node.int_or_string {
            return Err(self.error("has a `type` besides `x-kubernetes-int-or-string`: drop the type"));
        }
        if node.kind == Some(Kind::Array) && node.items.is_none() {
            return Err(self.error("is an array without `items`: say what is in it"));
        }
        Ok(())
    }

    fn list_rules(&self, node: &Node) -> Parsed<()> {
        let item = node.items.as_deref();
        match &node.list_type {
            ListType::Atomic => Ok(()),
            ListType::Set => match item.and_then(|item| item.kind) {
                Some(Kind::Object | Kind::Array) if self.mode == Mode::Spec => {
                    Err(self.error("a list of type `set` holds strings, numbers or booleans only"))
                }
                _ => Ok(()),
            },
            ListType::Map(keys) if keys.is_empty() => {
                Err(self.error("a list of type `map` needs `x-kubernetes-list-map-keys`"))
            }
            ListType::Map(keys) => {
                for key in keys {
                    let property = item.and_then(|item| item.properties.get(key));
                    let always_there = property.is_some_and(|property| property.default.is_some())
                        || item.is_some_and(|item| item.required.contains(key));
                    if property.is_none() || !always_there {
                        return Err(self.error(format!(
                            "the list key \"{key}\" must be a property of the items that is required or has a default"
                        )));
                    }
                }
                Ok(())
            }
        }
    }

    fn conditions_speak_of_known_fields(&self, node: &Node) -> Parsed<()> {
        let conditions =
            node.all_of.iter().chain(&node.any_of).chain(&node.one_of).chain(node.not.as_deref());
        for condition in conditions {
            if let Some(name) = stray_field(node, condition) {
                return Err(self.error(format!(
                    "the field \"{name}\" is spoken of under allOf, anyOf, oneOf or not, but is not among the \
                     `properties` beside them"
                )));
            }
        }
        Ok(())
    }

    fn keywords_apply(&self, node: &Node, keywords: &Map<String, Value>) -> Parsed<()> {
        let Some(kind) = node.kind else { return Ok(()) };
        let stray = keywords.keys().find_map(|keyword| match keyword.as_str() {
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => {
                (!matches!(kind, Kind::Integer | Kind::Number)).then_some((keyword, "numbers"))
            }
            "minLength" | "maxLength" | "pattern" => (kind != Kind::String).then_some((keyword, "strings")),
            "items" | "minItems" | "maxItems" | "x-kubernetes-list-type" | "x-kubernetes-list-map-keys" => {
                (kind != Kind::Array).then_some((keyword, "arrays"))
            }
            "properties" | "additionalProperties" | "required" | "minProperties" | "maxProperties" => {
                (kind != Kind::Object).then_some((keyword, "objects"))
            }
            _ => None,
        });
        match stray {
            None => Ok(()),
            Some((keyword, what)) => {
                Err(self.error(format!("`{keyword}` is for {what}, but this is {}", kind.described())))
            }
        }
    }

    fn bounds_leave_something(&self, node: &Node) -> Parsed<()> {
        let crossed = |min: Option<u64>, max: Option<u64>| min.zip(max).is_some_and(|(min, max)| min > max);
        let numbers = node.minimum.as_ref().zip(node.maximum.as_ref());
        let empty = numbers.is_some_and(|(min, max)| number::compare(min, max) == Ordering::Greater)
            || crossed(node.min_length, node.max_length)
            || crossed(node.min_items, node.max_items)
            || crossed(node.min_properties, node.max_properties);
        if empty {
            return Err(self.error("the minimum is above the maximum, so that nothing is valid"));
        }
        let useless = |of: &serde_json::Number| number::compare(of, &0.into()) != Ordering::Greater;
        if node.multiple_of.as_ref().is_some_and(useless) {
            return Err(self.error("`multipleOf` must be more than 0"));
        }
        Ok(())
    }

    fn enumeration_fits(&self, node: &Node) -> Parsed<()> {
        let (Some(values), Some(kind)) = (&node.enumeration, node.kind) else { return Ok(()) };
        let fits = |value: &Value| kind.holds(value) || (node.nullable && value.is_null());
        if let Some(odd) = values.iter().find(|value| !fits(value)) {
            return Err(self.error(format!("the enum has {odd}, which is not {}", kind.described())));
        }
        if node.nullable && !values.iter().any(Value::is_null) {
            return Err(self.error("is nullable, but the enum doesn't have null: add it"));
        }
        Ok(())
    }

    fn required_fields_exist(&self, node: &Node, place: Place) -> Parsed<()> {
        if place != Place::Structure {
            return Ok(());
        }
        match node.required.iter().find(|name| node.field(name).is_none() && !node.tolerates(name)) {
            Some(name) => {
                Err(self.error(format!("requires the field \"{name}\", which is not among its `properties`")))
            }
            None => Ok(()),
        }
    }

    /// Together with the defaults of what is inside it.
    fn default_is_valid(&self, node: &Node) -> Parsed<()> {
        let Some(default) = &node.default else { return Ok(()) };
        let mut value = default.clone();
        shape::apply_defaults(node, &mut value);
        match validate::validate(node, &value, Unknown::Refused).first() {
            None => Ok(()),
            Some(violation) => Err(crate::SchemaError {
                pointer: format!("{}/default{}", self.pointer, violation.path),
                message: format!("the default is not valid under its own schema: {}", violation.message),
            }),
        }
    }
}

/// A field that the condition names and the structure beside it doesn't.
fn stray_field<'a>(structure: &Node, condition: &'a Node) -> Option<&'a str> {
    if structure.preserve_unknown || matches!(structure.additional, Additional::Anything) {
        return None;
    }
    for (name, inner) in &condition.properties {
        match structure.field(name) {
            Some(field) => match stray_field(field, inner) {
                Some(stray) => return Some(stray),
                None => continue,
            },
            None if structure.tolerates(name) => continue,
            None => return Some(name),
        }
    }
    let nested = condition
        .all_of
        .iter()
        .chain(&condition.any_of)
        .chain(&condition.one_of)
        .chain(condition.not.as_deref());
    if let Some(stray) = nested.into_iter().find_map(|inner| stray_field(structure, inner)) {
        return Some(stray);
    }
    match (structure.items.as_deref(), condition.items.as_deref()) {
        (Some(structure), Some(condition)) => stray_field(structure, condition),
        _ => None,
    }
}
