//! What a user sees who writes a spec: violations, defaults, and the effect of a change.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use senren_schema::Schema;
use serde_json::{Value, json};

fn redis() -> Schema {
    Schema::parse(&json!({
        "type": "object",
        "required": ["memory_mb"],
        "properties": {
            "memory_mb": {"type": "integer", "minimum": 16, "maximum": 65536, "multipleOf": 8,
                          "x-senren-effect": "rolling-restart"},
            "replicas": {"type": "integer", "minimum": 0, "maximum": 5, "default": 0, "x-senren-effect": "rebalance"},
            "version": {"type": "string", "enum": ["7.2", "8.0"], "default": "8.0", "x-senren-effect": "rolling-restart"},
            "tags": {"type": "array", "maxItems": 2, "x-kubernetes-list-type": "set",
                     "items": {"type": "string", "minLength": 2, "maxLength": 8, "pattern": "^[a-z]+$"}},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "share": {"type": "number", "minimum": 0, "exclusiveMinimum": true, "maximum": 1, "exclusiveMaximum": true},
            "note": {"type": "string", "nullable": true},
            "port": {"x-kubernetes-int-or-string": true},
            "storage": {
                "type": "object", "x-senren-effect": "recreate", "required": ["size"],
                "properties": {
                    "size": {"type": "string"},
                    "class": {"type": "string", "default": "standard"},
                    "growth": {"type": "string", "x-senren-effect": "in-place"},
                },
            },
            "users": {
                "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "required": ["name"], "properties": {
                    "name": {"type": "string"}, "role": {"type": "string", "default": "reader"}}},
            },
            "extra": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                      "properties": {"known": {"type": "integer"}}},
        },
    }))
    .unwrap()
}

/// `wanted`: path, code, message of each violation.
#[track_caller]
fn check(spec: Value, wanted: &[(&str, &str, &str)]) {
    let found = redis().validate(&spec);
    let found: Vec<_> =
        found.iter().map(|v| (v.path.as_str(), v.code.as_str(), v.message.as_str())).collect();
    assert_eq!(found, wanted, "{spec}");
}

#[test]
fn a_valid_spec_has_no_violations() {
    check(json!({"memory_mb": 64}), &[]);
    check(json!({"memory_mb": 64.0, "note": null, "port": "https", "share": 0.5}), &[]);
    check(json!({"memory_mb": 64, "labels": {"any/thing~": "x"}, "extra": {"new": [1], "known": 1}}), &[]);
}

#[test]
fn each_violation_says_where_what_must_be_and_what_is() {
    check(json!({}), &[("/memory_mb", "required", "is required")]);
    check(json!([]), &[("", "type", "must be an object, is a list")]);
    check(json!({"memory_mb": 8}), &[("/memory_mb", "minimum", "must be at least 16, is 8")]);
    check(json!({"memory_mb": 65544}), &[("/memory_mb", "maximum", "must be at most 65536, is 65544")]);
    check(json!({"memory_mb": 65}), &[("/memory_mb", "multiple-of", "must be a multiple of 8, is 65")]);
    check(json!({"memory_mb": 16.5}), &[("/memory_mb", "type", "must be an integer, is 16.5")]);
    check(json!({"memory_mb": "64"}), &[("/memory_mb", "type", "must be an integer, is the string \"64\"")]);
    check(json!({"memory_mb": null}), &[("/memory_mb", "type", "must be an integer, is null")]);
    check(
        json!({"memory_mb": 64, "version": "7.20"}),
        &[("/version", "enum", "must be one of \"7.2\", \"8.0\"; is \"7.20\"; did you mean \"7.2\"?")],
    );
    check(json!({"memory_mb": 64, "share": 0}), &[("/share", "minimum", "must be more than 0, is 0")]);
    check(json!({"memory_mb": 64, "share": 1}), &[("/share", "maximum", "must be less than 1, is 1")]);
    check(
        json!({"memory_mb": 64, "port": 1.5}),
        &[("/port", "type", "must be an integer or a string, is 1.5")],
    );
    check(json!({"memory_mb": 64, "storage": {}}), &[("/storage/size", "required", "is required")]);
    check(
        json!({"memory_mb": 64, "extra": {"known": "x"}}),
        &[("/extra/known", "type", "must be an integer, is the string \"x\"")],
    );
    check(
        json!({"memory_mb": 64, "labels": {"a/b~c": 1}}),
        &[("/labels/a~1b~0c", "type", "must be a string, is 1")],
    );
}

#[test]
fn all_violations_are_told_at_once() {
    check(
        json!({"replicas": 9, "tags": ["x", "toolongforit", "x"], "storage": {"size": 1}}),
        &[
            ("/memory_mb", "required", "is required"),
            ("/replicas", "maximum", "must be at most 5, is 9"),
            ("/storage/size", "type", "must be a string, is 1"),
            ("/tags", "max-items", "must have at most 2 items, has 3"),
            ("/tags/0", "min-length", "must be at least 2 characters long, is 1"),
            ("/tags/1", "max-length", "must be at most 8 characters long, is 12"),
            ("/tags/2", "min-length", "must be at least 2 characters long, is 1"),
            ("/tags/2", "duplicate", "is in the list already"),
        ],
    );
    let many = json!({"memory_mb": 64, "tags": vec![json!(1); 10_000]});
    assert_eq!(redis().validate(&many).len(), 100, "and not ten thousand");
}

#[test]
fn an_unknown_field_is_a_violation_that_suggests_the_right_one() {
    check(
        json!({"memory_mb": 64, "memoryMb": 64}),
        &[("/memoryMb", "unknown-field", "is not a known field; did you mean \"memory_mb\"?")],
    );
    check(
        json!({"memory_mb": 64, "storage": {"size": "1Gi", "colour": 1}}),
        &[("/storage/colour", "unknown-field", "is not a known field; known fields: class, growth, size")],
    );
    assert_eq!(redis().validate_pruned(&json!({"memory_mb": 64, "memoryMb": 64})), []);
}

#[test]
fn items_of_a_keyed_list_must_differ_in_their_keys() {
    check(
        json!({"memory_mb": 64, "users": [{"name": "a"}, {"name": "b"}, {"name": "a", "role": "x"}]}),
        &[("/users/2", "duplicate", "has the same name as an earlier item")],
    );
}

#[test]
fn defaults_fill_what_is_absent_and_only_where_the_parent_exists() {
    let check = |mut value: Value, wanted: Value| {
        redis().apply_defaults(&mut value);
        assert_eq!(value, wanted);
    };
    check(json!({"memory_mb": 64}), json!({"memory_mb": 64, "replicas": 0, "version": "8.0"}));
    check(
        json!({"replicas": 2, "version": null, "note": null, "storage": {"size": "1Gi"}, "users": [{"name": "a"}]}),
        json!({"replicas": 2, "version": "8.0", "note": null, "storage": {"size": "1Gi", "class": "standard"},
               "users": [{"name": "a", "role": "reader"}]}),
    );
    check(json!({"memory_mb": null}), json!({"replicas": 0, "version": "8.0"}));
}

#[test]
fn pruning_drops_what_the_schema_does_not_know() {
    let mut value = json!({"memory_mb": 64, "x": 1, "storage": {"size": "1Gi", "y": 2}, "labels": {"any": "z"},
                           "users": [{"name": "a", "q": 1}], "extra": {"new": {"deep": 1}, "known": 1}});
    redis().prune(&mut value);
    let wanted = json!({"memory_mb": 64, "storage": {"size": "1Gi"}, "labels": {"any": "z"},
                        "users": [{"name": "a"}], "extra": {"new": {"deep": 1}, "known": 1}});
    assert_eq!(value, wanted);
}

#[track_caller]
fn check_changes(before: Value, after: Value, wanted: &[(&str, Option<Value>, Option<Value>, &str)]) {
    let found = redis().changes(&before, &after);
    let found: Vec<_> = found.into_iter().map(|c| (c.path, c.before, c.after, c.effect)).collect();
    let wanted: Vec<_> = wanted
        .iter()
        .map(|(path, before, after, effect)| {
            (path.to_string(), before.clone(), after.clone(), effect.to_string())
        })
        .collect();
    assert_eq!(found, wanted);
}

#[test]
fn a_change_has_the_nearest_effect_up_its_path() {
    let spec = json!({"memory_mb": 64, "storage": {"size": "1Gi"}, "labels": {"a": "1"}});
    check_changes(spec.clone(), spec.clone(), &[]);
    check_changes(
        spec.clone(),
        json!({"memory_mb": 128, "storage": {"size": "2Gi", "growth": "x"}, "labels": {"a": "2"}, "new": 1}),
        &[
            ("/labels/a", Some(json!("1")), Some(json!("2")), "in-place"),
            ("/memory_mb", Some(json!(64)), Some(json!(128)), "rolling-restart"),
            ("/new", None, Some(json!(1)), "in-place"),
            ("/storage/growth", None, Some(json!("x")), "in-place"),
            ("/storage/size", Some(json!("1Gi")), Some(json!("2Gi")), "recreate"),
        ],
    );
    check_changes(
        spec,
        json!({"memory_mb": 64, "labels": {"a": "1"}}),
        &[("/storage/size", Some(json!("1Gi")), None, "recreate")],
    );
}

#[test]
fn items_are_compared_by_what_their_list_type_calls_the_same() {
    let of = |users: Value, tags: Value| json!({"users": users, "tags": tags});
    check_changes(
        of(json!([{"name": "a", "role": "x"}, {"name": "b"}]), json!(["aa", "bb"])),
        of(json!([{"name": "c"}, {"name": "a", "role": "y"}]), json!(["bb", "cc"])),
        &[
            ("/tags/0", Some(json!("aa")), None, "in-place"),
            ("/tags/1", None, Some(json!("cc")), "in-place"),
            ("/users/1/name", Some(json!("b")), None, "in-place"),
            ("/users/0/name", None, Some(json!("c")), "in-place"),
            ("/users/1/role", Some(json!("x")), Some(json!("y")), "in-place"),
        ],
    );
}
