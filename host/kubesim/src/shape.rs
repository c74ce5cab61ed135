//! How the fields of a kind merge and who can own them: what server-side apply needs to know about a type.
//!
//! A list is merged item by item only if its type says by which keys; everything else is replaced whole. For
//! custom resources this comes from the definition's schema, for built-in kinds from the table in
//! `builtin_shapes`, which names only what isn't the rule: a field it doesn't know is a struct if its value is
//! an object, and atomic if its value is a list.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

/// How a value merges.
#[derive(Debug)]
pub enum Shape {
    /// Unknown to the schema: objects merge by key, lists are replaced.
    Deduced,
    /// Replaced and owned as a whole.
    Atomic,
    /// Fields known by name.
    Struct(Struct),
    /// Keys made by users, each owned by itself.
    Map(Arc<Shape>),
    /// A list of different scalars, each owned by itself.
    Set,
    /// A list of objects that are known by some of their fields.
    ListMap(ListMap),
}

/// An object whose fields the type names.
#[derive(Debug, Default)]
pub struct Struct {
    /// The fields whose shape is known.
    pub fields: BTreeMap<String, Arc<Shape>>,
    /// Fields that a real server's objects always have, even if empty: nobody can add or own them.
    pub present: &'static [&'static str],
    /// Whether a field that isn't listed is a field of the type all the same (built-in kinds).
    pub open: bool,
}

/// A list whose items are known by the value of their keys.
#[derive(Debug)]
pub struct ListMap {
    /// The keys, with the value that stands for a missing one.
    pub keys: Vec<(String, Option<Value>)>,
    /// The items.
    pub item: Arc<Shape>,
}

static DEDUCED: Shape = Shape::Deduced;
static OPEN: Shape = Shape::Struct(Struct { fields: BTreeMap::new(), present: &[], open: true });

impl Shape {
    /// The shape of a field of this value, and whether the type names that field.
    pub fn field(&self, name: &str) -> (&Shape, bool) {
        match self {
            Shape::Struct(of) => match of.fields.get(name) {
                Some(shape) => (shape, true),
                None if of.open => (&OPEN, true),
                None => (&DEDUCED, false),
            },
            Shape::Map(item) => (item, false),
            _ => (&DEDUCED, false),
        }
    }

    /// The shape of an item of this list.
    pub fn item(&self) -> &Shape {
        match self {
            Shape::ListMap(list) => &list.item,
            _ => &DEDUCED,
        }
    }

    /// Whether an object of this shape always has that field on a real server.
    pub fn always_has(&self, field: &str) -> bool {
        matches!(self, Shape::Struct(of) if of.present.contains(&field))
    }

    /// How this value merges: its shape, unless the value isn't of the type that the shape is for.
    pub fn grain(&self, value: &Value) -> Grain<'_> {
        match (self, value) {
            (Shape::Deduced | Shape::Struct(_) | Shape::Map(_), Value::Object(_)) => Grain::Fields,
            (Shape::Set, Value::Array(_)) => Grain::Set,
            (Shape::ListMap(list), Value::Array(_)) => Grain::Items(list),
            _ => Grain::Whole,
        }
    }
}

/// The units in which a value can be merged and owned.
#[derive(Debug, Clone, Copy)]
pub enum Grain<'a> {
    /// Only as a whole.
    Whole,
    /// Field by field.
    Fields,
    /// Item by item, by value.
    Set,
    /// Item by item, by keys.
    Items(&'a ListMap),
}

impl Grain<'_> {
    /// By which an item is known; none where it is known by its value, or not at all.
    pub fn keys(&self) -> Vec<&str> {
        match self {
            Grain::Items(list) => list.keys.iter().map(|(key, _)| key.as_str()).collect(),
            _ => Vec::new(),
        }
    }
}

/// The shape of a custom resource, from the schema of its version.
pub fn of_schema(schema: &Value) -> Arc<Shape> {
    let mut root = match from_schema(schema) {
        Shape::Struct(root) => root,
        _ => Struct::default(),
    };
    root.fields.insert("metadata".into(), crate::builtin_shapes::metadata());
    root.fields.insert("apiVersion".into(), Arc::new(Shape::Atomic));
    root.fields.insert("kind".into(), Arc::new(Shape::Atomic));
    Arc::new(Shape::Struct(root))
}

fn from_schema(schema: &Value) -> Shape {
    let text = |field: &str| schema[field].as_str();
    match text("type") {
        Some("object") => {
            if text("x-kubernetes-map-type") == Some("atomic") {
                return Shape::Atomic;
            }
            if schema["x-kubernetes-embedded-resource"] == true && schema.get("properties").is_none() {
                return Shape::Deduced;
            }
            if let Some(Value::Object(properties)) = schema.get("properties") {
                let fields =
                    properties.iter().map(|(name, of)| (name.clone(), Arc::new(from_schema(of)))).collect();
                return Shape::Struct(Struct { fields, ..Struct::default() });
            }
            match schema.get("additionalProperties") {
                Some(of @ Value::Object(_)) => Shape::Map(Arc::new(from_schema(of))),
                _ => Shape::Deduced,
            }
        }
        Some("array") => match text("x-kubernetes-list-type") {
            Some("set") => Shape::Set,
            Some("map") => {
                let items = &schema["items"];
                let named = schema["x-kubernetes-list-map-keys"].as_array().map(Vec::as_slice);
                let keys = named
                    .unwrap_or_default()
                    .iter()
                    .filter_map(Value::as_str)
                    .map(|key| (key.to_owned(), items["properties"][key].get("default").cloned()))
                    .collect();
                Shape::ListMap(ListMap { keys, item: Arc::new(from_schema(items)) })
            }
            _ => Shape::Atomic,
        },
        Some(_) => Shape::Atomic,
        None if schema["x-kubernetes-int-or-string"] == true => Shape::Atomic,
        None => Shape::Deduced,
    }
}
