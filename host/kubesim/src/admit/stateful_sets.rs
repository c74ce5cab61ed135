//! Rules of StatefulSets: above all, what can't change.

use serde_json::Value;

use super::pods;
use crate::selector;
use crate::status::Cause;

const CHANGEABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

/// What a StatefulSet asks for that nothing here would do.
pub fn unsupported(set: &Value) -> Option<String> {
    let spec = &set["spec"];
    if spec["minReadySeconds"].as_i64().is_some_and(|seconds| seconds > 0) {
        return Some("minReadySeconds of StatefulSets".into());
    }
    let at_once = &spec["updateStrategy"]["rollingUpdate"]["maxUnavailable"];
    if !at_once.is_null() && *at_once != 1 {
        return Some("maxUnavailable of StatefulSets".into());
    }
    pods::unsupported(&spec["template"]["spec"])
}

/// What is wrong with a StatefulSet.
pub fn check(old: Option<&Value>, set: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let spec = &set["spec"];
    let policy = &spec["podManagementPolicy"];
    let policies = ["OrderedReady", "Parallel"];
    if policy.as_str().is_none_or(|p| !policies.contains(&p)) {
        let detail = format!("must be '{}' or '{}'", policies[0], policies[1]);
        causes.push(Cause::invalid("spec.podManagementPolicy", policy, &detail));
    }
    let strategy = &spec["updateStrategy"]["type"];
    if !["RollingUpdate", "OnDelete"].iter().any(|s| strategy == s) {
        causes.push(Cause::invalid("spec.updateStrategy", strategy, "must be 'RollingUpdate' or 'OnDelete'"));
    }
    for (field, value) in [
        ("spec.replicas", &spec["replicas"]),
        (
            "spec.updateStrategy.rollingUpdate.partition",
            &spec["updateStrategy"]["rollingUpdate"]["partition"],
        ),
    ] {
        if value.as_i64().is_some_and(|number| number < 0) {
            causes.push(Cause::invalid(field, value, "must be greater than or equal to 0"));
        }
    }
    check_selector(&mut causes, spec);
    let mut template = spec["template"].clone();
    claim_volumes(spec, &mut template);
    pods::check_template(&mut causes, &template, "spec.template", &["Always"]);
    if let Some(old) = old
        && fixed(&old["spec"]) != fixed(spec)
    {
        let listed: Vec<String> = CHANGEABLE.iter().map(|field| format!("'{field}'")).collect();
        let (last, others) =
            listed.split_last().map_or((String::new(), String::new()), |(l, o)| (l.clone(), o.join(", ")));
        let detail =
            format!("updates to statefulset spec for fields other than {others} and {last} are forbidden");
        causes.push(Cause::forbidden("spec", &detail));
    }
    causes
}

fn check_selector(causes: &mut Vec<Cause>, spec: &Value) {
    let selector_value = &spec["selector"];
    let empty = |field: &str| selector_value[field].as_object().is_none_or(serde_json::Map::is_empty);
    if empty("matchLabels") && selector_value["matchExpressions"].as_array().is_none_or(Vec::is_empty) {
        causes.push(Cause::required("spec.selector", ""));
    }
    let labels = &spec["template"]["metadata"]["labels"];
    // No selector selects nothing, and an empty one everything.
    if selector_value.is_null() {
        let detail = "`selector` does not match template `labels`";
        causes.push(Cause::invalid("spec.template.metadata.labels", labels, detail));
        return;
    }
    match selector::LabelSelector::of_object(selector_value) {
        Ok(selector) if selector.matches_labels(labels) => (),
        Ok(_) => {
            let detail = "`selector` does not match template `labels`";
            causes.push(Cause::invalid("spec.template.metadata.labels", labels, detail));
        }
        Err(problem) => causes.push(Cause::invalid("spec.selector", selector_value, &problem)),
    }
}

/// A container may mount the claims of `volumeClaimTemplates` by name.
fn claim_volumes(spec: &Value, template: &mut Value) {
    let claims = spec["volumeClaimTemplates"].as_array().map(Vec::as_slice).unwrap_or_default();
    if claims.is_empty() || !template["spec"].is_object() {
        return;
    }
    let mut volumes = template["spec"]["volumes"].as_array().cloned().unwrap_or_default();
    for claim in claims {
        let name = &claim["metadata"]["name"];
        if !volumes.iter().any(|volume| volume["name"] == *name) {
            volumes.push(serde_json::json!({"name": name, "persistentVolumeClaim": {"claimName": name}}));
        }
    }
    template["spec"]["volumes"] = volumes.into();
}

fn fixed(spec: &Value) -> Value {
    let mut fixed = spec.clone();
    if let Some(fields) = fixed.as_object_mut() {
        fields.retain(|field, _| !CHANGEABLE.contains(&field.as_str()));
    }
    fixed
}
