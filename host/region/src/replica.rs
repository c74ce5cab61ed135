//! One of several replicas of the plane: stands by until it holds the Lease, works while it does, and then stands by
//! again, or ends.
//!
//! While it stands by it consumes nothing and writes nothing, but it is ready: whoever rolls out a new version waits for
//! that. Where it is told to stop it lets go of the Lease as its last act, so that another takes over at once.

use std::sync::Arc;

use senren_bus::Bus;
use senren_engine::Engine;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    CLUSTER, RegionConfig, STATE_TOPIC,
    cluster::Cluster,
    fence,
    lease::{Lease, Tenure},
    plugins::Shelf,
    serve,
};

/// What the Lease is called where a plane says whether it is ready.
const LEASE: &str = "lease";

/// Stands by and works in turns, until `shutdown`.
pub(crate) async fn run(
    config: &RegionConfig,
    cluster: &Cluster,
    bus: &Arc<dyn Bus>,
    engine: &Engine,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let lease = Lease::new(cluster, config.lease_duration);
    while let Some(tenure) = shutdown.run_until_cancelled(stand_by(config, engine, &lease)).await {
        let _over = Over(tenure.clone());
        metrics::gauge!("senren_region_active").set(1);
        let term = shutdown.child_token();
        let client = fence::client(cluster.client.clone(), tenure.clone());
        let bus = fence::bus(Arc::clone(bus), tenure.clone());
        let serving = serve(config.clone(), client, bus, engine, tenure.said_before, term.clone());
        let keeping = async {
            let why = lease.keep(&tenure).await;
            tenure.end();
            term.cancel();
            tracing::error!("the Lease is lost: {why}; this replica stops working, and stands by");
            metrics::gauge!("senren_region_active").set(0);
            config.readiness.wait(LEASE, format!("it is lost: {why}"));
            std::future::pending::<()>().await;
        };
        let served = tokio::select! {
            served = serving => served,
            () = keeping => Ok(()),
        };
        metrics::gauge!("senren_region_active").set(0);
        if served.is_err() || shutdown.is_cancelled() {
            tenure.end();
            lease.release().await;
            return served;
        }
    }
    // It may have been taken at the very end.
    lease.release().await;
    Ok(())
}

/// Waits for the Lease. Meanwhile the plugins are compiled, as far as that is kept, so that taking over need not wait.
async fn stand_by(config: &RegionConfig, engine: &Engine, lease: &Lease) -> Tenure {
    metrics::gauge!("senren_region_active").set(0);
    let stands_by = Notify::new();
    let tenure = lease.win(
        |holder| {
            tracing::info!(holder, "standing by: another replica has the Lease");
            stands_by.notify_one();
            let standing_by = format!("standing by, {holder} works");
            config.readiness.ready_as(LEASE, &standing_by);
            config.readiness.ready_as(CLUSTER, &standing_by);
            config.readiness.ready_as(STATE_TOPIC, &standing_by);
        },
        |error| {
            tracing::warn!("the Lease can't be had, trying again: {error:#}");
            config.readiness.wait(LEASE, format!("{error:#}"));
        },
    );
    let compile = async {
        stands_by.notified().await;
        drop(Shelf::open(engine, config).await);
    };
    let mut tenure = std::pin::pin!(tenure);
    let tenure = tokio::select! {
        tenure = &mut tenure => tenure,
        () = compile => tenure.await,
    };
    tracing::debug!("this replica has the Lease");
    config.readiness.ready_as(LEASE, "this replica works");
    config.readiness.wait(STATE_TOPIC, "it is not read to its end yet");
    tenure
}

/// Whoever drops the plane instead of waiting ends its right to write, too.
struct Over(Tenure);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.end();
    }
}
