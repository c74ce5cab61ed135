//! One resource: observe it, call its plugin, guard the answer, apply it, prune what is no longer wanted, and say how
//! it is. Read [`Reconciler::reconcile`] first; everything else here is one of its steps, or drives it.
//!
//! This crate is where a plugin's word becomes a change of a cluster, so it is where a plugin is not believed: the
//! guard alone decides what reaches the API server. Everything is level-triggered: any step may run again, with stale
//! readings, or stop half-way, and the next run converges to the same end.
//!
//! It knows nothing of Kafka or of the control plane, and keeps nothing that it could not lose: what must last is in
//! the custom resource's status and on the objects themselves.
//!
//! A region runs it by [`run`]. A test or a tool can do without that: [`Reconciler::reconcile_now`] is one step on what
//! the API server says now, [`Reconciler::answer_due`] does what the plugin then asks for, and [`Surroundings`] says what
//! time it is and sees every call of the plugin.

mod api;
mod apply;
mod asks;
mod cache;
mod claims;
mod clock;
pub mod crd;
mod drive;
mod events;
mod failure;
mod finalizer;
pub mod guard;
mod kind;
pub mod names;
mod observe;
mod prune;
mod queue;
mod reconcile;
pub mod resource;
mod rest;
mod secrets;
pub mod status;
mod step;

use std::{collections::BTreeMap, time::Duration};

use senren_api::RegionId;
use serde_json::Value;

pub use crate::{
    api::within,
    asks::AskLimits,
    clock::{Clock, SystemClock},
    drive::run,
    failure::{Failure as ReconcileError, Retry},
    kind::{ApiKind, InvalidKind, ObjectId},
    observe::Observed,
    reconcile::{Journal, Reconciler, Recorder, Surroundings},
};

/// What an operator decides about reconciling in a region.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The region this plane is.
    pub region: RegionId,
    /// Start of its namespaces: `senren` for `senren-default`.
    pub namespace_prefix: String,
    /// Kinds that plugins may own. The same list should make up the plane's ClusterRole.
    pub allowed_kinds: Vec<ApiKind>,
    /// Configuration of each plugin, by its name.
    pub plugin_config: BTreeMap<String, Value>,
    /// Everything is reconciled again after this time, whether or not it changed.
    pub resync: Duration,
    /// How many resources of one type are reconciled at once.
    pub concurrency: usize,
    /// How much the plugins may ask the host to do.
    pub asks: AskLimits,
}

impl Settings {
    /// The defaults for `region`.
    pub fn new(region: RegionId) -> Self {
        Self {
            region,
            namespace_prefix: "senren".into(),
            allowed_kinds: default_allowed_kinds(),
            plugin_config: BTreeMap::new(),
            resync: Duration::from_secs(600),
            concurrency: 16,
            asks: AskLimits::default(),
        }
    }
}

/// Namespaced kinds that run a database and whose every dangerous field the guard knows.
pub fn default_allowed_kinds() -> Vec<ApiKind> {
    [
        ("v1", "ConfigMap"),
        ("v1", "Service"),
        ("apps/v1", "StatefulSet"),
        ("apps/v1", "Deployment"),
        ("batch/v1", "Job"),
        ("batch/v1", "CronJob"),
        ("policy/v1", "PodDisruptionBudget"),
        ("networking.k8s.io/v1", "NetworkPolicy"),
    ]
    .map(|(api_version, kind)| ApiKind::new(api_version, kind))
    .into()
}
