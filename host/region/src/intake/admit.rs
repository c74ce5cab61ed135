//! Turning what was declared into the spec of a custom resource: schema, defaults, and the plugin's own word.
//!
//! Admission is a pure function of declaration and plugin, so its answer is kept until one of them changes: a state
//! of thousands of resources costs one plugin call for each that changed.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use senren_api::ResourceKey;
use senren_engine::{CallError, Served};
use serde_json::Value;

use super::converge::Obstacle;
use crate::desired::Desired;

/// The answers, by resource.
#[derive(Default)]
pub(crate) struct Verdicts {
    kept: Mutex<HashMap<ResourceKey, Verdict>>,
}

struct Verdict {
    desired: Arc<Desired>,
    digest: String,
    spec: Result<Arc<Value>, Obstacle>,
    /// `metadata.generation` of the custom resource after this spec was written to it.
    written: Option<i64>,
}

impl Verdicts {
    /// The admitted spec of what is desired.
    pub async fn admit(&self, served: &Served, desired: &Arc<Desired>) -> Result<Arc<Value>, Obstacle> {
        let digest = served.plugin.digest();
        if let Some(kept) = self.kept.lock().get(&desired.key)
            && kept.desired == *desired
            && kept.digest == digest
        {
            return kept.spec.clone();
        }
        let spec = admit(served, desired).await.map(Arc::new);
        if !spec.as_ref().is_err_and(Obstacle::passes) {
            let verdict = Verdict {
                desired: Arc::clone(desired),
                digest: digest.to_owned(),
                spec: spec.clone(),
                written: None,
            };
            self.kept.lock().insert(desired.key.clone(), verdict);
        }
        spec
    }

    /// The spec was written, and the API server made this generation of it.
    pub fn wrote(&self, key: &ResourceKey, generation: i64) {
        if let Some(kept) = self.kept.lock().get_mut(key) {
            kept.written = Some(generation);
        }
    }

    /// True where this generation is what the API server made of the spec. It may have filled in more than we know.
    pub fn is_written(&self, key: &ResourceKey, generation: i64) -> bool {
        self.kept.lock().get(key).is_some_and(|kept| kept.written == Some(generation))
    }

    /// It is no longer desired.
    pub fn forget(&self, key: &ResourceKey) {
        self.kept.lock().remove(key);
    }
}

async fn admit(served: &Served, desired: &Desired) -> Result<Value, Obstacle> {
    let invalid = |message: String| Obstacle::refused(desired, "InvalidSpec", message);
    let text = if desired.spec_json.is_empty() { "{}" } else { &desired.spec_json };
    let mut spec: Value =
        serde_json::from_str(text).map_err(|error| invalid(format!("the spec is no JSON: {error}")))?;
    let schema = &served.resource_type.schema;
    schema.apply_defaults(&mut spec);
    let violations = schema.validate(&spec);
    if !violations.is_empty() {
        let said = violations.iter().map(|violation| (violation.path.as_str(), violation.message.as_str()));
        return Err(invalid(list("the spec does not fit the type", said)));
    }
    let answer = served.plugin.admit(&desired.type_name, &spec.to_string()).await;
    let admitted = match answer.map_err(|error| of_call(desired, &error))? {
        Ok(admitted) => admitted,
        Err(violations) => {
            let said =
                violations.iter().map(|violation| (violation.path.as_str(), violation.message.as_str()));
            return Err(invalid(list("the plugin does not admit the spec", said)));
        }
    };
    let broken = |message: String| Obstacle::refused(desired, "PluginBadAnswer", message);
    let mut spec: Value = serde_json::from_str(&admitted)
        .map_err(|error| broken(format!("the admitted spec is no JSON: {error}")))?;
    schema.apply_defaults(&mut spec);
    let violations = schema.validate(&spec);
    if violations.is_empty() {
        return Ok(spec);
    }
    let said = violations.iter().map(|violation| (violation.path.as_str(), violation.message.as_str()));
    Err(broken(list("what the plugin made of the spec does not fit its own schema", said)))
}

/// A plugin call that gave no answer, as an obstacle of the resource.
pub(super) fn of_call(desired: &Desired, error: &CallError) -> Obstacle {
    let obstacle = Obstacle::refused(desired, error.reason(), error.to_string());
    if error.retryable() { obstacle.passing() } else { obstacle }
}

fn list<'a>(what: &str, violations: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let all: Vec<String> = violations.map(|(path, message)| format!("{path}: {message}")).collect();
    format!("{what}: {}", all.join("; "))
}
