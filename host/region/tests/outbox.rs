//! No change of a status is lost: with a database of the region's own, none at all; without one, never the latest.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod running;

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use common::*;
use kube::api::{Patch, PatchParams};
use running::Running;
use senren_api::v1::{ResourceReport, status_report::Body};
use senren_bus::{Bus, BusError, From, MemoryBus, Record, Subscription, Topics, codec};
use senren_kubesim::{KubeSim, Workloads};
use senren_localpg::{LocalPostgres, test_database};
use senren_reconcile::Journal as _;
use senren_region::{Plane, RegionConfig, report};

/// A process that is killed when it is looked at for so many times: wherever it waits then, for the database, the bus
/// or the API server, it never goes on.
struct Mortal<F> {
    process: Pin<Box<F>>,
    left: usize,
}

impl<F: Future> Future for Mortal<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(left) = self.left.checked_sub(1) else { return Poll::Ready(None) };
        self.left = left;
        self.process.as_mut().poll(context).map(Some)
    }
}

/// Lets itself be waited for before and after.
struct Unhurried(MemoryBus);

#[async_trait]
impl Bus for Unhurried {
    fn topics(&self) -> &Topics {
        self.0.topics()
    }

    async fn reach(&self, topic: &str) -> Result<(), BusError> {
        self.0.reach(topic).await
    }

    async fn publish(&self, record: Record) -> Result<(), BusError> {
        tokio::task::yield_now().await;
        self.0.publish(record).await?;
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn subscribe(&self, topic: &str, from: From) -> Result<Box<dyn Subscription>, BusError> {
        self.0.subscribe(topic, from).await
    }
}

const PHASES: [&str; 4] = ["Creating", "Updating", "Degraded", "Ready"];

async fn start(cluster: &KubeSim, bus: &MemoryBus, database: Option<&str>) -> Arc<Plane> {
    let config = RegionConfig { regional_database_url: database.map(str::to_owned), ..config(REGION) };
    let plane =
        Plane::open(config, cluster.client(), Arc::new(Unhurried(bus.clone())), plugins()).await.unwrap();
    plane.watch().await;
    report::resume(&plane).await.unwrap();
    plane
}

/// What reconciling does to a resource, one status after the other without waiting for anybody but the journal, and
/// what a plane does with it, until all is said.
async fn life(plane: &Plane, cluster: &KubeSim, bus: &MemoryBus, name: &str) {
    let api = one(cluster.client(), "redis");
    let changes = async {
        loop {
            let resource = api.get(name).await.unwrap();
            let phase = resource.data["status"]["phase"].as_str().map(str::to_owned);
            let next = phase.and_then(|phase| PHASES.iter().position(|known| *known == phase));
            let Some(phase) = PHASES.get(next.map_or(0, |known| known + 1)) else { return };
            plane.keep("redis", &resource).await;
            let status = serde_json::json!({"status": {"phase": phase, "senrenGeneration": 1}});
            api.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
        }
    };
    let reports = async {
        loop {
            while report::report_next(plane).await.unwrap() {}
            report::sweep(plane).await.unwrap();
            if told(bus, name).last().map(String::as_str) == PHASES.last().copied() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let patience = Duration::from_secs(30);
    tokio::time::timeout(patience, async { tokio::join!(changes, reports) }).await.expect("all is told");
}

/// The phases that were reported, in the order that the control plane goes by, without repetitions.
fn told(bus: &MemoryBus, name: &str) -> Vec<String> {
    let reports = bus.records(&bus.topics().status_topic()).into_iter();
    let mut told: Vec<(u64, String)> = reports
        .filter_map(|delivery| {
            let report = codec::decode_report(&delivery.record).unwrap();
            match report.body {
                Some(Body::Resource(resource)) if resource.name == name => {
                    Some((report.sequence, resource.phase))
                }
                _ => None,
            }
        })
        .collect();
    told.sort();
    let mut phases: Vec<String> = told.into_iter().map(|(_, phase)| phase).collect();
    phases.dedup();
    phases
}

/// Kills a plane where it waits: at each of the first waits, and then at ever fewer until one lives to its end. Starts it
/// again each time. Returns what was told of the resource, by where the plane was killed.
async fn check(database: Option<&str>) -> BTreeMap<usize, Vec<String>> {
    let mut all = BTreeMap::new();
    let mut killed_at = 1;
    loop {
        let (cluster, bus) = (cluster(Workloads::None).await, MemoryBus::default());
        let plane = start(&cluster, &bus, database).await;
        senren_region::intake::handle(&plane, &encode(&state(1, None, &[redis("a", 1)]))).await;
        let alive = Mortal { process: Box::pin(life(&plane, &cluster, &bus, "a")), left: killed_at }.await;
        plane.stop().await;
        drop(plane);
        if alive.is_none() {
            let plane = start(&cluster, &bus, database).await;
            life(&plane, &cluster, &bus, "a").await;
            plane.stop().await;
        }
        all.insert(killed_at, told(&bus, "a"));
        if alive.is_some() {
            assert!(all.len() > 8, "it waits at more points than {}", all.len());
            return all;
        }
        killed_at += 1 + killed_at / 30;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_database_every_change_is_told_wherever_the_process_dies() {
    let database = test_database();
    for (killed_at, mut told) in check(Some(&database.url)).await {
        // Before reconciling has said anything.
        told.retain(|phase| phase != "Pending");
        assert_eq!(told, PHASES, "killed at its {killed_at}. wait");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_one_the_latest_is_told_wherever_the_process_dies() {
    for (killed_at, told) in check(None).await {
        assert_eq!(told.last().map(String::as_str), Some("Ready"), "killed at its {killed_at}. wait");
    }
}

fn problems(bus: &MemoryBus) -> String {
    heartbeats(bus).pop().map(|beat| beat.problems.join("; ")).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_and_comes_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let postgres = LocalPostgres::start(dir.path()).unwrap();
    let url = postgres.url("region").unwrap();
    drop(postgres);
    let with_database = RegionConfig { regional_database_url: Some(url), ..config(REGION) };
    let region = Running::with(with_database, living_cluster().await, MemoryBus::default());
    region.publish(1, &[redis("a", 1)]).await;
    region.until_line(1, "a 1 g1 Ready AllReady").await;
    assert!(
        problems(&region.bus).contains("the region's database can't be used"),
        "{}",
        problems(&region.bus)
    );

    let postgres = LocalPostgres::start(dir.path()).unwrap();
    until("it is used", async || !problems(&region.bus).contains("database")).await;
    region.publish(2, &[redis("a", 1), redis("b", 2)]).await;
    region.until_line(2, "b 2 g1 Ready AllReady").await;

    drop(postgres);
    region.publish(3, &[redis("a", 1), redis("b", 2), redis("c", 3)]).await;
    region.until_line(3, "c 3 g1 Ready AllReady").await;
    until("it is missed", async || problems(&region.bus).contains("the region's database can't be used"))
        .await;
    let reports = latest(&region.bus).into_values().map(|report: ResourceReport| report.ready);
    assert_eq!(reports.filter(|ready| *ready).count(), 3);
    region.stop().await;
}
