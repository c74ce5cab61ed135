//! Custom resource definitions: what must hold for one, and the kind that each makes.
//!
//! A definition is established asynchronously, as in a real cluster; from then on changes of it take effect at
//! once. Definitions with several versions, conversion or CEL rules are refused (501) rather than half obeyed.

use std::sync::Arc;

use senren_schema::Schema;
use serde_json::{Value, json};

use crate::admit::set;
use crate::apply::managed::now;
use crate::custom::{Custom, dotted};
use crate::delete::DeleteOptions;
use crate::kinds::{self, GroupResource, Kind};
use crate::service::printed;
use crate::shape;
use crate::status::{self, Cause, Result};
use crate::store::{Key, State, Store};
use crate::write::{Part, Write};

const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Defaults of a definition.
pub(crate) fn default(definition: &mut Value) {
    let spec = &mut definition["spec"];
    if !spec.is_object() {
        return;
    }
    let kind = spec["names"]["kind"].as_str().unwrap_or_default().to_owned();
    set(&mut spec["names"], "singular", kind.to_lowercase());
    set(&mut spec["names"], "listKind", format!("{kind}List"));
    set(spec, "conversion", json!({"strategy": "None"}));
}

/// What a new definition begins with.
pub(crate) fn complete(definition: &mut Value) {
    let stored =
        definition["spec"]["versions"].as_array().into_iter().flatten().find(|v| v["storage"] == true);
    let stored: Vec<Value> = stored.map(|v| v["name"].clone()).into_iter().collect();
    definition["status"] = json!({
        "conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored,
    });
}

/// A definition that is being deleted stays until its objects are gone.
pub(crate) fn hold(definition: &mut Value) {
    let meta = &mut definition["metadata"];
    let mut finalizers = meta["finalizers"].as_array().cloned().unwrap_or_default();
    if !finalizers.iter().any(|f| f == CLEANUP) {
        finalizers.push(CLEANUP.into());
    }
    meta["finalizers"] = finalizers.into();
    let status = &mut definition["status"];
    condition(status, "Terminating", "True", "InstanceDeletionPending", "CustomResource deletion is pending");
}

/// What is wrong with a definition.
pub(crate) fn check(old: Option<&Value>, definition: &Value) -> Result<Vec<Cause>> {
    let spec = &definition["spec"];
    let mut causes = Vec::new();
    for field in ["group", "scope", "names.plural", "names.kind"] {
        let value = field.split('.').fold(spec, |value, part| &value[part]);
        if value.as_str().is_none_or(str::is_empty) {
            causes.push(Cause::required(format!("spec.{field}"), ""));
        }
    }
    if spec["scope"].as_str().is_some_and(|scope| !["Cluster", "Namespaced"].contains(&scope)) {
        causes.push(Cause::not_supported("spec.scope", &spec["scope"], &["Cluster", "Namespaced"]));
    }
    let wanted = format!(
        "{}.{}",
        spec["names"]["plural"].as_str().unwrap_or_default(),
        spec["group"].as_str().unwrap_or_default()
    );
    if definition["metadata"]["name"] != wanted.as_str() {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        causes.push(Cause::invalid("metadata.name", &definition["metadata"]["name"], detail));
    }
    if let Some(old) = old
        && is_established(old)
    {
        for field in ["group", "scope"] {
            if old["spec"][field] != spec[field] {
                causes.push(Cause::invalid(format!("spec.{field}"), &spec[field], "field is immutable"));
            }
        }
        for field in ["plural", "kind"] {
            if old["spec"]["names"][field] != spec["names"][field] {
                let value = &spec["names"][field];
                causes.push(Cause::invalid(format!("spec.names.{field}"), value, "field is immutable"));
            }
        }
    }
    check_versions(&mut causes, spec)?;
    Ok(causes)
}

fn check_versions(causes: &mut Vec<Cause>, spec: &Value) -> Result<()> {
    if spec["conversion"]["strategy"].as_str().is_some_and(|strategy| strategy != "None") {
        return Err(status::not_implemented("conversion between versions of a CustomResourceDefinition"));
    }
    let versions = spec["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let [version] = versions else {
        if versions.is_empty() {
            causes.push(Cause::required("spec.versions", "must have at least one version"));
            return Ok(());
        }
        return Err(status::not_implemented("CustomResourceDefinitions with several versions"));
    };
    if version["storage"] != true {
        let detail = "must have exactly one version marked as storage version";
        causes.push(Cause::invalid("spec.versions", &spec["versions"], detail));
    }
    let path = "spec.versions[0].schema.openAPIV3Schema";
    let Some(schema) = version["schema"].get("openAPIV3Schema") else {
        causes.push(Cause::required(path, ""));
        return Ok(());
    };
    if uses_rules(schema) {
        return Err(status::not_implemented("x-kubernetes-validations (CEL) in CustomResourceDefinitions"));
    }
    printed(version).map_err(status::not_implemented)?;
    if let Err(error) = Schema::parse_crd(schema) {
        let field =
            format!("{path}{}{}", if error.pointer.is_empty() { "" } else { "." }, dotted(&error.pointer));
        let value = schema.pointer(&error.pointer).cloned().unwrap_or_default();
        causes.push(Cause::invalid(field, &value, &error.message));
    }
    Ok(())
}

fn uses_rules(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => {
            fields.contains_key("x-kubernetes-validations") || fields.values().any(uses_rules)
        }
        Value::Array(items) => items.iter().any(uses_rules),
        _ => false,
    }
}

/// The kind that a definition makes.
fn kind_of(definition: &Value) -> Option<Kind> {
    let spec = &definition["spec"];
    let version = spec["versions"].get(0)?;
    let source = version["schema"].get("openAPIV3Schema")?;
    let names = &spec["names"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
    let status = version["subresources"].get("status").is_some();
    Some(Kind {
        resource: GroupResource::new(text(&spec["group"]), text(&names["plural"])),
        versions: vec![text(&version["name"])],
        storage: text(&version["name"]),
        kind: text(&names["kind"]),
        list_kind: text(&names["listKind"]),
        singular: text(&names["singular"]),
        short_names: list(&names["shortNames"]),
        categories: list(&names["categories"]),
        namespaced: spec["scope"] == "Namespaced",
        status,
        generation: true,
        shape: shape::of_schema(source),
        custom: Some(Custom::new(
            text(&definition["metadata"]["name"]),
            source,
            status,
            printed(version).unwrap_or_default(),
        )?),
    })
}

/// Refuses new objects of a definition that is on its way out.
pub(crate) fn check_open(state: &State, kind: &Kind, name: &str) -> Result<()> {
    let Some(custom) = &kind.custom else { return Ok(()) };
    let definition = state.table(&kinds::DEFINITIONS)?.objects.get(&Key::new("", &custom.definition));
    if definition.is_some_and(|definition| definition["metadata"].get("deletionTimestamp").is_some()) {
        let detail = "create not allowed while custom resource definition is terminating";
        return Err(status::forbidden(&kind.resource, name, detail));
    }
    Ok(())
}

fn is_established(definition: &Value) -> bool {
    let conditions = definition["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == "Established" && c["status"] == "True")
}

/// Serves what an established definition says now.
pub(crate) fn follow(state: &mut State, definition: &Value) {
    if !is_established(definition) {
        return;
    }
    if let Some(kind) = kind_of(definition) {
        state.serve(Arc::new(kind));
    }
}

/// Stops to serve what a definition that is gone had made.
pub(crate) fn unfollow(state: &mut State, definition: &Value) {
    if !is_established(definition) {
        return;
    }
    let (group, plural) =
        (definition["spec"]["group"].as_str(), definition["spec"]["names"]["plural"].as_str());
    if let (Some(group), Some(plural)) = (group, plural) {
        state.unserve(&GroupResource::new(group, plural));
    }
}

/// Accepts the names of a definition and serves it; or, when it is being deleted, deletes its objects first.
pub(crate) fn establish(store: &Store, name: &str) -> Result<()> {
    let definition = store.get(&kinds::DEFINITIONS, "", name)?;
    if definition["metadata"].get("deletionTimestamp").is_some() {
        return clean_up(store, name, &definition);
    }
    let Some(kind) = kind_of(&definition) else { return Ok(()) };
    let taken = store.kinds().into_iter().find_map(|other| {
        let own = other.custom.as_ref().is_some_and(|custom| custom.definition == name);
        (!own && other.resource.group == kind.resource.group).then(|| clash(&kind, &other)).flatten()
    });
    let by = Write::by("kube-apiserver");
    store.modify(&kinds::DEFINITIONS, Part::Status, "", name, &by, |definition| {
        let names = definition["spec"]["names"].clone();
        let status = &mut definition["status"];
        match taken {
            None => {
                status["acceptedNames"] = names;
                condition(status, "NamesAccepted", "True", "NoConflicts", "no conflicts found");
                condition(
                    status,
                    "Established",
                    "True",
                    "InitialNamesAccepted",
                    "the initial names have been accepted",
                );
            }
            Some((reason, message)) => {
                condition(status, "NamesAccepted", "False", reason, &message);
                if !conditions_hold(status) {
                    condition(status, "Established", "False", "NotAccepted", "not all names are accepted");
                }
            }
        }
    })?;
    Ok(())
}

fn conditions_hold(status: &Value) -> bool {
    is_established(&json!({"status": status}))
}

/// The name that another kind of the group has already. A real server reports the last conflict it finds, in
/// the order plural, singular, short names, kind, list kind; this looks from the end.
fn clash(kind: &Kind, other: &Kind) -> Option<(&'static str, String)> {
    let mut words = vec![other.resource.plural.to_string(), other.singular.clone()];
    words.extend(other.short_names.iter().cloned());
    let kinds = [&other.kind, &other.list_kind];
    let found = if kinds.contains(&&kind.list_kind) {
        ("ListKindConflict", &kind.list_kind)
    } else if kinds.contains(&&kind.kind) {
        ("KindConflict", &kind.kind)
    } else if let Some(short) = kind.short_names.iter().find(|short| words.contains(short)) {
        ("ShortNamesConflict", short)
    } else if words.contains(&kind.singular) {
        ("SingularConflict", &kind.singular)
    } else {
        return None;
    };
    Some((found.0, format!("{:?} is already in use", found.1)))
}

fn condition(status: &mut Value, type_: &str, value: &str, reason: &str, message: &str) {
    let mut new = json!({"type": type_, "status": value, "reason": reason, "message": message,
        "lastTransitionTime": now()});
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(conditions) = status["conditions"].as_array_mut() else { return };
    match conditions.iter_mut().find(|c| c["type"] == type_) {
        Some(old) => {
            if old["status"] == value {
                new["lastTransitionTime"] = old["lastTransitionTime"].take();
            }
            *old = new;
        }
        None => conditions.push(new),
    }
}

fn clean_up(store: &Store, name: &str, definition: &Value) -> Result<()> {
    let Some(kind) = kind_of(definition) else { return Ok(()) };
    let own = store.kind(&kind.resource).filter(|k| k.custom.as_ref().is_some_and(|c| c.definition == name));
    if own.is_some() {
        for object in store.list(&kind.resource, None)?.items {
            if object["metadata"].get("deletionTimestamp").is_none() {
                let key = crate::store::key_of(&object);
                store.delete(&kind.resource, &key.namespace, &key.name, &DeleteOptions::default())?;
            }
        }
        if !store.list(&kind.resource, None)?.items.is_empty() {
            return Ok(());
        }
    }
    store.try_modify(
        &kinds::DEFINITIONS,
        Part::Main,
        &Key::new("", name),
        &Write::by("kube-apiserver"),
        |definition| {
            if let Some(finalizers) = definition["metadata"]["finalizers"].as_array_mut() {
                finalizers.retain(|f| f != CLEANUP);
            }
            Ok(())
        },
    )?;
    Ok(())
}
