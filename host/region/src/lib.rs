//! The plane of one region: desired state in, custom resources and status out. It only ever dials out, to Kafka and
//! to its Kubernetes API, and what runs a database is `senren-reconcile`'s work, on the custom resources that are
//! kept here.
//!
//! The steps, in the order of the walk: [`intake::handle`] makes custom resources of a state, `senren-reconcile`
//! makes databases of those, [`report::report_next`] tells what became of them, [`heartbeat::beat`] that the region
//! is alive. Each handles one unit and can be called by itself; [`run`] drives them.
//!
//! Invariants:
//! - nothing is deleted but by a state that covers it, and only what carries our region's label and a uid that the
//!   control plane gave;
//! - with the bus gone, whatever is there goes on being reconciled, and what remains to be said is said later;
//! - a restart needs nothing but Kubernetes and the topic;
//! - of several replicas one works, the others stand by; one that works no longer writes nothing.

mod board;
mod claim;
mod cluster;
mod config;
mod cr;
mod crs;
mod desired;
mod fence;
mod gauges;
mod inbox;
mod lease;
mod memory;
mod outbox;
mod plane;
mod plugins;
mod problems;
mod replica;
mod retry;
mod roll;
mod traces;
mod watches;

pub mod heartbeat;
pub mod intake;
pub mod report;

use std::{future::Future, sync::Arc, time::Duration};

use anyhow::Context as _;
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use senren_bus::Bus;
use senren_engine::Engine;
use senren_reconcile::Reconciler;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

pub use config::{PluginConfig, RegionConfig};
pub use plane::{OpenError, Plane};
pub use plugins::manifest::Manifest;

use claim::claim;
use cluster::Cluster;
use heartbeat::Confirmed;
use inbox::Inbox;
use plugins::Shelf;
use retry::backoff;

/// How many reports are on their way at once.
const REPORTERS: usize = 16;

/// What a regional plane can't do without, at start. Later it goes on with what it has.
const CLUSTER: &str = "cluster";
const STATE_TOPIC: &str = "state topic";

/// At the soonest, so long after a heartbeat comes one that only has news.
const NEWS_SPACING: Duration = Duration::from_millis(100);

/// Runs the plane of a region until `shutdown`. Fails only where it must not start: the cluster is another plane's.
pub async fn run(
    config: RegionConfig,
    client: kube::Client,
    bus: Arc<dyn Bus>,
    engine: Engine,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    // On every line of the log, whatever its level; under a name of its own, so that it is in no trace.
    let span = tracing::error_span!(target: "plane", "plane", region = %config.region_id);
    run_parts(config, client, bus, engine, shutdown).instrument(span).await
}

async fn run_parts(
    config: RegionConfig,
    client: kube::Client,
    bus: Arc<dyn Bus>,
    engine: Engine,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    config.readiness.wait(CLUSTER, "it is not claimed yet");
    config.readiness.wait(STATE_TOPIC, "it is not read to its end yet");
    let cluster = Cluster::new(client, config.region_id.clone(), config.namespace_prefix.clone());
    match until_open(&config, &shutdown, || claim(&cluster).boxed()).await? {
        Some(_) => replica::run(&config, &cluster, &bus, &engine, &shutdown).await,
        None => Ok(()),
    }
}

/// Is the plane, until `shutdown`. What it says comes after what was said until `said_before`.
async fn serve(
    config: RegionConfig,
    client: kube::Client,
    bus: Arc<dyn Bus>,
    engine: &Engine,
    said_before: u64,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut shelf = Shelf::open(engine, &config).await;
    let plugins = config.plugins.clone();
    plugins.swap(shelf.set());
    let open = || Plane::open(config.clone(), client.clone(), Arc::clone(&bus), plugins.clone()).boxed();
    let Some(plane) = until_open(&config, &shutdown, open).await? else { return Ok(()) };
    plane.speak_after(said_before);
    plane.config.readiness.ready(CLUSTER);
    shelf.tell(&plane);
    // Whoever drops this instead of waiting stops the watches, too.
    let _watches = plane.watches.stop.clone().drop_guard();
    let mut tasks = JoinSet::new();
    let resumed = report::resume(&plane).await;
    plane.database_away(resumed.as_ref().err().cloned());
    let reconciler = Reconciler::new(client, plugins, config.reconcile_settings());
    let reconciler = match plane.outbox.lasts() {
        true => reconciler.with_journal(plane.clone()),
        false => reconciler,
    };
    let reconciler = Arc::new(reconciler);
    // Knows by itself how to end: with the steps that have begun.
    tasks.spawn(senren_reconcile::run(reconciler, shutdown.clone()).in_current_span());
    spawn(&mut tasks, &shutdown, beat(Arc::clone(&plane)));
    shutdown.run_until_cancelled(plane.watch()).await;
    spawn(&mut tasks, &shutdown, plugins::follow(Arc::clone(&plane), shelf));
    let inbox = Arc::new(Inbox::default());
    spawn(&mut tasks, &shutdown, read(Arc::clone(&plane), Arc::clone(&inbox)));
    spawn(&mut tasks, &shutdown, take_in(Arc::clone(&plane), inbox));
    spawn(&mut tasks, &shutdown, conclude(Arc::clone(&plane)));
    spawn(&mut tasks, &shutdown, report(Arc::clone(&plane)));
    spawn(&mut tasks, &shutdown, tend(Arc::clone(&plane), resumed.is_ok()));
    spawn(&mut tasks, &shutdown, resync(Arc::clone(&plane)));
    tracing::info!("the regional plane is up");
    while let Some(ended) = tasks.join_next().await {
        ended.context("a part of the regional plane broke")?;
    }
    plane.stop().await;
    Ok(())
}

/// Runs a part of the plane until it ends or the plane shuts down.
fn spawn(
    tasks: &mut JoinSet<()>,
    shutdown: &CancellationToken,
    part: impl Future<Output = ()> + Send + 'static,
) {
    let shutdown = shutdown.clone();
    let part = async move {
        shutdown.run_until_cancelled(part).await;
    };
    tasks.spawn(part.in_current_span());
}

/// Tries until the Kubernetes API lets it. `None`: shut down before that.
async fn until_open<'a, T>(
    config: &RegionConfig,
    shutdown: &CancellationToken,
    open: impl Fn() -> BoxFuture<'a, Result<T, OpenError>>,
) -> anyhow::Result<Option<T>> {
    for failures in 0.. {
        match shutdown.run_until_cancelled(open()).await {
            None => return Ok(None),
            Some(Ok(opened)) => return Ok(Some(opened)),
            Some(Err(OpenError::Refused(message))) => anyhow::bail!(message),
            Some(Err(OpenError::Failed(error))) => {
                config.readiness.wait(CLUSTER, format!("{error:#}"));
                tracing::warn!("not started yet, trying again: {error:#}");
            }
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(backoff(failures))).await.is_none() {
            return Ok(None);
        }
    }
    Ok(None)
}

async fn read(plane: Arc<Plane>, inbox: Arc<Inbox>) {
    let mut failures = 0;
    loop {
        let started = tokio::time::Instant::now();
        let Err(error) = inbox::read(&plane, &inbox).await;
        if started.elapsed() > Duration::from_secs(60) {
            failures = 0;
        }
        tracing::warn!(%error, failures, "the state topic can't be read; what is here goes on");
        plane.problems.set("state topic", format!("the state topic can't be read: {error}"));
        tokio::time::sleep(backoff(failures)).await;
        failures += 1;
    }
}

/// Receives states and looks at resources, many at once; neither waits for the other.
async fn take_in(plane: Arc<Plane>, inbox: Arc<Inbox>) {
    let mut busy = FuturesUnordered::new();
    loop {
        busy.extend(std::iter::from_fn(|| intake::next(&plane)));
        let retry_at = plane.retries.next();
        let due = async {
            match retry_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(()) = busy.next() => continue,
            () = inbox.arrived() => {}
            () = plane.poked.notified() => {}
            () = due => {}
        }
        if let Some(state) = inbox.take() {
            intake::receive(&plane, &state);
        }
        intake::look_again(&plane);
    }
}

/// Notes what is applied, whenever nothing of the states that came remains to be looked at.
async fn conclude(plane: Arc<Plane>) {
    let mut failures = 0;
    loop {
        if failures == 0 {
            plane.work.through.notified().await;
        } else {
            tokio::time::sleep(backoff(failures)).await;
        }
        failures = if intake::conclude(&plane).await { 0 } else { failures + 1 };
    }
}

async fn report(plane: Arc<Plane>) {
    let mut busy = FuturesUnordered::new();
    let mut failures = 0;
    loop {
        tokio::select! {
            () = plane.board.wait(), if busy.len() < REPORTERS => {
                busy.extend(plane.board.take().map(|due| report::publish_due(&plane, due)));
            }
            Some(result) = busy.next() => match result {
                Ok(()) => failures = 0,
                Err(error) => {
                    tracing::debug!(%error, failures, "a report was not acknowledged; it will be sent again");
                    tokio::time::sleep(backoff(failures)).await;
                    failures += 1;
                }
            },
        }
    }
}

/// Keeps the region's database as it should be. `resumed`: what an earlier process left there is taken up.
async fn tend(plane: Arc<Plane>, mut resumed: bool) {
    let mut failures = 0;
    loop {
        if failures > 0 || !resumed {
            tokio::time::sleep(backoff(failures)).await;
        } else {
            plane.outbox.unswept().await;
        }
        let tended = if resumed { report::sweep(&plane).await } else { report::resume(&plane).await };
        resumed |= tended.is_ok();
        failures = if tended.is_ok() { 0 } else { failures + 1 };
        plane.database_away(tended.err());
    }
}

async fn beat(plane: Arc<Plane>) {
    let confirmed = Confirmed::default();
    let mut failures = 0;
    loop {
        let wait = match heartbeat::beat(&plane, &confirmed).await {
            Ok(()) => {
                failures = 0;
                plane.config.heartbeat_interval
            }
            Err(error) => {
                tracing::warn!(%error, "a heartbeat was not acknowledged");
                failures += 1;
                backoff(failures).min(plane.config.heartbeat_interval)
            }
        };
        let news = async {
            tokio::time::sleep(NEWS_SPACING).await;
            tokio::select! {
                () = plane.news.notified() => {}
                () = plane.problems.changed.notified() => {}
            }
        };
        // After a failure, news don't hurry it.
        if failures > 0 {
            tokio::time::sleep(wait).await;
        } else {
            let _ = tokio::time::timeout(wait, news).await;
        }
    }
}

async fn resync(plane: Arc<Plane>) {
    loop {
        tokio::time::sleep(plane.config.resync_interval).await;
        plane.resync();
    }
}
