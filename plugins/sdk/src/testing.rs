//! For native tests of plugins: inputs to call them with, and a check of what every plugin must keep to.

use serde_json::{Value, json};

use crate::Plugin;
use crate::wit::{Answer, Input, Outcome, SecretState};

/// What a host would pass to `reconcile` for a resource that nothing is observed of yet.
pub fn input(resource_type: &str, name: &str, spec: &Value) -> Input {
    Input {
        resource_type: resource_type.to_owned(),
        region: "aws:us-east-1".to_owned(),
        site: "default".to_owned(),
        namespace: "senren-default".to_owned(),
        name: name.to_owned(),
        uid: "7f1c5a52-0000-4000-8000-000000000001".to_owned(),
        generation: 1,
        spec: spec.to_string(),
        config: "{}".to_owned(),
        deleting: false,
        now_ms: 1_750_000_000_000,
        last_status: None,
        observed: Vec::new(),
        secrets: Vec::new(),
        answers: Vec::new(),
        extras: Vec::new(),
    }
}

impl Input {
    /// With one more observed object.
    pub fn observing(mut self, object: &Value) -> Self {
        self.observed.push(object.to_string());
        self
    }

    /// With these settings of the operator.
    pub fn with_config(mut self, config: &Value) -> Self {
        self.config = config.to_string();
        self
    }

    /// With a Secret that was requested and now exists.
    pub fn with_secret(mut self, name: &str, version: &str) -> Self {
        self.secrets.push(SecretState { name: name.to_owned(), version: version.to_owned() });
        self
    }

    /// With the answer to an `exec` that succeeded at `now_ms`.
    pub fn with_answer(mut self, id: &str, stdout: &str) -> Self {
        let output = json!({"exit-code": 0, "stdout": stdout, "stderr": "", "truncated": false});
        let observed_at_ms = self.now_ms;
        self.answers.push(Answer { id: id.to_owned(), ok: true, output: output.to_string(), observed_at_ms });
        self
    }

    /// After a call that answered this phase.
    pub fn after_phase(mut self, phase: &str) -> Self {
        self.last_status = Some(json!({"phase": phase}).to_string());
        self
    }
}

impl Outcome {
    /// The children as JSON.
    pub fn objects(&self) -> Vec<Value> {
        self.children.iter().map(|child| serde_json::from_str(&child.object).unwrap_or_default()).collect()
    }

    /// A child as JSON.
    pub fn object(&self, kind: &str, name: &str) -> Option<Value> {
        self.objects().into_iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
    }
}

/// Checks what a host relies on, for each type, with the type's example; says what is wrong.
///
/// The same and more is checked of the component by `senren plugin check`.
pub fn check<P: Plugin>() -> Result<(), String> {
    let descriptor = P::describe();
    if descriptor.types.is_empty() {
        return Err("describe: it serves no type".to_owned());
    }
    for served in &descriptor.types {
        let name = &served.name;
        let is_object = |text: &str| serde_json::from_str(text).is_ok_and(|value: Value| value.is_object());
        if !is_object(&served.spec_schema) || !is_object(&descriptor.config_schema) {
            return Err(format!("{name}: a schema is not a JSON object"));
        }
        let admit = |spec: &str| P::admit(name.clone(), spec.to_owned());
        let admitted =
            admit(&served.example).map_err(|wrong| format!("{name}: example: {}", wrong[0].message))?;
        if admit(&admitted).ok().as_ref() != Some(&admitted) {
            return Err(format!("{name}: admit is not idempotent: {admitted}"));
        }
        let same = P::diff(name.clone(), Some(admitted.clone()), Some(admitted.clone()));
        if same.as_ref().map(|change| change.action.as_str()).map_err(|fault| &fault.message) != Ok("none") {
            return Err(format!("{name}: diff of a spec with itself is not `none`"));
        }
        let spec: Value = serde_json::from_str(&admitted).map_err(|error| error.to_string())?;
        let given = input(name, "example", &spec);
        let outcome =
            P::reconcile(given.clone()).map_err(|fault| format!("{name}: reconcile: {}", fault.message))?;
        if P::reconcile(given.clone()).as_ref() != Ok(&outcome) {
            return Err(format!("{name}: reconcile answers the same input differently"));
        }
        check_children(name, &outcome, |kind| served.owns.iter().any(|owned| owned.kind == kind))?;
        let deleted = P::reconcile(Input { deleting: true, ..given }).map_err(|fault| fault.message)?;
        if !deleted.children.is_empty() {
            return Err(format!("{name}: with nothing observed, a deletion does not finish"));
        }
    }
    Ok(())
}

fn check_children(name: &str, outcome: &Outcome, owns: impl Fn(&str) -> bool) -> Result<(), String> {
    if outcome.children.is_empty() {
        return Err(format!("{name}: reconcile wants no children"));
    }
    for object in outcome.objects() {
        let kind = object["kind"].as_str().unwrap_or_default();
        let child = object["metadata"]["name"].as_str().unwrap_or_default();
        if !owns(kind) {
            return Err(format!("{name}: child {child} is a {kind}, which it does not own"));
        }
        if child != "example" && !child.starts_with("example-") {
            return Err(format!("{name}: {kind} {child} is not named after the resource"));
        }
    }
    if outcome.status.ready && outcome.status.endpoints.is_empty() {
        return Err(format!("{name}: ready without an endpoint"));
    }
    Ok(())
}
