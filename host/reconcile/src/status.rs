//! The status of a custom resource: what it says, and how an outcome or a failure becomes one.
//!
//! Pure. A status is the truth as last observed: a failure to reconcile changes `phase`, `reason`, `message` and the
//! condition `Reconciled`, never what was observed of the database (`ready`, endpoints, details), which may well be
//! serving on. Times change only with what they are the time of, so that an unchanged status equals the stored one
//! and is not written again.

use jiff::Timestamp;
use senren_engine::wit;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{failure::Failure, kind::ObjectId, resource::CustomResource};

/// Condition type: what is wanted has been applied.
pub const RECONCILED: &str = "Reconciled";
/// Condition type, where it is `False`: the plugin of today refuses the spec, which runs on as it was once admitted.
pub const SPEC_ACCEPTED: &str = "SpecAccepted";
/// Condition types that the host keeps, whatever a plugin says.
const HOSTS: [&str; 2] = [RECONCILED, SPEC_ACCEPTED];
/// Condition type: a client could use the database.
pub const READY: &str = "Ready";

/// Longest reason and message that are kept, in characters.
const MAX_REASON: usize = 128;
const MAX_MESSAGE: usize = 2048;

/// `.status` of a custom resource.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// `metadata.generation` that this status is about.
    pub observed_generation: i64,
    /// The control plane's generation that this status is about.
    pub senren_generation: u64,
    /// `Pending`, `Creating`, `Updating`, `Ready`, `Degraded`, `Failed`, `Deleting`.
    pub phase: String,
    /// A client could use the database now.
    pub ready: bool,
    /// Of the first endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Of the first endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// CamelCase, for programs.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Where clients connect; the main one first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<Endpoint>,
    /// The plugin's, and `Ready` and `Reconciled`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Type-specific.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
    /// Every object that was ever applied for this resource and is not known to be gone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inventory: Vec<InventoryEntry>,
    /// Secrets that the host keeps for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretRecord>,
}

/// Where a client connects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// `primary`, `replica`, …
    pub name: String,
    /// DNS name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// As a Kubernetes condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False`, `Unknown`.
    pub status: String,
    /// CamelCase, for programs.
    #[serde(default)]
    pub reason: String,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// When `status` last changed.
    pub last_transition_time: Timestamp,
}

/// One object of the inventory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryEntry {
    /// Which one.
    #[serde(flatten)]
    pub id: ObjectId,
    /// Its uid, once it was seen.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// One secret that the host keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRecord {
    /// Its name.
    pub name: String,
    /// Changes with its content.
    #[serde(default)]
    pub version: String,
    /// As it was asked for: `random`.
    pub kind: String,
}

impl Status {
    /// True where `self` says the same as `stored`. The inventory's uids are only filled in when there is something
    /// else to write.
    pub fn same_as(&self, stored: &Status) -> bool {
        let ids = |status: &Status| status.inventory.iter().map(|entry| entry.id.clone()).collect::<Vec<_>>();
        ids(self) == ids(stored) && Status { inventory: stored.inventory.clone(), ..self.clone() } == *stored
    }

    /// True where the inventory lists `id`.
    pub fn lists(&self, id: &ObjectId) -> bool {
        self.inventory.iter().any(|entry| entry.id == *id)
    }

    /// Takes over what a plugin said. `changed`: this step changed an object, so what was observed is already past.
    pub fn observe(
        &mut self,
        said: &wit::Status,
        details: Map<String, Value>,
        changed: bool,
        now: Timestamp,
    ) {
        let was_ready = self.ready;
        self.phase = match said.phase.as_str() {
            "Ready" if changed && was_ready => "Updating".to_owned(),
            "Ready" if changed => "Creating".to_owned(),
            phase => cut(phase, MAX_REASON),
        };
        self.ready = said.ready;
        self.reason = cut(&said.reason, MAX_REASON);
        self.message = cut(&said.message, MAX_MESSAGE);
        self.endpoints = said
            .endpoints
            .iter()
            .map(|e| Endpoint { name: e.name.clone(), host: e.host.clone(), port: e.port })
            .collect();
        self.host = self.endpoints.first().map(|endpoint| endpoint.host.clone());
        self.port = self.endpoints.first().map(|endpoint| endpoint.port);
        self.details = details;
        self.set_conditions(said, now);
    }

    /// The plugin's conditions replace its earlier ones. `Ready` and `Reconciled` are the host's.
    fn set_conditions(&mut self, said: &wit::Status, now: Timestamp) {
        let before = std::mem::take(&mut self.conditions);
        let reason = if said.reason.is_empty() { &self.phase } else { &said.reason }.clone();
        self.set_condition(&before, (READY, truth(said.ready)), (&reason, &said.message), now);
        self.conditions
            .extend(before.iter().filter(|condition| HOSTS.contains(&condition.kind.as_str())).cloned());
        for condition in
            said.conditions.iter().filter(|c| c.kind != READY && !HOSTS.contains(&c.kind.as_str()))
        {
            let status = match condition.status.as_str() {
                known @ ("True" | "False") => known,
                _ => "Unknown",
            };
            self.set_condition(
                &before,
                (&condition.kind, status),
                (&condition.reason, &condition.message),
                now,
            );
        }
    }

    /// Says whether the plugin of today would accept the spec that runs.
    pub fn set_accepted(&mut self, violations: Option<&str>, now: Timestamp) {
        match violations {
            Some(message) => {
                let before = self.conditions.clone();
                self.set_condition(&before, (SPEC_ACCEPTED, "False"), ("InvalidSpec", message), now);
            }
            None => self.conditions.retain(|condition| condition.kind != SPEC_ACCEPTED),
        }
    }

    /// As the plugin said it, as far as is known: a hint for its next call.
    pub fn hint(&self) -> Option<Value> {
        let own =
            |condition: &&Condition| condition.kind != READY && !HOSTS.contains(&condition.kind.as_str());
        let conditions: Vec<Value> = self
            .conditions
            .iter()
            .filter(own)
            .map(|condition| {
                let Condition { kind, status, reason, message, .. } = condition;
                json!({"kind": kind, "status": status, "reason": reason, "message": message})
            })
            .collect();
        (!self.phase.is_empty()).then(|| {
            json!({
                "phase": self.phase, "ready": self.ready, "reason": self.reason, "message": self.message,
                "endpoints": self.endpoints, "conditions": conditions, "details": self.details,
            })
        })
    }

    fn set_condition(
        &mut self,
        before: &[Condition],
        (kind, status): (&str, &str),
        (reason, message): (&str, &str),
        now: Timestamp,
    ) {
        let unchanged = |condition: &&Condition| condition.kind == kind && condition.status == status;
        let last_transition_time = before.iter().find(unchanged).map_or(now, |c| c.last_transition_time);
        let condition = Condition {
            kind: cut(kind, MAX_REASON),
            status: status.to_owned(),
            reason: cut(reason, MAX_REASON),
            message: cut(message, MAX_MESSAGE),
            last_transition_time,
        };
        self.conditions.retain(|other| other.kind != kind);
        self.conditions.push(condition);
    }

    /// Says whether what is wanted has been applied. A failure also takes over phase, reason and message.
    pub fn conclude(&mut self, resource: &CustomResource, failure: Option<&Failure>, now: Timestamp) {
        self.observed_generation = resource.generation;
        self.senren_generation = resource.senren_generation;
        let before = self.conditions.clone();
        match failure {
            None => self.set_condition(&before, (RECONCILED, "True"), ("Applied", ""), now),
            Some(failure) => {
                let (reason, message) = (failure.reason(), failure.to_string());
                self.phase = if self.ready { "Degraded" } else { "Failed" }.into();
                self.set_condition(&before, (RECONCILED, "False"), (reason, &message), now);
                self.reason = cut(reason, MAX_REASON);
                self.message = cut(&message, MAX_MESSAGE);
            }
        }
        if resource.deleting() {
            self.phase = "Deleting".into();
        }
        if resource.deletion_requested && resource.deletion_protection {
            self.reason = "DeletionRefused".into();
            self.message =
                "deletion was requested and is refused: deletion_protection is on; turn it off to let \
                            the deletion go on"
                    .into();
        }
    }
}

fn truth(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

/// The first `max` characters of `text`.
pub(crate) fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn resource(protected: bool, deleted: bool) -> CustomResource {
        let mut object = json!({
            "apiVersion": "senren.io/v1", "kind": "RedisDatabase",
            "metadata": {"name": "a", "namespace": "senren-default", "uid": "u", "resourceVersion": "1", "generation": 3,
                         "annotations": {crate::names::GENERATION: "7"}},
        });
        if protected {
            object["metadata"]["annotations"][crate::names::DELETION_PROTECTION] = json!("true");
        }
        if deleted {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        let wit = wit::ResourceType {
            name: "redis".into(),
            kind: "RedisDatabase".into(),
            plural: "redisdatabases".into(),
            short_names: vec![],
            spec_schema: String::new(),
            printer_columns: String::new(),
            example: String::new(),
            owns: vec![],
            observes: vec![],
            extras: vec![],
        };
        CustomResource::parse(&wit, "senren", serde_json::from_value(object).unwrap()).unwrap()
    }

    fn said(phase: &str, ready: bool) -> wit::Status {
        wit::Status {
            phase: phase.into(),
            ready,
            reason: "AllReady".into(),
            message: String::new(),
            endpoints: vec![wit::Endpoint { name: "primary".into(), host: "h".into(), port: 6379 }],
            conditions: vec![
                wit::Condition {
                    kind: "Replicated".into(),
                    status: "Perhaps".into(),
                    reason: "R".into(),
                    message: String::new(),
                },
                wit::Condition {
                    kind: READY.into(),
                    status: "False".into(),
                    reason: "Lie".into(),
                    message: String::new(),
                },
            ],
            details: String::new(),
        }
    }

    fn ready(second: i64) -> Status {
        let mut status = Status::default();
        status.observe(&said("Ready", true), Map::new(), false, at(second));
        status.conclude(&resource(false, false), None, at(second));
        status
    }

    fn condition<'a>(status: &'a Status, kind: &str) -> &'a Condition {
        status.conditions.iter().find(|condition| condition.kind == kind).unwrap()
    }

    #[test]
    fn the_same_observation_gives_the_same_status_at_any_time() {
        let mut later = ready(1);
        later.observe(&said("Ready", true), Map::new(), false, at(9));
        later.conclude(&resource(false, false), None, at(9));
        assert_eq!(later, ready(1));
        assert!(later.same_as(&ready(1)));
    }

    #[test]
    fn a_plugin_has_no_say_in_the_hosts_conditions() {
        let status = ready(1);
        assert_eq!((status.observed_generation, status.senren_generation), (3, 7));
        assert_eq!((status.host.as_deref(), status.port), (Some("h"), Some(6379)));
        assert_eq!(condition(&status, READY).status, "True");
        assert_eq!(condition(&status, "Replicated").status, "Unknown");
    }

    #[test]
    fn what_this_step_changed_can_not_be_ready_yet() {
        let mut status = ready(1);
        status.observe(&said("Ready", true), Map::new(), true, at(2));
        assert_eq!((status.phase.as_str(), status.ready), ("Updating", true));
        let mut new = Status::default();
        new.observe(&said("Ready", true), Map::new(), true, at(2));
        assert_eq!(new.phase, "Creating");
    }

    #[test]
    fn a_failure_takes_over_the_words_and_leaves_what_was_observed() {
        let mut status = ready(1);
        let failure = Failure::NoPlugin("redis".into());
        status.conclude(&resource(false, false), Some(&failure), at(5));
        assert_eq!(
            (status.phase.as_str(), status.ready, status.reason.as_str()),
            ("Degraded", true, "NoPlugin")
        );
        assert_eq!(status.host.as_deref(), Some("h"));
        let reconciled = condition(&status, RECONCILED);
        assert_eq!((reconciled.status.as_str(), reconciled.last_transition_time), ("False", at(5)));
        assert_eq!(condition(&status, READY).last_transition_time, at(1));

        let mut new = Status::default();
        new.conclude(&resource(false, false), Some(&failure), at(5));
        assert_eq!((new.phase.as_str(), new.ready), ("Failed", false));
    }

    #[test]
    fn a_refused_deletion_says_so() {
        let mut status = ready(1);
        status.conclude(&resource(true, true), None, at(2));
        assert_eq!((status.phase.as_str(), status.reason.as_str()), ("Ready", "DeletionRefused"));
        let mut status = ready(1);
        status.conclude(&resource(false, true), None, at(2));
        assert_eq!(status.phase, "Deleting");
    }

    #[test]
    fn uids_of_the_inventory_alone_are_no_reason_to_write() {
        let entry = |uid: &str| InventoryEntry {
            id: ObjectId::new(crate::kind::ApiKind::new("v1", "ConfigMap"), "a"),
            uid: uid.into(),
        };
        let with = |inventory| Status { inventory, ..ready(1) };
        assert!(with(vec![entry("u")]).same_as(&with(vec![entry("")])));
        assert!(!with(vec![entry("u")]).same_as(&with(vec![])));
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        assert_eq!(cut("äöü", 2), "äö…");
        assert_eq!(cut("äöü", 3), "äöü");
    }
}
