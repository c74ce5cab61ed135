//! What has to be done now and then: tell regions again what they do not confirm, and forget what nobody needs.

use std::time::Duration;

use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;

use crate::{
    config::parse_duration,
    hub::Hub,
    sources::Sources,
    store::{Store, heartbeats, history, relays, requests},
};

/// A client that asks again after more than this has other problems.
const KEEP_REQUESTS: TimeDelta = TimeDelta::days(30);

/// What an operator may decide about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
#[group(skip)]
pub struct Settings {
    /// How often a region that does not confirm its state gets it again: `10m`, `90s`.
    #[arg(long, env = "REPUBLISH_INTERVAL", default_value = "10m", value_parser = parse_duration)]
    pub republish_interval: Duration,
    /// So many revisions of a site are kept, with what it declared at each.
    #[arg(long, env = "HISTORY_REVISIONS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub history_revisions: u32,
    /// None but the latest is kept for longer than so many days.
    #[arg(long, env = "HISTORY_DAYS", default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub history_days: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { republish_interval: Duration::from_secs(600), history_revisions: 1000, history_days: 400 }
    }
}

/// Everything a beat needs.
#[derive(Clone)]
pub struct Upkeep {
    store: Store,
    hub: Hub,
    sources: Sources,
    settings: Settings,
}

impl Upkeep {
    /// Of a store; regions that are to get their state again are the relay's, woken through `hub`.
    pub fn new(store: Store, hub: Hub, sources: Sources, settings: Settings) -> Self {
        Self { store, hub, sources, settings }
    }
}

/// Does all of it once. Returns how many regions are to get their state again.
pub async fn beat(upkeep: &Upkeep) -> sqlx::Result<u64> {
    let mut connection = upkeep.store.acquire().await?;
    let now = upkeep.sources.now();
    let republished =
        relays::republish_unconfirmed(&mut connection, now, upkeep.settings.republish_interval).await?;
    if republished > 0 {
        tracing::info!(regions = republished, "publishing again to regions that do not confirm their state");
        metrics::counter!("senren_relay_republished_total").increment(republished);
        upkeep.hub.wake_relay();
    }
    requests::forget_before(&mut connection, now - KEEP_REQUESTS).await?;
    let Settings { history_revisions, history_days, .. } = upkeep.settings;
    history::forget(&mut connection, history_revisions, now - TimeDelta::days(history_days.into())).await?;
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
    let pause =
        (upkeep.settings.republish_interval / 10).clamp(Duration::from_millis(500), Duration::from_secs(60));
    while tokio::time::timeout(pause, shutdown.cancelled()).await.is_err() {
        if let Err(error) = beat(&upkeep).await {
            tracing::warn!(%error, "upkeep cannot use the database");
        }
    }
}
