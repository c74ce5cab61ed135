//! The way in: a record of the state topic becomes custom resources.
//!
//! One version after the other; within one, the resources at once, and none in the way of another. What can't be
//! decoded deletes nothing; what can't be written is tried again, with the state kept as what is desired, until it
//! is; what can't be accepted is said on its resource. A version counts as applied when everything in it was taken
//! in: written, or refused for good with the reason reported.

mod admit;
mod converge;

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, stream};
use senren_api::{ResourceKey, v1::RegionalState};
use senren_bus::{
    Record,
    codec::{self, DecodeError},
};

pub(crate) use admit::Verdicts;

use crate::{desired::holds, memory::Known, plane::Plane};

/// Why a resource is not as desired, where no custom resource says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Of what is desired; where nothing is, of what ought to go.
    pub uid: String,
    pub type_name: String,
    pub generation: u64,
    pub phase: &'static str,
    pub reason: String,
    pub message: String,
}

/// What became of a record.
#[derive(Debug, PartialEq, Eq)]
pub enum Handled {
    /// It is another region's.
    NotMine,
    /// It can't be acted on, which was counted, logged and is in the heartbeat.
    Skipped(DecodeError),
    /// A higher version was seen before, in every slot.
    Older {
        /// The one that it has.
        version: u64,
    },
    /// It is what is desired now.
    TakenIn {
        /// The one that it has.
        version: u64,
        /// So many resources could not be written, and are tried again; 0: the version is applied.
        unsettled: usize,
    },
}

/// Takes in one record of the state topic.
pub async fn handle(plane: &Plane, record: &Record) -> Handled {
    match accept(plane, record) {
        Ok(Some(state)) => take_in(plane, &state).await,
        Ok(None) => Handled::NotMine,
        Err(error) => Handled::Skipped(error),
    }
}

/// Decodes a record; `None` where it is another region's.
pub(crate) fn accept(plane: &Plane, record: &Record) -> Result<Option<RegionalState>, DecodeError> {
    // On a topic that all share, what isn't ours isn't even decoded. A key that is no region's is everybody's.
    let others = codec::region_of(record).is_some_and(|region| region != plane.region);
    if others {
        return Ok(None);
    }
    let subject = format!("record {:?}", record.key);
    match codec::decode_state(record) {
        Ok(state) => {
            plane.problems.clear(&subject);
            Ok((state.region == plane.region.as_str()).then_some(state))
        }
        Err(error) => {
            metrics::counter!("senren_region_skipped_records_total", "reason" => error.code()).increment(1);
            tracing::error!(%error, "skipped a record of the state topic; nothing is changed by it");
            plane.problems.set(&subject, error.to_string());
            Err(error)
        }
    }
}

/// Makes a state what is desired, and the cluster follow it.
pub async fn take_in(plane: &Plane, state: &RegionalState) -> Handled {
    let started = std::time::Instant::now();
    let version = state.version;
    let replaced = plane.desired.lock().replace(state);
    let Some(replaced) = replaced else {
        tracing::debug!(version, "dropped an older state");
        return Handled::Older { version };
    };
    match replaced.problems.as_slice() {
        [] => plane.problems.clear("state"),
        problems => plane.problems.set("state", format!("state {version}: {}", problems.join("; "))),
    }
    for desired in replaced.keys.iter().filter_map(|key| plane.desired.lock().get(key)) {
        let (uid, type_name) = (desired.uid.clone(), desired.type_name.clone());
        plane.roll.learn(Known { uid, type_name, key: desired.key.clone() });
    }
    let in_slots = |key: &ResourceKey| holds(&replaced.slots, key);
    let known = plane.crs.keys().into_iter().chain(plane.roll.keys()).filter(in_slots);
    let all: BTreeSet<ResourceKey> = replaced.keys.iter().cloned().chain(known).collect();
    // What is new doesn't wait behind what is as it was; what failed as it is waits for its time.
    converge(plane, &replaced.changed).await;
    let rest: BTreeSet<ResourceKey> =
        all.difference(&replaced.changed).filter(|key| !plane.retries.waits(key)).cloned().collect();
    converge(plane, &rest).await;
    conclude(plane).await;
    metrics::histogram!("senren_region_intake_seconds").record(started.elapsed().as_secs_f64());
    let unsettled = plane.retries.unsettled();
    tracing::info!(
        version,
        resources = state.resources.len(),
        changed = replaced.changed.len(),
        unsettled,
        "took in"
    );
    Handled::TakenIn { version, unsettled }
}

/// Looks again at what was poked and at what is due to be tried again.
pub async fn settle(plane: &Plane) {
    let mut keys = std::mem::take(&mut *plane.pokes.lock());
    keys.extend(plane.retries.due());
    if !keys.is_empty() {
        converge(plane, &keys).await;
        conclude(plane).await;
    }
}

/// Brings these resources to what is desired, each type in a lane of its own, so that a plugin that is slow holds up
/// none but its own.
async fn converge(plane: &Plane, keys: &BTreeSet<ResourceKey>) {
    let mut lanes: BTreeMap<Option<String>, Vec<ResourceKey>> = BTreeMap::new();
    for key in keys {
        let type_name = plane.desired.lock().get(key).map(|desired| desired.type_name.clone());
        lanes.entry(type_name).or_default().push(key.clone());
    }
    futures::future::join_all(lanes.into_values().map(|keys| lane(plane, keys))).await;
}

async fn lane(plane: &Plane, keys: Vec<ResourceKey>) {
    stream::iter(keys)
        .map(|key| converge::one(plane, key))
        .buffer_unordered(plane.config.concurrency)
        .for_each(|()| std::future::ready(()))
        .await;
}

/// Notes what is applied now.
async fn conclude(plane: &Plane) {
    if plane.retries.unsettled() == 0 {
        let seen = plane.desired.lock().seen.clone();
        let mut applied = plane.applied.lock();
        if *applied != seen {
            *applied = seen;
            plane.news.notify_one();
        }
    }
    match plane.remember().await {
        Ok(()) => plane.problems.clear("memory"),
        Err(error) => {
            // The next step tries again; until then a restart would know less, which does no harm by itself.
            plane.problems.set("memory", format!("what was taken in can't be remembered: {error}"));
        }
    }
}
