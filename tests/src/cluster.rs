//! A region's embedded cluster, as a test looks at it.

use std::{net::Ipv4Addr, time::Duration};

use kube::{
    Api,
    api::{DynamicObject, ListParams},
    core::{ApiResource, GroupVersionKind},
};
use senren_kubesim::{Config, KubeSim, Workloads, workloads::Simulated};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(20);
/// Whoever has anything to write does so within this.
const QUIET: Duration = Duration::from_millis(300);
/// Second byte of the first cluster's addresses.
const FIRST_NETWORK: u8 = 200;
/// Where site `default` lives.
const NAMESPACE: &str = "senren-default";

/// An embedded Kubernetes API, and pods.
pub struct Cluster {
    sim: KubeSim,
    _data: tempfile::TempDir,
}

impl Cluster {
    /// The `index`-th cluster of a test, with simulated pods.
    pub async fn start(index: usize) -> Self {
        Self::start_with(index, Workloads::Simulated(Simulated::default())).await
    }

    /// The `index`-th cluster of a test.
    pub async fn start_with(index: usize, workloads: Workloads) -> Self {
        let second = FIRST_NETWORK + u8::try_from(index).unwrap();
        // Volumes of real pods lie there; simulated ones need none.
        let data = tempfile::tempdir().unwrap();
        let data_dir = matches!(workloads, Workloads::Processes(_)).then(|| data.path().to_owned());
        let network = Ipv4Addr::new(127, second, 0, 0);
        let config = Config { workloads, network, data_dir, ..Config::default() };
        Self { sim: KubeSim::start(config).await.unwrap(), _data: data }
    }

    /// Of its Kubernetes API.
    pub fn client(&self) -> kube::Client {
        self.sim.client()
    }

    /// Objects of one kind in the namespace of site `default`; `kind` as in `apps/v1/StatefulSet`.
    pub fn api(&self, kind: &str) -> Api<DynamicObject> {
        let (group_version, kind) = kind.rsplit_once('/').unwrap();
        let (group, version) = group_version.rsplit_once('/').unwrap_or(("", group_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::namespaced_with(self.client(), NAMESPACE, &resource)
    }

    /// The names of the objects of one kind in the namespace of site `default`.
    pub async fn names(&self, kind: &str) -> Vec<String> {
        let objects = self.api(kind).list(&ListParams::default()).await.unwrap();
        objects.items.into_iter().filter_map(|object| object.metadata.name).collect()
    }

    /// An object as JSON, if it is there.
    pub async fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let object = self.api(kind).get_opt(name).await.unwrap()?;
        Some(serde_json::to_value(object).unwrap())
    }

    /// Waits until `wanted` holds for an object, or for its absence.
    pub async fn until(&self, kind: &str, name: &str, wanted: impl Fn(Option<&Value>) -> bool) {
        let reached = async {
            while !wanted(self.get(kind, name).await.as_ref()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, reached).await;
        assert!(in_time.is_ok(), "{kind} {name} is {:#?}", self.get(kind, name).await);
    }

    /// Waits until no object of one kind has a name with `part` in it.
    pub async fn until_no_name_has(&self, kind: &str, part: &str) {
        let gone = async {
            while self.names(kind).await.iter().any(|name| name.contains(part)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, gone).await;
        assert!(in_time.is_ok(), "{kind}: there are {:?}", self.names(kind).await);
    }

    /// The highest resourceVersion so far: it stays where it is when nobody writes.
    pub async fn revision(&self) -> String {
        let list = self.api("v1/ConfigMap").list(&ListParams::default()).await.unwrap();
        list.metadata.resource_version.unwrap()
    }

    /// The revision at which nobody wrote any more, for a while.
    pub async fn settled(&self) -> String {
        let settled = async {
            loop {
                let revision = self.revision().await;
                tokio::time::sleep(QUIET).await;
                if self.revision().await == revision {
                    return revision;
                }
            }
        };
        tokio::time::timeout(PATIENCE, settled).await.expect("at some time there is nothing more to write")
    }
}
