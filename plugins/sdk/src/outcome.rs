//! Builders for what a call answers. They add nothing to the records of the contract but names.

use std::time::Duration;

use serde_json::{Value, json};

use crate::wit::{Child, Condition, Endpoint, Event, Fault, Outcome, SecretRequest, Status};

/// How a database is, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waits for something outside of the plugin's hands before anything can be made.
    Pending,
    /// Being made; was never ready.
    Creating,
    /// A change is on its way.
    Updating,
    /// As the spec says.
    Ready,
    /// Less than it should be.
    Degraded,
    /// Will not get ready unless someone acts.
    Failed,
    /// On its way out.
    Deleting,
}

impl Phase {
    /// As the contract writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Creating => "Creating",
            Self::Updating => "Updating",
            Self::Ready => "Ready",
            Self::Degraded => "Degraded",
            Self::Failed => "Failed",
            Self::Deleting => "Deleting",
        }
    }
}

impl Status {
    /// `reason` is CamelCase, for programs; `message` is for people.
    pub fn new(phase: Phase, ready: bool, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            phase: phase.as_str().to_owned(),
            ready,
            reason: reason.into(),
            message: message.into(),
            endpoints: Vec::new(),
            conditions: Vec::new(),
            details: "{}".to_owned(),
        }
    }

    /// All is well. Needs an [`endpoint`](Self::endpoint).
    pub fn ready(reason: impl Into<String>) -> Self {
        Self::new(Phase::Ready, true, reason, "")
    }

    /// Being made.
    pub fn creating(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Phase::Creating, false, reason, message)
    }

    /// From `last-status`, as the host gives it.
    pub(crate) fn read(status: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let endpoint = |one: &Value| {
            let port = u16::try_from(one["port"].as_u64()?).ok()?;
            Some(Endpoint { name: text(&one["name"])?, host: text(&one["host"])?, port })
        };
        let condition = |one: &Value| {
            Some(Condition {
                kind: text(&one["kind"])?,
                status: text(&one["status"])?,
                reason: text(&one["reason"])?,
                message: text(&one["message"]).unwrap_or_default(),
            })
        };
        Some(Self {
            phase: text(&status["phase"])?,
            ready: status["ready"].as_bool()?,
            reason: text(&status["reason"])?,
            message: text(&status["message"]).unwrap_or_default(),
            endpoints: list(&status["endpoints"]).iter().filter_map(endpoint).collect(),
            conditions: list(&status["conditions"]).iter().filter_map(condition).collect(),
            details: status["details"].as_object().map_or("{}".to_owned(), |_| status["details"].to_string()),
        })
    }

    /// Adds where clients connect; the first becomes `.status.host` and `.status.port`.
    pub fn endpoint(mut self, name: &str, host: impl Into<String>, port: u16) -> Self {
        self.endpoints.push(Endpoint { name: name.to_owned(), host: host.into(), port });
        self
    }

    /// Adds an aspect of the state, true or false.
    pub fn condition(mut self, kind: &str, holds: bool, reason: &str, message: impl Into<String>) -> Self {
        self.conditions.push(Condition {
            kind: kind.to_owned(),
            status: if holds { "True" } else { "False" }.to_owned(),
            reason: reason.to_owned(),
            message: message.into(),
        });
        self
    }

    /// Anything else worth showing, as a JSON object.
    pub fn details(mut self, details: &Value) -> Self {
        self.details = details.to_string();
        self
    }
}

impl Outcome {
    /// Without children yet; an outcome needs some.
    pub fn new(status: Status) -> Self {
        Self {
            children: Vec::new(),
            secrets: Vec::new(),
            asks: Vec::new(),
            status,
            events: Vec::new(),
            requeue_after_ms: None,
            extras: Vec::new(),
        }
    }

    /// Nothing is left of it: the end of a deletion.
    pub fn gone() -> Self {
        Self::new(Status::new(Phase::Deleting, false, "Deleting", ""))
    }

    /// Adds an object that shall be there, by server-side apply.
    pub fn child(self, object: impl Into<Value>) -> Self {
        self.child_with("apply", object)
    }

    /// Adds an object that is created if it is not there, and never changed afterwards.
    pub fn child_once(self, object: impl Into<Value>) -> Self {
        self.child_with("create-only", object)
    }

    /// Adds an object that is deleted and made again, while what depends on it stays, where a change of it is one
    /// that Kubernetes refuses.
    pub fn child_recreated(self, object: impl Into<Value>) -> Self {
        self.child_with("recreate-orphan", object)
    }

    fn child_with(mut self, mode: &str, object: impl Into<Value>) -> Self {
        self.children.push(Child { object: object.into().to_string(), mode: mode.to_owned() });
        self
    }

    /// Asks for a Secret of random texts, one for each key.
    pub fn random_secret<const N: usize>(mut self, name: impl Into<String>, keys: [&str; N]) -> Self {
        self.secrets.push(SecretRequest {
            name: name.into(),
            kind: "random".to_owned(),
            params: json!({"keys": keys.as_slice()}).to_string(),
        });
        self
    }

    /// Tells what happened.
    pub fn event(mut self, event: Event) -> Self {
        self.events.push(event);
        self
    }

    /// Asks to be called again after this time at the latest. Changes of what is observed need no asking.
    pub fn requeue_after(mut self, time: Duration) -> Self {
        self.requeue_after_ms = Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        self
    }
}

impl Event {
    /// Something that people may want to know.
    pub fn normal(reason: &str, message: impl Into<String>) -> Self {
        Self { severity: "normal".to_owned(), reason: reason.to_owned(), message: message.into() }
    }

    /// Something that people should look at.
    pub fn warning(reason: &str, message: impl Into<String>) -> Self {
        Self { severity: "warning".to_owned(), ..Self::normal(reason, message) }
    }
}

impl Fault {
    /// Trying again is no use until something changes.
    pub fn permanent(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), retryable: false }
    }

    /// The host shall try again by itself.
    pub fn transient(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { retryable: true, ..Self::permanent(code, message) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_last_status_is_read_as_hosts_give_it() {
        let last = json!({
            "phase": "Ready", "ready": true, "reason": "AllReady", "message": "",
            "endpoints": [{"name": "primary", "host": "x.ns.svc", "port": 6379}],
            "conditions": [{"kind": "Replicated", "status": "True", "reason": "InSync", "message": "1 of 1"}],
            "details": {"version": "7.2"},
        });
        let status = Status::ready("AllReady")
            .endpoint("primary", "x.ns.svc", 6379)
            .condition("Replicated", true, "InSync", "1 of 1")
            .details(&json!({"version": "7.2"}));
        assert_eq!(Status::read(&last), Some(status));
        assert_eq!(Status::read(&json!({"phase": "Ready"})), None);
    }
}
