//! From the messages of the API to the views.

use senren_api::v1;
use serde_json::Value;

use super::{
    Applied, Change, Condition, Endpoint, Entry, Event, FieldChange, Forgotten, History, Hold, Plan,
    PlannedChange, Plugin, Region, Regions, Resource, Status, Warning,
};

/// A protobuf timestamp as a time.
pub fn time(timestamp: Option<prost_types::Timestamp>) -> Option<jiff::Timestamp> {
    let timestamp = timestamp?;
    jiff::Timestamp::new(timestamp.seconds, timestamp.nanos).ok()
}

/// Each of them, as ours.
fn all<A, B: From<A>>(messages: Vec<A>) -> Vec<B> {
    messages.into_iter().map(B::from).collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

/// `created` and so on.
fn action(action: v1::resource_change::Action) -> &'static str {
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
        Self {
            site: response.site,
            revision: response.revision,
            changes: all(response.changes),
            warnings: all(response.warnings),
            resources: None,
        }
    }
}

impl From<v1::ResourceChange> for Change {
    fn from(change: v1::ResourceChange) -> Self {
        Self {
            action: action(change.action()),
            region: change.region,
            name: change.name,
            r#type: change.r#type,
            uid: change.uid,
            generation: change.generation,
            hold: change.hold.map(Hold::from),
        }
    }
}

impl From<v1::Hold> for Hold {
    fn from(hold: v1::Hold) -> Self {
        Self { kind: hold.kind, message: hold.message, revision: hold.revision }
    }
}

impl From<v1::Warning> for Warning {
    fn from(warning: v1::Warning) -> Self {
        Self { code: warning.code, region: warning.region, name: warning.name, message: warning.message }
    }
}

impl From<v1::PlanStateResponse> for Plan {
    fn from(response: v1::PlanStateResponse) -> Self {
        Self {
            site: response.site,
            revision: response.revision,
            changes: all(response.changes),
            warnings: all(response.warnings),
        }
    }
}

impl From<v1::PlannedChange> for PlannedChange {
    fn from(planned: v1::PlannedChange) -> Self {
        Self {
            change: planned.change.unwrap_or_default().into(),
            fields: all(planned.fields),
            disruptive: planned.disruptive,
            data_loss: planned.data_loss,
            summary: planned.summary,
        }
    }
}

impl From<v1::FieldChange> for FieldChange {
    fn from(field: v1::FieldChange) -> Self {
        Self {
            path: field.path,
            before: field.before_json.as_deref().map(json),
            after: field.after_json.as_deref().map(json),
            effect: field.effect,
        }
    }
}

impl From<v1::ListHistoryResponse> for History {
    fn from(response: v1::ListHistoryResponse) -> Self {
        Self { site: response.site, entries: all(response.entries) }
    }
}

impl From<v1::HistoryEntry> for Entry {
    fn from(entry: v1::HistoryEntry) -> Self {
        Self {
            revision: entry.revision,
            applied_at: time(entry.applied_at),
            author: entry.author,
            request_id: entry.request_id,
            kind: entry.kind,
            rollback_to: entry.rollback_to,
            changes: all(entry.changes),
        }
    }
}

impl From<v1::ForceDeleteResponse> for Forgotten {
    fn from(response: v1::ForceDeleteResponse) -> Self {
        Self { site: response.site, changes: all(response.changes) }
    }
}

impl From<v1::GetStatusResponse> for Status {
    fn from(response: v1::GetStatusResponse) -> Self {
        Self { site: response.site, revision: response.revision, resources: all(response.resources) }
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
            hold: status.hold.map(Hold::from),
        }
    }
}

impl From<v1::ListRegionsResponse> for Regions {
    fn from(response: v1::ListRegionsResponse) -> Self {
        Self { regions: all(response.regions) }
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
            notice: p.notice,
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
            published_version: region.published_version,
            behind_since: time(region.behind_since),
        }
    }
}
