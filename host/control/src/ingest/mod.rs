//! Takes in what regions report: statuses of resources, and heartbeats.
//!
//! Rules:
//! - older never wins: per resource and per region, only a higher sequence counts, so a repeated, late or reordered
//!   message does no harm;
//! - a report about another uid than the one we know changes nothing;
//! - nothing that a region says can delete what is desired. A departing resource is forgotten when its region says that
//!   it is gone, or that it has nothing like it;
//! - one bad message is skipped; the others' way is free;
//! - one control plane at a time reads the topic, and another goes on where it was.

mod batch;
mod turn;

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use futures::FutureExt as _;
use senren_api::{RegionId, SiteName};
use senren_bus::{Bus, BusError, Delivery, Event, From, Record, Subscription};
use senren_telemetry::trace;
use sqlx::PgConnection;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::Span;
use uuid::Uuid;

use crate::{
    hub::{Hub, Signal},
    sources::Sources,
    store::{
        Store,
        heartbeats::{self, NewHeartbeat, Seen},
        is_transient, need_not_last, regions, relays, resources, signed, statuses,
    },
};
use batch::Batch;
use turn::{BEAT, Turn};

/// Records that are stored in one transaction, if they are already there.
const MOST_AT_ONCE: usize = 500;
/// Nor more bytes of them than this, unless it is one: somebody else's may be large.
const MOST_BYTES_AT_ONCE: usize = 8 * 1024 * 1024;
const PAUSE: Duration = Duration::from_millis(500);
/// After so long without a record it is asked whether there is a bus at all. If not for us, there may be for another
/// control plane.
const QUIET: Duration = Duration::from_secs(15);
/// A region that says it has nothing may just have started: its topic gets a moment to tell it.
const EMPTY_PATIENCE: Duration = Duration::from_secs(2);

/// Everything a step needs.
#[derive(Clone)]
pub struct Ingest {
    store: Store,
    hub: Hub,
    sources: Sources,
}

/// What a step did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Handled {
    /// Resources whose status has changed.
    pub changed: usize,
    /// Regions whose heartbeat was news.
    pub heartbeats: usize,
    /// Messages that meant nothing.
    pub skipped: usize,
}

impl Ingest {
    /// An ingest into a store, telling watchers and the relay through `hub`.
    pub fn new(store: Store, hub: Hub, sources: Sources) -> Self {
        Self { store, hub, sources }
    }
}

/// Takes in some records of the status topic, in one transaction.
pub async fn handle(ingest: &Ingest, records: &[Record]) -> sqlx::Result<Handled> {
    let begin = tokio::time::Instant::now();
    // They end when all is stored.
    let _spans: Vec<Span> = records.iter().filter_map(span).collect();
    let batch = Batch::of(records, ingest.sources.now());
    let skipped = batch.skipped;
    if batch.statuses.is_empty() && batch.heartbeats.is_empty() {
        return Ok(Handled { skipped, ..Handled::default() });
    }
    let mut transaction = ingest.store.begin().await?;
    let mut touched = take_statuses(&mut transaction, ingest, &batch).await?;
    let changed = touched.len();
    if changed == 0 {
        // Heartbeats are repeated, with all that follows from them; reports are not.
        need_not_last(&mut transaction).await?;
    }
    let beats: Vec<NewHeartbeat> = batch.heartbeats.into_values().collect();
    let news = take_heartbeats(&mut transaction, ingest, &beats).await?;
    touched.extend(news.absent);
    let signals = signals(touched, news.turned);
    ingest.hub.notify(&mut transaction, &signals, news.publish).await?;
    transaction.commit().await?;
    signals.into_iter().for_each(|signal| ingest.hub.send(signal));
    if news.publish {
        ingest.hub.wake_relay();
    }
    metrics::histogram!("senren_ingest_seconds").record(begin.elapsed());
    metrics::counter!("senren_ingest_statuses_total").increment(changed as u64);
    metrics::counter!("senren_ingest_heartbeats_total").increment(news.count as u64);
    Ok(Handled { changed, heartbeats: news.count, skipped })
}

/// For a record that belongs to somebody's work.
fn span(record: &Record) -> Option<Span> {
    let traceparent = record.header(trace::TRACEPARENT)?;
    let span = tracing::info_span!("ingest", key = record.key);
    trace::follow(&span, Some(traceparent));
    Some(span)
}

async fn take_statuses(
    transaction: &mut PgConnection,
    ingest: &Ingest,
    batch: &Batch,
) -> sqlx::Result<Vec<(SiteName, Uuid)>> {
    let changed = statuses::record(transaction, &batch.statuses, ingest.sources.now()).await?;
    if batch.statuses.iter().any(|status| status.report.deleted) {
        let uids: Vec<Uuid> = changed.iter().map(|(_, uid)| *uid).collect();
        statuses::forget_gone(transaction, &uids).await?;
    }
    Ok(changed)
}

/// What heartbeats have changed.
#[derive(Default)]
struct News {
    count: usize,
    /// Regions that came (back), or serve other types.
    turned: Vec<RegionId>,
    /// Departing resources that need no longer be waited for.
    absent: Vec<(SiteName, Uuid)>,
    /// Some region is due.
    publish: bool,
}

async fn take_heartbeats(
    transaction: &mut PgConnection,
    ingest: &Ingest,
    beats: &[NewHeartbeat],
) -> sqlx::Result<News> {
    if beats.is_empty() {
        return Ok(News::default());
    }
    let now = ingest.sources.now();
    let named: Vec<&str> = beats.iter().map(|beat| beat.region.as_str()).collect();
    regions::ensure(transaction, &named).await?;
    let before = heartbeats::of(transaction, &named).await?;
    let recorded = heartbeats::record(transaction, beats).await?;
    let mut news = News { count: recorded.len(), ..News::default() };
    for beat in beats.iter().filter(|beat| recorded.iter().any(|region| region == beat.region.as_str())) {
        let was = before.get(beat.region.as_str());
        let comes = |was: &Seen| was.is_silent(now) && !beat.is_silent(now);
        if was.is_none_or(|was| comes(was) || was.types != beat.plugins.types) {
            tracing::info!(region = %beat.region, version = beat.version, types = ?beat.plugins.types, "heard a region");
            news.turned.push(beat.region.clone());
        }
        news.publish |= remind(transaction, beat, was, now).await?;
    }
    news.publish |= overtake(transaction, &recorded, now).await?;
    let settled = beats.iter().filter(|beat| beat.settled).map(|beat| beat.region.as_str());
    news.absent = resources::forget_absent(transaction, &recorded, &settled.collect::<Vec<_>>()).await?;
    Ok(news)
}

/// A version from the future is an alarm, not a silence.
async fn overtake(
    transaction: &mut PgConnection,
    regions: &[String],
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let overtaken = regions::compare(transaction, regions, now).await?;
    for (region, theirs, ours) in &overtaken {
        metrics::counter!("senren_region_version_from_future_total").increment(1);
        tracing::error!(
            region,
            theirs,
            ours,
            "the region has a version that this control plane never published (was an old backup restored?); ours is \
             above it now, and gets published"
        );
    }
    Ok(!overtaken.is_empty())
}

/// A region that confirms less than it did before, or nothing yet, may have lost its state, and its topic too.
async fn remind(
    transaction: &mut PgConnection,
    beat: &NewHeartbeat,
    was: Option<&Seen>,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let went_back = was.is_some_and(|was| signed(was.applied_version) > beat.version);
    if !went_back && beat.version > 0 {
        return Ok(false);
    }
    let patience = if went_back { Duration::ZERO } else { EMPTY_PATIENCE };
    let due = relays::republish(transaction, &[beat.region.as_str()], now - patience).await?;
    if due {
        tracing::info!(region = %beat.region, version = beat.version, "the region does not confirm its state; publishing it again");
    }
    Ok(due)
}

fn signals(touched: Vec<(SiteName, Uuid)>, turned: Vec<RegionId>) -> Vec<Signal> {
    let mut by_site: BTreeMap<SiteName, Vec<Uuid>> = BTreeMap::new();
    for (site, uid) in touched {
        by_site.entry(site).or_default().push(uid);
    }
    let resources = by_site.into_iter().map(|(site, uids)| Signal::Resources(site, uids.into()));
    resources.chain(turned.into_iter().map(Signal::Region)).collect()
}

/// Takes in what comes, whenever it is this control plane's turn, until `shutdown`.
pub(crate) async fn run(ingest: Ingest, bus: Arc<dyn Bus>, shutdown: CancellationToken) {
    let (owner, topic) = (ingest.sources.uid(), bus.topics().status_topic());
    loop {
        match Turn::take(&ingest.store, topic.clone(), owner).await {
            Ok(Some(turn)) => take_turn(&ingest, bus.as_ref(), &turn, &topic, &shutdown).await,
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot ask the database whose turn it is to take in reports")
            }
        }
        if timeout(BEAT, shutdown.cancelled()).await.is_ok() {
            return;
        }
    }
}

/// Until it is another control plane's turn, the bus fails, or `shutdown`.
async fn take_turn(
    ingest: &Ingest,
    bus: &dyn Bus,
    turn: &Turn<'_>,
    topic: &str,
    shutdown: &CancellationToken,
) {
    tracing::info!(topic, "taking in what regions report");
    let active = metrics::gauge!("senren_ingest_active");
    active.set(1.0);
    tokio::select! {
        () = shutdown.cancelled() => turn.end().await,
        () = turn.keep() => tracing::info!(topic, "another control plane takes in what regions report"),
        Err(error) = read(ingest, bus, turn, topic) => {
            tracing::warn!(%error, "cannot read the status topic; another control plane may, or we try again");
            turn.end().await;
            // For the others to be faster.
            let _ = timeout(2 * BEAT, shutdown.cancelled()).await;
        }
    }
    active.set(0.0);
}

async fn read(ingest: &Ingest, bus: &dyn Bus, turn: &Turn<'_>, topic: &str) -> Result<Infallible, BusError> {
    let mut subscription = bus.subscribe(topic, From::Position(turn.position())).await?;
    turn.reads(subscription.log());
    loop {
        let Ok(deliveries) = timeout(QUIET, next_batch(subscription.as_mut())).await else {
            bus.reach(topic).await?;
            continue;
        };
        let deliveries = deliveries?;
        let records: Vec<Record> = deliveries.iter().map(|delivery| delivery.record.clone()).collect();
        handle_surely(ingest, &records).await;
        turn.pass(&deliveries);
    }
}

/// Waits for a record, and takes along those that are already there.
async fn next_batch(subscription: &mut dyn Subscription) -> Result<Vec<Delivery>, BusError> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while batch.len() < MOST_AT_ONCE && bytes < MOST_BYTES_AT_ONCE {
        let event = if batch.is_empty() {
            subscription.next().await?
        } else {
            match subscription.next().now_or_never() {
                Some(event) => event?,
                None => break,
            }
        };
        if let Event::Record(delivery) = event {
            bytes += delivery.record.payload.as_ref().map_or(0, |payload| payload.len());
            batch.push(delivery);
        }
    }
    Ok(batch)
}

/// Goes on only when the records are stored, or known to be impossible to store.
async fn handle_surely(ingest: &Ingest, records: &[Record]) {
    loop {
        match handle(ingest, records).await {
            Ok(_) => return,
            Err(error) if is_transient(&error) => {
                tracing::warn!(%error, records = records.len(), "cannot store statuses; trying again");
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) if records.len() > 1 => {
                tracing::warn!(%error, "one of these statuses cannot be stored; taking them one by one");
                for record in records {
                    Box::pin(handle_surely(ingest, std::slice::from_ref(record))).await;
                }
                return;
            }
            Err(error) => {
                metrics::counter!("senren_ingest_skipped_total", "reason" => "refused").increment(1);
                let key = records.first().map(|record| record.key.as_str()).unwrap_or_default();
                tracing::error!(%error, key, "skipped a status message that the database refuses");
                return;
            }
        }
    }
}
