//! What a call costs, from the asking task's point of view: through the queue, in a fresh instance, and back.
//!
//! Prints one JSON object per measure: {measure, unit, n, p50, p90, p99, max, goal}. Takes the path of a redis
//! plugin's component; without one, it builds the plugin that comes with senren.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use senren_engine::{Engine, EngineConfig, Plugin, wit};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const TYPE: &str = "redis";

fn main() {
    // Cargo adds `--bench`; a test run of all targets passes `--test`, and measures nothing.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--test") {
        return;
    }
    let path =
        arguments.iter().find(|argument| !argument.starts_with("--")).map_or_else(redis, PathBuf::from);
    let wasm = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let cache = tempfile::tempdir().unwrap();
    let config = EngineConfig { cache_dir: Some(cache.path().to_owned()), ..EngineConfig::default() };
    let engine = Engine::new(config).unwrap();
    let plugin = engine.load("redis.wasm", &wasm).unwrap();

    measure("plugin load, cached", 200, json!({"p50": 5000}), || {
        engine.load("redis.wasm", &wasm).unwrap();
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    // As in a plane, the asking task is one of a runtime's.
    runtime.block_on(async { tokio::spawn(calls(plugin)).await.unwrap() });
}

fn redis() -> PathBuf {
    senren_plugin_build::component(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/redis"))
        .unwrap()
}

async fn calls(plugin: Plugin) {
    let example = plugin.types()[0].wit.example.clone();
    let spec = plugin.admit(TYPE, &example).await.unwrap().unwrap();
    measure_async("plugin call, no-op", 20_000, json!({"p50": 20}), || {
        let plugin = plugin.clone();
        // Answered without a look at the specs, by a plugin that knows its types.
        async move { plugin.diff("no-such-type", Some("{}"), Some("{}")).await.is_ok() }
    })
    .await;
    measure_async("plugin call, diff of equal specs", 20_000, json!({}), || {
        let (plugin, spec) = (plugin.clone(), spec.clone());
        async move { plugin.diff(TYPE, Some(&spec), Some(&spec)).await.unwrap() }
    })
    .await;
    measure_async("plugin call, admit", 20_000, json!({}), || {
        let (plugin, spec) = (plugin.clone(), spec.clone());
        async move { plugin.admit(TYPE, &spec).await.unwrap().unwrap() }
    })
    .await;
    let input = input(&spec);
    measure_async("plugin call, reconcile with 10 objects", 5_000, json!({"p50": 300}), || {
        let (plugin, input) = (plugin.clone(), input.clone());
        async move { plugin.reconcile(input).await.unwrap() }
    })
    .await;
}

fn measure(name: &str, n: usize, goal: Value, mut step: impl FnMut()) {
    let mut taken: Vec<Duration> = Vec::with_capacity(n);
    for round in 0..n + n / 10 {
        let started = Instant::now();
        step();
        // The first tenth warms up.
        if round >= n / 10 {
            taken.push(started.elapsed());
        }
    }
    report(name, taken, goal);
}

async fn measure_async<T>(name: &str, n: usize, goal: Value, mut step: impl FnMut() -> T)
where
    T: Future,
{
    let mut taken: Vec<Duration> = Vec::with_capacity(n);
    for round in 0..n + n / 10 {
        // Copying the arguments is the asker's own affair.
        let step = step();
        let started = Instant::now();
        step.await;
        if round >= n / 10 {
            taken.push(started.elapsed());
        }
    }
    report(name, taken, goal);
}

fn report(measure: &str, mut taken: Vec<Duration>, goal: Value) {
    taken.sort();
    let at = |share: f64| {
        let index = ((taken.len() - 1) as f64 * share) as usize;
        (taken[index].as_nanos() as f64 / 100.0).round() / 10.0
    };
    let line = json!({"measure": measure, "unit": "µs", "n": taken.len(),
        "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": at(1.0), "goal": goal});
    println!("{line}");
}

/// A primary with two replicas as a cluster shows it: ten objects, some 17 KB of JSON.
fn input(spec: &str) -> wit::Input {
    let mut observed = vec![
        object("apps/v1", "StatefulSet", "cache", stateful_set()),
        object(
            "v1",
            "ConfigMap",
            "cache",
            json!({"data": {"redis.conf": "maxmemory 64mb\nappendonly yes\n"}}),
        ),
        object("v1", "Service", "cache", service()),
        object("v1", "Service", "cache-nodes", service()),
    ];
    for index in 0..3 {
        observed.push(object("v1", "Pod", &format!("cache-{index}"), pod(index)));
        observed.push(object("v1", "PersistentVolumeClaim", &format!("data-cache-{index}"), claim()));
    }
    assert_eq!(observed.len(), 10);
    wit::Input {
        resource_type: TYPE.into(),
        region: "aws:us-east-1".into(),
        site: "default".into(),
        namespace: "senren-default".into(),
        name: "cache".into(),
        uid: "8d6f2a53-7c1c-4b89-9d53-0c4f5f1b8a55".into(),
        generation: 3,
        spec: spec.into(),
        config: "{}".into(),
        deleting: false,
        now_ms: 1_790_000_000_000,
        last_status: None,
        observed: observed.iter().map(Value::to_string).collect(),
        secrets: vec![wit::SecretState { name: "cache-auth".into(), version: "1".into() }],
        answers: Vec::new(),
        extras: Vec::new(),
    }
}

fn object(api_version: &str, kind: &str, name: &str, content: Value) -> Value {
    let mut object = json!({
        "apiVersion": api_version, "kind": kind,
        "metadata": {
            "name": name, "namespace": "senren-default", "uid": format!("{kind}-{name}-4b89-9d53-0c4f5f1b8a55"),
            "resourceVersion": "123456", "generation": 2, "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {
                "app.kubernetes.io/managed-by": "senren", "app.kubernetes.io/name": "redis",
                "app.kubernetes.io/instance": "cache", "senren.io/region": "aws.us-east-1",
                "senren.io/type": "redis", "senren.io/name": "cache",
            },
            "ownerReferences": [{
                "apiVersion": "senren.io/v1", "kind": "RedisDatabase", "name": "cache", "controller": true,
                "uid": "8d6f2a53-7c1c-4b89-9d53-0c4f5f1b8a55", "blockOwnerDeletion": true,
            }],
        },
    });
    if let (Value::Object(object), Value::Object(content)) = (&mut object, content) {
        object.extend(content);
    }
    object
}

fn pod_spec() -> Value {
    let probe = json!({
        "exec": {"command": ["redis-cli", "-h", "127.0.0.1", "ping"]},
        "periodSeconds": 2, "timeoutSeconds": 1, "failureThreshold": 3, "successThreshold": 1,
    });
    json!({
        "containers": [{
            "name": "redis", "image": "redis:8.0", "imagePullPolicy": "IfNotPresent",
            "command": ["redis-server", "/etc/redis/redis.conf"],
            "ports": [{"name": "redis", "containerPort": 6379, "protocol": "TCP"}],
            "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}}],
            "readinessProbe": probe, "livenessProbe": probe,
            "resources": {"requests": {"cpu": "100m", "memory": "96Mi"}, "limits": {"memory": "96Mi"}},
            "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "config", "mountPath": "/etc/redis"}],
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        }],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": "data-cache-0"}},
            {"name": "config", "configMap": {"name": "cache", "defaultMode": 420}},
        ],
        "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
        "securityContext": {"fsGroup": 999, "runAsUser": 999, "runAsNonRoot": true},
    })
}

fn stateful_set() -> Value {
    json!({
        "spec": {
            "replicas": 3, "serviceName": "cache-nodes", "podManagementPolicy": "OrderedReady",
            "selector": {"matchLabels": {"senren.io/name": "cache", "senren.io/type": "redis"}},
            "template": {"metadata": {"labels": {"senren.io/name": "cache"}}, "spec": pod_spec()},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        },
        "status": {
            "observedGeneration": 2, "replicas": 3, "readyReplicas": 3, "availableReplicas": 3, "currentReplicas": 3,
            "updatedReplicas": 3, "currentRevision": "cache-6d4f", "updateRevision": "cache-6d4f",
        },
    })
}

fn pod(index: u32) -> Value {
    let condition =
        |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:05Z"});
    json!({
        "spec": pod_spec(),
        "status": {
            "phase": "Running", "podIP": format!("10.0.0.{index}"), "hostIP": "10.1.0.1",
            "conditions": [condition("Ready"), condition("ContainersReady"), condition("PodScheduled")],
            "containerStatuses": [{
                "name": "redis", "ready": true, "restartCount": 0, "started": true, "image": "redis:8.0",
                "state": {"running": {"startedAt": "2026-01-01T00:00:03Z"}},
            }],
        },
    })
}

fn claim() -> Value {
    json!({
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeMode": "Filesystem"},
        "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]},
    })
}

fn service() -> Value {
    json!({
        "spec": {
            "type": "ClusterIP", "clusterIP": "10.2.0.7", "clusterIPs": ["10.2.0.7"],
            "ports": [{"name": "redis", "port": 6379, "targetPort": 6379, "protocol": "TCP"}],
            "selector": {"senren.io/name": "cache", "senren.io/type": "redis"},
        },
        "status": {"loadBalancer": {}},
    })
}
