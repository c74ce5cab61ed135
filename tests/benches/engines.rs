//! How long the walk takes on real engines: Apache Kafka, Kubernetes and PostgreSQL, and both planes as processes of
//! the one binary. Prints one JSON object per measure; `make bench-e2e` makes a table of them.
//!
//! Everything is timed from the call to what a client of the Kubernetes API or of the control plane is told by a watch,
//! so the way of the news is in it. What the machine itself takes for a flush, and for a bare write to the same
//! kube-apiserver, is measured beside it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod engines {
    pub mod cost;
    pub mod machine;
    pub mod report;
    pub mod site;
    pub mod watched;
}

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use engines::{cost::Cost, machine, report::report, site::Site, watched::Watched};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, api::DeleteParams};
use senren_tests::real::Real;
use serde_json::json;

const REGION: &str = "aws:us-east-1";
/// Each apply names the whole site, so its size counts.
const SITE_SIZE: usize = 20;
const DATABASES: usize = 200;
const STANDING: usize = 1000;
const CONCURRENCY: usize = 16;
const REPAIRS: usize = 50;
/// After that a plane has nothing left to do.
const SETTLED: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() {
    let real = Real::start(&[REGION]).await;
    let bench = Arc::new(Bench {
        watched: Watched::start(real.regions[REGION].client.clone(), &format!("{}-", real.prefix)),
        real,
    });
    report("fsync of 8 KiB", machine::fsyncs(DATABASES), json!({}));
    let writes = machine::writes(&bench.real.regions[REGION].client, DATABASES).await;
    report("kube-apiserver: create of a ConfigMap", writes, json!({}));

    sequential(&bench, "alone", "").await;
    let began = Instant::now();
    at_once(&bench).await;
    report(
        &format!("{STANDING} creates at concurrency {CONCURRENCY} → all ConfigMaps stored"),
        vec![began.elapsed()],
        json!({"p50": 10_000.0}),
    );
    let ready = began + Duration::from_secs(600);
    while bench.watched.count_ready() < STANDING && Instant::now() < ready {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    sequential(&bench, "crowd", &format!(" beside {STANDING}")).await;
    repairs(&bench).await;
    tokio::time::sleep(SETTLED).await;
    idle(&bench).await;
}

struct Bench {
    real: Real,
    watched: Watched,
}

/// Creates, then updates, then deletions: one after the other, each when the one before is ready or gone.
async fn sequential(bench: &Bench, prefix: &str, beside: &str) {
    let mut sites = Vec::new();
    for number in 0..DATABASES / SITE_SIZE {
        sites.push(Site::open(&bench.real, &format!("{prefix}-{number}"), REGION).await);
    }
    for (what, port) in [("create", 5001), ("update", 5002)] {
        let (mut stored, mut made, mut ready) = (vec![], vec![], vec![]);
        for number in 0..DATABASES {
            let site = &mut sites[number / SITE_SIZE];
            let name = format!("db-{}", number % SITE_SIZE);
            let namespace = format!("{}-{}", bench.real.prefix, site.name);
            site.declare(&name, port);
            let began = Instant::now();
            let (_, cr, config_map, told) = tokio::join!(
                site.client().apply(site.state()),
                bench.watched.resource(&namespace, &name, port),
                bench.watched.config_map(&namespace, &name, port),
                site.ready(&name, port),
            );
            stored.push(cr - began);
            made.push(config_map - began);
            ready.push(told - began);
        }
        let goal = |p50: f64, p99: f64| json!({"p50": p50, "p99": p99});
        report(&format!("{what}{beside}: apply → CR stored"), stored, goal(7.0, 15.0));
        report(&format!("{what}{beside}: apply → ConfigMap stored"), made, goal(10.0, 20.0));
        report(&format!("{what}{beside}: apply → Ready seen by WatchStatus"), ready, goal(18.0, 40.0));
    }
    let mut gone = vec![];
    for number in 0..REPAIRS {
        let site = &mut sites[number / SITE_SIZE];
        let name = format!("db-{}", number % SITE_SIZE);
        let namespace = format!("{}-{}", bench.real.prefix, site.name);
        site.undeclare(&name);
        let (_, objects, told) = tokio::join!(
            site.client().apply(site.state()),
            bench.watched.gone(&namespace, &name),
            site.gone(&name),
        );
        gone.push(told.saturating_duration_since(objects));
    }
    report(&format!("deletion{beside}: objects gone → gone from GetStatus"), gone, json!({"max": 100.0}));
}

/// As many applies at once as may be, each of one more database, until all ConfigMaps are there.
async fn at_once(bench: &Arc<Bench>) {
    let sites = STANDING / SITE_SIZE;
    let workers = (0..CONCURRENCY).map(|worker| {
        let bench = Arc::clone(bench);
        tokio::spawn(async move {
            for number in (worker..sites).step_by(CONCURRENCY) {
                let mut site = Site::unwatched(&bench.real, &format!("standing-{number}"), REGION).await;
                for database in 0..SITE_SIZE {
                    site.declare(&format!("db-{database}"), 5001);
                    site.client().apply(site.state()).await;
                }
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    for number in 0..sites {
        let namespace = format!("{}-standing-{number}", bench.real.prefix);
        for database in 0..SITE_SIZE {
            bench.watched.config_map(&namespace, &format!("db-{database}"), 5001).await;
        }
    }
}

/// A child that somebody deletes comes back.
async fn repairs(bench: &Bench) {
    let client = &bench.real.regions[REGION].client;
    let mut times = vec![];
    for number in 0..REPAIRS {
        let namespace = format!("{}-standing-{number}", bench.real.prefix);
        let before = bench.watched.uid(&namespace, "db-7");
        let began = Instant::now();
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
        api.delete("db-7", &DeleteParams::default()).await.unwrap();
        times.push(bench.watched.replaced(&namespace, "db-7", &before).await - began);
    }
    report("a deleted child is back", times, json!({"p50": 20.0}));
}

/// What both planes cost while nothing happens.
async fn idle(bench: &Bench) {
    let region = &bench.real.regions[REGION];
    let plane = region.plane.as_ref().unwrap().id();
    let control = bench.real.control.as_ref().unwrap().id();
    let (before, writes) = ([plane, control].map(Cost::of), machine::writes_so_far(&region.client).await);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let (after, writes_after) =
        ([plane, control].map(Cost::of), machine::writes_so_far(&region.client).await);
    for (index, name, millicores) in
        [(0, "regional plane", json!({"p50": 5.0})), (1, "control plane", json!({}))]
    {
        let beside = format!("idle with {} databases: {name}", STANDING + 2 * DATABASES - 2 * REPAIRS);
        engines::report::value(
            &format!("{beside}, memory"),
            "MiB",
            after[index].mebibytes,
            json!({"p50": 64.0}),
        );
        let cpu = after[index].millicores_since(&before[index]);
        engines::report::value(&format!("{beside}, CPU"), "millicores", cpu, millicores);
    }
    let writes = writes_after - writes;
    engines::report::value(
        "idle: writes to the Kubernetes API but of its Lease",
        "writes",
        writes,
        json!({"p50": 0.0}),
    );
}
