//! PlanState: what an apply would do now, and what that would mean for what runs.

use std::collections::BTreeSet;

use senren_api::v1::{
    ApplyStateRequest, FieldChange, PlanStateRequest, PlanStateResponse, PlannedChange, ResourceChange,
};
use tonic::Status;
use uuid::Uuid;

use super::{
    Api, answer,
    apply::{self, Draft},
    error, request,
};
use crate::{
    effects,
    plan::{Action, Change, told},
    store::holds::HoldKind,
};

/// Fields that a summary names.
const TOLD: usize = 3;

impl Api {
    pub(super) async fn plan_state(&self, request: PlanStateRequest) -> Result<PlanStateResponse, Status> {
        let databases = match request.rollback_to {
            None => request.databases,
            Some(revision) => {
                let site = request::revision_of(&request.site, "rollback_to", Some(revision));
                let site = site.map_err(error::invalid)?;
                if !request.databases.is_empty() {
                    let mut violations = request::Violations::default();
                    violations.add("databases", "a rollback has none of its own");
                    return Err(error::invalid(violations));
                }
                self.declared_at(&site, revision).await?
            }
        };
        let order = self
            .order(ApplyStateRequest {
                site: request.site,
                databases,
                confirm_data_loss: request.confirm_data_loss,
                ..ApplyStateRequest::default()
            })
            .await?;
        let mut connection = self.store.acquire().await.map_err(|e| error::database(&e))?;
        let draft = apply::draft(self, &mut connection, &order).await.map_err(error::refusal)?;
        let Draft { before, plan, checked } = draft;
        let new: BTreeSet<Uuid> = plan.inserts.iter().map(|insert| insert.uid).collect();
        let after = if plan.is_empty() { before } else { before + 1 };
        let planned = |change: &Change| {
            let mut planned = planned(change, after);
            if let Some(shown) = planned.change.as_mut().filter(|_| new.contains(&change.uid)) {
                shown.uid.clear();
            }
            planned
        };
        Ok(PlanStateResponse {
            site: order.site.to_string(),
            revision: before,
            changes: plan.changes.iter().map(planned).collect(),
            warnings: checked.warnings,
        })
    }
}

fn planned(change: &Change, revision: u64) -> PlannedChange {
    let fields = match change.action {
        Action::Created => effects::all_fields(None, change.after.as_deref()),
        Action::Updated => change.fields.clone(),
        Action::Unchanged | Action::Deleted | Action::Replaced => Vec::new(),
    };
    PlannedChange {
        change: Some(ResourceChange { ..answer::present(change, revision) }),
        disruptive: is_disruptive(change),
        data_loss: change.data_loss,
        summary: summary(change),
        fields: fields.into_iter().map(present).collect(),
    }
}

fn present(field: senren_schema::FieldChange) -> FieldChange {
    let text = |value: Option<serde_json::Value>| value.map(|value| value.to_string());
    FieldChange {
        path: field.path,
        before_json: text(field.before),
        after_json: text(field.after),
        effect: field.effect,
    }
}

/// As `diff` of a plugin would say, going by the schema alone.
fn is_disruptive(change: &Change) -> bool {
    let noticed = |effect: &str| matches!(effect, "rolling-restart" | "recreate");
    change.data_loss || change.fields.iter().any(|field| noticed(&field.effect))
}

/// One line for a person.
fn summary(change: &Change) -> String {
    let what = match change.action {
        Action::Unchanged => "nothing changes".to_owned(),
        Action::Created => "is created".to_owned(),
        Action::Deleted if !change.data_loss => "is forgotten: its region was never seen".to_owned(),
        Action::Deleted => "is deleted, with its data".to_owned(),
        Action::Replaced => replaced(change),
        Action::Updated => updated(change),
    };
    match &change.hold {
        None => what,
        Some(hold) if hold.kind == HoldKind::Deletion => format!("{what}; held until it is confirmed"),
        Some(_) if change.action == Action::Unchanged => {
            "an earlier change is held until it is confirmed".to_owned()
        }
        Some(_) => format!("{what}; held until it is confirmed"),
    }
}

fn replaced(change: &Change) -> String {
    let from = change.before.as_ref().map_or("another type", |(type_name, _)| type_name);
    let loss =
        if change.data_loss { "it is deleted with its data, and made anew" } else { "nothing is lost" };
    format!("type {from} → {}: {loss}", change.type_name)
}

fn updated(change: &Change) -> String {
    if change.fields.is_empty() {
        let confirmed = change.data_loss && change.generation.is_some();
        return if confirmed { "what is held of it happens" } else { "nothing of what runs changes" }
            .to_owned();
    }
    let mut told: Vec<String> = change.fields.iter().take(TOLD).map(told).collect();
    let rest = change.fields.len() - told.len();
    if rest > 0 {
        told.push(format!("and {rest} more"));
    }
    let told = told.join(", ");
    match worst(change) {
        Some(effect) => format!("{told}: {effect}"),
        None => told,
    }
}

/// What the hardest of the effects means.
fn worst(change: &Change) -> Option<&'static str> {
    let has = |effect: &str| change.fields.iter().any(|field| field.effect == effect);
    [
        ("recreate", "it is deleted with its data, and made anew"),
        ("rebalance", "data moves between its instances"),
        ("rolling-restart", "its instances restart one by one"),
        ("in-place", "in place"),
    ]
    .into_iter()
    .find_map(|(effect, meaning)| has(effect).then_some(meaning))
}
