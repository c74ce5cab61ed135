//! What has to be done now and then: tell regions again what they do not confirm, and forget what nobody needs.

use std::time::Duration;

use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;

use crate::{
    hub::Hub,
    sources::Sources,
    store::{Store, heartbeats, relays, requests},
};

/// A client that asks again after more than this has other problems.
const KEEP_REQUESTS: TimeDelta = TimeDelta::days(30);

/// Everything a beat needs.
#[derive(Clone)]
pub struct Upkeep {
    store: Store,
    hub: Hub,
    sources: Sources,
    republish_interval: Duration,
}

impl Upkeep {
    /// Regions get their state again when they have not confirmed it for `republish_interval`.
    pub fn new(store: Store, hub: Hub, sources: Sources, republish_interval: Duration) -> Self {
        Self { store, hub, sources, republish_interval }
    }
}

/// Does all of it once. Returns how many regions are to get their state again.
pub async fn beat(upkeep: &Upkeep) -> sqlx::Result<u64> {
    let mut connection = upkeep.store.acquire().await?;
    let now = upkeep.sources.now();
    let republished = relays::republish_unconfirmed(&mut connection, now, upkeep.republish_interval).await?;
    if republished > 0 {
        tracing::info!(regions = republished, "publishing again to regions that do not confirm their state");
        metrics::counter!("senren_relay_republished_total").increment(republished);
        upkeep.hub.wake_relay();
    }
    requests::forget_before(&mut connection, now - KEEP_REQUESTS).await?;
    heartbeats::forget_unused_plugin_sets(&mut connection).await?;
    Ok(republished)
}

/// At start, whoever has not confirmed its state gets it again without delay: what was published before may have been
/// lost together with whatever stopped us.
pub async fn catch_up(upkeep: &Upkeep) -> sqlx::Result<u64> {
    let mut connection = upkeep.store.acquire().await?;
    let due = relays::republish_unconfirmed(&mut connection, upkeep.sources.now(), Duration::ZERO).await?;
    upkeep.hub.wake_relay();
    Ok(due)
}

/// Catches up, then beats until `shutdown`.
pub(crate) async fn run(upkeep: Upkeep, shutdown: CancellationToken) {
    if let Err(error) = catch_up(&upkeep).await {
        tracing::warn!(%error, "upkeep cannot use the database");
    }
    // The interval counts from a region's last publication, so look more often than that.
    let pause = (upkeep.republish_interval / 10).clamp(Duration::from_millis(500), Duration::from_secs(60));
    while tokio::time::timeout(pause, shutdown.cancelled()).await.is_err() {
        if let Err(error) = beat(&upkeep).await {
            tracing::warn!(%error, "upkeep cannot use the database");
        }
    }
}
