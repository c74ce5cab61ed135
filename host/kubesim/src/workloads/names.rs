//! Small rules of Kubernetes about names, owners and labels that several controllers share.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Value, json};

/// A hash of a text in the alphabet that Kubernetes uses for generated names (no vowels, no look-alikes).
/// FNV-1a, so that it is the same on every machine and in every version.
#[must_use]
pub fn short_hash(text: &str, length: usize) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut out = String::with_capacity(length);
    for _ in 0..length {
        out.push(char::from(ALPHABET[(hash % ALPHABET.len() as u64) as usize]));
        hash /= ALPHABET.len() as u64;
    }
    out
}

/// The reference by which `owner` controls its dependents.
#[must_use]
pub fn controller_reference(api_version: &str, kind: &str, owner: &Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true})
}

/// The uid of an object's controller.
#[must_use]
pub fn controller_of(object: &Value) -> Option<&str> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    owners.iter().find(|owner| owner["controller"] == true).and_then(|owner| owner["uid"].as_str())
}

/// The labels of an object.
#[must_use]
pub fn labels_of(object: &Value) -> BTreeMap<&str, &str> {
    let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
    labels.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect()
}

/// Whether an object is being deleted.
#[must_use]
pub fn is_terminating(object: &Value) -> bool {
    object["metadata"].get("deletionTimestamp").is_some_and(|time| !time.is_null())
}

/// Whether a selector selects these labels. An empty one selects everything, an unknown operator nothing.
#[must_use]
pub fn selects(selector: &LabelSelector, labels: &BTreeMap<&str, &str>) -> bool {
    let mut pairs = selector.match_labels.iter().flatten();
    let mut expressions = selector.match_expressions.iter().flatten();
    pairs.all(|(key, value)| labels.get(key.as_str()) == Some(&value.as_str()))
        && expressions.all(|expression| {
            let value = labels.get(expression.key.as_str());
            let listed = || {
                let values = expression.values.as_deref().unwrap_or_default();
                value.is_some_and(|value| values.iter().any(|one| one == value))
            };
            match expression.operator.as_str() {
                "In" => listed(),
                "NotIn" => !listed(),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_hash_never_changes() {
        assert_eq!(short_hash("senren", 10), short_hash("senren", 10));
        assert_ne!(short_hash("senren", 10), short_hash("senrem", 10));
        assert_eq!(short_hash("", 10).len(), 10);
    }

    #[test]
    fn a_selector_needs_all_its_parts() {
        let labels = BTreeMap::from([("app", "db"), ("tier", "cache")]);
        let check = |selector: Value, wanted: bool| {
            let selector: LabelSelector = serde_json::from_value(selector).unwrap();
            assert_eq!(selects(&selector, &labels), wanted, "{selector:?}");
        };
        let expression = |operator: &str, values: &[&str]| {
            json!({"matchLabels": {"app": "db"},
                "matchExpressions": [{"key": "tier", "operator": operator, "values": values}]})
        };
        check(json!({}), true);
        check(json!({"matchLabels": {"app": "web"}}), false);
        check(expression("In", &["cache", "x"]), true);
        check(expression("NotIn", &["cache"]), false);
        check(expression("Exists", &[]), true);
        check(expression("DoesNotExist", &[]), false);
        check(expression("Near", &["cache"]), false);
    }
}
