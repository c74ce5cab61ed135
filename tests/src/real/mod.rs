//! A whole senren on real engines: Apache Kafka, Kubernetes and PostgreSQL, and the two planes as processes of the one
//! binary, told everything by environment variables and allowed what `deploy/` allows them ([`account`]), no more.
//!
//! The servers are shared by all tests of a process. What keeps the tests apart is a database, a topic prefix and a
//! namespace prefix of their own. No container runs in such a cluster; its [`node`] says of them that they do.

pub mod account;
pub mod audit;
pub mod container;
mod kubelet;
mod node;
mod servers;
mod volumes;

use std::{collections::BTreeMap, time::Duration};

use senren_api::v1::{
    ApplyStateResponse, Database, ResourceStatus, control_plane_client::ControlPlaneClient,
};
use senren_localpg::TestDatabase;
use serde_json::Value;
use tonic::transport::Channel;

use crate::site::Site;
use account::Account;
pub use servers::{Process, binary, compiled, kafka, kubernetes, plugins, port, spawn};

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
    /// Who the plane is there.
    pub account: Account,
    _node: node::Node,
}

impl Real {
    /// A control plane, and a plane for each of `regions`, each on a cluster of its own.
    pub async fn start(regions: &[&str]) -> Self {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut real = Self {
            prefix: format!("e{}-{count}", std::process::id() % 100_000),
            database: senren_localpg::durable_test_database(),
            address: format!("127.0.0.1:{}", port()),
            control: None,
            regions: BTreeMap::new(),
        };
        real.start_control();
        for (index, id) in regions.iter().enumerate() {
            let kubeconfig = kubernetes(index);
            let client = client_of(&kubeconfig).await;
            let region = Region {
                plane: None,
                account: Account::create(&client, &kubeconfig, &real.prefix).await,
                _node: node::Node::join(client.clone(), &real.prefix, servers::loaded_plugins()).await,
                client,
            };
            real.regions.insert((*id).to_owned(), region);
            real.start_plane(id);
        }
        real.until_connected().await;
        // A plane that has waited long enough for a plugin to be compiled goes on without it for now.
        let types: Vec<String> =
            servers::loaded_plugins().current().iter().map(|(name, _)| name.to_owned()).collect();
        real.site().await.until_serving(regions, &types).await;
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
        let plane = self.start_replica(id);
        self.regions.get_mut(id).expect("a region of this test").plane = Some(plane);
    }

    /// Starts one more plane of a region, beside those that run.
    pub fn start_replica(&self, id: &str) -> Process {
        let region = &self.regions[id];
        let (kubeconfig, compiled) = (region.account.kubeconfig(), compiled());
        let environment = [
            ("MODE", "regional"),
            ("REGION_ID", id),
            ("NAMESPACE_PREFIX", &self.prefix),
            ("ALLOWED_KINDS", &allowed_kinds()),
            ("KUBECONFIG", &kubeconfig.to_string_lossy()),
            ("PLUGIN_DIR", &plugins().to_string_lossy()),
            ("PLUGIN_CACHE_DIR", &compiled.to_string_lossy()),
            ("HEARTBEAT_INTERVAL", "1s"),
            ("KAFKA_BOOTSTRAP_SERVERS", kafka()),
            ("KAFKA_TOPIC_PREFIX", &self.prefix),
        ];
        spawn(&format!("{}-{}", self.prefix, id.replace(':', ".")), &environment)
    }

    /// Where the control plane listens, `host:port`.
    pub fn endpoint(&self) -> &str {
        &self.address
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
        self.until_connected_to(&regions).await;
    }

    /// Until the control plane has heard of every one of these.
    pub async fn until_connected_to(&self, regions: &[&str]) {
        self.site().await.until_connected(regions).await;
    }

    async fn site(&self) -> Site {
        Site { client: self.client().await, patience: PATIENCE }
    }
}

/// What the Deployment of `deploy/manifests` says that plugins may make; the ClusterRole beside it is for these.
fn allowed_kinds() -> String {
    let manifests = account::manifests("senren");
    let deployment = manifests.iter().find(|object| object["kind"] == "Deployment").expect("a Deployment");
    let environment = deployment["spec"]["template"]["spec"]["containers"][0]["env"].as_array();
    let named = |variable: &&Value| variable["name"] == "ALLOWED_KINDS";
    let kinds = environment.into_iter().flatten().find(named).expect("ALLOWED_KINDS");
    kinds["value"].as_str().expect("a text").to_owned()
}

/// The cluster of a kubeconfig.
pub async fn client_of(kubeconfig: &std::path::Path) -> kube::Client {
    let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await;
    kube::Client::try_from(config.expect("a usable kubeconfig")).expect("a client")
}
