//! What the state topics show of versions that this database does not know.
//!
//! A database that comes back from an old backup has regions at versions that were passed long ago, and a new one on
//! topics that were used before knows none. What it published then would be dropped as older, or would stand for another
//! content than the same version did before. Heartbeats show that too, but only of what a region has taken in, and only
//! once it is heard. So the topics are read before anything is published, and again whenever the connection to the
//! database was lost: it may be another server now, that has less.
//!
//! Nothing is ever published for a region that this database has no state of: that would empty it. Its version is
//! remembered, and the first apply that names it begins above.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use senren_api::RegionId;
use senren_bus::{Bus, BusError, Event, From, Routing, codec};
use tokio_util::sync::CancellationToken;

use crate::{
    hub::Hub,
    sources::Sources,
    store::{Store, regions},
};

const PAUSE: Duration = Duration::from_secs(1);

/// Everything a look needs.
#[derive(Clone)]
pub struct Heads {
    store: Store,
    bus: Arc<dyn Bus>,
    hub: Hub,
    sources: Sources,
}

/// Why the topics could not be compared with the database.
#[derive(Debug, thiserror::Error)]
pub enum HeadsError {
    /// They could not be read.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// It did not answer.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl Heads {
    /// Of the topics of a bus and the regions of a store; the relay is woken through `hub`.
    pub fn new(store: Store, bus: Arc<dyn Bus>, hub: Hub, sources: Sources) -> Self {
        Self { store, bus, hub, sources }
    }
}

/// Reads the topics to their ends, and raises versions above what they show. Returns the regions that are published
/// again because of that.
pub async fn look(heads: &Heads) -> Result<Vec<String>, HeadsError> {
    let mut shown = BTreeMap::new();
    for topic in topics(heads).await? {
        read(heads, &topic, &mut shown).await?;
    }
    let shown: Vec<(String, u64)> = shown.into_iter().collect();
    let mut transaction = heads.store.begin().await?;
    regions::ensure(&mut transaction, &shown.iter().map(|(region, _)| region.as_str()).collect::<Vec<_>>())
        .await?;
    let overtaken = regions::overtake_heads(&mut transaction, &shown, heads.sources.now()).await?;
    heads.hub.notify(&mut transaction, [], !overtaken.is_empty()).await?;
    transaction.commit().await?;
    for (region, theirs, ours) in &overtaken {
        metrics::counter!("senren_region_version_from_future_total").increment(1);
        tracing::error!(
            region,
            theirs,
            ours,
            "the region's topic has a version that this control plane never published (was an old backup restored?); \
             ours is above it now, and gets published"
        );
    }
    if !overtaken.is_empty() {
        heads.hub.wake_relay();
    }
    Ok(overtaken.into_iter().map(|(region, ..)| region).collect())
}

/// Where the states of all regions are that may have any.
async fn topics(heads: &Heads) -> sqlx::Result<BTreeSet<String>> {
    let topics = heads.bus.topics();
    if topics.routing() == Routing::Keyed {
        return Ok(topics.shared_state().into_iter().collect());
    }
    let mut connection = heads.store.acquire().await?;
    let known = regions::all(&mut connection).await?;
    Ok(known
        .iter()
        .filter_map(|region| region.parse().ok())
        .map(|region: RegionId| topics.state_topic(&region))
        .collect())
}

async fn read(heads: &Heads, topic: &str, shown: &mut BTreeMap<String, u64>) -> Result<(), BusError> {
    let mut subscription = heads.bus.subscribe(topic, From::Earliest).await?;
    while let Event::Record(delivery) = subscription.next().await? {
        // What means nothing is skipped by everybody; the regions count and report it.
        let Ok(state) = codec::decode_state(&delivery.record) else { continue };
        let version = shown.entry(state.region).or_default();
        *version = state.version.max(*version);
    }
    Ok(())
}

/// Looks until it was possible. False: shut down before that.
pub(crate) async fn look_surely(heads: &Heads, shutdown: &CancellationToken) -> bool {
    loop {
        let looked = tokio::select! {
            () = shutdown.cancelled() => return false,
            looked = look(heads) => looked,
        };
        match looked {
            Ok(_) => return true,
            Err(error) => {
                tracing::warn!(%error, "cannot compare the state topics with the database; trying again")
            }
        }
        if tokio::time::timeout(PAUSE, shutdown.cancelled()).await.is_ok() {
            return false;
        }
    }
}

/// Looks again whenever the database may be another one, until `shutdown`.
pub(crate) async fn run(heads: Heads, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = heads.hub.database_returned() => {}
        }
        look_surely(&heads, &shutdown).await;
    }
}
