//! A plugin that is right but for one bug, for the tests of the conformance kit: each of its checks must catch its bug,
//! and no other check may take offence.
//!
//! It implements the contract as it is, without the help that the SDK gives against most of these bugs. What it is
//! when it has none: a StatefulSet of `size` pods with a Service and a ConfigMap, ready when all of its pods are.

pub mod bugs;
mod reconcile;

use senren_plugin::wit::{ApiKind, Change, Descriptor, Fault, Input, Outcome, ResourceType, Violation};
use senren_plugin::{Effect, Plugin, Schema, Value};

use bugs::has;

/// See the crate.
pub struct Wrong;

/// Name of the type.
pub const TYPE: &str = "wrong";

fn schema() -> Schema {
    let note = Schema::string().default("").describe("Goes into the ConfigMap.");
    // What fits into a label; but for the bug that it doesn't.
    let note = if has("any-label") { note } else { note.pattern("^([a-z]([a-z-]{0,61}[a-z])?)?$") };
    let colour = Schema::one_of(["red", "green"]).default("red").effect(Effect::RollingRestart);
    let engine = Schema::one_of(["old", "new"]).default("old").effect(Effect::Recreate);
    let place = Schema::one_of(["here", "there"]).default("here").effect(Effect::Forbidden);
    let size = Schema::integer().minimum(1).maximum(5).default(2).effect(Effect::InPlace);
    let schema = Schema::object([
        ("size", size),
        ("note", note),
        ("colour", colour),
        ("engine", engine),
        ("place", place),
    ]);
    match bugs::chosen() {
        "effect" => schema.with("x-senren-effect", "whatever"),
        "any-field" => schema.with("x-kubernetes-preserve-unknown-fields", true),
        _ => schema,
    }
}

impl Plugin for Wrong {
    fn describe() -> Descriptor {
        let kind =
            |api_version: &str, kind: &str| ApiKind { api_version: api_version.into(), kind: kind.into() };
        Descriptor {
            name: "wrong".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            types: vec![ResourceType {
                name: TYPE.into(),
                kind: "WrongDatabase".into(),
                plural: if has("plural") { "Wrong Databases" } else { "wrongdatabases" }.into(),
                short_names: Vec::new(),
                spec_schema: schema().into_json(),
                printer_columns: "[]".into(),
                example: if has("example") { r#"{"size":99}"# } else { r#"{"size":2}"# }.into(),
                owns: vec![kind("v1", "ConfigMap"), kind("v1", "Service"), kind("apps/v1", "StatefulSet")],
                observes: vec![kind("v1", "Pod")],
                extras: Vec::new(),
            }],
            config_schema: Schema::object([("registry", Schema::string().default(""))]).into_json(),
            requires: Vec::new(),
            extras: Vec::new(),
        }
    }

    fn admit(_resource_type: String, spec: String) -> Result<String, Vec<Violation>> {
        let mut spec: Value = serde_json::from_str(&spec).unwrap_or_default();
        let violation = |path: &str, message: &str| {
            Err(vec![Violation { path: path.into(), code: "reserved".into(), message: message.into() }])
        };
        if has("refused-example") {
            return violation("/size", "is not to my liking");
        }
        // Twice as much as the example has, which is what the generated specs try.
        if spec["size"] == 4 {
            return violation(if has("no-pointer") { "size" } else { "/size" }, "must not be 4");
        }
        schema().fill_defaults(&mut spec);
        if has("appends") {
            let note = spec["note"].as_str().unwrap_or_default();
            spec["note"] = Value::from(format!("{note}x"));
        }
        Ok(spec.to_string())
    }

    fn diff(
        _resource_type: String,
        current: Option<String>,
        desired: Option<String>,
    ) -> Result<Change, Fault> {
        let (current, desired) = match (current, desired) {
            (None, _) => return Ok(Change::create()),
            (_, None) => return Ok(Change::delete()),
            (Some(current), Some(desired)) => (current, desired),
        };
        let read = |spec: &str| serde_json::from_str::<Value>(spec).unwrap_or_default();
        let mut change = Change::between(&schema(), &read(&current), &read(&desired))?;
        if has("update-of-nothing") && change.action == "none" {
            change.action = "update".into();
        }
        if has("light") && change.action == "replace" {
            (change.action, change.disruptive, change.data_loss) = ("update".into(), false, false);
        }
        Ok(change)
    }

    fn reconcile(input: Input) -> Result<Outcome, Fault> {
        reconcile::reconcile(&input)
    }
}

senren_plugin::export_plugin!(Wrong);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use senren_plugin::testing;

    use super::*;

    #[test]
    fn without_a_bug_it_keeps_to_the_contract() {
        assert_eq!(bugs::chosen(), "none");
        testing::check::<Wrong>().unwrap();
    }

    #[test]
    fn a_bug_is_chosen_by_writing_its_name() {
        let component = format!("before{}{}after", bugs::MARK, ".".repeat(bugs::LENGTH - bugs::MARK.len()));
        let wrong = String::from_utf8(bugs::with(component.as_bytes(), "plural").unwrap()).unwrap();
        assert_eq!(wrong.len(), component.len());
        assert!(
            wrong.starts_with("beforesenren-wrong-plugin:plural....") && wrong.ends_with("...after"),
            "{wrong}"
        );
        assert!(bugs::with(b"nothing of the kind", "plural").is_none());
        let fits = |name: &str| bugs::MARK.len() + name.len() <= bugs::LENGTH;
        assert!(bugs::BUGS.iter().all(|(name, _)| fits(name)) && fits(bugs::HALF_MADE));
    }
}
