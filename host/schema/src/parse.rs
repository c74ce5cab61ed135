//! Reads a schema into [`Node`]s and refuses what is not structural, with a pointer to it and the way out.
//!
//! Keyword by keyword; the rules that need several keywords at once are in [`rules`].

mod rules;

use crate::{
    EFFECTS, SchemaError,
    node::{Additional, Kind, ListType, Node},
    pattern::Pattern,
    push_token,
    suggest::closest,
    validate::shown,
};
use serde_json::{Map, Number, Value};

/// How much is asked of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A plugin's: whatever can't be meant is refused.
    Spec,
    /// A CustomResourceDefinition's: whatever an apiserver takes is taken.
    Crd,
}

/// Where a schema stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It says which fields there are.
    Structure,
    /// Under `allOf`, `anyOf`, `oneOf`, `not`: it only adds conditions. `type` is allowed in none of them
    /// except in the alternatives of an int-or-string.
    Condition { of_int_or_string: bool },
}

/// An API server refuses a custom resource whose string is not as its `format` says, if that is one of these, with
/// hyphens or without.
const ENFORCED_FORMATS: [&str; 25] = [
    "bsonobjectid",
    "byte",
    "cidr",
    "creditcard",
    "date",
    "datetime",
    "duration",
    "email",
    "hexcolor",
    "hostname",
    "ipv4",
    "ipv6",
    "isbn",
    "isbn10",
    "isbn13",
    "k8slongname",
    "k8sshortname",
    "mac",
    "rgbcolor",
    "ssn",
    "uri",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
];

pub(crate) fn parse(schema: &Value, mode: Mode) -> Result<Node, SchemaError> {
    let mut parser = Parser { pointer: String::new(), mode };
    let mut root = parser.node(schema, Place::Structure)?;
    if root.kind != Some(Kind::Object) {
        return Err(parser.error("the root of a schema must have \"type\": \"object\""));
    }
    root.embedded |= mode == Mode::Crd;
    Ok(root)
}

struct Parser {
    pointer: String,
    mode: Mode,
}

type Parsed<T> = Result<T, SchemaError>;

impl Parser {
    fn node(&mut self, schema: &Value, place: Place) -> Parsed<Node> {
        let Value::Object(keywords) = schema else {
            return Err(self.error(format!("must be a schema, which is an object, is {}", shown(schema))));
        };
        let mut node = Node::default();
        // First, because it decides about the others.
        if let Some(value) = keywords.get("x-kubernetes-int-or-string") {
            node.int_or_string = self.at("x-kubernetes-int-or-string", |parser| parser.flag(value))?;
        }
        for (keyword, value) in keywords {
            self.at(keyword, |parser| parser.keyword(&mut node, keyword, value, place))?;
        }
        self.rules(&node, keywords, place)?;
        Ok(node)
    }

    fn keyword(&mut self, node: &mut Node, keyword: &str, value: &Value, place: Place) -> Parsed<()> {
        if place != Place::Structure && !belongs_in_condition(keyword, place) {
            return Err(self.error(format!(
                "`{keyword}` has no place under allOf, anyOf, oneOf or not: say it beside them"
            )));
        }
        let known = self.structure(node, keyword, value, place)?
            || self.limits(node, keyword, value)?
            || self.conditions(node, keyword, value)?
            || self.extension(node, keyword, value)?
            || self.annotation(keyword, value)?;
        if known { Ok(()) } else { Err(self.unknown(keyword)) }
    }

    fn structure(&mut self, node: &mut Node, keyword: &str, value: &Value, place: Place) -> Parsed<bool> {
        match keyword {
            "type" => node.kind = Some(self.kind(value)?),
            "nullable" => node.nullable = self.flag(value)?,
            "default" => node.default = Some(value.clone()),
            "enum" => node.enumeration = Some(self.list(value)?.to_vec()),
            "const" if self.mode == Mode::Spec => node.enumeration = Some(vec![value.clone()]),
            "required" => node.required = self.strings(value)?,
            "items" if value.is_array() => {
                return Err(self.error("must be one schema for all items, not a list of schemas"));
            }
            "items" => node.items = Some(Box::new(self.node(value, place.inner())?)),
            "properties" => {
                for (name, schema) in self.object(value)? {
                    let property = self.at(name, |parser| parser.node(schema, place.inner()))?;
                    node.properties.insert(name.clone(), property);
                }
            }
            "additionalProperties" => {
                node.additional = match value {
                    Value::Bool(true) => Additional::Anything,
                    Value::Bool(false) => {
                        return Err(
                            self.error("can't be false: unknown fields are refused without it; drop it")
                        );
                    }
                    schema => Additional::Each(Box::new(self.node(schema, place)?)),
                };
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn limits(&mut self, node: &mut Node, keyword: &str, value: &Value) -> Parsed<bool> {
        match keyword {
            "minimum" => node.minimum = Some(self.number(value)?),
            "maximum" => node.maximum = Some(self.number(value)?),
            "exclusiveMinimum" => node.exclusive_minimum = self.exclusive(value, "minimum")?,
            "exclusiveMaximum" => node.exclusive_maximum = self.exclusive(value, "maximum")?,
            "multipleOf" => node.multiple_of = Some(self.number(value)?),
            "minLength" => node.min_length = Some(self.count(value)?),
            "maxLength" => node.max_length = Some(self.count(value)?),
            "pattern" => node.pattern = Some(self.pattern(value)?),
            "minItems" => node.min_items = Some(self.count(value)?),
            "maxItems" => node.max_items = Some(self.count(value)?),
            "minProperties" => node.min_properties = Some(self.count(value)?),
            "maxProperties" => node.max_properties = Some(self.count(value)?),
            "uniqueItems" if self.flag(value)? => {
                return Err(
                    self.error("can't be true in Kubernetes: write \"x-kubernetes-list-type\": \"set\"")
                );
            }
            "uniqueItems" => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn conditions(&mut self, node: &mut Node, keyword: &str, value: &Value) -> Parsed<bool> {
        let place = Place::Condition { of_int_or_string: node.int_or_string };
        match keyword {
            "allOf" => node.all_of = self.nodes(value, place)?,
            "anyOf" => node.any_of = self.nodes(value, place)?,
            "oneOf" => node.one_of = self.nodes(value, place)?,
            "not" => node.not = Some(Box::new(self.node(value, place)?)),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn extension(&mut self, node: &mut Node, keyword: &str, value: &Value) -> Parsed<bool> {
        match keyword {
            "x-kubernetes-int-or-string" => {} // read before all others
            "x-kubernetes-preserve-unknown-fields" => {
                node.preserve_unknown = self.flag(value)?;
                if !node.preserve_unknown {
                    return Err(self.error("can only be true: drop it"));
                }
            }
            "x-kubernetes-embedded-resource" => node.embedded = self.flag(value)?,
            "x-kubernetes-list-type" => {
                // The keys follow in `x-kubernetes-list-map-keys`, whichever comes first.
                node.list_type = match (self.one_of(value, &["atomic", "set", "map"])?, &node.list_type) {
                    ("set", _) => ListType::Set,
                    ("map", ListType::Map(keys)) => ListType::Map(keys.clone()),
                    ("map", _) => ListType::Map(Vec::new()),
                    _ => ListType::Atomic,
                };
            }
            "x-kubernetes-list-map-keys" => node.list_type = ListType::Map(self.strings(value)?),
            "x-kubernetes-map-type" => {
                self.one_of(value, &["granular", "atomic"])?;
            }
            "x-kubernetes-validations" => {
                for rule in self.list(value)? {
                    if !rule.get("rule").is_some_and(Value::is_string) {
                        return Err(self.error("must be a list of objects that each have a `rule`"));
                    }
                }
            }
            "x-senren-effect" if self.mode == Mode::Spec => {
                node.effect = Some(self.one_of(value, &EFFECTS)?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What says something to people, and nothing to us.
    fn annotation(&self, keyword: &str, value: &Value) -> Parsed<bool> {
        let format = value.as_str().filter(|_| keyword == "format" && self.mode == Mode::Spec);
        if let Some(format) = format.filter(|format| ENFORCED_FORMATS.contains(&&*format.replace('-', ""))) {
            return Err(self.error(format!(
                "the format {format:?} is enforced by API servers, and not here: say it by a `pattern`"
            )));
        }
        Ok(matches!(keyword, "title" | "description" | "format" | "example" | "externalDocs"))
    }

    fn unknown(&self, keyword: &str) -> SchemaError {
        const KNOWN: [&str; 37] = [
            "type",
            "properties",
            "required",
            "items",
            "additionalProperties",
            "enum",
            "const",
            "default",
            "nullable",
            "minimum",
            "maximum",
            "exclusiveMinimum",
            "exclusiveMaximum",
            "multipleOf",
            "minLength",
            "maxLength",
            "pattern",
            "format",
            "minItems",
            "maxItems",
            "minProperties",
            "maxProperties",
            "title",
            "description",
            "example",
            "allOf",
            "anyOf",
            "oneOf",
            "not",
            "x-senren-effect",
            "x-kubernetes-list-type",
            "x-kubernetes-list-map-keys",
            "x-kubernetes-map-type",
            "x-kubernetes-int-or-string",
            "x-kubernetes-preserve-unknown-fields",
            "x-kubernetes-embedded-resource",
            "x-kubernetes-validations",
        ];
        self.error(match keyword {
            "$ref" | "$defs" | "definitions" => {
                format!("`{keyword}` is not supported: write the schema out where it is used")
            }
            "patternProperties" => "`patternProperties` is not supported: use `additionalProperties`".into(),
            "$schema" | "$id" | "id" => format!("`{keyword}` is not supported: drop it"),
            _ => match closest(keyword, KNOWN) {
                Some(meant) => format!("`{keyword}` is not a supported keyword; did you mean `{meant}`?"),
                None => format!("`{keyword}` is not a supported keyword of structural schemas"),
            },
        })
    }

    fn kind(&self, value: &Value) -> Parsed<Kind> {
        if value.is_array() {
            return Err(self.error("must be one type; to allow null as well, add \"nullable\": true"));
        }
        value.as_str().and_then(Kind::named).ok_or_else(|| {
            self.error(format!(
                "must be \"object\", \"array\", \"string\", \"integer\", \"number\" or \"boolean\", is {}",
                shown(value)
            ))
        })
    }

    fn exclusive(&self, value: &Value, bound: &str) -> Parsed<bool> {
        if value.is_number() {
            return Err(self.error(format!("must be true or false here; the number goes into `{bound}`")));
        }
        self.flag(value)
    }

    fn pattern(&self, value: &Value) -> Parsed<Pattern> {
        let text =
            value.as_str().ok_or_else(|| self.error(format!("must be a string, is {}", shown(value))))?;
        Pattern::parse(text)
            .map_err(|problem| self.error(format!("is not a regular expression (RE2 syntax): {problem}")))
    }

    fn nodes(&mut self, value: &Value, place: Place) -> Parsed<Vec<Node>> {
        let list = self.list(value)?;
        let mut nodes = Vec::with_capacity(list.len());
        for (index, schema) in list.iter().enumerate() {
            nodes.push(self.at(&index.to_string(), |parser| parser.node(schema, place))?);
        }
        Ok(nodes)
    }

    fn flag(&self, value: &Value) -> Parsed<bool> {
        value.as_bool().ok_or_else(|| self.error(format!("must be true or false, is {}", shown(value))))
    }

    fn number(&self, value: &Value) -> Parsed<Number> {
        match value {
            Value::Number(number) => Ok(number.clone()),
            other => Err(self.error(format!("must be a number, is {}", shown(other)))),
        }
    }

    fn count(&self, value: &Value) -> Parsed<u64> {
        value.as_u64().ok_or_else(|| self.error(format!("must be an integer from 0, is {}", shown(value))))
    }

    fn list<'a>(&self, value: &'a Value) -> Parsed<&'a [Value]> {
        match value {
            Value::Array(list) if !list.is_empty() => Ok(list),
            // Generated CRDs do have empty `required` lists.
            Value::Array(list) if self.mode == Mode::Crd => Ok(list),
            other => Err(self.error(format!("must be a list that is not empty, is {}", shown(other)))),
        }
    }

    fn strings(&self, value: &Value) -> Parsed<Vec<String>> {
        let text = |item: &Value| item.as_str().map(str::to_owned);
        let strings = match value {
            Value::Array(list) => list.iter().map(text).collect::<Option<Vec<_>>>(),
            _ => None,
        };
        strings.ok_or_else(|| self.error(format!("must be a list of strings, is {}", shown(value))))
    }

    fn object<'a>(&self, value: &'a Value) -> Parsed<&'a Map<String, Value>> {
        value.as_object().ok_or_else(|| self.error(format!("must be an object, is {}", shown(value))))
    }

    fn one_of(&self, value: &Value, names: &[&'static str]) -> Parsed<&'static str> {
        names
            .iter()
            .find(|name| value.as_str() == Some(name))
            .copied()
            .ok_or_else(|| self.error(format!("must be one of {}, is {}", names.join(", "), shown(value))))
    }

    fn error(&self, message: impl Into<String>) -> SchemaError {
        SchemaError { pointer: self.pointer.clone(), message: message.into() }
    }

    fn at<T>(&mut self, token: &str, step: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        let length = self.pointer.len();
        push_token(&mut self.pointer, token);
        let result = step(self);
        self.pointer.truncate(length);
        result
    }
}

impl Place {
    /// Of the schemas of fields and items: they condition when this one does.
    fn inner(self) -> Place {
        match self {
            Place::Structure => Place::Structure,
            Place::Condition { .. } => Place::Condition { of_int_or_string: false },
        }
    }
}

fn belongs_in_condition(keyword: &str, place: Place) -> bool {
    match keyword {
        "type" => place == Place::Condition { of_int_or_string: true },
        "nullable" | "default" | "title" | "description" | "example" | "externalDocs" => false,
        "additionalProperties" => false,
        keyword => !keyword.starts_with("x-") || keyword == "x-kubernetes-validations",
    }
}
