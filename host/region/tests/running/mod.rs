//! A whole plane, running on a living cluster.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, missing_docs)]

pub mod variants;

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::Api;
use senren_api::v1::DesiredResource;
use senren_bus::{Bus as _, MemoryBus};
use senren_engine::Engine;
use senren_kubesim::KubeSim;
use senren_region::{RegionConfig, run};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::common::*;

pub struct Running {
    pub cluster: KubeSim,
    pub bus: MemoryBus,
    shutdown: CancellationToken,
    plane: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    pub async fn start() -> Self {
        Self::on(living_cluster().await, MemoryBus::default())
    }

    pub fn on(cluster: KubeSim, bus: MemoryBus) -> Self {
        Self::with(config(REGION), cluster, bus)
    }

    pub fn with(config: RegionConfig, cluster: KubeSim, bus: MemoryBus) -> Self {
        Self::with_engine(config, cluster, bus, engine())
    }

    pub fn with_engine(config: RegionConfig, cluster: KubeSim, bus: MemoryBus, engine: Engine) -> Self {
        let shutdown = CancellationToken::new();
        let (client, dyn_bus) = (cluster.client(), Arc::new(bus.clone()));
        let plane = tokio::spawn(run(config, client, dyn_bus, engine, shutdown.clone()));
        Self { cluster, bus, shutdown, plane }
    }

    pub async fn stop(self) -> (KubeSim, MemoryBus) {
        self.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(5), self.plane).await.expect("it ends").unwrap().unwrap();
        (self.cluster, self.bus)
    }

    pub async fn publish(&self, version: u64, resources: &[DesiredResource]) {
        self.bus.publish(encode(&state(version, None, resources))).await.unwrap();
    }

    pub fn line(&self, number: u8) -> String {
        latest(&self.bus).get(&format!("{UID}{number}")).map(line).unwrap_or_default()
    }

    pub async fn until_line(&self, number: u8, wanted: &str) {
        let mut last = String::new();
        for _ in 0..1500 {
            last = self.line(number);
            if last == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{last:?} never became {wanted:?}");
    }

    pub fn sets(&self) -> Api<StatefulSet> {
        Api::namespaced(self.cluster.client(), "senren-default")
    }
}
