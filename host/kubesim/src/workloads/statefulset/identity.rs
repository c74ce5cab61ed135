//! What makes a pod the n-th of its set: name, labels, claims, host name.
//!
//! Templates stay JSON: what we don't know of them must come out as it went in.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::{Value, json};

use crate::workloads::names::controller_reference;

/// The label that says which revision a pod was made from.
pub const REVISION_LABEL: &str = "controller-revision-hash";
const POD_NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
const INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

/// The set and ordinal that a pod's name stands for.
#[must_use]
pub fn parse(pod: &str) -> Option<(&str, i32)> {
    let (set, ordinal) = pod.rsplit_once('-')?;
    let canonical =
        ordinal == "0" || (!ordinal.starts_with('0') && ordinal.bytes().all(|byte| byte.is_ascii_digit()));
    (!set.is_empty() && canonical).then(|| ordinal.parse().ok().map(|ordinal| (set, ordinal))).flatten()
}

/// The n-th pod from this template.
#[must_use]
pub fn pod(set: &Value, template: &Value, revision: &str, ordinal: i32) -> Value {
    let set_name = set["metadata"]["name"].as_str().unwrap_or_default();
    let name = format!("{set_name}-{ordinal}");
    let mut metadata = json!({
        "name": name,
        "generateName": format!("{set_name}-"),
        "namespace": set["metadata"]["namespace"],
        "labels": template["metadata"]["labels"],
        "ownerReferences": [controller_reference("apps/v1", "StatefulSet", set)],
    });
    for field in ["annotations", "finalizers"] {
        if let Some(value) = template["metadata"].get(field) {
            metadata[field] = value.clone();
        }
    }
    metadata["labels"][POD_NAME_LABEL] = json!(name);
    metadata["labels"][INDEX_LABEL] = json!(ordinal.to_string());
    metadata["labels"][REVISION_LABEL] = json!(revision);
    let mut spec = template["spec"].clone();
    spec["hostname"] = json!(name);
    if let Some(service) = set["spec"]["serviceName"].as_str().filter(|service| !service.is_empty()) {
        spec["subdomain"] = json!(service);
    }
    spec["volumes"] = volumes(set, &spec, &name);
    if spec["volumes"] == json!([]) {
        spec.as_object_mut().map(|spec| spec.remove("volumes"));
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}

/// The template's volumes, with those of claim templates in the place of any with the same name.
fn volumes(set: &Value, spec: &Value, pod: &str) -> Value {
    let templates = set["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten();
    let names: Vec<&str> = templates.filter_map(|template| template["metadata"]["name"].as_str()).collect();
    let given = spec["volumes"].as_array().into_iter().flatten();
    let kept =
        given.filter(|volume| volume["name"].as_str().is_none_or(|name| !names.contains(&name))).cloned();
    let claims = names
        .iter()
        .map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": format!("{name}-{pod}")}}));
    claims.chain(kept).collect()
}

/// The claims of the n-th pod.
#[must_use]
pub fn claims(set: &StatefulSet, raw: &Value, ordinal: i32) -> Vec<Value> {
    let set_name = set.metadata.name.as_deref().unwrap_or_default();
    let selected: BTreeMap<_, _> = set.spec.selector.match_labels.clone().unwrap_or_default();
    let templates = raw["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten();
    templates
        .map(|template| {
            let name = template["metadata"]["name"].as_str().unwrap_or_default();
            let mut labels = json!(template["metadata"]["labels"].as_object().cloned().unwrap_or_default());
            selected.iter().for_each(|(key, value)| labels[key] = json!(value));
            let mut metadata = json!({
                "name": format!("{name}-{set_name}-{ordinal}"),
                "namespace": raw["metadata"]["namespace"],
                "labels": labels,
            });
            if let Some(annotations) = template["metadata"].get("annotations") {
                metadata["annotations"] = annotations.clone();
            }
            let spec = &template["spec"];
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec})
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_pod_name_is_a_set_and_an_ordinal() {
        let check = |name, wanted| assert_eq!(parse(name), wanted, "{name}");
        check("db-0", Some(("db", 0)));
        check("my-db-12", Some(("my-db", 12)));
        check("db-01", None);
        check("db-x", None);
        check("db", None);
        check("-1", None);
        check("db-", None);
    }

    #[test]
    fn a_pod_has_the_identity_of_its_ordinal_and_the_claims_of_its_name() {
        let set = json!({
            "metadata": {"name": "db", "namespace": "ns", "uid": "u"},
            "spec": {"serviceName": "db", "volumeClaimTemplates": [{"metadata": {"name": "data"}}]},
        });
        let template = json!({
            "metadata": {"labels": {"app": "db"}, "annotations": {"a": "b"}},
            "spec": {"containers": [], "volumes": [{"name": "data", "emptyDir": {}}, {"name": "conf", "configMap": {}}]},
        });
        insta::assert_json_snapshot!(pod(&set, &template, "db-abc", 3), @r#"
        {
          "apiVersion": "v1",
          "kind": "Pod",
          "metadata": {
            "annotations": {
              "a": "b"
            },
            "generateName": "db-",
            "labels": {
              "app": "db",
              "apps.kubernetes.io/pod-index": "3",
              "controller-revision-hash": "db-abc",
              "statefulset.kubernetes.io/pod-name": "db-3"
            },
            "name": "db-3",
            "namespace": "ns",
            "ownerReferences": [
              {
                "apiVersion": "apps/v1",
                "blockOwnerDeletion": true,
                "controller": true,
                "kind": "StatefulSet",
                "name": "db",
                "uid": "u"
              }
            ]
          },
          "spec": {
            "containers": [],
            "hostname": "db-3",
            "subdomain": "db",
            "volumes": [
              {
                "name": "data",
                "persistentVolumeClaim": {
                  "claimName": "data-db-3"
                }
              },
              {
                "configMap": {},
                "name": "conf"
              }
            ]
          }
        }
        "#);
    }
}
