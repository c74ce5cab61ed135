//! The planes of a test, and what a client asks of them.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use senren_api::{
    RegionId,
    v1::{ApplyStateResponse, Database, ResourceStatus, control_plane_client::ControlPlaneClient},
};
use senren_bus::{Bus, MemoryBus};
use senren_control::{Control, ControlConfig};
use senren_engine::{Engine, EngineConfig};
use senren_kubesim::{Workloads, workloads::Simulated};
use senren_localpg::TestDatabase;
use senren_region::RegionConfig;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::{Cluster, site::Site};

/// How long anything may take before a test gives up; never waited out when all is well.
const PATIENCE: Duration = Duration::from_secs(30);
const HEARTBEAT: Duration = Duration::from_millis(200);

/// A running plane, and how to stop it.
pub struct Plane {
    task: JoinHandle<anyhow::Result<()>>,
    shutdown: CancellationToken,
}

impl Plane {
    /// Stops it in order and waits for its end.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// Ends it where it stands, as kill -9 would.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// Everything of one test.
pub struct World {
    /// Between the planes.
    pub bus: MemoryBus,
    /// By region.
    pub clusters: BTreeMap<RegionId, Cluster>,
    /// The regional planes that run.
    pub planes: BTreeMap<RegionId, Plane>,
    control: Option<Plane>,
    client: ControlPlaneClient<Channel>,
    database: TestDatabase,
}

impl World {
    /// A control plane and a plane for each of `regions`, all of them heard of; pods are simulated.
    pub async fn start(regions: &[&str]) -> Self {
        Self::start_with(regions, &Workloads::Simulated(Simulated::default())).await
    }

    /// As [`World::start`], with other pods.
    pub async fn start_with(regions: &[&str], workloads: &Workloads) -> Self {
        let _ = tracing_subscriber::fmt().with_test_writer().try_init();
        let bus = MemoryBus::default();
        let database = senren_localpg::test_database();
        let (control, client) = start_control(&database.url, &bus).await;
        let mut world = Self {
            bus,
            clusters: BTreeMap::new(),
            planes: BTreeMap::new(),
            control: Some(control),
            client,
            database,
        };
        for (index, region) in regions.iter().enumerate() {
            let region: RegionId = region.parse().unwrap();
            let cluster = Cluster::start_with(index, workloads.clone()).await;
            world.clusters.insert(region.clone(), cluster);
            world.start_plane(&region);
        }
        world.until_connected(regions).await;
        world
    }

    /// Starts the plane of a region whose cluster is there.
    pub fn start_plane(&mut self, region: &RegionId) {
        self.start_plane_with(region, plugins());
    }

    /// As [`World::start_plane`], with other plugins.
    pub fn start_plane_with(&mut self, region: &RegionId, plugin_dir: &Path) {
        let config = RegionConfig {
            plugin_dir: plugin_dir.to_owned(),
            heartbeat_interval: HEARTBEAT,
            ..RegionConfig::new(region.clone())
        };
        let shutdown = CancellationToken::new();
        let client = self.clusters[region].client();
        let bus: Arc<dyn Bus> = Arc::new(self.bus.clone());
        let task = tokio::spawn(senren_region::run(config, client, bus, engine(), shutdown.clone()));
        self.planes.insert(region.clone(), Plane { task, shutdown });
    }

    /// Takes the control plane away.
    pub async fn stop_control(&mut self) {
        self.control.take().expect("it runs").stop().await;
    }

    /// Brings it back, on the same database and another port.
    pub async fn start_control(&mut self) {
        let (control, client) = start_control(&self.database.url, &self.bus).await;
        self.control = Some(control);
        self.client = client;
    }

    /// The gRPC client.
    pub fn client(&self) -> ControlPlaneClient<Channel> {
        self.client.clone()
    }

    /// The cluster of a region.
    pub fn cluster(&self, region: &str) -> &Cluster {
        &self.clusters[&region.parse().unwrap()]
    }

    /// Declares everything that site `default` should have, whatever is lost by it.
    pub async fn apply(&self, databases: &[Database]) -> ApplyStateResponse {
        self.site().apply(databases).await
    }

    /// All of site `default`.
    pub async fn status(&self) -> Vec<ResourceStatus> {
        self.site().status().await
    }

    /// One resource of site `default`.
    pub async fn status_of(&self, region: &str, name: &str) -> Option<ResourceStatus> {
        self.status().await.into_iter().find(|status| status.region == region && status.name == name)
    }

    /// Watches site `default` until `wanted` holds for all its resources, and returns them.
    pub async fn until(&self, what: &str, wanted: impl Fn(&[ResourceStatus]) -> bool) -> Vec<ResourceStatus> {
        self.site().until(what, wanted).await
    }

    /// Until `count` resources are there, all ready as desired.
    pub async fn until_ready(&self, count: usize) -> Vec<ResourceStatus> {
        self.site().until_ready(count).await
    }

    /// Until the control plane has heard of every one of `regions`.
    pub async fn until_connected(&self, regions: &[&str]) {
        self.site().until_connected(regions).await;
    }

    fn site(&self) -> Site {
        Site { client: self.client(), patience: PATIENCE }
    }
}

/// A database declaration, whose spec is JSON.
pub fn database(name: &str, type_name: &str, regions: &[&str], spec: serde_json::Value) -> Database {
    Database {
        name: name.into(),
        r#type: type_name.into(),
        spec_json: spec.to_string(),
        regions: regions.iter().map(ToString::to_string).collect(),
        ..Default::default()
    }
}

async fn start_control(database_url: &str, bus: &MemoryBus) -> (Plane, ControlPlaneClient<Channel>) {
    let shutdown = CancellationToken::new();
    let config = ControlConfig {
        database_url: database_url.to_owned(),
        listen_addr: "127.0.0.1:0".parse().unwrap(),
        ..ControlConfig::default()
    };
    let control = Control::start(config, Arc::new(bus.clone()), shutdown.clone()).await.unwrap();
    let client = ControlPlaneClient::connect(format!("http://{}", control.addr())).await.unwrap();
    (Plane { task: tokio::spawn(control.join()), shutdown }, client)
}

/// One engine for all tests of a process, as one plane has.
fn engine() -> Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new(EngineConfig::default()).unwrap()).clone()
}

/// A directory with the plugins of the tests: `redis`, and `misbehaving`.
pub(crate) fn plugins() -> &'static Path {
    static DIR: OnceLock<tempfile::TempDir> = OnceLock::new();
    DIR.get_or_init(|| built(&["../plugins/redis", "plugins/misbehaving"])).path()
}

/// A directory with the plugins that these crates make.
pub(crate) fn built(crate_dirs: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for crate_dir in crate_dirs {
        let component = senren_plugin_build::component(&root.join(crate_dir)).unwrap();
        senren_plugin_build::install(&component, dir.path()).unwrap();
    }
    dir
}
