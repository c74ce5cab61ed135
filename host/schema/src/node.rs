//! One node of a parsed schema: what [`crate::parse`] makes and everything else walks.

use crate::pattern::Pattern;
use serde_json::{Number, Value};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

impl Kind {
    pub fn named(name: &str) -> Option<Kind> {
        Some(match name {
            "object" => Kind::Object,
            "array" => Kind::Array,
            "string" => Kind::String,
            "integer" => Kind::Integer,
            "number" => Kind::Number,
            "boolean" => Kind::Boolean,
            _ => return None,
        })
    }

    /// With its article, for messages.
    pub fn described(self) -> &'static str {
        match self {
            Kind::Object => "an object",
            Kind::Array => "a list",
            Kind::String => "a string",
            Kind::Integer => "an integer",
            Kind::Number => "a number",
            Kind::Boolean => "true or false",
        }
    }

    pub fn holds(self, value: &Value) -> bool {
        match (self, value) {
            (Kind::Object, Value::Object(_))
            | (Kind::Array, Value::Array(_))
            | (Kind::String, Value::String(_))
            | (Kind::Number, Value::Number(_))
            | (Kind::Boolean, Value::Bool(_)) => true,
            (Kind::Integer, Value::Number(number)) => crate::number::is_integer(number),
            _ => false,
        }
    }
}

/// What an object may hold besides its `properties`.
#[derive(Debug, Clone, Default)]
pub(crate) enum Additional {
    #[default]
    Nothing,
    Anything,
    Each(Box<Node>),
}

/// How the items of a list are told apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum ListType {
    #[default]
    Atomic,
    Set,
    Map(Vec<String>),
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Node {
    /// Absent where any type goes: preserved unknown fields, int-or-string, and inside `allOf` and the like.
    pub kind: Option<Kind>,
    pub int_or_string: bool,
    pub nullable: bool,
    pub preserve_unknown: bool,
    /// A whole Kubernetes object: `apiVersion`, `kind` and `metadata` belong to it without being declared.
    pub embedded: bool,

    pub properties: BTreeMap<String, Node>,
    pub additional: Additional,
    pub required: Vec<String>,
    pub min_properties: Option<u64>,
    pub max_properties: Option<u64>,

    pub items: Option<Box<Node>>,
    pub list_type: ListType,
    pub min_items: Option<u64>,
    pub max_items: Option<u64>,

    pub minimum: Option<Number>,
    pub maximum: Option<Number>,
    pub exclusive_minimum: bool,
    pub exclusive_maximum: bool,
    pub multiple_of: Option<Number>,

    pub min_length: Option<u64>,
    pub max_length: Option<u64>,
    pub pattern: Option<Pattern>,

    /// `const` is an enum of one.
    pub enumeration: Option<Vec<Value>>,
    pub default: Option<Value>,
    pub effect: Option<&'static str>,

    pub all_of: Vec<Node>,
    pub any_of: Vec<Node>,
    pub one_of: Vec<Node>,
    pub not: Option<Box<Node>>,
}

impl Node {
    /// The schema of a field of this object, if it is declared or allowed by a schema of all fields.
    pub fn field(&self, name: &str) -> Option<&Node> {
        self.properties.get(name).or(match &self.additional {
            Additional::Each(node) => Some(node),
            _ => None,
        })
    }

    /// Whether a field that [`Node::field`] has no schema for may be there all the same.
    pub fn tolerates(&self, name: &str) -> bool {
        self.preserve_unknown
            || matches!(self.additional, Additional::Anything)
            || (self.embedded && matches!(name, "apiVersion" | "kind" | "metadata"))
    }
}
