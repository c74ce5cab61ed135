//! What the tests share: a cluster of their own, objects, and waiting.

use std::{
    net::Ipv4Addr,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use senren_kubesim::{
    Config, KubeSim, Workloads,
    kinds::{EVENTS, GroupResource, PODS, STATEFUL_SETS},
    store::{DeleteOptions, Object, Part, Store, Write},
    workloads::{BackoffPolicy, Processes, Simulated},
};
use serde_json::{Value, json};

/// A network that no other test on this machine uses at the same time.
pub fn network() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = std::process::id().wrapping_mul(31).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
    Ipv4Addr::new(127, u8::try_from(100 + number % 150).unwrap(), 0, 0)
}

pub async fn simulated(simulated: Simulated) -> KubeSim {
    start(None, Workloads::Simulated(simulated)).await
}

pub async fn processes(data_dir: &Path) -> KubeSim {
    let backoff = BackoffPolicy { base: Duration::from_millis(200), limit: Duration::from_secs(2) };
    start(Some(data_dir), Workloads::Processes(Processes { backoff, ..Processes::default() })).await
}

pub async fn start(data_dir: Option<&Path>, workloads: Workloads) -> KubeSim {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".into()))
        .with_test_writer()
        .try_init();
    let config =
        Config { data_dir: data_dir.map(Into::into), workloads, network: network(), ..Config::default() };
    KubeSim::start(config).await.unwrap()
}

pub fn create(store: &Store, what: &GroupResource, object: Value) -> Object {
    store.create(what, "default", object, &Write::by("test")).unwrap_or_else(|status| panic!("{status:?}"))
}

pub fn modify(store: &Store, what: &GroupResource, name: &str, change: impl FnOnce(&mut Value)) {
    store.modify(what, Part::Main, "default", name, &Write::by("test"), change).unwrap();
}

pub fn delete(store: &Store, what: &GroupResource, name: &str) {
    store.delete(what, "default", name, &DeleteOptions::default()).unwrap();
}

pub fn get(store: &Store, what: &GroupResource, name: &str) -> Value {
    store.get(what, "default", name).map(|object| (*object).clone()).unwrap_or_default()
}

pub fn names(store: &Store, what: &GroupResource) -> Vec<String> {
    let listing = store.list(what, Some("default")).unwrap();
    listing.items.iter().map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

pub fn is_ready(store: &Store, pod: &str) -> bool {
    condition(&get(store, &PODS, pod), "Ready").is_some_and(|condition| condition["status"] == "True")
}

pub fn condition(object: &Value, kind: &str) -> Option<Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind).cloned()
}

/// (reason, message) of all events on an object.
pub fn events(store: &Store, object: &str) -> Vec<(String, String)> {
    let listing = store.list(&EVENTS, Some("default")).unwrap();
    let text = |event: &Object, field: &str| event[field].as_str().unwrap_or_default().to_owned();
    let of = listing.items.iter().filter(|event| event["involvedObject"]["name"] == object);
    of.map(|event| (text(event, "reason"), text(event, "message"))).collect()
}

/// Waits until something is so; fails with what there is instead.
pub async fn until(store: &Store, what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !holds() {
        if began.elapsed() > Duration::from_secs(15) {
            let objects: Vec<_> = [PODS, STATEFUL_SETS, EVENTS]
                .iter()
                .flat_map(|kind| store.list(kind, None).unwrap().items)
                .map(|object| {
                    format!(
                        "{} {} {} {}",
                        object["kind"], object["metadata"]["name"], object["status"], object["message"]
                    )
                })
                .collect();
            panic!("waited in vain until {what}; there is:\n{}", objects.join("\n"));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    began.elapsed()
}

/// A StatefulSet of one container.
pub fn set(name: &str, replicas: i32, container: Value) -> Value {
    let mut container = container;
    container["name"] = json!("main");
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "serviceName": name, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 5, "containers": [container]},
            },
        },
    })
}

pub fn service(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    spec["selector"] = json!({"app": name});
    spec["ports"] = json!([{"name": "redis", "port": 6379, "targetPort": 6379}]);
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}
