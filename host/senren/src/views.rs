//! What `-o json` and `-o yaml` print: the messages of the API with their field names, JSON text as JSON, and
//! times as RFC 3339. Part of the interface: a field is never renamed or retyped.

mod from;

use serde::Serialize;
use serde_json::Value;

pub use self::from::time;

/// Of `senren apply`.
#[derive(Debug, Serialize)]
pub struct Applied {
    pub site: String,
    pub revision: u64,
    pub changes: Vec<Change>,
    pub warnings: Vec<Warning>,
    /// With `--wait`: as things were when it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Vec<Resource>>,
}

/// What became of one resource.
#[derive(Debug, Serialize)]
pub struct Change {
    pub region: String,
    pub name: String,
    pub r#type: String,
    pub uid: String,
    pub action: &'static str,
    pub generation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
}

/// A change that waits for `senren confirm`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hold {
    pub kind: String,
    pub message: String,
    pub revision: u64,
}

/// Of `senren plan`.
#[derive(Debug, Serialize)]
pub struct Plan {
    pub site: String,
    pub revision: u64,
    pub changes: Vec<PlannedChange>,
    pub warnings: Vec<Warning>,
}

/// What would become of one resource, and what that would mean.
#[derive(Debug, Serialize)]
pub struct PlannedChange {
    pub change: Change,
    pub fields: Vec<FieldChange>,
    pub disruptive: bool,
    pub data_loss: bool,
    pub summary: String,
}

/// A field of a spec that would differ.
#[derive(Debug, PartialEq, Serialize)]
pub struct FieldChange {
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
    pub effect: String,
}

/// Of `senren history`.
#[derive(Debug, Serialize)]
pub struct History {
    pub site: String,
    pub entries: Vec<Entry>,
}

/// One revision.
#[derive(Debug, Serialize)]
pub struct Entry {
    pub revision: u64,
    pub applied_at: Option<jiff::Timestamp>,
    pub author: String,
    pub request_id: String,
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_to: Option<u64>,
    pub changes: Vec<Change>,
}

/// Of `senren force-delete`.
#[derive(Debug, Serialize)]
pub struct Forgotten {
    pub site: String,
    pub changes: Vec<Change>,
}

/// Something that was accepted but will not work as it is now.
#[derive(Debug, Serialize)]
pub struct Warning {
    pub code: String,
    pub region: String,
    pub name: String,
    pub message: String,
}

/// Of `senren status`.
#[derive(Debug, Serialize)]
pub struct Status {
    pub site: String,
    pub revision: u64,
    pub resources: Vec<Resource>,
}

/// One event of `senren status --watch`.
#[derive(Debug, Serialize)]
pub struct Event {
    pub kind: &'static str,
    pub revision: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<Resource>,
}

/// One database in one region.
#[derive(Debug, Serialize)]
pub struct Resource {
    pub site: String,
    pub region: String,
    pub name: String,
    pub r#type: String,
    pub uid: String,
    pub generation: u64,
    pub observed_generation: u64,
    pub phase: String,
    pub ready: bool,
    pub reason: String,
    pub message: String,
    pub endpoints: Vec<Endpoint>,
    pub conditions: Vec<Condition>,
    pub details: Value,
    pub observed_at: Option<jiff::Timestamp>,
    pub created_at: Option<jiff::Timestamp>,
    pub applied_at: Option<jiff::Timestamp>,
    pub ready_at: Option<jiff::Timestamp>,
    pub spec: Value,
    pub deletion_protection: bool,
    pub deleting: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
}

/// Where a client connects.
#[derive(Debug, Serialize)]
pub struct Endpoint {
    pub name: String,
    pub host: String,
    pub port: u32,
}

/// As a Kubernetes condition.
#[derive(Debug, Serialize)]
pub struct Condition {
    pub r#type: String,
    pub status: String,
    pub reason: String,
    pub message: String,
}

/// Of `senren regions`.
#[derive(Debug, Serialize)]
pub struct Regions {
    pub regions: Vec<Region>,
}

/// One region.
#[derive(Debug, Serialize)]
pub struct Region {
    pub id: String,
    pub phase: String,
    pub version: u64,
    pub applied_version: u64,
    pub in_sync: bool,
    pub last_heartbeat_at: Option<jiff::Timestamp>,
    pub plugins: Vec<Plugin>,
    pub resources: u32,
    pub ready_resources: u32,
    pub problems: Vec<String>,
    pub plane_version: String,
    pub cluster_uid: String,
    pub published_version: u64,
    pub behind_since: Option<jiff::Timestamp>,
}

/// A resource type that a region serves.
#[derive(Debug, Serialize)]
pub struct Plugin {
    pub r#type: String,
    pub kind: String,
    pub plugin: String,
    pub version: String,
    pub digest: String,
    pub spec_schema: Value,
    pub notice: String,
}
