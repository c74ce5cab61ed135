//! Rules of Jobs, and the selector that each gets.

use serde_json::{Value, json};

use super::{immutable, pods};
use crate::status::Cause;

/// Makes a new job's pods recognisable as its own.
pub fn complete(job: &mut Value) {
    if job["spec"]["manualSelector"] == true {
        return;
    }
    let (uid, name) = (job["metadata"]["uid"].clone(), job["metadata"]["name"].clone());
    let spec = &mut job["spec"];
    if !spec["template"].is_object() {
        return;
    }
    spec["selector"] = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}});
    if !spec["template"]["metadata"].is_object() {
        spec["template"]["metadata"] = json!({});
    }
    let labels = &mut spec["template"]["metadata"]["labels"];
    for prefix in ["", "batch.kubernetes.io/"] {
        labels[format!("{prefix}controller-uid")] = uid.clone();
        labels[format!("{prefix}job-name")] = name.clone();
    }
    let labels = labels.clone();
    super::set(&mut job["metadata"], "labels", labels);
}

/// What a job asks for that nothing here would do.
pub fn unsupported(job: &Value) -> Option<String> {
    let spec = &job["spec"];
    let fields = [
        ("activeDeadlineSeconds", spec["activeDeadlineSeconds"].is_i64()),
        ("backoffLimitPerIndex", spec["backoffLimitPerIndex"].is_i64()),
        ("completionMode Indexed", spec["completionMode"] == "Indexed"),
        ("managedBy", spec["managedBy"].is_string()),
        ("manualSelector", spec["manualSelector"] == true),
        ("podFailurePolicy", spec["podFailurePolicy"].is_object()),
        ("successPolicy", spec["successPolicy"].is_object()),
        ("ttlSecondsAfterFinished", spec["ttlSecondsAfterFinished"].is_i64()),
    ];
    let asked = fields.into_iter().find(|(_, asked)| *asked);
    asked.map(|(what, _)| format!("{what} of jobs")).or_else(|| pods::unsupported(&spec["template"]["spec"]))
}

/// What is wrong with a job.
pub fn check(old: Option<&Value>, job: &mut Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if let Some(old) = old {
        // An update that leaves out the generated parts means them.
        for field in ["selector"] {
            if let Some(value) = old["spec"].get(field) {
                super::defaults::set(&mut job["spec"], field, value.clone());
            }
        }
        immutable(&mut causes, old, job, "spec.completions");
        immutable(&mut causes, old, job, "spec.selector");
        immutable(&mut causes, old, job, "spec.template");
        immutable(&mut causes, old, job, "spec.completionMode");
    }
    let template = &job["spec"]["template"];
    if template["spec"]["restartPolicy"] == "Always" {
        let supported = ["OnFailure", "Never"];
        let cause = Cause::not_supported("spec.template.spec.restartPolicy", &json!("Always"), &supported);
        causes.push(Cause {
            reason: "FieldValueRequired",
            message: "Required value: valid values: \"OnFailure\", \"Never\"".into(),
            ..cause
        });
    }
    pods::check_template(&mut causes, template, "spec.template", &["Always", "OnFailure", "Never"]);
    causes
}
