//! What the author of a schema sees: which schemas are structural, and why another one is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use senren_schema::Schema;
use serde_json::{Value, json};

fn object(properties: Value) -> Value {
    json!({"type": "object", "properties": properties})
}

/// `property` is the schema of the field `a`.
#[track_caller]
fn refused(property: Value, pointer: &str, message: &str) {
    let error = Schema::parse(&object(json!({"a": property.clone()}))).expect_err(&property.to_string());
    assert_eq!(error.pointer, format!("/properties/a{pointer}"), "{error}");
    assert!(error.message.contains(message), "{error}");
}

#[test]
fn unknown_keywords_are_refused_by_name() {
    refused(json!({"type": "integer", "minimun": 1}), "/minimun", "did you mean `minimum`?");
    refused(json!({"$ref": "#/x"}), "/$ref", "write the schema out");
    refused(json!({"type": "object", "patternProperties": {}}), "/patternProperties", "additionalProperties");
    refused(json!({"type": "string", "x-other": 1}), "/x-other", "not a supported keyword");
}

#[test]
fn what_an_api_server_would_read_otherwise_is_refused() {
    for format in ["ipv4", "date-time", "uri"] {
        refused(json!({"type": "string", "format": format}), "/format", "say it by a `pattern`");
    }
    assert!(Schema::parse(&object(json!({"a": {"type": "integer", "format": "int32"}}))).is_ok());
    refused(json!({"type": "string", "pattern": r"\u{41}"}), "/pattern", "not the same everywhere");
    refused(json!({"type": "string", "pattern": "a{2000}"}), "/pattern", "more than 1000");
}

#[test]
fn what_is_not_structural_is_refused() {
    refused(json!({}), "", "has no `type`");
    refused(json!(true), "", "must be a schema");
    refused(json!({"type": ["string", "null"]}), "/type", "nullable");
    refused(json!({"type": "text"}), "/type", "is \"text\"");
    refused(json!({"type": "array"}), "", "without `items`");
    refused(json!({"type": "array", "items": [{"type": "string"}]}), "/items", "one schema for all");
    refused(json!({"type": "object", "additionalProperties": false}), "/additionalProperties", "drop it");
    refused(
        json!({"type": "object", "properties": {"b": {"type": "string"}}, "additionalProperties": true}),
        "",
        "both `properties` and `additionalProperties`",
    );
    refused(
        json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true}),
        "/uniqueItems",
        "set",
    );
    refused(json!({"type": "string", "anyOf": [{"type": "string"}]}), "/anyOf/0/type", "has no place under");
    refused(
        json!({"type": "object", "anyOf": [{"required": ["b"], "properties": {"b": {"minimum": 1}}}]}),
        "",
        "the field \"b\" is spoken of",
    );
    refused(
        json!({"type": "array", "items": {"type": "object", "properties": {"k": {"type": "string"}}},
               "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}),
        "",
        "is required or has a default",
    );
}

#[test]
fn what_cannot_be_meant_is_refused() {
    refused(json!({"type": "string", "minimum": 1}), "", "`minimum` is for numbers, but this is a string");
    refused(json!({"type": "integer", "minimum": 5, "maximum": 4}), "", "nothing is valid");
    refused(json!({"type": "integer", "multipleOf": 0}), "", "more than 0");
    refused(json!({"type": "integer", "exclusiveMinimum": 4}), "/exclusiveMinimum", "goes into `minimum`");
    refused(json!({"type": "string", "enum": []}), "/enum", "not empty");
    refused(json!({"type": "string", "enum": ["a", 1]}), "", "the enum has 1");
    refused(json!({"type": "string", "pattern": "("}), "/pattern", "unclosed group");
    refused(json!({"type": "string", "pattern": "((a{999}){999}){999}"}), "/pattern", "size limit");
    refused(json!({"type": "string", "maxLength": -1}), "/maxLength", "integer from 0");
    refused(json!({"type": "object", "required": ["b"]}), "", "requires the field \"b\"");
    refused(json!({"type": "string", "x-senren-effect": "restart"}), "/x-senren-effect", "rolling-restart");
    let error = Schema::parse(&json!({"type": "string"})).unwrap_err();
    assert_eq!(error.to_string(), "schema, at \"\": the root of a schema must have \"type\": \"object\"");
}

#[test]
fn a_default_must_be_valid_under_its_own_schema() {
    refused(json!({"type": "integer", "minimum": 3, "default": 2}), "/default", "must be at least 3, is 2");
    let nested = json!({"type": "object", "default": {"b": "x"}, "properties": {"b": {"type": "integer"}}});
    refused(nested, "/default/b", "must be an integer");
    let with_inner = json!({"type": "object", "default": {}, "required": ["b"],
                            "properties": {"b": {"type": "integer", "default": 1}}});
    Schema::parse(&object(json!({"a": with_inner}))).unwrap();
}

/// As controller-gen writes them.
fn crd() -> Schema {
    Schema::parse_crd(&json!({
        "type": "object",
        "description": "A thing",
        "required": ["spec", "metadata"],
        "x-kubernetes-validations": [{"rule": "self.spec.size > 0", "message": "no"}],
        "properties": {
            "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"},
            "spec": {
                "type": "object",
                "required": [],
                "properties": {
                    "size": {"type": "integer", "format": "int32", "default": 1},
                    "port": {"anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": "^[0-9]+$",
                             "x-kubernetes-int-or-string": true},
                    "a": {"type": "string"}, "b": {"type": "string"},
                    "template": {"type": "object", "x-kubernetes-embedded-resource": true,
                                 "x-kubernetes-preserve-unknown-fields": true},
                },
                "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
                "not": {"properties": {"size": {"enum": [13]}}, "required": ["size"]},
            },
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        },
    }))
    .unwrap()
}

#[test]
fn an_ordinary_crd_schema_is_taken_and_its_conditions_hold() {
    let check = |spec: Value, wanted: &[(&str, &str)]| {
        let mut object = json!({"apiVersion": "v1", "kind": "T", "metadata": {"name": "x"}, "spec": spec});
        crd().apply_defaults(&mut object);
        let found = crd().validate_pruned(&object);
        let found: Vec<_> = found.iter().map(|v| (v.code.as_str(), v.message.as_str())).collect();
        assert_eq!(found, wanted);
    };
    check(json!({"a": "x", "port": 80}), &[]);
    check(json!({"a": "x", "port": "80", "unknown": 1}), &[]);
    check(json!({"a": "x", "port": "http"}), &[("pattern", "must match the pattern ^[0-9]+$, is \"http\"")]);
    check(
        json!({}),
        &[(
            "one-of",
            "must match exactly one of the alternatives: /spec/a is required; or /spec/b is required",
        )],
    );
    check(
        json!({"a": "x", "b": "y"}),
        &[("one-of", "must match exactly one of the alternatives, matches 2")],
    );
    check(
        json!({"a": "x", "size": 13}),
        &[("not", "must not be what the schema excludes, is {\"a\":\"x\",\"size\":13}")],
    );
}

#[test]
fn the_root_of_a_crd_is_a_kubernetes_object() {
    let schema = Schema::parse_crd(&object(json!({"spec": {"type": "object"}}))).unwrap();
    let mut object = json!({"apiVersion": "v1", "kind": "T", "metadata": {"labels": {"a": "b"}}, "spec": {"x": 1}, "y": 1});
    assert_eq!(schema.validate(&object).len(), 2);
    schema.prune(&mut object);
    assert_eq!(
        object,
        json!({"apiVersion": "v1", "kind": "T", "metadata": {"labels": {"a": "b"}}, "spec": {}})
    );
}

#[test]
fn our_own_extensions_have_no_place_in_a_crd() {
    let schema = object(json!({"spec": {"type": "object", "x-senren-effect": "recreate"}}));
    assert!(Schema::parse_crd(&schema).unwrap_err().message.contains("not a supported keyword"));
    let stripped = Schema::parse(&schema).unwrap().to_crd();
    Schema::parse_crd(&stripped).unwrap();
}
