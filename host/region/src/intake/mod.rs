//! The way in: a record of the state topic becomes custom resources.
//!
//! A state is received at once, whatever is still under way for the one before; its resources are looked at one by
//! one, none in the way of another. What can't be decoded deletes nothing; what can't be written is tried again, with
//! the state kept as what is desired, until it is; what can't be accepted is said on its resource. A version counts as
//! applied when everything in it was taken in: written, or refused for good with the reason reported.

mod admit;
mod converge;
mod work;

use std::time::Duration;

use futures::{StreamExt as _, stream::FuturesUnordered};
use senren_api::{ResourceKey, v1::RegionalState};
use senren_bus::{
    Record,
    codec::{self, DecodeError},
};
use senren_telemetry::trace;
use tracing::Instrument as _;

pub(crate) use {admit::Verdicts, work::Work};

use crate::{
    desired::{DesiredSet, holds},
    memory::Known,
    plane::Plane,
};
use work::Haste;

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
            plane.traces.arrived(state.version, record.header(trace::TRACEPARENT));
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
    let version = state.version;
    if !receive(plane, state) {
        return Handled::Older { version };
    }
    settle(plane).await;
    Handled::TakenIn { version, unsettled: plane.retries.unsettled() }
}

/// Looks at everything that is to be looked at now, until nothing is.
pub async fn settle(plane: &Plane) {
    look_again(plane);
    let mut busy = FuturesUnordered::new();
    loop {
        busy.extend(std::iter::from_fn(|| next(plane)));
        if busy.next().await.is_none() {
            break;
        }
    }
    conclude(plane).await;
}

/// Makes a state what is desired, and has its resources looked at. False: it is older than what is known.
pub(crate) fn receive(plane: &Plane, state: &RegionalState) -> bool {
    let version = state.version;
    // Held to the end: nobody must see the state, and not yet what it has to do.
    let mut desired = plane.desired.lock();
    let Some(replaced) = desired.replace(state) else {
        tracing::debug!(version, "dropped an older state");
        return false;
    };
    match replaced.problems.as_slice() {
        [] => plane.problems.clear("state"),
        problems => plane.problems.set("state", format!("state {version}: {}", problems.join("; "))),
    }
    plane.traces.changes(version, replaced.changed.iter());
    for key in &replaced.changed {
        if let Some(desired) = desired.get(key) {
            let (uid, type_name) = (desired.uid.clone(), desired.type_name.clone());
            plane.roll.learn(Known { uid, type_name, key: key.clone() });
        }
        plane.work.open(key.clone(), lane(&desired, key), Haste::New);
    }
    // A control plane that hears of nothing yet sends the same again, which must not make it take longer.
    if replaced.all && !(replaced.again && plane.work.is_open()) {
        let known = plane.crs.keys().into_iter().chain(plane.roll.keys()).chain(desired.keys().cloned());
        // What failed as it is waits for its time.
        let rest = known.filter(|key| {
            holds(&replaced.slots, key) && !replaced.changed.contains(key) && !plane.retries.waits(key)
        });
        for key in rest {
            let lane = lane(&desired, &key);
            plane.work.open(key, lane, Haste::Routine);
        }
    }
    if !plane.work.is_open() {
        plane.work.through.notify_one();
    }
    let (resources, changed) = (state.resources.len(), replaced.changed.len());
    let delay = state.published_at.as_ref().and_then(since);
    if let Some(delay) = delay {
        metrics::histogram!("senren_region_state_delay_seconds").record(delay);
    }
    tracing::info!(version, resources, changed, "received a state");
    true
}

/// Has looked at again what was poked and what is due to be tried again.
pub(crate) fn look_again(plane: &Plane) {
    let mut keys = std::mem::take(&mut *plane.pokes.lock());
    keys.extend(plane.retries.due());
    let desired = plane.desired.lock();
    for key in keys {
        let lane = lane(&desired, &key);
        plane.work.add(key, lane, Haste::Routine);
    }
}

/// Of a type each: its plugin may be slow.
fn lane(desired: &DesiredSet, key: &ResourceKey) -> Option<String> {
    desired.get(key).map(|desired| desired.type_name.clone())
}

/// The next look at a resource, unless as many are under way as may be.
pub(crate) fn next(plane: &Plane) -> Option<impl Future<Output = ()> + '_> {
    let key = plane.work.take(plane.config.concurrency)?;
    Some(async move {
        let span = plane.traces.span(&key, || tracing::info_span!("intake", resource = %key));
        converge::one(plane, &key).instrument(span).await;
        plane.work.done(key);
    })
}

/// How long ago that was, where the clocks agree.
fn since(time: &prost_types::Timestamp) -> Option<Duration> {
    let time = jiff::Timestamp::new(time.seconds, time.nanos).ok()?;
    Duration::try_from(jiff::Timestamp::now().duration_since(time)).ok()
}

/// Notes what is applied now. False: it can't be remembered.
pub(crate) async fn conclude(plane: &Plane) -> bool {
    {
        let desired = plane.desired.lock();
        let mut applied = plane.applied.lock();
        if *applied != desired.seen && !plane.work.is_open() && plane.retries.unsettled() == 0 {
            applied.clone_from(&desired.seen);
            let version = applied.latest().0;
            plane.gauges.applied(version);
            tracing::info!(version, "a state is applied");
            plane.news.notify_one();
        }
    }
    let remembered = plane.remember().await;
    match &remembered {
        Ok(()) => plane.problems.clear("memory"),
        // Until it can, a restart would know less, which does no harm by itself.
        Err(error) => {
            plane.problems.set("memory", format!("what was taken in can't be remembered: {error}"));
        }
    }
    remembered.is_ok()
}
