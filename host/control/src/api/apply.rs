//! The step that applies: one transaction from the site's revision to the regions' versions.
//!
//! Either all of it happens or nothing. Applies of one site wait for each other; those of different sites meet only at
//! the regions they share, for as long as it takes to raise a counter.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use prost::Message as _;
use senren_api::{
    SiteName,
    v1::{ApplyStateResponse, ResourceChange, Warning, resource_change},
};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    hub::{Hub, Signal},
    plan::{Action, Desired, Plan, Protected},
    sources::Sources,
    store::{Store, history, regions, requests, requests::RequestKey, resources, sites},
};

/// What is to be applied.
pub(crate) struct Order {
    pub site: SiteName,
    pub request: Option<RequestKey>,
    pub expected_revision: Option<u64>,
    pub desired: Vec<Desired>,
    /// Travel with the answer.
    pub warnings: Vec<Warning>,
}

/// Why nothing was applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error("site {site} is at revision {revision}, not {expected}")]
    Conflict { site: SiteName, revision: u64, expected: u64 },
    #[error("request id {id:?} was used with another content")]
    RequestReused { id: String },
    #[error("{} protected databases would be deleted or replaced", .0.len())]
    Protected(Vec<Protected>),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Applies, and tells who should know.
#[tracing::instrument(skip_all, fields(site = %order.site, resources = order.desired.len()))]
pub(crate) async fn apply(
    store: &Store,
    hub: &Hub,
    sources: &Sources,
    order: Order,
) -> Result<ApplyStateResponse, ApplyError> {
    let now = sources.now();
    let mut transaction = store.begin().await?;
    let revision = sites::lock(&mut transaction, &order.site).await?;
    if let Some(answer) = answered_before(&mut transaction, &order.site, order.request.as_ref()).await? {
        return Ok(answer);
    }
    if let Some(expected) = order.expected_revision.filter(|expected| *expected != revision) {
        return Err(ApplyError::Conflict { site: order.site, revision, expected });
    }
    let current = resources::current(&mut transaction, &order.site).await?;
    let plan = Plan::new(&order.desired, current, || sources.uid());
    if !plan.protected.is_empty() {
        return Err(ApplyError::Protected(plan.protected));
    }
    let changed = !plan.is_empty();
    let revision = if changed { revision + 1 } else { revision };
    if changed {
        write(&mut transaction, &order, &plan, revision, now).await?;
    }
    let answer = answer(&order, &plan, revision);
    if let Some(request) = &order.request {
        requests::remember(&mut transaction, &order.site, request, &answer.encode_to_vec(), now).await?;
    }
    let signal = Signal::Resources(order.site.clone(), touched(&plan).into());
    if changed {
        hub.notify(&mut transaction, [&signal], true).await?;
    }
    transaction.commit().await?;
    if changed {
        hub.wake_relay();
        hub.send(signal);
    }
    tracing::info!(revision, changed, "applied");
    Ok(answer)
}

/// The answer that this request has already got.
pub(crate) async fn answered_before(
    connection: &mut PgConnection,
    site: &SiteName,
    request: Option<&RequestKey>,
) -> Result<Option<ApplyStateResponse>, ApplyError> {
    let Some(request) = request else { return Ok(None) };
    let Some((content_hash, answer)) = requests::find(connection, site, &request.id).await? else {
        return Ok(None);
    };
    if content_hash != request.content_hash {
        return Err(ApplyError::RequestReused { id: request.id.clone() });
    }
    let answer = ApplyStateResponse::decode(answer.as_slice());
    Ok(Some(answer.map_err(|error| sqlx::Error::Decode(error.into()))?))
}

async fn write(
    transaction: &mut PgConnection,
    order: &Order,
    plan: &Plan,
    revision: u64,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    let touched: Vec<&str> = plan.regions().into_iter().collect();
    let versions = regions::raise_versions(transaction, &touched).await?;
    let removals = removals(plan, &versions);
    resources::remove(transaction, revision, now, &removals).await?;
    resources::update(transaction, revision, now, &plan.updates).await?;
    resources::insert(transaction, &order.site, revision, now, &plan.inserts).await?;
    let entry = history::Entry {
        site: &order.site,
        revision,
        applied_at: now,
        request_id: order.request.as_ref().map_or("", |request| &request.id),
        // Until callers have names.
        author: "",
        changes: record(plan),
    };
    history::record(transaction, entry).await
}

/// Each with the version of its region that is the first one without it.
fn removals(plan: &Plan, versions: &BTreeMap<String, u64>) -> Vec<(Uuid, u64)> {
    let version = |region: &String| versions.get(region).copied().unwrap_or_default();
    plan.removals.iter().map(|(uid, region)| (*uid, version(region))).collect()
}

fn touched(plan: &Plan) -> Vec<Uuid> {
    let changed = plan.changes.iter().filter(|change| change.action != Action::Unchanged);
    let changed = changed.map(|change| change.uid);
    // The uid that a replacement removes is in no change.
    let mut uids: Vec<Uuid> = changed.chain(plan.removals.iter().map(|(uid, _)| *uid)).collect();
    uids.sort();
    uids.dedup();
    uids
}

/// For the history.
fn record(plan: &Plan) -> serde_json::Value {
    let changed = plan.changes.iter().filter(|change| change.action != Action::Unchanged);
    let entries = changed.map(|change| {
        json!({
            "action": change.action.as_str(),
            "region": change.region,
            "name": change.name,
            "type": change.type_name,
            "uid": change.uid,
        })
    });
    entries.collect()
}

fn answer(order: &Order, plan: &Plan, revision: u64) -> ApplyStateResponse {
    let changes = plan.changes.iter().map(|change| ResourceChange {
        region: change.region.clone(),
        name: change.name.clone(),
        r#type: change.type_name.clone(),
        uid: change.uid.to_string(),
        action: action(change.action).into(),
        generation: change.generation.unwrap_or(revision),
        hold: None,
    });
    ApplyStateResponse {
        site: order.site.to_string(),
        revision,
        changes: changes.collect(),
        warnings: order.warnings.clone(),
    }
}

fn action(action: Action) -> resource_change::Action {
    match action {
        Action::Unchanged => resource_change::Action::Unchanged,
        Action::Created => resource_change::Action::Created,
        Action::Updated => resource_change::Action::Updated,
        Action::Deleted => resource_change::Action::Deleted,
        Action::Replaced => resource_change::Action::Replaced,
    }
}
