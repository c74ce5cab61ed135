//! Rules of kinds that have few: Leases, Events, PodDisruptionBudgets.

use serde_json::Value;

use crate::status::Cause;

/// What is wrong with a lease.
pub fn lease(lease: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let spec = &lease["spec"];
    let duration = &spec["leaseDurationSeconds"];
    if duration.as_i64().is_some_and(|seconds| seconds <= 0) {
        causes.push(Cause::invalid("spec.leaseDurationSeconds", duration, "must be greater than 0"));
    }
    let transitions = &spec["leaseTransitions"];
    if transitions.as_i64().is_some_and(|count| count < 0) {
        let detail = "must be greater than or equal to 0";
        causes.push(Cause::invalid("spec.leaseTransitions", transitions, detail));
    }
    causes
}

/// What is wrong with an event: it is where what it is about is, or in `default` if that is nowhere.
pub fn event(event: &Value) -> Vec<Cause> {
    let namespace = event["metadata"]["namespace"].as_str().unwrap_or_default();
    let about = &event["involvedObject"]["namespace"];
    let wanted = about.as_str().filter(|name| !name.is_empty()).unwrap_or("default");
    if wanted == namespace {
        return Vec::new();
    }
    let value = Value::from(about.as_str().unwrap_or_default());
    vec![Cause::invalid("involvedObject.namespace", &value, "does not match event.namespace")]
}

/// What is wrong with a disruption budget.
pub fn disruption_budget(budget: &Value) -> Vec<Cause> {
    let spec = &budget["spec"];
    let given = |field: &str| spec.get(field).is_some_and(|value| !value.is_null());
    if given("minAvailable") && given("maxUnavailable") {
        return vec![Cause::invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")];
    }
    Vec::new()
}
