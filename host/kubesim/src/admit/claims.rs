//! Rules of PersistentVolumeClaims, Secrets and ConfigMaps: short, and mostly about what can't change.

use serde_json::Value;

use super::immutable;
use crate::kinds::{self, GroupResource};
use crate::status::Cause;

/// What is wrong with a claim.
pub fn check(old: Option<&Value>, claim: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if claim["spec"]["accessModes"].as_array().is_none_or(Vec::is_empty) {
        causes.push(Cause::required("spec.accessModes", "at least 1 access mode is required"));
    }
    if claim["spec"]["resources"]["requests"].get("storage").is_none() {
        causes.push(Cause::required("spec.resources[storage]", ""));
    }
    if let Some(old) = old
        && fixed(&old["spec"]) != fixed(&claim["spec"])
    {
        let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for \
                      bound claims";
        causes.push(Cause::forbidden("spec", detail));
    }
    causes
}

/// Who binds a claim sets its volume; a bound claim may grow.
fn fixed(spec: &Value) -> Value {
    let mut fixed = spec.clone();
    if let Some(fields) = fixed.as_object_mut() {
        for field in ["volumeName", "volumeAttributesClassName", "storageClassName", "resources"] {
            fields.remove(field);
        }
    }
    fixed
}

/// What is wrong with a Secret or a ConfigMap.
pub fn check_data(what: &GroupResource, old: Option<&Value>, object: &Value) -> Vec<Cause> {
    const LIMIT: usize = 1024 * 1024;
    let mut causes = Vec::new();
    let mut size = 0;
    for field in ["data", "binaryData"] {
        for (key, value) in object[field].as_object().into_iter().flatten() {
            size += value.as_str().map_or(0, str::len);
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if key.is_empty() || key.len() > 253 || !key.chars().all(allowed) {
                let detail = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. \
                              'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is \
                              '[-._a-zA-Z0-9]+')";
                causes.push(Cause::invalid(format!("{field}[{key}]"), &Value::from(key.as_str()), detail));
            }
        }
    }
    if size > LIMIT {
        let field = if *what == kinds::SECRETS { "data" } else { "" };
        let message = format!("Too long: may not be more than {LIMIT} bytes");
        causes.push(Cause { reason: "FieldValueTooLong", field: field.into(), message });
    }
    let Some(old) = old else { return causes };
    if *what == kinds::SECRETS {
        immutable(&mut causes, old, object, "type");
    }
    if old["immutable"] == true {
        let detail = "field is immutable when `immutable` is set";
        for field in ["immutable", "data", "binaryData"] {
            if old[field] != object[field] {
                causes.push(Cause::forbidden(field, detail));
            }
        }
    }
    causes
}
