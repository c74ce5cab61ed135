//! Server-side apply: a manager says what it wants of an object, and owns exactly that.
//!
//! `fields` are sets of fields, `merge` works on values by their shape, `managed` keeps who owns what.

pub mod fields;
pub mod managed;
pub mod merge;

use serde_json::{Value, json};

use crate::admit;
use crate::kinds::{GroupResource, Kind};
use crate::shape::{Grain, Shape};
use crate::status::{self, Cause, Result};
use crate::store::{Key, Object, State, Store, uid_of};
use crate::write::{self, Made, Part, Write};
use managed::{Actor, Managed};

impl Store {
    /// Server-side apply. Creates the object if it isn't there (main part only). The flag says whether it did.
    pub fn apply(
        &self,
        what: &GroupResource,
        part: Part,
        key: &Key,
        config: Value,
        force: bool,
        by: &Write,
    ) -> Result<(Object, bool)> {
        self.transact(|state| state.apply(what, part, key, config, force, by))
    }
}

impl State {
    fn apply(
        &mut self,
        what: &GroupResource,
        part: Part,
        key: &Key,
        mut config: Value,
        force: bool,
        by: &Write,
    ) -> Result<(Object, bool)> {
        let table = self.table(what)?;
        let kind = table.kind.clone();
        let exists = table.objects.contains_key(key);
        check_config(&kind, &config)?;
        write::check_identity(&kind, key, &config)?;
        if let Some(uid) = config["metadata"]["uid"].as_str()
            && let Some(live) = table.objects.get(key)
            && uid_of(live) != Some(uid)
        {
            let cause = Cause::invalid("metadata.uid", &uid.into(), "field is immutable");
            return Err(status::invalid(&kind.kind, &kind.resource.group, &key.name, &[cause]));
        }
        // What is said counts as owned even where it says nothing (`data: {}`, `labels: null`).
        let said = config.clone();
        let version = config["apiVersion"].as_str().unwrap_or_default().to_owned();
        let actor = Actor { manager: &by.manager, part, api_version: &version };
        if exists {
            let object = self.rewrite(what, part, key, by, |live, managed| {
                config["apiVersion"] = live["apiVersion"].clone();
                admit::decode_config(&kind, &mut config)?;
                let mut merged = managed.apply(live, &config, &said, &kind, actor, force)?;
                if let Some(meta) = config["metadata"].as_object() {
                    for precondition in ["resourceVersion", "uid"] {
                        if let Some(value) = meta.get(precondition) {
                            merged["metadata"][precondition] = value.clone();
                        }
                    }
                }
                Ok(Made::Applied(merged))
            })?;
            return Ok((object, false));
        }
        if part == Part::Status {
            return Err(status::not_found(what, &key.name));
        }
        if let Some(uid) = config["metadata"]["uid"].as_str() {
            let detail = format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            );
            return Err(status::conflict(what, &key.name, &detail));
        }
        admit::decode_config(&kind, &mut config)?;
        let mut managed = Managed::default();
        let empty = json!({"apiVersion": config["apiVersion"], "kind": config["kind"]});
        let merged = managed.apply(&empty, &config, &said, &kind, actor, force)?;
        let object = self.insert(&kind, &key.namespace, merged, by, Some(managed))?;
        Ok((object, true))
    }
}

/// What can't be applied at all.
fn check_config(kind: &Kind, config: &Value) -> Result<()> {
    if config["metadata"].get("managedFields").is_some_and(|fields| !fields.is_null()) {
        return Err(status::bad_request("metadata.managedFields must be nil"));
    }
    let (version, told) = (text(&config["apiVersion"]), text(&config["kind"]));
    if version.is_empty() || told != kind.kind {
        let version = group_version(version);
        return Err(status::bad_request(format!("invalid object type: {version}, Kind={told}")));
    }
    check_lists(config, &kind.shape, "").map_err(|problem| no_patch(kind, config, &problem))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A group and version as a real server's messages have them: `/v1` is that of the core group.
fn group_version(version: &str) -> String {
    if version.contains('/') { version.to_owned() } else { format!("/{version}") }
}

/// What is applied can't be understood.
pub(crate) fn no_patch(kind: &Kind, config: &Value, problem: &str) -> Box<kube::core::Status> {
    let meta = &config["metadata"];
    status::internal_plain(format!(
        "failed to create typed patch object ({}/{}; {}, Kind={}): {problem}",
        text(&meta["namespace"]),
        text(&meta["name"]),
        group_version(text(&config["apiVersion"])),
        kind.kind
    ))
}

/// Items of associative lists must have their keys, and only once.
fn check_lists(value: &Value, shape: &Shape, path: &str) -> std::result::Result<(), String> {
    match (shape.grain(value), value) {
        (Grain::Fields, Value::Object(fields)) => {
            for (name, inner) in fields {
                check_lists(inner, shape.field(name).0, &format!("{path}.{name}"))?;
            }
            Ok(())
        }
        (grain @ (Grain::Items(_) | Grain::Set), Value::Array(items)) => {
            let mut seen = Vec::with_capacity(items.len());
            for (at, item) in items.iter().enumerate() {
                let Some(step) = fields::Step::item(grain, item) else {
                    let keys = serde_json::to_string(&grain.keys()).unwrap_or_default();
                    return Err(format!(
                        "{path}: element {at}: associative list with keys has an element that omits all key fields {keys} \
                         (and doesn't have default values for any key fields)"
                    ));
                };
                if seen.contains(&step) {
                    return Err(format!("{path}: duplicate entries for key {}", step.display()));
                }
                check_lists(item, shape.item(), &format!("{path}{}", step.display()))?;
                seen.push(step);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
