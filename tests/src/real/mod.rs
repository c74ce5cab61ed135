//! A whole senren on real engines: Apache Kafka, Kubernetes and PostgreSQL, and the two planes as processes of the one
//! binary, told everything by environment variables, as `deploy/` tells them.
//!
//! The servers are shared by all tests of a process. What keeps the tests apart is a database, a topic prefix and a
//! namespace prefix of their own. Nobody runs pods in such a cluster; [`pods`] says of them that they do.

mod pods;
mod servers;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use senren_api::v1::{
    ApplyStateResponse, Database, ResourceStatus, control_plane_client::ControlPlaneClient,
};
use senren_localpg::TestDatabase;
use tonic::transport::Channel;

use crate::site::Site;
pub use servers::{Process, kafka, kubernetes, port, spawn};

/// How long anything may take before a test gives up; never waited out when all is well.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The planes of one test.
pub struct Real {
    /// Also part of every name that must be this test's alone.
    pub prefix: String,
    database: TestDatabase,
    address: String,
    /// `None` while it is stopped.
    pub control: Option<Process>,
    /// By region id.
    pub regions: BTreeMap<String, Region>,
}

/// A regional plane and its cluster.
pub struct Region {
    /// `None` while it is stopped.
    pub plane: Option<Process>,
    /// As the cluster's administrator.
    pub client: kube::Client,
    kubeconfig: PathBuf,
    _pods: pods::Pods,
}

impl Real {
    /// A control plane, and a plane for each of `regions`, each on a cluster of its own.
    pub async fn start(regions: &[&str]) -> Self {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut real = Self {
            prefix: format!("e{}-{count}", std::process::id() % 100_000),
            database: senren_localpg::test_database(),
            address: format!("127.0.0.1:{}", port()),
            control: None,
            regions: BTreeMap::new(),
        };
        real.start_control();
        for (index, id) in regions.iter().enumerate() {
            let kubeconfig = kubernetes(index);
            let client = client_of(&kubeconfig).await;
            let pods = pods::Pods::start(client.clone(), real.prefix.clone());
            let region = Region { plane: None, client, kubeconfig, _pods: pods };
            real.regions.insert((*id).to_owned(), region);
            real.start_plane(id);
        }
        real.until_connected().await;
        real
    }

    /// Starts the control plane, where it was before.
    pub fn start_control(&mut self) {
        let environment = [
            ("MODE", "control"),
            ("DATABASE_URL", &self.database.url),
            ("LISTEN_ADDR", &self.address),
            ("KAFKA_BOOTSTRAP_SERVERS", kafka()),
            ("KAFKA_TOPIC_PREFIX", &self.prefix),
        ];
        self.control = Some(spawn(&format!("{}-control", self.prefix), &environment));
    }

    /// Starts the plane of a region whose cluster is there.
    pub fn start_plane(&mut self, id: &str) {
        let region = self.regions.get_mut(id).expect("a region of this test");
        let kubeconfig = region.kubeconfig.to_str().expect("a path in UTF-8");
        let plugins = servers::plugins();
        let environment = [
            ("MODE", "regional"),
            ("REGION_ID", id),
            ("NAMESPACE_PREFIX", &self.prefix),
            ("KUBECONFIG", kubeconfig),
            ("PLUGIN_DIR", plugins.to_str().expect("a path in UTF-8")),
            ("HEARTBEAT_INTERVAL", "1s"),
            ("KAFKA_BOOTSTRAP_SERVERS", kafka()),
            ("KAFKA_TOPIC_PREFIX", &self.prefix),
        ];
        region.plane = Some(spawn(&format!("{}-{}", self.prefix, id.replace(':', ".")), &environment));
    }

    /// The namespace of site `default`.
    pub fn namespace(&self) -> String {
        format!("{}-default", self.prefix)
    }

    /// A client of the API; waits until it answers.
    pub async fn client(&self) -> ControlPlaneClient<Channel> {
        let connecting = async {
            loop {
                match ControlPlaneClient::connect(format!("http://{}", self.address)).await {
                    Ok(client) => return client,
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, connecting).await.expect("the control plane listens")
    }

    /// Declares everything that site `default` should have, whatever is lost by it.
    pub async fn apply(&self, databases: &[Database]) -> ApplyStateResponse {
        self.site().await.apply(databases).await
    }

    /// All of site `default`.
    pub async fn status(&self) -> Vec<ResourceStatus> {
        self.site().await.status().await
    }

    /// Watches site `default` until `wanted` holds for all its resources, and returns them.
    pub async fn until(&self, what: &str, wanted: impl Fn(&[ResourceStatus]) -> bool) -> Vec<ResourceStatus> {
        self.site().await.until(what, wanted).await
    }

    /// Until `count` resources are there, all ready as desired.
    pub async fn until_ready(&self, count: usize) -> Vec<ResourceStatus> {
        self.site().await.until_ready(count).await
    }

    /// Until the control plane has heard of every region.
    pub async fn until_connected(&self) {
        let regions: Vec<&str> = self.regions.keys().map(String::as_str).collect();
        self.site().await.until_connected(&regions).await;
    }

    async fn site(&self) -> Site {
        Site { client: self.client().await, patience: PATIENCE }
    }
}

async fn client_of(kubeconfig: &std::path::Path) -> kube::Client {
    let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await;
    kube::Client::try_from(config.expect("a usable kubeconfig")).expect("a client")
}
