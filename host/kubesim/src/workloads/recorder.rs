//! Events, as `kubectl describe` shows them: one object per (what, reason, message), counted.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Value, json};

use crate::{
    kinds::EVENTS,
    store::{Part, Store, Write, key_of, uid_of},
};

/// Writes the events of one component.
#[derive(Clone)]
pub struct Recorder {
    store: Store,
    component: &'static str,
}

/// How an event is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Normal,
    /// Somebody may want to look.
    Warning,
}

impl Recorder {
    /// A recorder in the name of `component` (`kubelet`, `statefulset-controller`, …).
    #[must_use]
    pub fn new(store: &Store, component: &'static str) -> Self {
        Self { store: store.clone(), component }
    }

    /// Records that something happened to `object` (of this kind), or to a field of it.
    pub fn record(
        &self,
        kind: (&str, &str),
        object: &Value,
        field: Option<&str>,
        level: Level,
        reason: &str,
        message: &str,
    ) {
        let key = key_of(object);
        let mut hasher = DefaultHasher::new();
        (uid_of(object), field, reason, message, self.component).hash(&mut hasher);
        let name = format!("{}.{:016x}", key.name, hasher.finish());
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let by = Write::by(self.component);
        let again = self.store.modify(&EVENTS, Part::Main, &key.namespace, &name, &by, |event| {
            event["count"] = json!(event["count"].as_i64().unwrap_or(1) + 1);
            event["lastTimestamp"] = json!(now);
        });
        if again.is_ok() {
            return;
        }
        let mut involved = json!({"apiVersion": kind.0, "kind": kind.1, "name": key.name, "namespace": key.namespace,
            "uid": uid_of(object), "resourceVersion": object["metadata"]["resourceVersion"]});
        if let Some(field) = field {
            involved["fieldPath"] = json!(field);
        }
        let event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": name, "namespace": key.namespace},
            "involvedObject": involved, "reason": reason, "message": message, "count": 1,
            "type": match level { Level::Normal => "Normal", Level::Warning => "Warning" },
            "source": {"component": self.component}, "reportingComponent": self.component, "reportingInstance": "",
            "firstTimestamp": now, "lastTimestamp": now,
        });
        if let Err(status) = self.store.create(&EVENTS, &key.namespace, event, &by) {
            // A namespace that is being deleted takes no events.
            tracing::debug!(error = status.message, reason, name = key.name, "an event was not recorded");
        }
    }
}
