//! Events on the custom resource: what `kubectl describe` shows of what happened.
//!
//! A plugin is level-triggered and says the same thing in every call while it is so; an event is written when it
//! begins to be so. Its name is derived from what it says, so that after a restart it is not written twice. Best
//! effort: an event that can't be written delays nothing and fails nothing.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1::ObjectReference,
        events::v1::{Event, EventSeries},
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use senren_api::state::hex;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::{
    api::{Kube, within},
    failure::Failure,
    names,
    resource::CustomResource,
    status::cut,
};

/// Limits of the API for reason and note.
const MAX_REASON: usize = 127;
const MAX_NOTE: usize = 1000;
/// More at once are noise.
const MAX_EVENTS: usize = 10;

/// Something worth telling.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Said {
    /// It needs attention.
    pub warning: bool,
    /// CamelCase, for programs.
    pub reason: String,
    /// For people.
    pub message: String,
}

impl From<&senren_engine::wit::Event> for Said {
    fn from(event: &senren_engine::wit::Event) -> Self {
        Self {
            warning: event.severity == "warning",
            reason: cut(&event.reason, MAX_REASON),
            message: cut(&event.message, MAX_NOTE),
        }
    }
}

impl Said {
    /// Tells of a failure.
    pub(crate) fn failure(failure: &Failure) -> Self {
        Self {
            warning: true,
            reason: cut(failure.reason(), MAX_REASON),
            message: cut(&failure.to_string(), MAX_NOTE),
        }
    }
}

/// Writes what is said now and was not said before.
pub(crate) async fn publish(
    kube: &Kube,
    resource: &CustomResource,
    before: &BTreeSet<Said>,
    now_said: &BTreeSet<Said>,
    now: Timestamp,
) {
    for said in now_said.difference(before).take(MAX_EVENTS) {
        if let Err(error) = within(publish_one(kube, resource, said, now)).await {
            tracing::debug!(resource = %resource.key, reason = said.reason, %error, "an event could not be written");
        }
    }
}

async fn publish_one(
    kube: &Kube,
    resource: &CustomResource,
    said: &Said,
    now: Timestamp,
) -> Result<(), kube::Error> {
    let api: Api<Event> = Api::namespaced(kube.client(), &resource.key.namespace);
    let event = event(resource, said, now);
    match api.create(&PostParams::default(), &event).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let name = event.metadata.name.unwrap_or_default();
            let known = api.get(&name).await?;
            let count = known.series.map_or(1, |series| series.count) + 1;
            let patch = json!({"series": EventSeries { count, last_observed_time: MicroTime(now) }});
            api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await.map(|_| ())
        }
        Err(error) => Err(error),
    }
}

fn event(resource: &CustomResource, said: &Said, now: Timestamp) -> Event {
    let mut hash = Sha256::new();
    for part in [&resource.uid, &said.reason, &said.message] {
        hash.update(part);
        hash.update([0]);
    }
    let digest = hex(hash.finalize().get(..8).unwrap_or_default());
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{digest}", resource.key.name)),
            namespace: Some(resource.key.namespace.clone()),
            ..ObjectMeta::default()
        },
        action: Some("Reconcile".into()),
        event_time: Some(MicroTime(now)),
        note: Some(said.message.clone()),
        reason: Some(if said.reason.is_empty() { "Unspecified".into() } else { said.reason.clone() }),
        regarding: Some(ObjectReference {
            api_version: Some(resource.api.api_version.clone()),
            kind: Some(resource.api.kind.clone()),
            name: Some(resource.key.name.clone()),
            namespace: Some(resource.key.namespace.clone()),
            uid: Some(resource.uid.clone()),
            ..ObjectReference::default()
        }),
        reporting_controller: Some("senren.io/reconcile".into()),
        reporting_instance: Some(names::MANAGER.into()),
        type_: Some(if said.warning { "Warning" } else { "Normal" }.into()),
        ..Event::default()
    }
}
