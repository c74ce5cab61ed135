//! Several replicas of one plane: one works, the others stand by.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use common::*;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use senren_api::v1::{StatusReport, status_report::Body};
use senren_bus::{Bus as _, MemoryBus};
use senren_reconcile::names;
use senren_region::{RegionConfig, run};
use senren_telemetry::Readiness;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// One of them.
struct Replica {
    readiness: Readiness,
    shutdown: CancellationToken,
    plane: JoinHandle<anyhow::Result<()>>,
}

impl Replica {
    fn start(client: kube::Client, bus: &MemoryBus, lease_duration: Duration) -> Self {
        let config = RegionConfig { lease_duration, ..config(REGION) };
        let (readiness, shutdown) = (config.readiness.clone(), CancellationToken::new());
        let plane = tokio::spawn(run(config, client, Arc::new(bus.clone()), engine(), shutdown.clone()));
        Self { readiness, shutdown, plane }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.plane.await.unwrap().unwrap();
    }

    fn says(&self, words: &str) -> bool {
        self.readiness.parts().iter().any(|(_, state)| state.words.contains(words))
    }

    async fn until_working(&self) {
        until("it works", async || self.readiness.is_ready() && self.says("this replica works")).await;
    }

    async fn until_standing_by(&self) {
        until("it stands by", async || self.readiness.is_ready() && self.says("standing by")).await;
    }
}

async fn publish(bus: &MemoryBus, version: u64, names: &[&str]) {
    let resources: Vec<_> = names.iter().zip(1..).map(|(name, number)| redis(name, number)).collect();
    bus.publish(encode(&state(version, None, &resources))).await.unwrap();
}

async fn until_ready(bus: &MemoryBus, name: &str) {
    let ready = |report: &senren_api::v1::ResourceReport| report.name == name && report.ready;
    until(&format!("{name} is ready"), async || latest(bus).values().any(ready)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_works_and_when_it_stops_the_other_goes_on_at_once() {
    let (cluster, bus) = (living_cluster().await, MemoryBus::default());
    let minutes = Duration::from_secs(600);
    let first = Replica::start(cluster.client(), &bus, minutes);
    first.until_working().await;
    let second = Replica::start(cluster.client(), &bus, minutes);
    second.until_standing_by().await;
    publish(&bus, 1, &["a"]).await;
    until_ready(&bus, "a").await;
    assert!(second.says("standing by"));

    first.stop().await;
    second.until_working().await;
    publish(&bus, 2, &["a", "b"]).await;
    until_ready(&bus, "b").await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_clock_is_behind_is_heard_nevertheless() {
    let (cluster, bus) = (living_cluster().await, MemoryBus::default());
    let first = Replica::start(cluster.client(), &bus, Duration::from_secs(600));
    first.until_working().await;
    first.stop().await;
    // It was an hour ahead.
    let hour = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let patch = serde_json::json!({"spec": {"renewTime": format!("{hour:.6}")}});
    let leases: Api<Lease> = Api::namespaced(cluster.client(), "senren-system");
    leases.patch(names::LEASE, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();

    let second = Replica::start(cluster.client(), &bus, Duration::from_secs(600));
    second.until_working().await;
    publish(&bus, 1, &["a"]).await;
    until_ready(&bus, "a").await;
    let hour = u64::try_from(hour.as_microsecond()).unwrap();
    let spoken =
        |report: &StatusReport| matches!(report.body, Some(Body::Resource(_))) && report.sequence > hour;
    assert!(reports(&bus).iter().any(spoken), "{:?}", reports(&bus));
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_killed_is_taken_over() {
    let (cluster, bus) = (living_cluster().await, MemoryBus::default());
    let first = Replica::start(cluster.client(), &bus, Duration::from_secs(600));
    first.until_working().await;
    let second = Replica::start(cluster.client(), &bus, Duration::from_secs(600));
    second.until_standing_by().await;
    publish(&bus, 1, &["a"]).await;
    first.plane.abort();
    assert!(first.plane.await.unwrap_err().is_cancelled());
    until_ready(&bus, "a").await;
    second.until_working().await;
    second.stop().await;
}

/// A way to the cluster on which, while it is `blocked`, requests are held, to arrive late.
fn through(client: kube::Client, blocked: &Arc<AtomicBool>) -> kube::Client {
    let blocked = Arc::clone(blocked);
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let (client, blocked) = (client.clone(), Arc::clone(&blocked));
        async move {
            while blocked.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            client.send(request).await.map_err(tower::BoxError::from)
        }
    });
    kube::Client::new(service, "default")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_cut_off_is_taken_over_and_stands_by_when_it_is_back() {
    let (cluster, bus) = (living_cluster().await, MemoryBus::default());
    let (blocked, short) = (Arc::new(AtomicBool::new(false)), Duration::from_secs(3));
    let cut_off = Replica::start(through(cluster.client(), &blocked), &bus, short);
    cut_off.until_working().await;
    let successor = Replica::start(cluster.client(), &bus, short);
    successor.until_standing_by().await;
    publish(&bus, 1, &["a"]).await;
    blocked.store(true, Ordering::SeqCst);
    successor.until_working().await;
    publish(&bus, 2, &["a", "b"]).await;
    for name in ["a", "b"] {
        until_ready(&bus, name).await;
    }
    assert!(!cut_off.readiness.is_ready(), "it doesn't know how things are");
    blocked.store(false, Ordering::SeqCst);
    cut_off.until_standing_by().await;
    successor.stop().await;
    cut_off.until_working().await;
    cut_off.stop().await;
}
