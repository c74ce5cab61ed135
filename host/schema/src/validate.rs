//! Judges a value: every violation at once, each with the field's path and words that a user can act on.

use crate::{
    node::{Additional, Kind, ListType, Node},
    number, push_token,
    suggest::closest,
};
use serde_json::{Map, Number, Value};
use std::cmp::Ordering;

/// One thing that is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Violation {
    /// JSON Pointer to the field, which for a missing one is where it should be.
    pub path: String,
    /// `required`, `type`, `minimum`, `enum`, `unknown-field`, … for programs.
    pub code: String,
    /// For people: what it must be, and what it is.
    pub message: String,
}

/// What to think of a field that the schema doesn't know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    Refused,
    Ignored,
}

/// Enough to act on; a list of a million wrong items must not answer with a million violations.
const MOST_VIOLATIONS: usize = 100;

pub(crate) fn validate(root: &Node, value: &Value, unknown: Unknown) -> Vec<Violation> {
    let mut checker = Checker { path: String::new(), unknown, out: Vec::new() };
    checker.value(root, value);
    checker.out
}

struct Checker {
    path: String,
    unknown: Unknown,
    out: Vec<Violation>,
}

impl Checker {
    fn value(&mut self, node: &Node, value: &Value) {
        if self.out.len() >= MOST_VIOLATIONS || !self.has_type(node, value) {
            return;
        }
        self.enumeration(node, value);
        match value {
            Value::Number(number) => self.number(node, number),
            Value::String(text) => self.text(node, text),
            Value::Array(items) => self.items(node, items),
            Value::Object(fields) => self.fields(node, fields),
            Value::Null | Value::Bool(_) => {}
        }
        self.combinations(node, value);
    }

    /// Nothing else is said about a value of the wrong type.
    fn has_type(&mut self, node: &Node, value: &Value) -> bool {
        if value.is_null() && node.nullable {
            return true;
        }
        let wanted = match node.kind {
            _ if node.int_or_string => {
                if Kind::Integer.holds(value) || Kind::String.holds(value) {
                    return true;
                }
                "an integer or a string"
            }
            Some(kind) if !kind.holds(value) => kind.described(),
            _ => return true,
        };
        self.violation("type", format!("must be {wanted}, is {}", described(value)));
        false
    }

    fn enumeration(&mut self, node: &Node, value: &Value) {
        let Some(allowed) = &node.enumeration else { return };
        let is = |allowed: &Value| match (allowed, value) {
            (Value::Number(a), Value::Number(b)) => number::compare(a, b) == Ordering::Equal,
            _ => allowed == value,
        };
        if allowed.iter().any(is) {
            return;
        }
        let list = allowed.iter().map(shown).collect::<Vec<_>>().join(", ");
        let must =
            if allowed.len() == 1 { format!("must be {list}") } else { format!("must be one of {list}") };
        let meant = value.as_str().and_then(|text| closest(text, allowed.iter().filter_map(Value::as_str)));
        self.violation("enum", format!("{must}; is {}{}", shown(value), did_you_mean(meant)));
    }

    fn number(&mut self, node: &Node, is: &Number) {
        if let Some(minimum) = &node.minimum {
            match number::compare(is, minimum) {
                Ordering::Less if !node.exclusive_minimum => {
                    self.violation("minimum", format!("must be at least {minimum}, is {is}"));
                }
                Ordering::Less | Ordering::Equal if node.exclusive_minimum => {
                    self.violation("minimum", format!("must be more than {minimum}, is {is}"));
                }
                _ => {}
            }
        }
        if let Some(maximum) = &node.maximum {
            match number::compare(is, maximum) {
                Ordering::Greater if !node.exclusive_maximum => {
                    self.violation("maximum", format!("must be at most {maximum}, is {is}"));
                }
                Ordering::Greater | Ordering::Equal if node.exclusive_maximum => {
                    self.violation("maximum", format!("must be less than {maximum}, is {is}"));
                }
                _ => {}
            }
        }
        if let Some(of) = node.multiple_of.as_ref().filter(|of| !number::is_multiple(is, of)) {
            self.violation("multiple-of", format!("must be a multiple of {of}, is {is}"));
        }
    }

    fn text(&mut self, node: &Node, text: &str) {
        if node.min_length.is_some() || node.max_length.is_some() {
            let length = text.chars().count() as u64;
            self.bounds("length", "be", "character", " long", length, node.min_length, node.max_length);
        }
        if let Some(pattern) = node.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
            let is = shown(&Value::from(text));
            self.violation("pattern", format!("must match the pattern {}, is {is}", pattern.as_str()));
        }
    }

    fn items(&mut self, node: &Node, items: &[Value]) {
        self.bounds("items", "have", "item", "", items.len() as u64, node.min_items, node.max_items);
        if let Some(item) = &node.items {
            for (index, value) in items.iter().enumerate() {
                self.at(&index.to_string(), |checker| checker.value(item, value));
            }
        }
        match &node.list_type {
            ListType::Atomic => {}
            ListType::Set => self.unlike(items, |item| Some(item.to_string()), "is in the list already"),
            ListType::Map(keys) => {
                let default =
                    |key: &str| node.items.as_ref().and_then(|item| item.field(key)?.default.as_ref());
                let identity = |item: &Value| {
                    let fields = item.as_object()?;
                    Some(keys.iter().fold(String::new(), |identity, key| {
                        let value = fields.get(key).or_else(|| default(key)).unwrap_or(&Value::Null);
                        identity + &value.to_string() + ","
                    }))
                };
                let message = format!("has the same {} as an earlier item", keys.join(" and "));
                self.unlike(items, identity, &message);
            }
        }
    }

    fn unlike(&mut self, items: &[Value], identity: impl Fn(&Value) -> Option<String>, message: &str) {
        let mut seen = std::collections::HashSet::new();
        for (index, item) in items.iter().enumerate() {
            if identity(item).is_some_and(|identity| !seen.insert(identity)) {
                self.at(&index.to_string(), |checker| checker.violation("duplicate", message.to_owned()));
            }
        }
    }

    fn fields(&mut self, node: &Node, fields: &Map<String, Value>) {
        let count = fields.len() as u64;
        self.bounds("properties", "have", "field", "", count, node.min_properties, node.max_properties);
        for name in node.required.iter().filter(|name| !fields.contains_key(*name)) {
            self.at(name, |checker| checker.violation("required", "is required".to_owned()));
        }
        for (name, value) in fields {
            if let Some(field) = node.field(name) {
                self.at(name, |checker| checker.value(field, value));
            } else if self.unknown == Unknown::Refused && !node.tolerates(name) {
                let message = unknown_field(node, name);
                self.at(name, |checker| checker.violation("unknown-field", message));
            }
        }
    }

    fn combinations(&mut self, node: &Node, value: &Value) {
        for all in &node.all_of {
            let found = self.apart(all, value);
            self.out.extend(found);
        }
        if !node.any_of.is_empty() {
            let found: Vec<_> = node.any_of.iter().map(|any| self.apart(any, value)).collect();
            if found.iter().all(|violations| !violations.is_empty()) {
                self.violation("any-of", format!("must match one of the alternatives: {}", told(&found)));
            }
        }
        if !node.one_of.is_empty() {
            let found: Vec<_> = node.one_of.iter().map(|one| self.apart(one, value)).collect();
            match found.iter().filter(|violations| violations.is_empty()).count() {
                1 => {}
                0 => {
                    let message = format!("must match exactly one of the alternatives: {}", told(&found));
                    self.violation("one-of", message);
                }
                n => self
                    .violation("one-of", format!("must match exactly one of the alternatives, matches {n}")),
            }
        }
        if node.not.as_ref().is_some_and(|not| self.apart(not, value).is_empty()) {
            self.violation("not", format!("must not be what the schema excludes, is {}", shown(value)));
        }
    }

    /// A schema inside `allOf` and the like only adds conditions; which fields exist is said outside of it.
    fn apart(&self, node: &Node, value: &Value) -> Vec<Violation> {
        let mut checker = Checker { path: self.path.clone(), unknown: Unknown::Ignored, out: Vec::new() };
        checker.value(node, value);
        checker.out
    }

    #[allow(clippy::too_many_arguments)] // seven words of one sentence
    fn bounds(
        &mut self,
        code: &str,
        verb: &str,
        noun: &str,
        after: &str,
        is: u64,
        min: Option<u64>,
        max: Option<u64>,
    ) {
        let count = |n: u64| if n == 1 { format!("1 {noun}{after}") } else { format!("{n} {noun}s{after}") };
        let now = if verb == "have" { "has" } else { "is" };
        if let Some(min) = min.filter(|min| is < *min) {
            self.violation(
                &format!("min-{code}"),
                format!("must {verb} at least {}, {now} {is}", count(min)),
            );
        }
        if let Some(max) = max.filter(|max| is > *max) {
            self.violation(&format!("max-{code}"), format!("must {verb} at most {}, {now} {is}", count(max)));
        }
    }

    fn violation(&mut self, code: &str, message: String) {
        if self.out.len() < MOST_VIOLATIONS {
            self.out.push(Violation { path: self.path.clone(), code: code.to_owned(), message });
        }
    }

    fn at(&mut self, token: &str, step: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        push_token(&mut self.path, token);
        step(self);
        self.path.truncate(length);
    }
}

fn unknown_field(node: &Node, name: &str) -> String {
    let known = || node.properties.keys().map(String::as_str);
    let hint = match closest(name, known()) {
        Some(meant) => did_you_mean(Some(meant)),
        None if node.properties.is_empty() => "; this object takes no fields".to_owned(),
        None => format!("; known fields: {}", known().collect::<Vec<_>>().join(", ")),
    };
    debug_assert!(!matches!(node.additional, Additional::Anything));
    format!("is not a known field{hint}")
}

fn did_you_mean(meant: Option<&str>) -> String {
    meant.map(|meant| format!("; did you mean \"{meant}\"?")).unwrap_or_default()
}

/// The first objection of each alternative.
fn told(alternatives: &[Vec<Violation>]) -> String {
    let told: Vec<String> = alternatives
        .iter()
        .filter_map(|violations| violations.first())
        .map(|v| if v.path.is_empty() { v.message.clone() } else { format!("{} {}", v.path, v.message) })
        .collect();
    told.join("; or ")
}

/// The type of a value that has the wrong one, with the value where it is short.
fn described(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Number(_) => shown(value),
        Value::String(_) => format!("the string {}", shown(value)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// A value as JSON, cut to what fits into a sentence.
pub(crate) fn shown(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
