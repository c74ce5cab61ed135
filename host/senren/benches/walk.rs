//! How long the walk takes: from an apply to the custom resource in a region, and, with the binary, to databases
//! that are proven. Prints one JSON object per measure; `make bench` makes a table of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use kube::{
    api::{Api, ApiResource, DynamicObject, WatchEvent, WatchParams},
    core::GroupVersionKind,
};
use senren_api::{
    RegionId,
    v1::{ApplyStateRequest, Database, ListRegionsRequest, control_plane_client::ControlPlaneClient},
};
use senren_bus::{Bus, MemoryBus};
use senren_control::{Control, ControlConfig};
use senren_engine::{Engine, EngineConfig};
use senren_kubesim::{Config, KubeSim};
use senren_localpg::LocalPostgres;
use senren_region::RegionConfig;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

const REGION: &str = "aws:us-east-1";
const DATABASES: usize = 200;
/// Each apply names the whole site, so its size counts.
const SITE_SIZE: usize = 20;
/// A region's state is complete: each change tells it again of all that it has.
const STANDING: usize = 1000;
const RUNS: usize = 10;
/// After that the region is done with a new database, so that the next one is measured by itself.
const SETTLED: Duration = Duration::from_millis(50);

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let plugins = plugins();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stored = |standing, pause| runtime.block_on(apply_to_stored(&plugins, standing, pause));
    report(
        &format!("apply → CR stored in the region (sites of 1 to {SITE_SIZE})"),
        stored(0, SETTLED),
        json!({"p50": 5.0}),
    );
    report("… while the region is still busy with the one before", stored(0, Duration::ZERO), json!({}));
    report(
        &format!("… beside {STANDING} databases that the region has already"),
        stored(STANDING, SETTLED),
        json!({}),
    );
    let (redis, cluster) = (0..RUNS).map(|_| apply_to_proven(&plugins)).unzip();
    report("apply → every Redis of the quickstart proven", redis, json!({"p50": 1500.0}));
    report("apply → its three-shard Redis Cluster proven, every slot of it", cluster, json!({"p50": 4000.0}));
}

fn plugins() -> PathBuf {
    let redis = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/redis");
    senren_plugin_build::component(&redis).unwrap().parent().unwrap().to_owned()
}

/// Adds one database after the other to a region that has `standing` of another site, and waits each time for its custom
/// resource, and then for `pause`.
async fn apply_to_stored(plugins: &Path, standing: usize, pause: Duration) -> Vec<Duration> {
    let shutdown = CancellationToken::new();
    // Not a test database: this one waits for its disk.
    let data = tempfile::tempdir().unwrap();
    let postgres = LocalPostgres::start(data.path()).unwrap();
    let bus: Arc<dyn Bus> = Arc::new(MemoryBus::default());
    let cluster = KubeSim::start(Config::default()).await.unwrap();
    let region: RegionId = REGION.parse().unwrap();
    let config = RegionConfig { plugin_dir: plugins.to_owned(), ..RegionConfig::new(region) };
    let engine = Engine::new(EngineConfig::default()).unwrap();
    tokio::spawn(senren_region::run(config, cluster.client(), bus.clone(), engine, shutdown.clone()));
    let config = ControlConfig {
        database_url: postgres.url("senren").unwrap(),
        listen_addr: ([127, 0, 0, 1], 0).into(),
        ..ControlConfig::default()
    };
    let control = Control::start(config, bus, shutdown.clone()).await.unwrap();
    let mut client = ControlPlaneClient::connect(format!("http://{}", control.addr())).await.unwrap();
    until_connected(&mut client).await;

    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(
        senren_api::GROUP,
        senren_api::CR_VERSION,
        "RedisDatabase",
    ));
    let resources: Api<DynamicObject> = Api::all_with(cluster.client(), &kind);
    let mut changes = resources.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    let standing: Vec<Database> = (0..standing).map(|index| database(&format!("standing-{index}"))).collect();
    if !standing.is_empty() {
        let site = "standing".to_owned();
        let names: Vec<String> = standing.iter().map(|database| database.name.clone()).collect();
        let request = ApplyStateRequest { site, databases: standing, ..Default::default() };
        client.apply_state(request).await.unwrap();
        until_all_added(&mut changes, names).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let mut times = Vec::new();
    let mut databases = Vec::new();
    for index in 0..DATABASES {
        let name = format!("db-{index}");
        if index % SITE_SIZE == 0 {
            databases.clear();
        }
        databases.push(database(&name));
        let request = ApplyStateRequest {
            site: format!("site-{}", index / SITE_SIZE),
            databases: databases.clone(),
            ..Default::default()
        };
        let begin = Instant::now();
        let (applied, ()) = tokio::join!(client.apply_state(request), until_added(&mut changes, &name));
        applied.unwrap();
        times.push(begin.elapsed());
        tokio::time::sleep(pause).await;
    }
    shutdown.cancel();
    control.join().await.unwrap();
    cluster.shutdown().await;
    times
}

fn database(name: &str) -> Database {
    Database {
        name: name.to_owned(),
        r#type: "redis".into(),
        spec_json: r#"{"memory_mb":64}"#.into(),
        regions: vec![REGION.into()],
        deletion_protection: false,
    }
}

async fn until_connected(client: &mut ControlPlaneClient<Channel>) {
    loop {
        let regions = client.list_regions(ListRegionsRequest {}).await.unwrap().into_inner().regions;
        if regions.iter().any(|region| region.phase == "Connected" && !region.plugins.is_empty()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn until_added<S>(changes: &mut S, name: &str)
where
    S: futures::Stream<Item = kube::Result<WatchEvent<DynamicObject>>> + Unpin,
{
    until_all_added(changes, vec![name.to_owned()]).await;
}

async fn until_all_added<S>(changes: &mut S, mut names: Vec<String>)
where
    S: futures::Stream<Item = kube::Result<WatchEvent<DynamicObject>>> + Unpin,
{
    while !names.is_empty() {
        match changes.next().await.unwrap().unwrap() {
            WatchEvent::Added(object) => {
                names.retain(|name| Some(name) != object.metadata.name.as_ref());
            }
            WatchEvent::Error(error) => panic!("{error:?}"),
            _ => {}
        }
    }
}

/// One run of the quickstart from nothing, as the binary itself measures it: until the last Redis that is no cluster is
/// proven, and until the cluster is.
fn apply_to_proven(plugins: &Path) -> (Duration, Duration) {
    let data = tempfile::tempdir().unwrap();
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let quickstart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/quickstart.yaml");
    let output = Command::new(env!("CARGO_BIN_EXE_senren"))
        .args(["dev", quickstart.to_str().unwrap(), "--once", "--listen", &addr])
        .arg("--data-dir")
        .arg(data.path())
        .arg("--plugin-dir")
        .arg(plugins)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let log = || fs::read_to_string(data.path().join("senren.log")).unwrap_or_default();
    assert!(output.status.success(), "{text}\n{}\n{}", String::from_utf8_lossy(&output.stderr), log());
    let proofs = text.lines().filter_map(|line| {
        let (_, rest) = line.split_once("; proven ")?;
        let seconds: f64 = rest.split_once("s after")?.0.parse().ok()?;
        Some((line.contains("slots are served"), Duration::from_secs_f64(seconds)))
    });
    let (clusters, others): (Vec<_>, Vec<_>) = proofs.partition(|(is_cluster, _)| *is_cluster);
    let last =
        |proofs: Vec<(bool, Duration)>| proofs.into_iter().map(|(_, after)| after).max().expect("a proof");
    (last(others), last(clusters))
}

fn report(measure: &str, mut times: Vec<Duration>, goal: Value) {
    times.sort();
    let at = |share: f64| {
        let index = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len()) - 1;
        times[index].as_secs_f64() * 1000.0
    };
    let line = json!({
        "measure": measure, "unit": "ms", "n": times.len(), "p50": at(0.5), "p90": at(0.9), "p99": at(0.99),
        "max": at(1.0), "goal": goal,
    });
    println!("{line}");
}
