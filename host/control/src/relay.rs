//! Publishes the desired state of regions whose version has moved.
//!
//! The step takes one region that is due, reads one snapshot (version and resources), publishes it and notes what it
//! published. Rules:
//! - a version names a content, so publishing the same twice is harmless, and a burst of applies is one message;
//! - one relay per region at a time, of all control planes: whoever holds the lock on the region's `relays` row. An
//!   apply never touches that row, so it never waits for Kafka;
//! - a region whose publication fails is tried again later and delays nobody else.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use senren_api::{
    state::hash_of,
    v1::{DesiredResource, RegionalState},
};
use senren_bus::{Bus, BusError, Record, codec};
use senren_telemetry::trace;
use tokio::time::{Instant, error::Elapsed, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::{
    hub::{Hub, Signal},
    sources::Sources,
    status::timestamp,
    store::{Store, relays, relays::Lease},
};

/// Regions that are published at once. Each takes a connection while it is.
const WORKERS: usize = 8;
/// The bus gives up by itself after ten seconds, except over a topic that it does not know yet.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(15);
/// Safety net for a lost wake-up, and what brings failed regions their next try.
const POLL: Duration = Duration::from_millis(500);
const FIRST_RETRY: TimeDelta = TimeDelta::milliseconds(250);
/// A broker that comes back is used after so long at the latest.
const LAST_RETRY: TimeDelta = TimeDelta::seconds(5);

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// No region is due.
    Idle,
    /// This version is on the topic.
    Published {
        /// The region.
        region: String,
        /// What it was told.
        version: u64,
    },
    /// It could not be published, and is due again later.
    Failed {
        /// The region.
        region: String,
    },
}

/// Everything a step needs.
#[derive(Clone)]
pub struct Relay {
    store: Store,
    bus: Arc<dyn Bus>,
    hub: Hub,
    sources: Sources,
}

impl Relay {
    /// A relay from a store to a bus, woken through `hub`.
    pub fn new(store: Store, bus: Arc<dyn Bus>, hub: Hub, sources: Sources) -> Self {
        Self { store, bus, hub, sources }
    }
}

/// Publishes one region that is due.
pub async fn publish_next(relay: &Relay) -> sqlx::Result<Step> {
    // What is not remembered as published is published again, which is harmless.
    let mut transaction = relay.store.begin_what_need_not_last().await?;
    let Some(lease) = relays::lease(&mut transaction, relay.sources.now()).await? else {
        return Ok(Step::Idle);
    };
    let Lease { region, failures, more, version, traceparent, resources } = lease;
    if more {
        // Somebody else can take it while we are busy.
        relay.hub.wake_relay();
    }
    let signal = region.parse().map_or(Signal::Everything, Signal::Region);
    let span = tracing::info_span!("relay", region, version, resources = resources.len());
    trace::follow(&span, Some(&traceparent));
    let state = state(relay, &region, version, resources);
    let record = codec::encode_state(relay.bus.topics(), &state);
    let record = record.with_header(trace::TRACEPARENT, trace::of(&span));
    let step = match publish(relay, record).instrument(span).await {
        Ok(Ok(())) => succeed(&mut transaction, relay, state).await?,
        Ok(Err(error)) => fail(&mut transaction, relay, region, failures, &error.to_string()).await?,
        Err(_) => fail(&mut transaction, relay, region, failures, "the bus does not answer").await?,
    };
    // Whether its state can be published is on every resource of the region.
    let failed = matches!(step, Step::Failed { .. });
    let turned = (failed != (failures > 0)).then_some(signal);
    relay.hub.notify(&mut transaction, &turned, false).await?;
    transaction.commit().await?;
    turned.into_iter().for_each(|signal| relay.hub.send(signal));
    Ok(step)
}

async fn publish(relay: &Relay, record: Record) -> Result<Result<(), BusError>, Elapsed> {
    let begin = Instant::now();
    let published = timeout(PUBLISH_TIMEOUT, relay.bus.publish(record)).await;
    metrics::histogram!("senren_relay_publish_seconds").record(begin.elapsed());
    published
}

fn state(relay: &Relay, region: &str, version: u64, resources: Vec<DesiredResource>) -> RegionalState {
    let published_at = Some(timestamp(relay.sources.now()));
    let region = region.to_owned();
    let mut state = RegionalState { region, version, resources, published_at, ..RegionalState::default() };
    state.content_hash = hash_of(&state);
    state
}

async fn succeed(
    transaction: &mut sqlx::PgConnection,
    relay: &Relay,
    state: RegionalState,
) -> sqlx::Result<Step> {
    let RegionalState { region, version, resources, content_hash, .. } = state;
    relays::published(transaction, &region, version, &content_hash, relay.sources.now()).await?;
    metrics::counter!("senren_relay_published_total").increment(1);
    tracing::debug!(region, version, resources = resources.len(), "published");
    Ok(Step::Published { region, version })
}

async fn fail(
    transaction: &mut sqlx::PgConnection,
    relay: &Relay,
    region: String,
    failures: u32,
    problem: &str,
) -> sqlx::Result<Step> {
    let retry_at = retry_at(relay.sources.now(), failures);
    relays::failed(transaction, &region, problem, retry_at).await?;
    metrics::counter!("senren_relay_failures_total").increment(1);
    tracing::warn!(region, problem, %retry_at, "cannot publish a region's state");
    Ok(Step::Failed { region })
}

fn retry_at(now: DateTime<Utc>, failures: u32) -> DateTime<Utc> {
    let factor = 1 << failures.min(10);
    now + (FIRST_RETRY * factor).min(LAST_RETRY)
}

/// Publishes until `shutdown`.
pub(crate) async fn run(relay: Relay, shutdown: CancellationToken) {
    let workers = (0..WORKERS).map(|_| work(&relay, &shutdown));
    futures::future::join(futures::future::join_all(workers), poll(&relay, &shutdown)).await;
}

/// One worker: as long as there is work, the next; then sleep until woken.
async fn work(relay: &Relay, shutdown: &CancellationToken) {
    while !shutdown.is_cancelled() {
        match publish_next(relay).await {
            Ok(Step::Published { .. } | Step::Failed { .. }) => {}
            Ok(Step::Idle) => {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = relay.hub.relay_woken() => {}
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the relay cannot use the database");
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                }
            }
        }
    }
}

async fn poll(relay: &Relay, shutdown: &CancellationToken) {
    while timeout(POLL, shutdown.cancelled()).await.is_err() {
        relay.hub.wake_relay();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_between_attempts_grows_and_has_an_end() {
        let now = DateTime::UNIX_EPOCH;
        let pause = |failures| (retry_at(now, failures) - now).num_milliseconds();
        assert_eq!([0, 1, 2].map(pause), [250, 500, 1000]);
        assert_eq!([5, 10, u32::MAX].map(pause), [5_000; 3]);
    }
}
