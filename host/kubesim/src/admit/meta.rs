//! Rules of `metadata`, the same for every kind.

use serde_json::Value;

use super::names;
use crate::kinds::{self, Kind};
use crate::status::Cause;
use crate::store::Key;

/// What is wrong with an object's metadata.
pub fn check(kind: &Kind, key: &Key, old: Option<&Value>, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let meta = &object["metadata"];
    if old.is_none()
        && let Some(problem) = check_name(kind, &key.name)
    {
        causes.push(Cause::invalid("metadata.name", &Value::from(key.name.as_str()), &problem));
    }
    check_labels(&mut causes, &meta["labels"], "metadata.labels");
    check_annotations(&mut causes, &meta["annotations"]);
    check_owners(&mut causes, &meta["ownerReferences"]);
    check_finalizers(kind, &mut causes, old, meta);
    causes
}

fn check_name(kind: &Kind, name: &str) -> Option<String> {
    if [kinds::NAMESPACES, kinds::SERVICES].contains(&kind.resource) {
        names::undotted_label(name)
    } else {
        names::subdomain(name)
    }
}

/// Keys and values of labels.
pub(crate) fn check_labels(causes: &mut Vec<Cause>, labels: &Value, path: &str) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        if let Some(problem) = names::qualified(key) {
            causes.push(Cause::invalid(path, &Value::from(key.as_str()), &problem));
        }
        if let Some(problem) = names::label_value(value.as_str().unwrap_or_default()) {
            causes.push(Cause::invalid(path, value, &problem));
        }
    }
}

fn check_annotations(causes: &mut Vec<Cause>, annotations: &Value) {
    const LIMIT: usize = 256 * 1024;
    let mut size = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        size += key.len() + value.as_str().map_or(0, str::len);
        if let Some(problem) = names::qualified(&key.to_lowercase()) {
            causes.push(Cause::invalid("metadata.annotations", &Value::from(key.as_str()), &problem));
        }
    }
    if size > LIMIT {
        let message = format!("Too long: may not be more than {LIMIT} bytes");
        causes.push(Cause { reason: "FieldValueTooLong", field: "metadata.annotations".into(), message });
    }
}

fn check_owners(causes: &mut Vec<Cause>, owners: &Value) {
    let mut controller: Option<&Value> = None;
    for owner in owners.as_array().into_iter().flatten() {
        for (field, detail) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if owner[field].as_str().is_none_or(str::is_empty) {
                let path = format!("metadata.ownerReferences.{field}");
                causes.push(Cause::invalid(path, &Value::from(""), detail));
            }
        }
        if owner["controller"] == true {
            if let Some(first) = controller {
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {}/{} and {}/{}",
                    text(first, "kind"),
                    text(first, "name"),
                    text(owner, "kind"),
                    text(owner, "name"),
                );
                causes.push(Cause::invalid("metadata.ownerReferences", owners, &detail));
            }
            controller = Some(owner);
        }
    }
}

/// Finalizers of built-in kinds that need no domain.
const STANDARD: [&str; 3] = ["kubernetes", crate::delete::ORPHAN, crate::delete::FOREGROUND];

fn check_finalizers(kind: &Kind, causes: &mut Vec<Cause>, old: Option<&Value>, meta: &Value) {
    let list = |meta: &Value| -> Vec<String> {
        let items = meta["finalizers"].as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let now = list(meta);
    for finalizer in &now {
        if let Some(problem) = names::qualified(finalizer) {
            causes.push(Cause::invalid("metadata.finalizers", &Value::from(finalizer.as_str()), &problem));
        }
    }
    if kind.custom.is_none() {
        let plain =
            now.iter().enumerate().filter(|(_, own)| !own.contains('/') && !STANDARD.contains(&own.as_str()));
        for (at, finalizer) in plain {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            let value = Value::from(finalizer.as_str());
            causes.push(Cause::invalid(format!("metadata.finalizers[{at}]"), &value, detail));
        }
    }
    let Some(old) = old else { return };
    if meta.get("deletionTimestamp").is_none() {
        return;
    }
    let before = list(&old["metadata"]);
    let new: Vec<String> =
        now.into_iter().filter(|f| !before.contains(f)).map(|f| format!("{f:?}")).collect();
    // A deletion marks the object and adds its finalizer in one step; later writes can't add any.
    if !new.is_empty() && old["metadata"].get("deletionTimestamp").is_some() {
        let detail = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            new.join(", ")
        );
        causes.push(Cause::forbidden("metadata.finalizers", &detail));
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}
