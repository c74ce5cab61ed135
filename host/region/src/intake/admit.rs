//! Turning what was declared into the spec of a custom resource: schema, defaults, and the plugin's own word.
//!
//! Admission is a pure function of declaration and plugin, so its answer is kept until one of them changes: a state
//! of thousands of resources costs one plugin call for each that changed.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use senren_api::ResourceKey;
use senren_engine::{CallError, Served, wit::Violation};
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
    let text = if desired.spec_json.is_empty() { "{}" } else { &desired.spec_json };
    let answer = served.plugin.admit(&desired.type_name, text).await;
    match answer.map_err(|error| of_call(desired, &error))? {
        Ok(spec) => serde_json::from_str(&spec)
            .map_err(|error| Obstacle::refused(desired, "PluginBadAnswer", error.to_string())),
        Err(violations) => {
            let told: Vec<String> = violations.iter().map(told).collect();
            let message = format!("the spec is refused: {}", told.join("; "));
            Err(Obstacle::refused(desired, "InvalidSpec", message))
        }
    }
}

fn told(violation: &Violation) -> String {
    match violation.path.as_str() {
        "" => violation.message.clone(),
        path => format!("{path}: {}", violation.message),
    }
}

/// A plugin call that gave no answer, as an obstacle of the resource.
pub(super) fn of_call(desired: &Desired, error: &CallError) -> Obstacle {
    let obstacle = Obstacle::refused(desired, error.reason(), error.to_string());
    if error.retryable() { obstacle.passing() } else { obstacle }
}
