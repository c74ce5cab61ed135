//! What is there, without what differs from one life to the next for no reason of the plugin's: identities, versions,
//! times, addresses. Two lives that should have come to the same end have the same snapshot.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use senren_kubesim::store::Store;
use senren_reconcile::names;
use serde_json::{Map, Value, json};

/// Kinds that Kubernetes makes and keeps by itself.
const BY_KUBERNETES: [&str; 4] = ["Event", "ControllerRevision", "EndpointSlice", "Endpoints"];
/// How many differences a message lists.
const LISTED: usize = 5;

/// Objects by kind and name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Snapshot {
    objects: BTreeMap<String, Value>,
    /// Secrets have random content, and what is derived from it is random, too.
    secrets: bool,
}

/// The resource's objects in a namespace, as they are.
pub(crate) fn objects(store: &Store, namespace: &str) -> Vec<Arc<Value>> {
    let kinds = store.kinds();
    let of_kind = kinds.iter().filter_map(|kind| store.list(&kind.resource, Some(namespace)).ok());
    of_kind
        .flat_map(|listing| listing.items)
        .filter(|object| {
            let group = object["apiVersion"].as_str().unwrap_or_default();
            let kind = object["kind"].as_str().unwrap_or_default();
            let labels = &object["metadata"]["labels"];
            labels[names::MANAGED_BY] == names::MANAGER
                && !group.starts_with("senren.io/")
                && !BY_KUBERNETES.contains(&kind)
        })
        .collect()
}

/// `StatefulSet check`
pub(crate) fn title(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

impl Snapshot {
    /// Of the resource's objects in a namespace.
    pub(crate) fn take(store: &Store, namespace: &str) -> Self {
        let objects = objects(store, namespace);
        let words = vocabulary(&objects);
        let secrets = objects.iter().any(|object| object["kind"] == "Secret");
        let objects = objects.iter().map(|object| (title(object), reduced(object, &words))).collect();
        Self { objects, secrets }
    }

    /// Without what outlives a change for good reason: claims, which hold data, and Secrets, which protect it.
    pub(crate) fn children(&self) -> Self {
        let mut children = self.clone();
        let outlives =
            |title: &str| title.starts_with("PersistentVolumeClaim ") || title.starts_with("Secret ");
        children.objects.retain(|title, _| !outlives(title));
        children
    }

    /// True where nothing is there.
    pub(crate) fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// What is there: `ConfigMap check, Service check`.
    pub(crate) fn titles(&self) -> String {
        self.objects.keys().cloned().collect::<Vec<_>>().join(", ")
    }

    /// How `other`, of another world, differs from this, in words; `None` where it doesn't.
    pub(crate) fn difference(&self, other: &Snapshot) -> Option<String> {
        let mut found = vec![];
        for (title, object) in &self.objects {
            match other.objects.get(title) {
                None => found.push(format!("{title} is missing")),
                Some(is) => compare(title, "", object, is, self.secrets, &mut found),
            }
        }
        let new = other.objects.keys().filter(|title| !self.objects.contains_key(*title));
        found.extend(new.map(|title| format!("{title} is left over")));
        if found.is_empty() {
            return None;
        }
        let mut text = found.iter().take(LISTED).cloned().collect::<Vec<_>>().join("; ");
        if found.len() > LISTED {
            // Writing to a String can't fail.
            let _ = write!(text, "; and {} more", found.len() - LISTED);
        }
        Some(text)
    }
}

/// The first place where two documents differ, in words.
pub(crate) fn first_difference(before: &Value, after: &Value) -> String {
    let mut found = vec![];
    compare("", "", before, after, false, &mut found);
    found
        .first()
        .map_or_else(|| "nowhere".to_owned(), |first| first.trim_start_matches([':', ' ']).to_owned())
}

/// Texts that stand for an object, and what to call them instead; the longest first.
fn vocabulary(objects: &[Arc<Value>]) -> Vec<(String, String)> {
    let mut words = BTreeMap::new();
    for object in objects {
        let title = title(object);
        let mut word = |value: Option<&Value>, what: &str| {
            if let Some(text) = value.and_then(Value::as_str).filter(|text| text.len() > 3 && *text != "None")
            {
                words.insert(text.to_owned(), format!("<{what} of {title}>"));
            }
        };
        word(object.pointer("/metadata/uid"), "uid");
        word(object.pointer("/spec/clusterIP"), "address");
        word(object.pointer("/status/podIP"), "address");
        word(object["metadata"]["annotations"].get(names::SECRET_VERSION), "version");
        word(object["metadata"]["labels"].get(names::OWNER_UID), "uid of the resource, not");
    }
    let mut words: Vec<_> = words.into_iter().collect();
    words.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
    words
}

/// The part of an object that is somebody's wish.
fn reduced(object: &Value, words: &[(String, String)]) -> Value {
    let kind = object["kind"].as_str().unwrap_or_default();
    let mut reduced = match kind {
        // Made from a template, which is compared where it is.
        "Pod" => json!({}),
        "PersistentVolumeClaim" => json!({"resources": object["spec"]["resources"]}),
        "Secret" => {
            let keys = object["data"].as_object().map(|data| data.keys().cloned().collect::<Vec<_>>());
            json!({"type": object["type"], "keys": keys})
        }
        _ => {
            let mut whole = object.clone();
            if let Some(fields) = whole.as_object_mut() {
                fields.remove("status");
                fields.remove("metadata");
            }
            for token in ["clusterIP", "clusterIPs", "healthCheckNodePort"] {
                if let Some(spec) = whole.get_mut("spec").and_then(Value::as_object_mut) {
                    spec.retain(|name, value| name != token || value == "None");
                }
            }
            whole
        }
    };
    if !matches!(kind, "Pod" | "PersistentVolumeClaim") {
        let mut annotations = object["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
        annotations.retain(|name, _| !name.starts_with(names::RESERVED_PREFIX));
        reduced["annotations"] = Value::Object(annotations);
        reduced["labels"] = object["metadata"]["labels"].clone();
    }
    rename(&mut reduced, words);
    reduced
}

fn rename(value: &mut Value, words: &[(String, String)]) {
    match value {
        Value::String(text) => {
            for (word, name) in words {
                if text.contains(word.as_str()) {
                    *text = text.replace(word, name);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, words)),
        Value::Object(fields) => fields.values_mut().for_each(|field| rename(field, words)),
        _ => {}
    }
}

fn compare(title: &str, path: &str, wanted: &Value, is: &Value, secrets: bool, found: &mut Vec<String>) {
    let empty = Map::new();
    match (wanted, is) {
        (Value::Object(_), Value::Object(_)) => {
            let fields = |value: &Value| value.as_object().unwrap_or(&empty).clone();
            let (wanted, is) = (fields(wanted), fields(is));
            let mut names: Vec<&String> = wanted.keys().chain(is.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                let at = format!("{path}.{name}");
                let of = |fields: &Map<String, Value>| fields.get(name).cloned().unwrap_or_default();
                compare(title, &at, &of(&wanted), &of(&is), secrets, found);
            }
        }
        (Value::Array(wanted), Value::Array(is)) if wanted.len() == is.len() => {
            for (index, (wanted, is)) in wanted.iter().zip(is).enumerate() {
                compare(title, &format!("{path}[{index}]"), wanted, is, secrets, found);
            }
        }
        _ if wanted == is || (secrets && path.contains("annotations") && digests(wanted, is)) => {}
        _ => found.push(format!("{title}: {} is {is}, and was {wanted}", path.trim_start_matches('.'))),
    }
}

/// True where both look like checksums, as of a Secret's version, which is another one in every life.
fn digests(a: &Value, b: &Value) -> bool {
    let digest = |value: &Value| {
        value.as_str().is_some_and(|text| {
            text.len() >= 8 && text.chars().all(|c| c.is_ascii_alphanumeric() || "+/=-_:".contains(c))
        })
    };
    let length = |value: &Value| value.as_str().map(str::len);
    digest(a) && digest(b) && length(a) == length(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(object: Value, secrets: bool) -> Snapshot {
        Snapshot { objects: [("ConfigMap x".to_owned(), object)].into(), secrets }
    }

    fn check(wanted: Value, is: Value, secrets: bool, difference: Option<&str>) {
        let found = snapshot(wanted, secrets).difference(&snapshot(is, secrets));
        assert_eq!(found.as_deref(), difference);
    }

    #[test]
    fn a_difference_is_told_by_its_place() {
        check(json!({"data": {"a": "1"}}), json!({"data": {"a": "1"}}), false, None);
        check(
            json!({"data": {"a": ["1", "2"]}}),
            json!({"data": {"a": ["1", "3"], "b": 1}}),
            false,
            Some("ConfigMap x: data.a[1] is \"3\", and was \"2\"; ConfigMap x: data.b is 1, and was null"),
        );
    }

    #[test]
    fn checksums_of_random_content_differ_for_no_reason_of_the_plugin() {
        let annotated = |text: &str| json!({"annotations": {"checksum": text}});
        check(annotated("0123456789abcdef"), annotated("fedcba9876543210"), true, None);
        let difference =
            "ConfigMap x: annotations.checksum is \"fedcba9876543210\", and was \"0123456789abcdef\"";
        check(annotated("0123456789abcdef"), annotated("fedcba9876543210"), false, Some(difference));
    }

    #[test]
    fn identities_and_addresses_are_called_by_what_they_are_of() {
        let service = Arc::new(json!({
            "kind": "Service", "metadata": {"name": "x", "uid": "0000-1111"}, "spec": {"clusterIP": "127.80.0.9"},
        }));
        let config = Arc::new(json!({
            "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"to": "127.80.0.9:1 0000-1111"},
        }));
        let words = vocabulary(&[service, config.clone()]);
        let to = reduced(&config, &words)["data"]["to"].clone();
        assert_eq!(to, "<address of Service x>:1 <uid of Service x>");
    }
}
