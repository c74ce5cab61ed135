//! What a regional plane owes its region, on a real cluster: replicas, claims, nothing lost, nobody needed. Of type
//! `template`, because its one object, a ConfigMap, is ready without pods.

mod autonomy;
mod claims;
mod definitions;
mod outbox;
mod replicas;
mod scale;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use senren_api::v1::Database;
use senren_tests::real::{Process, compiled, kubernetes, plugins, spawn};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::kafka::{Hub, free_address, signal, until};

/// The process of a plane.
pub struct Plane {
    pub process: Process,
    metrics: String,
}

impl Plane {
    /// In the first cluster, unless `settings` say otherwise. `name` is its log's.
    pub fn start(hub: &Hub, id: &str, name: &str, settings: &[(&str, &str)]) -> Self {
        let (kubeconfig, plugins, compiled) = (kubernetes(0), plugins(), compiled());
        let metrics = free_address();
        let own = [
            ("MODE", "regional"),
            ("REGION_ID", id),
            ("NAMESPACE_PREFIX", &hub.prefix),
            ("KUBECONFIG", kubeconfig.to_str().unwrap()),
            ("PLUGIN_DIR", plugins.to_str().unwrap()),
            ("PLUGIN_CACHE_DIR", compiled.to_str().unwrap()),
            ("HEARTBEAT_INTERVAL", "1s"),
            ("METRICS_ADDR", &metrics),
        ];
        let shared = hub.settings.iter().map(|(name, value)| (*name, value.as_str()));
        let environment: Vec<(&str, &str)> =
            own.into_iter().chain(shared).chain(settings.iter().copied()).collect();
        Self { process: spawn(&format!("{}-{name}", hub.prefix), &environment), metrics }
    }

    /// `STOP`, `CONT`, …
    pub fn signal(&self, name: &str) {
        signal(name, &self.process);
    }

    /// What it says of its readiness, once it says so.
    pub async fn until_ready(&self, words: &str) -> String {
        until(&format!("it is ready: {words}"), async || {
            let answer = get(&self.metrics, "/readyz").await?;
            (answer.contains(" 200 ") && answer.contains(words)).then_some(answer)
        })
        .await
    }

    /// Waits until it has logged this.
    pub async fn until_logged(&self, words: &str) {
        until(&format!("it logs {words:?}"), async || self.process.log().contains(words).then_some(())).await;
    }

    /// The value of a metric without labels of its own.
    pub async fn measured(&self, name: &str) -> Option<f64> {
        let text = get(&self.metrics, "/metrics").await?;
        let line = text.lines().find(|line| line.starts_with(name) && !line.starts_with('#'))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

async fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    Some(text)
}

/// A declaration of type `template`.
pub fn database(name: &str, regions: &[&str], host: &str) -> Database {
    senren_tests::database(name, "template", regions, json!({ "host": host }))
}

/// The objects of site `default`.
pub fn objects(client: &kube::Client, hub: &Hub) -> Api<ConfigMap> {
    Api::namespaced(client.clone(), &format!("{}-default", hub.prefix))
}

/// Waits until an object is there and leads to this host; returns its uid.
pub async fn until_leads_to(api: &Api<ConfigMap>, name: &str, host: &str) -> String {
    until(&format!("{name} leads to {host}"), async || {
        let object = api.get_opt(name).await.unwrap()?;
        (object.data?.get("host")? == host).then_some(object.metadata.uid?)
    })
    .await
}
