//! What a thousand databases cost: how long until all are ready, what it takes to look at all of them again when
//! nothing changed, and whether a change of one is any slower for the others' being there. Prints one JSON object per
//! measure; `make bench` makes a table of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cast_precision_loss)]

use std::{
    collections::HashSet,
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams},
    core::GroupVersionKind,
    runtime::{WatchStreamExt as _, watcher},
};
use senren_engine::{Engine, EngineConfig, PluginSet, Plugins};
use senren_kubesim::{Config, KubeSim, Workloads, workloads::Simulated};
use senren_reconcile::{Reconciler, Settings, crd, names};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const REGION: &str = "aws:us-east-1";
const NAMESPACE: &str = "senren-default";
/// How many are written at once, as intake does.
const WRITERS: usize = 16;
const FEW: usize = 10;
const MANY: usize = 1_000;
const CHANGES: usize = 100;
const RESYNC: Duration = Duration::from_secs(2);
const ROUNDS: u32 = 10;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let redis = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/redis");
    let wasm = fs::read(senren_plugin_build::component(&redis).unwrap()).unwrap();
    let plugin = Engine::new(EngineConfig::default()).unwrap().load("redis", &wasm).unwrap();
    let plugins = Plugins::new(PluginSet::of(vec![plugin]).0);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // A number as argument: that many, and nothing else, for a profiler to look at.
    let one = std::env::args().nth(1).and_then(|number| number.parse().ok());
    for standing in one.map_or_else(|| vec![FEW, MANY], |one| vec![one]) {
        let measured = runtime.block_on(measure(plugins.clone(), standing));
        let goals = standing == MANY;
        let goal = |goal: Value| if goals { goal } else { json!({}) };
        report(
            &format!("{standing} databases made → all ready"),
            "ms",
            vec![measured.ready],
            goal(json!({"max": 10_000.0})),
        );
        report("… its CPU, the simulated cluster's included", "ms", vec![measured.made], json!({}));
        report(
            &format!("CPU of a resync of {standing}, nothing changed"),
            "ms",
            vec![measured.resync],
            goal(json!({"max": 200.0})),
        );
        report(
            &format!("writes of a resync of {standing}, nothing changed"),
            "count",
            vec![measured.writes],
            json!({"max": 0.0}),
        );
        report(&format!("a change of one of {standing} → its ConfigMap"), "ms", measured.change, json!({}));
    }
}

struct Measured {
    ready: f64,
    made: f64,
    resync: f64,
    writes: f64,
    change: Vec<f64>,
}

async fn measure(plugins: Plugins, standing: usize) -> Measured {
    let simulated = Workloads::Simulated(Simulated::default());
    let sim = KubeSim::start(Config { workloads: simulated, ..Config::default() }).await.unwrap();
    let client = sim.client();
    crd::install(client.clone(), &plugins.current()).await.unwrap();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    api(&client, "v1", "Namespace").create(&Default::default(), &parsed(namespace)).await.unwrap();

    let plane = Plane::start(&client, &plugins, Duration::from_secs(600));
    let (began, used) = (Instant::now(), cpu());
    stream::iter(0..standing).for_each_concurrent(WRITERS, |number| declare(&client, number, 1)).await;
    until_ready(&client, standing).await;
    let (ready, made) = (milliseconds(began.elapsed()), cpu() - used);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let change = changes(&client, standing).await;
    plane.stop().await;

    let idle = cpu_during(RESYNC * ROUNDS).await;
    let plane = Plane::start(&client, &plugins, RESYNC);
    tokio::time::sleep(RESYNC * 2).await;
    let before = revision(&client).await;
    let busy = cpu_during(RESYNC * ROUNDS).await;
    let writes = revision(&client).await - before;
    plane.stop().await;
    sim.shutdown().await;
    Measured { ready, made, resync: (busy - idle).max(0.0) / f64::from(ROUNDS), writes, change }
}

struct Plane {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Plane {
    fn start(client: &Client, plugins: &Plugins, resync: Duration) -> Self {
        let settings = Settings { resync, ..Settings::new(REGION.parse().unwrap()) };
        let reconciler = Arc::new(Reconciler::new(client.clone(), plugins.clone(), settings));
        let stop = CancellationToken::new();
        Self { task: tokio::spawn(senren_reconcile::run(reconciler, stop.clone())), stop }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// Changes one after the other, each until its ConfigMap says so.
async fn changes(client: &Client, standing: usize) -> Vec<f64> {
    let config_maps = watcher(api(client, "v1", "ConfigMap"), watcher::Config::default()).applied_objects();
    let mut config_maps = config_maps.boxed();
    // What is there already comes first.
    for _ in 0..standing {
        config_maps.next().await.unwrap().unwrap();
    }
    let mut times = vec![];
    for number in (0..standing).cycle().take(CHANGES) {
        let round = u64::try_from(times.len() / standing).unwrap();
        let began = Instant::now();
        declare(client, number, 2 + round).await;
        let wanted = format!("maxmemory {}mb", memory(2 + round));
        loop {
            let object = config_maps.next().await.unwrap().unwrap();
            if object.name_any() == format!("db-{number}-config")
                && object.data["data"].to_string().contains(&wanted)
            {
                break;
            }
        }
        times.push(milliseconds(began.elapsed()));
        // By itself: the pods roll meanwhile.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    until_ready(client, standing).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    times
}

fn memory(generation: u64) -> u64 {
    64 + generation
}

async fn declare(client: &Client, number: usize, generation: u64) {
    let name = format!("db-{number}");
    let object = json!({
        "apiVersion": "senren.io/v1", "kind": "RedisDatabase",
        "metadata": {
            "name": name, "labels": names::plane_labels(&REGION.parse().unwrap()),
            "annotations": {names::UID: format!("uid-{number}"), names::GENERATION: generation.to_string()},
        },
        "spec": {"memory_mb": memory(generation)},
    });
    let params = PatchParams::apply(names::INTAKE_MANAGER).force();
    api(client, "senren.io/v1", "RedisDatabase").patch(&name, &params, &Patch::Apply(&object)).await.unwrap();
}

async fn until_ready(client: &Client, standing: usize) {
    let resources = watcher(api(client, "senren.io/v1", "RedisDatabase"), watcher::Config::default());
    let mut resources = resources.applied_objects().boxed();
    let mut ready = HashSet::new();
    while ready.len() < standing {
        let object = resources.try_next().await.unwrap().unwrap();
        let current = object.data["status"]["observedGeneration"].as_i64() == object.metadata.generation;
        if current && object.data["status"]["phase"] == "Ready" {
            ready.insert(object.name_any());
        } else {
            ready.remove(&object.name_any());
        }
    }
}

fn api(client: &Client, api_version: &str, kind: &str) -> Api<DynamicObject> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    if kind == "Namespace" {
        Api::all_with(client.clone(), &resource)
    } else {
        Api::namespaced_with(client.clone(), NAMESPACE, &resource)
    }
}

fn parsed(object: Value) -> DynamicObject {
    serde_json::from_value(object).unwrap()
}

/// Grows with every write of anything.
async fn revision(client: &Client) -> f64 {
    let list = api(client, "v1", "ConfigMap").list(&ListParams::default().limit(1)).await.unwrap();
    list.metadata.resource_version.unwrap().parse().unwrap()
}

/// Milliseconds of processor time that this process uses meanwhile.
async fn cpu_during(time: Duration) -> f64 {
    let before = cpu();
    tokio::time::sleep(time).await;
    cpu() - before
}

fn cpu() -> f64 {
    // The times of user and system are the 14th and 15th fields, in hundredths of a second; the 2nd ends with ')'.
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap() * 10.0).sum()
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn report(measure: &str, unit: &str, mut values: Vec<f64>, goal: Value) {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[((values.len() as f64 * share).ceil() as usize).clamp(1, values.len()) - 1];
    let line = json!({
        "measure": measure, "unit": unit, "n": values.len(), "p50": at(0.5), "p90": at(0.9), "p99": at(0.99),
        "max": at(1.0), "goal": goal,
    });
    println!("{line}");
}
