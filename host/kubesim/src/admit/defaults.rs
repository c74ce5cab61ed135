//! What the types of the built-in kinds say is meant when nothing is said. Never touches a value that is there.

use serde_json::{Value, json};

use super::pod_defaults;
use crate::crd;
use crate::kinds::{self, GroupResource};

/// Sets a field that is absent or null.
pub fn set(object: &mut Value, field: &str, value: impl Into<Value>) {
    if let Some(fields) = object.as_object_mut()
        && fields.get(field).is_none_or(Value::is_null)
    {
        fields.insert(field.into(), value.into());
    }
}

/// The items of a list, if it is one.
pub fn items<'a>(object: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Fills in the defaults of a built-in kind.
pub fn default(what: &GroupResource, object: &mut Value) {
    if *what == kinds::NAMESPACES {
        if let Some(name) = object["metadata"]["name"].as_str().map(str::to_owned) {
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name.into();
        }
    } else if *what == kinds::SECRETS {
        secret(object);
    } else if *what == kinds::SERVICES {
        service(&mut object["spec"]);
    } else if *what == kinds::PODS {
        pod_defaults::pod(&mut object["spec"]);
    } else if *what == kinds::CLAIMS {
        claim(&mut object["spec"]);
    } else if *what == kinds::STATEFUL_SETS {
        stateful_set(&mut object["spec"]);
    } else if *what == kinds::JOBS {
        job(object);
    } else if *what == kinds::ENDPOINT_SLICES {
        for port in items(object, "ports") {
            set(port, "name", "");
            set(port, "protocol", "TCP");
        }
    } else if *what == kinds::NETWORK_POLICIES {
        network_policy(&mut object["spec"]);
    } else if *what == kinds::DEFINITIONS {
        crd::default(object);
    }
}

fn secret(secret: &mut Value) {
    set(secret, "type", "Opaque");
    let plain = secret.as_object_mut().and_then(|fields| fields.remove("stringData"));
    for (key, value) in plain.as_ref().and_then(Value::as_object).into_iter().flatten() {
        let bytes = k8s_openapi::ByteString(value.as_str().unwrap_or_default().as_bytes().to_vec());
        if let Ok(encoded) = serde_json::to_value(&bytes) {
            secret["data"][key] = encoded;
        }
    }
}

fn service(spec: &mut Value) {
    if !spec.is_object() {
        *spec = json!({});
    }
    set(spec, "sessionAffinity", "None");
    set(spec, "type", "ClusterIP");
    if spec["sessionAffinity"] == "ClientIP" {
        set(spec, "sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": 10800}}));
    }
    if spec["type"] != "ExternalName" {
        set(spec, "internalTrafficPolicy", "Cluster");
    }
    for port in items(spec, "ports") {
        set(port, "protocol", "TCP");
        let number = port["port"].clone();
        if port["targetPort"] == 0 || port["targetPort"] == "" {
            port["targetPort"] = Value::Null;
        }
        set(port, "targetPort", number);
    }
}

fn network_policy(spec: &mut Value) {
    if !spec.is_object() {
        *spec = json!({});
    }
    set(spec, "podSelector", json!({}));
    let egress = spec["egress"].as_array().is_some_and(|rules| !rules.is_empty());
    set(spec, "policyTypes", if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) });
    for rules in ["ingress", "egress"] {
        for rule in items(spec, rules) {
            items(rule, "ports").for_each(|port| set(port, "protocol", "TCP"));
        }
    }
}

/// A claim's spec, also inside a StatefulSet.
fn claim(spec: &mut Value) {
    set(spec, "volumeMode", "Filesystem");
}

fn stateful_set(spec: &mut Value) {
    set(spec, "podManagementPolicy", "OrderedReady");
    set(spec, "updateStrategy", json!({}));
    set(&mut spec["updateStrategy"], "type", "RollingUpdate");
    if spec["updateStrategy"]["type"] == "RollingUpdate" {
        set(&mut spec["updateStrategy"], "rollingUpdate", json!({}));
        set(&mut spec["updateStrategy"]["rollingUpdate"], "partition", 0);
    }
    set(spec, "persistentVolumeClaimRetentionPolicy", json!({}));
    let retention = &mut spec["persistentVolumeClaimRetentionPolicy"];
    set(retention, "whenDeleted", "Retain");
    set(retention, "whenScaled", "Retain");
    set(spec, "replicas", 1);
    set(spec, "revisionHistoryLimit", 10);
    pod_defaults::template(&mut spec["template"]["spec"]);
    for template in items(spec, "volumeClaimTemplates") {
        set(template, "apiVersion", "v1");
        set(template, "kind", "PersistentVolumeClaim");
        claim(&mut template["spec"]);
        set(template, "status", json!({"phase": "Pending"}));
    }
}

fn job(object: &mut Value) {
    let name = object["metadata"]["name"].clone();
    let spec = &mut object["spec"];
    if spec.get("completions").is_none() && spec.get("parallelism").is_none() {
        set(spec, "completions", 1);
    }
    set(spec, "parallelism", 1);
    set(spec, "backoffLimit", 6);
    set(spec, "completionMode", "NonIndexed");
    set(spec, "suspend", false);
    set(spec, "manualSelector", false);
    let policy = if spec.get("podFailurePolicy").is_some() { "Failed" } else { "TerminatingOrFailed" };
    set(spec, "podReplacementPolicy", policy);
    let labels = spec["template"]["metadata"]["labels"].clone();
    pod_defaults::template(&mut spec["template"]["spec"]);
    // A job without labels takes those of its template; the generated ones come on creation.
    if object["metadata"].get("labels").is_none()
        && labels.as_object().is_some_and(|l| !l.is_empty())
        && !name.is_null()
    {
        object["metadata"]["labels"] = labels;
    }
}
