//! What `senren dev` runs: a control plane on a real PostgreSQL, and per region the regional plane on an embedded
//! cluster, or on a real one that the user names, all in this process with the bus in memory. The planes are the
//! production ones; only what they stand on differs.
//!
//! Nothing it starts outlives it: in order by [`Machine::stop`], and by the death signal of every child process
//! where this process is killed. What it made in a real cluster stays there.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use senren_api::RegionId;
use senren_bus::{Bus, MemoryBus};
use senren_control::{Control, ControlConfig};
use senren_engine::{Engine, EngineConfig, Plugins};
use senren_kubesim::{
    Config, KubeSim, Served, Workloads,
    workloads::{Processes, Simulated},
};
use senren_localpg::LocalPostgres;
use senren_region::RegionConfig;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::data::{self, DataDir};
use crate::telemetry::endpoint::Planes;

/// Namespaces of sites start with it.
pub const NAMESPACE_PREFIX: &str = "senren";

const HEARTBEAT: Duration = Duration::from_secs(2);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// What to run.
pub struct Plan {
    /// Each gets a plane, and an embedded cluster where it has no kubeconfig.
    pub regions: Vec<RegionId>,
    /// The real clusters.
    pub kubeconfigs: BTreeMap<RegionId, PathBuf>,
    /// Where the plugins are.
    pub plugin_dir: PathBuf,
    /// Instead of a private PostgreSQL.
    pub database_url: Option<String>,
    /// Of the gRPC API.
    pub listen: SocketAddr,
    /// Where the planes say whether they are ready.
    pub planes: Planes,
}

/// The way to a region's Kubernetes API.
#[derive(Clone)]
pub struct Access {
    /// Of it.
    pub client: kube::Client,
    /// Whether it is an embedded one, whose addresses are this machine's.
    pub embedded: bool,
    /// For kubectl.
    pub kubeconfig: PathBuf,
}

/// Everything, running.
pub struct Machine {
    addr: SocketAddr,
    clusters: BTreeMap<RegionId, Access>,
    embedded: Vec<Embedded>,
    /// What each is called, and how it ended.
    planes: JoinSet<(String, anyhow::Result<()>)>,
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
        compile(&engine, &plan.plugin_dir).await?;

        let mut clusters = BTreeMap::new();
        let mut embedded = Vec::new();
        let mut planes = JoinSet::new();
        for region in plan.regions {
            let plugins = Plugins::default();
            let access = match plan.kubeconfigs.get(&region) {
                Some(kubeconfig) => real(kubeconfig).await,
                None => embed(&region, data, &plugins, &mut embedded).await,
            };
            let access = access.with_context(|| format!("cluster of {region}"))?;
            let mut config = region_config(&region, &plan.plugin_dir, access.embedded);
            config.plugins = plugins;
            plan.planes.add(region.to_string(), config.readiness.clone());
            let run = senren_region::run(
                config,
                access.client.clone(),
                bus.clone(),
                engine.clone(),
                shutdown.child_token(),
            );
            let name = format!("regional plane of {region}");
            planes.spawn(async move { (name, run.await) });
            clusters.insert(region, access);
        }

        let (postgres, database_url) = postgres.await.context("PostgreSQL")??;
        let config = control_config(database_url, plan.listen);
        // A token of its own: where a part of it fails it stops itself, and nothing else.
        let control = Control::start(config, bus, shutdown.child_token()).await.context("control plane")?;
        let addr = control.addr();
        plan.planes.add("control plane", control.readiness());
        planes.spawn(async move { ("control plane".to_owned(), control.join().await) });
        Ok(Self { addr, clusters, embedded, planes, shutdown, _postgres: postgres })
    }

    /// Where the API listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The way to each region's Kubernetes API.
    pub fn clusters(&self) -> &BTreeMap<RegionId, Access> {
        &self.clusters
    }

    /// Waits until a plane ends by itself, which none should.
    pub async fn failed(&mut self) -> anyhow::Error {
        match self.planes.join_next().await {
            Some(Ok((plane, Ok(())))) => anyhow::anyhow!("the {plane} ended by itself"),
            Some(Ok((plane, Err(error)))) => error.context(plane),
            Some(Err(error)) => anyhow::Error::new(error).context("a plane broke"),
            None => std::future::pending().await,
        }
    }

    /// Stops everything, planes first, and waits until it is gone.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        let orderly = async {
            while let Some(ended) = self.planes.join_next().await {
                if let Ok((plane, Err(error))) = ended {
                    tracing::warn!(plane, "at shutdown: {error:#}");
                }
            }
            let stopping = self.embedded.into_iter().map(|embedded| embedded.cluster.shutdown());
            futures::future::join_all(stopping).await;
        };
        if tokio::time::timeout(STOP_TIMEOUT, orderly).await.is_err() {
            tracing::warn!("not everything stopped in time; what is left dies with this process");
        }
    }
}

/// Compiles all plugins into the cache, so that every region has them from its start on, however slow this machine is:
/// what is to be applied names their types. What is wrong with one, the regions say.
async fn compile(engine: &Engine, dir: &Path) -> anyhow::Result<()> {
    let files = std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut compiling = JoinSet::new();
    for file in
        files.flatten().map(|file| file.path()).filter(|file| file.extension() == Some("wasm".as_ref()))
    {
        let engine = engine.clone();
        compiling.spawn_blocking(move || {
            std::fs::read(&file).ok().and_then(|wasm| engine.load(&file.display().to_string(), &wasm).ok())
        });
    }
    compiling.join_all().await;
    Ok(())
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

/// The cluster that a kubeconfig's current context names.
async fn real(file: &Path) -> anyhow::Result<Access> {
    let kubeconfig =
        Kubeconfig::read_from(file).with_context(|| format!("cannot read {}", file.display()))?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let config = config.with_context(|| format!("{} names no cluster", file.display()))?;
    Ok(Access { client: config.try_into()?, embedded: false, kubeconfig: file.to_owned() })
}

/// An embedded cluster that runs, and is served for kubectl.
struct Embedded {
    cluster: KubeSim,
    _served: Served,
}

/// An embedded cluster, with pods as local processes where this machine has their programs. The others answer
/// commands as their plugin says that their database would.
async fn embed(
    region: &RegionId,
    data: &mut DataDir,
    plugins: &Plugins,
    all: &mut Vec<Embedded>,
) -> anyhow::Result<Access> {
    let network = data.network(region)?;
    let exec = Some(senren_conformance::simulated_exec(plugins.clone()));
    let simulated = Simulated { exec, ..Simulated::default() };
    let config = Config {
        network,
        workloads: Workloads::Processes(Processes { simulated, ..Processes::default() }),
        data_dir: Some(data.region(region)),
        ..Config::default()
    };
    let cluster = KubeSim::start(config).await?;
    let served = cluster.serve(data::api(network)).await?;
    let kubeconfig = data.kubeconfig(region);
    let namespace = format!("{NAMESPACE_PREFIX}-default");
    served.write_kubeconfig(&kubeconfig, &data::plain(region), &namespace)?;
    let access = Access { client: cluster.client(), embedded: true, kubeconfig };
    all.push(Embedded { cluster, _served: served });
    Ok(access)
}

fn region_config(region: &RegionId, plugin_dir: &Path, embedded: bool) -> RegionConfig {
    let mut config = RegionConfig {
        namespace_prefix: NAMESPACE_PREFIX.into(),
        plugin_dir: plugin_dir.to_owned(),
        heartbeat_interval: HEARTBEAT,
        ..RegionConfig::new(region.clone())
    };
    if embedded {
        // Services have addresses that are reachable on this machine; there is no cluster DNS outside of pods.
        let reachable = serde_json::json!({"endpoint": "cluster-ip"});
        config.plugin_config =
            ["redis", "aerospike"].map(|plugin| (plugin.to_owned(), reachable.clone())).into();
    }
    config
}

fn control_config(database_url: String, listen: SocketAddr) -> ControlConfig {
    ControlConfig { database_url, listen_addr: listen, ..ControlConfig::default() }
}
