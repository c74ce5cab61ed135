//! An embedded Kubernetes API: enough of an API server, its controllers and its kubelet, in process, under an
//! ordinary [`kube::Client`], to run and test everything of ours that speaks to Kubernetes.
//!
//! What is supported behaves as the real thing does, refusals and their wording included; what isn't answers
//! 501 and names itself. It never approximates, and it is evidence about *our* code, never about Kubernetes.
//!
//! From the bottom up:
//! [`store`] keeps objects, the revision counter and the history that watches read; [`kinds`] says which kinds
//! there are; `write`, `delete`, `apply` are the verbs, `admit` and `crd` the rules they obey; `collect` holds the
//! controllers that delete by ownership and by namespace; `journal` makes it all outlive the process;
//! `service` turns HTTP requests into verbs, `serve` takes them from a socket; [`faults`] goes in between and makes
//! trouble;
//! [`workloads`] gives StatefulSets, Jobs and Pods a life.

pub mod faults;
pub mod kinds;
pub mod status;
pub mod store;
pub mod workloads;

mod addresses;
mod admit;
mod apply;
mod builtin_shapes;
mod collect;
mod crd;
mod custom;
mod delete;
mod events;
mod freeze;
mod journal;
mod network;
mod patch;
mod selector;
mod serve;
mod service;
mod shape;
mod strategic;
mod write;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use kube::client::Body;
use tower::Layer;

pub use freeze::Frozen;
pub use serve::Served;
pub use service::{ApiBody, ApiResponse, ApiService};
pub use workloads::Workloads;

use store::Store;
use workloads::Past;

/// How an embedded cluster is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where everything is kept across restarts; `None` keeps it in memory only.
    pub data_dir: Option<PathBuf>,
    /// What lives behind StatefulSets, Jobs and Pods.
    pub workloads: Workloads,
    /// The network of pods and services: `x.y.0.0`, of which the /16 is used. Services get `x.y.0.1` up to
    /// `x.y.63.254`, the rest is for pods.
    pub network: Ipv4Addr,
    /// How many changes of each kind a watch can be resumed over before it gets 410 Gone.
    pub history: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            data_dir: None,
            workloads: Workloads::None,
            network: Ipv4Addr::new(127, 80, 0, 0),
            history: 10_000,
        }
    }
}

/// A running embedded cluster. Dropping it stops its controllers; [`KubeSim::shutdown`] also waits for them.
pub struct KubeSim {
    store: Store,
    service: ApiService,
    running: Arc<workloads::Running>,
    controllers: Vec<tokio::task::JoinHandle<()>>,
    stop: tokio_util::sync::CancellationToken,
}

impl KubeSim {
    /// Starts a cluster: loads what `data_dir` holds, then starts the controllers and the workloads.
    pub async fn start(config: Config) -> anyhow::Result<KubeSim> {
        let store = Store::open(&store::Settings {
            data_dir: config.data_dir.clone(),
            network: config.network,
            history: config.history,
        })?;
        Self::run(store, &config, Past::Machine).await
    }

    async fn run(store: Store, config: &Config, past: Past) -> anyhow::Result<KubeSim> {
        let stop = tokio_util::sync::CancellationToken::new();
        let controllers = vec![tokio::spawn(collect::run(store.clone(), stop.clone()))];
        let running = Arc::new(workloads::start(&store, config, past).await?);
        let service = ApiService::new(store.clone(), running.clone());
        Ok(KubeSim { store, service, running, controllers, stop })
    }

    /// A client of this cluster whose default namespace is `default`.
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.service.clone(), "default")
    }

    /// A client whose requests pass through `layer` first: one of [`faults`], or any tower layer.
    pub fn client_with<L>(&self, layer: L) -> kube::Client
    where
        L: Layer<ApiService>,
        L::Service: tower::Service<http::Request<Body>, Response = ApiResponse> + Send + 'static,
        <L::Service as tower::Service<http::Request<Body>>>::Future: Send + 'static,
        <L::Service as tower::Service<http::Request<Body>>>::Error: Into<tower::BoxError>,
    {
        kube::Client::new(layer.layer(self.service.clone()), "default")
    }

    /// Serves the API over HTTP on a loopback address of this machine, port 0 for any, for `kubectl`.
    pub async fn serve(&self, address: SocketAddr) -> anyhow::Result<Served> {
        serve::serve(self.service.clone(), address, &self.stop).await
    }

    /// The objects themselves, for controllers and for tests that look behind the API.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Stops controllers and workloads and waits until they are gone. Clients that are left can only read.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        self.running.stop().await;
        for controller in self.controllers.drain(..) {
            if let Err(error) = controller.await {
                tracing::warn!(%error, "a controller of the embedded cluster ended badly");
            }
        }
        self.store.close();
    }
}

impl Drop for KubeSim {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
