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
use crate::status::{self, Result};
use crate::store::{Key, Object, State, Store};
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
        let version = config["apiVersion"].as_str().unwrap_or_default().to_owned();
        let actor = Actor { manager: &by.manager, part, api_version: &version };
        if exists {
            let object = self.rewrite(what, part, key, by, |live, managed| {
                config["apiVersion"] = live["apiVersion"].clone();
                admit::decode_config(&kind, &mut config)?;
                let mut merged = managed.apply(live, &config, &kind, actor, force)?;
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
        let merged = managed.apply(&empty, &config, &kind, actor, force)?;
        let object = self.insert(&kind, &key.namespace, merged, by, Some(managed))?;
        Ok((object, true))
    }
}

/// What can't be applied at all.
fn check_config(kind: &Kind, config: &Value) -> Result<()> {
    if config["metadata"].get("managedFields").is_some_and(|fields| !fields.is_null()) {
        return Err(status::bad_request("metadata.managedFields must be nil"));
    }
    check_lists(config, &kind.shape, "").map_err(|problem| {
        let name = config["metadata"]["name"].as_str().unwrap_or_default();
        let group_version = config["apiVersion"].as_str().unwrap_or_default();
        status::internal_plain(format!(
            "failed to create typed patch object ({}/{name}; {group_version}, Kind={}): {problem}",
            config["metadata"]["namespace"].as_str().unwrap_or_default(),
            kind.kind
        ))
    })
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
                    return Err(format!(
                        "{path}: element {at}: associative list with keys has an element that omits a key field"
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
