//! What a plugin says about itself, and whether that can be.
//!
//! All problems are told at once, each with its place in the descriptor: an author shouldn't have to load a plugin
//! five times to learn five things.

use crate::{
    CallError, Engine, Refusal, ResourceType,
    call::{self, Guard},
    pool::{Conduct, LaneId},
    wit,
};
use senren_schema::Schema;
use serde_json::{Value, json};
use std::{collections::HashSet, sync::mpsc};
use wasmtime::component::{ComponentExportIndex, InstancePre};

/// What a plugin may find in this version of senren and name in its `requires`.
pub const HOST_FEATURES: [&str; 3] = ["secret-random", "secret-tls", "ask-exec"];

/// As any other call, on a plugin thread; only that the caller's thread waits for it.
pub(crate) fn ask(
    engine: &Engine,
    lane: LaneId,
    component: &InstancePre<Guard>,
    describe: &ComponentExportIndex,
) -> Result<wit::Descriptor, CallError> {
    let (answer, answered) = mpsc::sync_channel(1);
    let (component, describe, limits) = (component.clone(), *describe, engine.inner.limits.clone());
    let job = Box::new(move || {
        let result = call::call::<(), (wit::Descriptor,)>(&component, &describe, &limits, ());
        let conduct = result.as_ref().map_or_else(CallError::conduct, |_| Conduct::Answered);
        let _ = answer.send(result);
        conduct
    });
    engine.inner.pool.submit(lane, job).map_err(|_| CallError::Overloaded)?;
    let (descriptor,) = answered.recv().unwrap_or(Err(CallError::Stopped))?;
    Ok(descriptor)
}

/// What of a description is more than text.
pub(crate) struct Described {
    pub types: Vec<ResourceType>,
    pub config: Schema,
}

pub(crate) fn check(descriptor: &wit::Descriptor) -> Result<Described, Refusal> {
    let mut check = Check::default();
    check.name("name", &descriptor.name);
    if !is_semantic_version(&descriptor.version) {
        check.problem("version", format!("{:?} is not a version such as 1.0.0", descriptor.version));
    }
    let config = check.config_schema(&descriptor.config_schema);
    if descriptor.types.is_empty() {
        check.problem("types", "is empty: a plugin serves one type at least".into());
    }
    let types: Vec<_> = descriptor.types.iter().filter_map(|ty| check.resource_type(ty)).collect();
    let config = match config {
        Some(config) if check.problems.is_empty() => config,
        _ => return Err(Refusal::Description(check.problems)),
    };
    let lacking = |feature: &&String| !HOST_FEATURES.contains(&feature.as_str());
    let lacking: Vec<_> = descriptor.requires.iter().filter(lacking).cloned().collect();
    if lacking.is_empty() { Ok(Described { types, config }) } else { Err(Refusal::Requires(lacking)) }
}

#[derive(Default)]
struct Check<'a> {
    problems: Vec<String>,
    /// Names, kinds and plurals, each with what it is.
    seen: HashSet<(&'static str, &'a str)>,
}

impl<'a> Check<'a> {
    fn resource_type(&mut self, ty: &'a wit::ResourceType) -> Option<ResourceType> {
        let at = |field: &str| format!("type {:?}, {field}", ty.name);
        self.name(&at("name"), &ty.name);
        if !is_kind(&ty.kind) {
            self.problem(&at("kind"), format!("{:?} is not in CamelCase, such as RedisDatabase", ty.kind));
        }
        for (field, label) in std::iter::once(("plural", &ty.plural))
            .chain(ty.short_names.iter().map(|name| ("short-names", name)))
        {
            if !is_label(label, 63) {
                self.problem(&at(field), format!("{label:?} must be lower-case letters and digits"));
            }
        }
        for (what, value) in [("name", &ty.name), ("kind", &ty.kind), ("plural", &ty.plural)] {
            if !self.seen.insert((what, value)) {
                self.problem(&at(what), format!("{value:?} is already that of another type of this plugin"));
            }
        }
        for (field, kinds) in [("owns", &ty.owns), ("observes", &ty.observes)] {
            for kind in kinds.iter().filter(|kind| !is_api_kind(kind)) {
                let shown = format!(
                    "{:?} {:?} is not a kind such as apps/v1 StatefulSet",
                    kind.api_version, kind.kind
                );
                self.problem(&at(field), shown);
            }
        }
        if ty.owns.is_empty() {
            self.problem(&at("owns"), "is empty: a type needs objects to run as".into());
        }
        self.printer_columns(&at("printer-columns"), &ty.printer_columns);
        let schema = self.schema(&at("spec-schema"), &ty.spec_schema)?;
        self.example(&at("example"), &ty.example, &schema);
        Some(ResourceType { wit: ty.clone(), schema })
    }

    fn schema(&mut self, at: &str, text: &str) -> Option<Schema> {
        let schema = self.json(at, text)?;
        match Schema::parse(&schema) {
            Ok(schema) => Some(schema),
            Err(error) => {
                self.problem(at, format!("at {:?}: {}", error.pointer, error.message));
                None
            }
        }
    }

    fn config_schema(&mut self, text: &str) -> Option<Schema> {
        let schema = self.schema("config-schema", text)?;
        let mut nothing = json!({});
        schema.apply_defaults(&mut nothing);
        if let Some(violation) = schema.validate(&nothing).first() {
            let why = format!("must accept {{}}, but then {} {}", violation.path, violation.message);
            self.problem("config-schema", why);
        }
        Some(schema)
    }

    fn example(&mut self, at: &str, text: &str, schema: &Schema) {
        let Some(mut example) = self.json(at, text) else { return };
        schema.apply_defaults(&mut example);
        for violation in schema.validate(&example) {
            let why = format!("{} {}", violation.path, violation.message);
            self.problem(at, format!("is not valid under spec-schema: {}", why.trim_start()));
        }
    }

    fn printer_columns(&mut self, at: &str, text: &str) {
        let Some(columns) = self.json(at, text) else { return };
        let complete = |column: &Value| {
            ["name", "type", "jsonPath"].iter().all(|field| column.get(field).is_some_and(Value::is_string))
        };
        if !columns.as_array().is_some_and(|columns| columns.iter().all(complete)) {
            self.problem(at, "must be a list of objects with name, type and jsonPath".into());
        }
    }

    fn json(&mut self, at: &str, text: &str) -> Option<Value> {
        serde_json::from_str(text).map_err(|error| self.problem(at, format!("is not JSON: {error}"))).ok()
    }

    fn name(&mut self, at: &str, name: &str) {
        if !is_label(name, 40) {
            self.problem(
                at,
                format!("{name:?} must be 1 to 40 of a-z, 0-9 and -, first a letter and last no -"),
            );
        }
    }

    fn problem(&mut self, at: &str, why: String) {
        self.problems.push(format!("{at}: {why}"));
    }
}

fn is_label(text: &str, longest: usize) -> bool {
    text.len() <= longest
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

fn is_kind(text: &str) -> bool {
    text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.chars().all(|c| c.is_ascii_alphanumeric())
}

fn is_api_kind(kind: &wit::ApiKind) -> bool {
    let version = match kind.api_version.split_once('/') {
        Some((group, version)) if !group.is_empty() => version,
        Some(_) => return false,
        None => &kind.api_version,
    };
    is_kind(&kind.kind) && is_label(version, 63) && version.starts_with('v')
}

/// As far as it matters here: three numbers, then anything behind `-` or `+`.
fn is_semantic_version(text: &str) -> bool {
    let numbers = text.split(['-', '+']).next().unwrap_or_default();
    let numeric = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    numbers.split('.').count() == 3 && numbers.split('.').all(numeric)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn descriptor() -> wit::Descriptor {
        let kind = |api_version: &str, kind: &str| wit::ApiKind {
            api_version: api_version.into(),
            kind: kind.into(),
        };
        wit::Descriptor {
            name: "redis".into(),
            version: "1.2.3-rc.1+5".into(),
            types: vec![wit::ResourceType {
                name: "redis-cluster".into(),
                kind: "RedisClusterDatabase".into(),
                plural: "redisclusterdatabases".into(),
                short_names: vec!["rdc".into()],
                spec_schema: json!({"type": "object", "required": ["a"], "properties": {
                    "a": {"type": "integer"}, "b": {"type": "string", "default": "x"}}})
                .to_string(),
                printer_columns: json!([{"name": "A", "type": "integer", "jsonPath": ".spec.a"}]).to_string(),
                example: json!({"a": 1}).to_string(),
                owns: vec![kind("apps/v1", "StatefulSet"), kind("v1", "Service")],
                observes: vec![kind("v1", "Pod")],
                extras: Vec::new(),
            }],
            config_schema: json!({"type": "object"}).to_string(),
            requires: vec!["secret-random".into()],
            extras: vec![("anything".into(), "1".into())],
        }
    }

    /// The message after one thing was made wrong.
    fn refused(spoil: impl FnOnce(&mut wit::Descriptor), message: &str) {
        let mut descriptor = descriptor();
        spoil(&mut descriptor);
        let refusal = check(&descriptor).map(|_| ()).unwrap_err().to_string();
        assert!(refusal.contains(message), "{refusal}");
    }

    #[test]
    fn a_right_description_is_taken() {
        assert_eq!(check(&descriptor()).unwrap().types.len(), 1);
    }

    #[test]
    fn names_must_be_usable_where_they_go() {
        refused(|d| d.name = "Redis".into(), r#"name: "Redis" must be 1 to 40 of a-z"#);
        refused(|d| d.name = "a".repeat(41), "1 to 40");
        refused(|d| d.version = "1.2".into(), r#"version: "1.2" is not a version"#);
        refused(|d| d.types[0].name = "redis-".into(), "last no -");
        refused(|d| d.types[0].kind = "redis".into(), r#"kind: "redis" is not in CamelCase"#);
        refused(|d| d.types[0].plural = "Redises".into(), "lower-case");
        refused(|d| d.types[0].short_names = vec!["".into()], "short-names");
        refused(|d| d.types[0].owns[0].api_version = "apps/".into(), "is not a kind such as");
        refused(|d| d.types[0].owns.clear(), "owns: is empty");
        refused(|d| d.types.clear(), "types: is empty");
        refused(
            |d| d.types.push(d.types[0].clone()),
            r#"name: "redis-cluster" is already that of another type of this plugin"#,
        );
    }

    #[test]
    fn documents_must_be_what_they_claim_to_be() {
        refused(|d| d.types[0].spec_schema = "{".into(), "spec-schema: is not JSON");
        refused(
            |d| d.types[0].spec_schema = r##"{"type":"object","properties":{"a":{"$ref":"#/b"}}}"##.into(),
            r#"spec-schema: at "/properties/a/$ref""#,
        );
        refused(
            |d| d.types[0].example = "{}".into(),
            "example: is not valid under spec-schema: /a is required",
        );
        refused(|d| d.types[0].printer_columns = r#"[{"name":"A"}]"#.into(), "name, type and jsonPath");
        refused(|d| d.config_schema = "{}".into(), "config-schema: at");
        refused(
            |d| {
                d.config_schema =
                    r#"{"type":"object","required":["a"],"properties":{"a":{"type":"string"}}}"#.into();
            },
            "config-schema: must accept {}, but then /a is required",
        );
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let mut descriptor = descriptor();
        descriptor.name = "X".into();
        descriptor.types[0].kind = "x".into();
        let Err(Refusal::Description(problems)) = check(&descriptor) else { panic!("accepted") };
        assert_eq!(problems.len(), 2, "{problems:?}");
    }

    #[test]
    fn what_this_host_lacks_is_named() {
        refused(
            |d| d.requires.push("ask-telepathy".into()),
            "the plugin requires ask-telepathy of its host, which this version of senren does not have",
        );
    }
}
