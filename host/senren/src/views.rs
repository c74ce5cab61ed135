//! What `-o json` and `-o yaml` print: the messages of the API with their field names, JSON text as JSON, and
//! times as RFC 3339. Part of the interface: a field is never renamed or retyped.

use senren_api::v1;
use serde::Serialize;
use serde_json::Value;

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
}

/// A protobuf timestamp as a time.
pub fn time(timestamp: Option<prost_types::Timestamp>) -> Option<jiff::Timestamp> {
    let timestamp = timestamp?;
    jiff::Timestamp::new(timestamp.seconds, timestamp.nanos).ok()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

/// `created` and so on.
pub fn action(action: v1::resource_change::Action) -> &'static str {
    use v1::resource_change::Action;
    match action {
        Action::Unspecified => "unknown",
        Action::Unchanged => "unchanged",
        Action::Created => "created",
        Action::Updated => "updated",
        Action::Deleted => "deleted",
        Action::Replaced => "replaced",
    }
}

impl From<v1::ApplyStateResponse> for Applied {
    fn from(response: v1::ApplyStateResponse) -> Self {
        let change = |change: v1::ResourceChange| Change {
            action: action(change.action()),
            region: change.region,
            name: change.name,
            r#type: change.r#type,
            uid: change.uid,
            generation: change.generation,
        };
        let warning = |warning: v1::Warning| Warning {
            code: warning.code,
            region: warning.region,
            name: warning.name,
            message: warning.message,
        };
        Self {
            site: response.site,
            revision: response.revision,
            changes: response.changes.into_iter().map(change).collect(),
            warnings: response.warnings.into_iter().map(warning).collect(),
            resources: None,
        }
    }
}

impl From<v1::GetStatusResponse> for Status {
    fn from(response: v1::GetStatusResponse) -> Self {
        Self {
            site: response.site,
            revision: response.revision,
            resources: response.resources.into_iter().map(Resource::from).collect(),
        }
    }
}

impl From<v1::WatchStatusResponse> for Event {
    fn from(event: v1::WatchStatusResponse) -> Self {
        use v1::watch_status_response::Kind;
        let kind = match event.kind() {
            Kind::Unspecified => "unknown",
            Kind::Changed => "changed",
            Kind::Removed => "removed",
            Kind::Synced => "synced",
        };
        Self { kind, revision: event.revision, resource: event.resource.map(Resource::from) }
    }
}

impl From<v1::ResourceStatus> for Resource {
    fn from(status: v1::ResourceStatus) -> Self {
        let endpoint = |e: v1::Endpoint| Endpoint { name: e.name, host: e.host, port: e.port };
        let condition = |c: v1::Condition| Condition {
            r#type: c.r#type,
            status: c.status,
            reason: c.reason,
            message: c.message,
        };
        Self {
            site: status.site,
            region: status.region,
            name: status.name,
            r#type: status.r#type,
            uid: status.uid,
            generation: status.generation,
            observed_generation: status.observed_generation,
            phase: status.phase,
            ready: status.ready,
            reason: status.reason,
            message: status.message,
            endpoints: status.endpoints.into_iter().map(endpoint).collect(),
            conditions: status.conditions.into_iter().map(condition).collect(),
            details: json(&status.details_json),
            observed_at: time(status.observed_at),
            created_at: time(status.created_at),
            applied_at: time(status.applied_at),
            ready_at: time(status.ready_at),
            spec: json(&status.spec_json),
            deletion_protection: status.deletion_protection,
            deleting: status.deleting,
        }
    }
}

impl From<v1::ListRegionsResponse> for Regions {
    fn from(response: v1::ListRegionsResponse) -> Self {
        Self { regions: response.regions.into_iter().map(Region::from).collect() }
    }
}

impl From<v1::Region> for Region {
    fn from(region: v1::Region) -> Self {
        let plugin = |p: v1::PluginInfo| Plugin {
            r#type: p.r#type,
            kind: p.kind,
            plugin: p.plugin,
            version: p.version,
            digest: p.digest,
            spec_schema: json(&p.spec_schema_json),
        };
        Self {
            id: region.id,
            phase: region.phase,
            version: region.version,
            applied_version: region.applied_version,
            in_sync: region.in_sync,
            last_heartbeat_at: time(region.last_heartbeat_at),
            plugins: region.plugins.into_iter().map(plugin).collect(),
            resources: region.resources,
            ready_resources: region.ready_resources,
            problems: region.problems,
            plane_version: region.plane_version,
            cluster_uid: region.cluster_uid,
        }
    }
}
