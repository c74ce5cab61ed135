//! A region to test with: an embedded cluster, a bus in memory, and the shipped and the misbehaving plugin.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, missing_docs)]

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DynamicObject, Patch, PatchParams},
};
use senren_api::{
    state::hash_of,
    v1::{
        DesiredResource, Heartbeat, RegionalState, ResourceReport, SlotRange, StatusReport,
        status_report::Body,
    },
};
use senren_bus::{Bus, MemoryBus, Record, codec};
use senren_engine::{Engine, EngineConfig, Plugin, PluginSet, Plugins};
use senren_kubesim::{Config, KubeSim, Workloads, workloads::Simulated};
use senren_reconcile::resource::api_resource;
use senren_region::{
    OpenError, Plane, RegionConfig, heartbeat,
    intake::{self, Handled},
    report,
};

pub const REGION: &str = "aws:us-east-1";
pub const UID: &str = "00000000-0000-0000-0000-00000000000";

/// Where the built plugins are, for all tests of this process.
pub fn plugin_dir() -> &'static Path {
    static DIR: OnceLock<tempfile::TempDir> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for plugin in ["plugins/redis", "tests/plugins/misbehaving"] {
            let component = senren_plugin_build::component(&root.join(plugin)).unwrap();
            senren_plugin_build::install(&component, dir.path()).unwrap();
        }
        dir
    })
    .path()
}

pub fn engine() -> Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    let make = || {
        let cache: PathBuf = plugin_dir().join("cache");
        Engine::new(EngineConfig { cache_dir: Some(cache), ..EngineConfig::default() }).unwrap()
    };
    ENGINE.get_or_init(make).clone()
}

/// The plugins, compiled once per process.
pub fn plugins() -> Plugins {
    static LOADED: OnceLock<Vec<Plugin>> = OnceLock::new();
    let loaded = LOADED.get_or_init(|| {
        let load = |file: &str| {
            let path = plugin_dir().join(file);
            engine().load(file, &std::fs::read(path).unwrap()).unwrap()
        };
        ["misbehaving.wasm", "redis.wasm"].map(load).into()
    });
    Plugins::new(PluginSet::of(loaded.clone()).0)
}

pub fn config(region: &str) -> RegionConfig {
    RegionConfig {
        plugin_dir: plugin_dir().to_owned(),
        heartbeat_interval: Duration::from_millis(500),
        // Nothing is written while a test looks.
        lease_duration: Duration::from_secs(600),
        ..RegionConfig::new(region.parse().unwrap())
    }
}

/// A plane whose steps the test calls itself, on a cluster where nothing reconciles.
pub struct Region {
    pub cluster: KubeSim,
    pub bus: MemoryBus,
    pub plane: Arc<Plane>,
}

impl Region {
    pub async fn start() -> Self {
        Self::on(cluster(Workloads::None).await, MemoryBus::default()).await
    }

    pub async fn on(cluster: KubeSim, bus: MemoryBus) -> Self {
        let plane = open(REGION, &cluster, &bus).await.unwrap();
        plane.watch().await;
        Self { cluster, bus, plane }
    }

    /// The process ends; another one starts.
    pub async fn restart(self) -> Self {
        let (cluster, bus) = self.end().await;
        Self::on(cluster, bus).await
    }

    pub async fn end(self) -> (KubeSim, MemoryBus) {
        self.plane.stop().await;
        (self.cluster, self.bus)
    }

    pub async fn handle(&self, record: &Record) -> Handled {
        intake::handle(&self.plane, record).await
    }

    pub async fn take_in(&self, version: u64, resources: &[DesiredResource]) -> Handled {
        self.handle(&encode(&state(version, None, resources))).await
    }

    /// Publishes everything that is due, then a heartbeat.
    pub async fn report(&self) {
        while report::report_next(&self.plane).await.unwrap() {}
        heartbeat::beat(&self.plane, &Default::default()).await.unwrap();
    }

    pub async fn crs(&self, type_name: &str) -> Vec<DynamicObject> {
        crs(self.cluster.client(), type_name).await
    }

    /// What custom resources there are: `namespace/name`.
    pub async fn names(&self, type_name: &str) -> Vec<String> {
        let name = |cr: &DynamicObject| format!("{}/{}", cr.namespace().unwrap(), cr.name_any());
        self.crs(type_name).await.iter().map(name).collect()
    }

    /// The value of the plane's memory.
    pub async fn remembered(&self, key: &str) -> Option<String> {
        let api: Api<ConfigMap> = Api::namespaced(self.cluster.client(), "senren-system");
        api.get_opt("senren-state").await.unwrap()?.data?.get(key).cloned()
    }

    /// The latest report on each uid: a line that says what it is.
    pub fn reported(&self) -> Vec<String> {
        let mut lines: Vec<String> = latest(&self.bus).values().map(line).collect();
        lines.sort();
        lines
    }

    pub fn heartbeat(&self) -> Heartbeat {
        heartbeats(&self.bus).pop().unwrap()
    }

    /// Waits until the watches have told the plane what happened, and lets intake look at it.
    pub async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(30)).await;
        intake::settle(&self.plane).await;
    }
}

pub async fn cluster(workloads: Workloads) -> KubeSim {
    KubeSim::start(Config { workloads, ..Config::default() }).await.unwrap()
}

pub async fn living_cluster() -> KubeSim {
    cluster(Workloads::Simulated(Simulated::default())).await
}

pub async fn open(region: &str, cluster: &KubeSim, bus: &MemoryBus) -> Result<Arc<Plane>, OpenError> {
    Plane::open(config(region), cluster.client(), Arc::new(bus.clone()), plugins()).await
}

pub fn api(client: Client, type_name: &str) -> Api<DynamicObject> {
    let set = plugins().current();
    Api::all_with(client, &api_resource(&set.get(type_name).unwrap().resource_type.wit))
}

pub async fn crs(client: Client, type_name: &str) -> Vec<DynamicObject> {
    api(client, type_name).list(&Default::default()).await.unwrap().items
}

pub fn one(client: Client, type_name: &str) -> Api<DynamicObject> {
    let set = plugins().current();
    Api::namespaced_with(
        client,
        "senren-default",
        &api_resource(&set.get(type_name).unwrap().resource_type.wit),
    )
}

pub async fn namespace(client: Client, name: &str) -> Namespace {
    Api::<Namespace>::all(client).get(name).await.unwrap()
}

/// Gives a custom resource a finalizer, as reconciling does, or takes it away.
pub async fn set_finalizer(client: Client, type_name: &str, name: &str, present: bool) {
    let finalizers: &[&str] = if present { &["senren.io/reconcile"] } else { &[] };
    let patch = serde_json::json!({"metadata": {"finalizers": finalizers}});
    one(client, type_name).patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
}

/// A database with the uid that ends with `number`.
pub fn resource(name: &str, type_name: &str, number: u8, spec: &str) -> DesiredResource {
    DesiredResource {
        site: "default".into(),
        name: name.into(),
        r#type: type_name.into(),
        uid: format!("{UID}{number}"),
        generation: 1,
        spec_json: spec.into(),
        deletion_protection: false,
        ..Default::default()
    }
}

pub fn redis(name: &str, number: u8) -> DesiredResource {
    resource(name, "redis", number, r#"{"memory_mb": 64}"#)
}

pub fn state(version: u64, slots: Option<(u32, u32)>, resources: &[DesiredResource]) -> RegionalState {
    let mut state = RegionalState {
        region: REGION.into(),
        version,
        slots: slots.map(|(first, last)| SlotRange { first, last }),
        resources: resources.to_vec(),
        ..Default::default()
    };
    state.content_hash = hash_of(&state);
    state
}

pub fn encode(state: &RegionalState) -> Record {
    codec::encode_state(&Default::default(), state)
}

pub fn reports(bus: &MemoryBus) -> Vec<StatusReport> {
    let records = bus.records(&bus.topics().status_topic());
    records.iter().map(|delivery| codec::decode_report(&delivery.record).unwrap()).collect()
}

/// The latest report on each uid.
pub fn latest(bus: &MemoryBus) -> std::collections::BTreeMap<String, ResourceReport> {
    let mut latest = std::collections::BTreeMap::new();
    for report in reports(bus) {
        if let Some(Body::Resource(resource)) = report.body {
            let before = latest.insert(resource.uid.clone(), (report.sequence, resource));
            assert!(before.is_none_or(|(sequence, _)| sequence < report.sequence), "sequences grow strictly");
        }
    }
    latest.into_iter().map(|(uid, (_, report))| (uid, report)).collect()
}

pub fn heartbeats(bus: &MemoryBus) -> Vec<Heartbeat> {
    let body = |report: StatusReport| match report.body {
        Some(Body::Heartbeat(heartbeat)) => Some(heartbeat),
        _ => None,
    };
    reports(bus).into_iter().filter_map(body).collect()
}

pub fn line(report: &ResourceReport) -> String {
    let last = report.uid.chars().last().unwrap();
    let gone = if report.deleted { " deleted" } else { "" };
    format!("{} {last} g{} {} {}{gone}", report.name, report.generation, report.phase, report.reason)
        .trim()
        .to_owned()
}

/// Waits until it is so.
pub async fn until(what: &str, mut reached: impl AsyncFnMut() -> bool) {
    for _ in 0..1500 {
        if reached().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("waited in vain until {what}");
}
