//! What objects other than pods may ask for: whom they select, which traffic they take, which volumes they claim.

use serde_json::{Map, Value, json};

use super::{Findings, Rules, empty, only, pods, template_metadata};
use crate::names;

/// Objects that select pods select only the resource's own.
pub(super) fn narrow_selectors(kind: &str, object: &mut Map<String, Value>, rules: &Rules) {
    if kind == "NetworkPolicy" {
        // One without a spec selects every pod.
        object.entry("spec").or_insert_with(|| json!({}));
    }
    let Some(Value::Object(spec)) = object.get_mut("spec") else { return };
    let own = (names::NAME.to_owned(), json!(rules.name));
    match kind {
        "Service" => {
            // One without a selector has none of the pods.
            if let Some(Value::Object(selector)) =
                spec.get_mut("selector").filter(|selector| !empty(selector))
            {
                selector.extend([own]);
            }
        }
        "StatefulSet"
        | "Deployment"
        | "DaemonSet"
        | "ReplicaSet"
        | "PodDisruptionBudget"
        | "NetworkPolicy" => {
            let key = if kind == "NetworkPolicy" { "podSelector" } else { "selector" };
            let selector = spec.entry(key).or_insert_with(|| json!({}));
            if let Value::Object(selector) = selector {
                let labels = selector.entry("matchLabels").or_insert_with(|| json!({}));
                if let Value::Object(labels) = labels {
                    labels.extend([own]);
                }
            }
        }
        _ => {}
    }
}

/// What an object of some kind may ask for.
pub(super) fn check(kind: &str, object: &mut Map<String, Value>, rules: &Rules, findings: &mut Findings<'_>) {
    let Some(spec) = object.get_mut("spec") else { return };
    match kind {
        "Pod" => pods::check_pod(spec, "/spec", rules, findings),
        "Job" => {
            check_job(spec, "/spec", rules, findings);
        }
        "StatefulSet" | "Deployment" | "DaemonSet" | "ReplicaSet" => {
            pods::check_template(spec.get_mut("template"), "/spec/template", rules, findings);
        }
        "CronJob" => {
            let job = spec.get_mut("jobTemplate");
            if let Some(Value::Object(job)) = job {
                template_metadata(job, "/spec/jobTemplate", rules, findings);
                match job.get_mut("spec") {
                    Some(spec) => check_job(spec, "/spec/jobTemplate/spec", rules, findings),
                    None => findings.refuse("/spec/jobTemplate/spec", "is missing"),
                }
            }
        }
        "Service" => check_service(spec, findings),
        "PersistentVolumeClaim" => check_claim(spec, "/spec", findings),
        _ => {}
    }
    if let Some(Value::Array(claims)) = spec.get_mut("volumeClaimTemplates") {
        for (index, claim) in claims.iter_mut().enumerate() {
            check_claim_template(claim, &format!("/spec/volumeClaimTemplates/{index}"), rules, findings);
        }
    }
}

/// A job selects its pods by a label that Kubernetes makes up; with a selector of its own it would adopt others'.
fn check_job(spec: &mut Value, path: &str, rules: &Rules, findings: &mut Findings<'_>) {
    for key in ["selector", "manualSelector"] {
        if spec.get(key).is_some_and(|value| !empty(value)) {
            findings.refuse(&format!("{path}/{key}"), "could adopt pods of others: leave it out");
        }
    }
    pods::check_template(spec.get_mut("template"), &format!("{path}/template"), rules, findings);
}

fn check_service(spec: &Value, findings: &mut Findings<'_>) {
    if spec.get("type").and_then(Value::as_str) == Some("ExternalName") {
        findings.refuse("/spec/type", "ExternalName points clients elsewhere");
    }
    for key in ["externalIPs", "externalName"] {
        if spec.get(key).is_some_and(|value| !empty(value)) {
            findings.refuse(
                &format!("/spec/{key}"),
                "takes over traffic of addresses that are not the resource's",
            );
        }
    }
}

/// A template that claims are made from.
pub(super) fn check_claim_template(
    claim: &mut Value,
    path: &str,
    rules: &Rules,
    findings: &mut Findings<'_>,
) {
    let Value::Object(claim) = claim else { return };
    claim.remove("status");
    template_metadata(claim, path, rules, findings);
    if let Some(spec) = claim.get_mut("spec") {
        check_claim(spec, &format!("{path}/spec"), findings);
    }
}

/// A claim asks for a new volume; it can't pick an existing one.
fn check_claim(spec: &mut Value, path: &str, findings: &mut Findings<'_>) {
    if let Value::Object(spec) = spec {
        let known =
            ["accessModes", "resources", "storageClassName", "volumeMode", "volumeAttributesClassName"];
        only(spec, path, &known, findings);
    }
}
