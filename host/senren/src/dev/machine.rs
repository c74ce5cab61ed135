//! What `senren dev` runs: a control plane on a real PostgreSQL, and per region an embedded cluster with the
//! regional plane on it, all in this process with the bus in memory. The planes are the production ones; only
//! what they stand on differs.
//!
//! Nothing it starts outlives it: in order by [`Machine::stop`], and by the death signal of every child process
//! where this process is killed.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use senren_api::RegionId;
use senren_bus::{Bus, MemoryBus};
use senren_control::{Control, ControlConfig};
use senren_engine::{Engine, EngineConfig};
use senren_kubesim::{Config, KubeSim, Workloads, workloads::Processes};
use senren_localpg::LocalPostgres;
use senren_region::RegionConfig;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::data::DataDir;

/// Namespaces of sites start with it.
pub const NAMESPACE_PREFIX: &str = "senren";

const HEARTBEAT: Duration = Duration::from_secs(2);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// What to run.
pub struct Plan {
    /// Each gets a cluster.
    pub regions: Vec<RegionId>,
    /// Where the plugins are.
    pub plugin_dir: PathBuf,
    /// Instead of a private PostgreSQL.
    pub database_url: Option<String>,
    /// Of the gRPC API.
    pub listen: SocketAddr,
}

/// Everything, running.
pub struct Machine {
    control: Control,
    clusters: BTreeMap<RegionId, KubeSim>,
    planes: JoinSet<anyhow::Result<()>>,
    shutdown: CancellationToken,
    // Stops its server when dropped, after the planes that use it.
    _postgres: Option<LocalPostgres>,
}

impl Machine {
    /// Starts everything; returns when the API is served. The regions are then on their way.
    pub async fn start(plan: Plan, data: &mut DataDir) -> anyhow::Result<Self> {
        let shutdown = CancellationToken::new();
        let bus: Arc<dyn Bus> = Arc::new(MemoryBus::default());
        let postgres = tokio::task::spawn_blocking({
            let (url, dir) = (plan.database_url.clone(), data.postgres());
            move || database(url, &dir)
        });
        let engine = Engine::new(EngineConfig { cache_dir: Some(data.cache()), ..Default::default() })
            .context("plugin engine")?;

        let mut clusters = BTreeMap::new();
        let mut planes = JoinSet::new();
        for region in plan.regions {
            let cluster = cluster(&region, data).await.with_context(|| format!("cluster of {region}"))?;
            let config = region_config(&region, &plan.plugin_dir);
            let run =
                senren_region::run(config, cluster.client(), bus.clone(), engine.clone(), shutdown.clone());
            let name = region.clone();
            planes.spawn(async move { run.await.with_context(|| format!("regional plane of {name}")) });
            clusters.insert(region, cluster);
        }

        let (postgres, database_url) = postgres.await.context("PostgreSQL")??;
        let config = control_config(database_url, plan.listen);
        let control = Control::start(config, bus, shutdown.clone()).await.context("control plane")?;
        Ok(Self { control, clusters, planes, shutdown, _postgres: postgres })
    }

    /// Where the API listens.
    pub fn addr(&self) -> SocketAddr {
        self.control.addr()
    }

    /// The Kubernetes API of each region.
    pub fn clusters(&self) -> BTreeMap<RegionId, kube::Client> {
        self.clusters.iter().map(|(region, cluster)| (region.clone(), cluster.client())).collect()
    }

    /// Waits until a plane ends by itself, which none should.
    pub async fn failed(&mut self) -> anyhow::Error {
        match self.planes.join_next().await {
            Some(Ok(Ok(()))) => anyhow::anyhow!("a regional plane ended by itself"),
            Some(Ok(Err(error))) => error,
            Some(Err(error)) => anyhow::Error::new(error).context("a regional plane broke"),
            None => std::future::pending().await,
        }
    }

    /// Stops everything, planes first, and waits until it is gone.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        let orderly = async {
            while let Some(ended) = self.planes.join_next().await {
                if let Ok(Err(error)) = ended {
                    tracing::warn!("at shutdown: {error:#}");
                }
            }
            if let Err(error) = self.control.join().await {
                tracing::warn!("at shutdown: {error:#}");
            }
            futures::future::join_all(self.clusters.into_values().map(KubeSim::shutdown)).await;
        };
        if tokio::time::timeout(STOP_TIMEOUT, orderly).await.is_err() {
            tracing::warn!("not everything stopped in time; what is left dies with this process");
        }
    }
}

/// The database to use, and the server to keep alive where it is ours.
fn database(url: Option<String>, dir: &Path) -> anyhow::Result<(Option<LocalPostgres>, String)> {
    if let Some(url) = url {
        return Ok((None, url));
    }
    let server = LocalPostgres::start(dir)?;
    let url = server.url("senren")?;
    Ok((Some(server), url))
}

async fn cluster(region: &RegionId, data: &mut DataDir) -> anyhow::Result<KubeSim> {
    let dir = data.region(region);
    let config = Config {
        network: data.network(region)?,
        workloads: Workloads::Processes(Processes::default()),
        data_dir: Some(dir),
        ..Config::default()
    };
    KubeSim::start(config).await
}

fn region_config(region: &RegionId, plugin_dir: &Path) -> RegionConfig {
    // Services have addresses that are reachable on this machine; there is no cluster DNS outside of pods.
    let redis = serde_json::json!({"endpoint": "cluster-ip"});
    RegionConfig {
        namespace_prefix: NAMESPACE_PREFIX.into(),
        plugin_dir: plugin_dir.to_owned(),
        plugin_config: BTreeMap::from([("redis".to_owned(), redis)]),
        heartbeat_interval: HEARTBEAT,
        ..RegionConfig::new(region.clone())
    }
}

fn control_config(database_url: String, listen: SocketAddr) -> ControlConfig {
    ControlConfig { database_url, listen_addr: listen, ..ControlConfig::default() }
}
