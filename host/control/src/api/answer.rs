//! What a plan changes, as the API tells it and as the history keeps it.

use senren_api::v1::{self, ResourceChange, resource_change};
use serde::{Deserialize, Serialize};

use crate::{
    plan::{Action, Change, Plan},
    store::holds::Hold,
};

/// For an answer; `revision` is what changed resources are at.
pub(crate) fn changes(plan: &Plan, revision: u64) -> Vec<ResourceChange> {
    plan.changes.iter().map(|change| present(change, revision)).collect()
}

/// One of them.
pub(crate) fn present(change: &Change, revision: u64) -> ResourceChange {
    ResourceChange {
        region: change.region.clone(),
        name: change.name.clone(),
        r#type: change.type_name.clone(),
        uid: change.uid.to_string(),
        action: action(change.action).into(),
        generation: change.generation.unwrap_or(revision),
        hold: change.hold.as_ref().map(hold),
    }
}

/// For the API.
pub(crate) fn hold(hold: &Hold) -> v1::Hold {
    v1::Hold { kind: hold.kind.as_str().to_owned(), message: hold.message.clone(), revision: hold.revision }
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

/// A change as the history keeps it.
#[derive(Serialize, Deserialize)]
struct Recorded {
    action: String,
    region: String,
    name: String,
    r#type: String,
    uid: String,
    /// Absent: that of the revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hold: Option<RecordedHold>,
}

#[derive(Serialize, Deserialize)]
struct RecordedHold {
    kind: String,
    message: String,
}

/// What the revision changes, without what it leaves or has held before.
pub(crate) fn record(plan: &Plan, revision: u64) -> serde_json::Value {
    let news = plan.changes.iter().filter(|change| change.is_news(revision));
    let recorded = news.map(|change| Recorded {
        action: action(change.action).as_str_name().trim_start_matches(PREFIX).to_ascii_lowercase(),
        region: change.region.clone(),
        name: change.name.clone(),
        r#type: change.type_name.clone(),
        uid: change.uid.to_string(),
        generation: change.generation,
        hold: change
            .hold
            .as_ref()
            .map(|hold| RecordedHold { kind: hold.kind.as_str().to_owned(), message: hold.message.clone() }),
    });
    serde_json::to_value(recorded.collect::<Vec<_>>()).unwrap_or_default()
}

const PREFIX: &str = "ACTION_";

/// What a revision has changed.
pub(crate) fn recorded(changes: serde_json::Value, revision: u64) -> Vec<ResourceChange> {
    let recorded: Vec<Recorded> = serde_json::from_value(changes).unwrap_or_default();
    let change = |change: Recorded| {
        let name = format!("{PREFIX}{}", change.action.to_ascii_uppercase());
        let hold = change.hold.map(|hold| v1::Hold { kind: hold.kind, message: hold.message, revision });
        ResourceChange {
            region: change.region,
            name: change.name,
            r#type: change.r#type,
            uid: change.uid,
            action: resource_change::Action::from_str_name(&name).unwrap_or_default().into(),
            generation: change.generation.unwrap_or(revision),
            hold,
        }
    };
    recorded.into_iter().map(change).collect()
}
