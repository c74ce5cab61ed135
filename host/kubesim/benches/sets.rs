//! What the embedded cluster itself costs: sets of simulated pods with their services and ConfigMaps, applied through
//! the ordinary client, until all pods are ready. The cost of one must not grow with how many there are. Prints one
//! JSON object per measure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cast_precision_loss)]

use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use senren_kubesim::workloads::Simulated;
use senren_kubesim::{Config, KubeSim, Workloads, kinds};
use serde_json::{Value, json};

const WRITERS: usize = 16;

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (count, goal) in [(100, json!({})), (1_000, json!({"max": 4_000.0}))] {
        let (wall, cpu) = runtime.block_on(measure(count));
        report(&format!("kubesim: {count} sets with services applied → all pods ready"), "ms", wall, &goal);
        report(&format!("kubesim: CPU of one of {count}"), "ms", cpu / count as f64, &json!({"max": 4.0}));
    }
}

async fn measure(count: usize) -> (f64, f64) {
    let workloads = Workloads::Simulated(Simulated::default());
    let sim = KubeSim::start(Config { workloads, ..Config::default() }).await.unwrap();
    let client = sim.client();
    let apply = async |group: &str, kind: &str, object: Value| {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
        let api: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &resource);
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        api.patch(&name, &PatchParams::apply("bench").force(), &Patch::Apply(&object)).await.unwrap();
    };
    let (began, cpu) = (Instant::now(), cpu_time());
    let one = async |at: usize| {
        let name = format!("db-{at}");
        apply("", "ConfigMap", config_map(&name)).await;
        apply("", "Service", service(&name, &name)).await;
        apply("", "Service", service(&format!("{name}-headless"), &name)).await;
        apply("apps", "StatefulSet", set(&name)).await;
    };
    stream::iter(0..count).map(one).buffer_unordered(WRITERS).collect::<Vec<()>>().await;
    let ready = |set: &Value| set["status"]["readyReplicas"] == 1;
    while !sim.store().list(&kinds::STATEFUL_SETS, None).unwrap().items.iter().all(|set| ready(set)) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let measured = (began.elapsed().as_secs_f64() * 1e3, (cpu_time() - cpu).as_secs_f64() * 1e3);
    sim.shutdown().await;
    measured
}

fn meta(name: &str, owner: &str) -> Value {
    json!({"name": name, "labels": {"app.kubernetes.io/managed-by": "senren", "senren.io/name": owner}})
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta(name, name), "data": {"a": "b"}})
}

fn service(name: &str, owner: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": meta(name, owner), "spec": {
        "selector": {"senren.io/name": owner}, "ports": [{"name": "redis", "port": 6379}]}})
}

fn set(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": meta(name, name), "spec": {
        "serviceName": format!("{name}-headless"), "replicas": 1,
        "selector": {"matchLabels": {"senren.io/name": name}},
        "template": {"metadata": {"labels": meta(name, name)["labels"]}, "spec": {"containers": [
            {"name": "redis", "image": "redis:7", "ports": [{"containerPort": 6379, "name": "redis"}],
                "readinessProbe": {"exec": {"command": ["true"]}}}]}}}})
}

/// The processor time of this process.
#[allow(unsafe_code)]
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one structure of ours.
    let got = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(got, 0);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

fn report(measure: &str, unit: &str, value: f64, goal: &Value) {
    let value = (value * 1e3).round() / 1e3;
    let line = json!({"measure": measure, "unit": unit, "n": 1, "p50": value, "p90": value, "p99": value,
        "max": value, "goal": goal});
    println!("{line}");
}
