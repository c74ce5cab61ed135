//! What a call costs, from the asking task's point of view: through the queue, in a fresh instance, and back.
//!
//! Prints one JSON object per measure: {measure, unit, n, p50, p90, p99, max, goal}. Takes the directory of
//! the components of the plugins that come with senren; without one, it builds them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use senren_engine::{Call, Engine, EngineConfig, Plugin, wit};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
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
    let dir = arguments.iter().find(|argument| !argument.starts_with("--"));
    let component = |name: &str| {
        let built = || senren_plugin_build::component(&plugins().join(name)).unwrap();
        let path = dir.map_or_else(built, |dir| Path::new(dir).join(format!("{name}.wasm")));
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let (redis, template) = (component("redis"), component("template"));
    let cache = tempfile::tempdir().unwrap();
    let engine = engine(cache.path());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    // As in a plane, the asking task is one of a runtime's.
    let run = |measured: Measured| runtime.block_on(async { tokio::spawn(measured).await.unwrap() });
    let plugin = engine.load("redis.wasm", &redis).unwrap();
    // First, while the process has nothing else.
    run(Box::pin(size(redis.clone())));
    measure("plugin load, cached", 200, json!({"p50": 5000}), || {
        engine.load("redis.wasm", &redis).unwrap();
    });
    run(Box::pin(calls(plugin)));
    let plugin = engine.load("template.wasm", &template).unwrap();
    run(Box::pin(small_calls(plugin)));
}

type Measured = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

fn plugins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins")
}

fn engine(cache_dir: &Path) -> Engine {
    Engine::new(EngineConfig { cache_dir: Some(cache_dir.to_owned()), ..EngineConfig::default() }).unwrap()
}

/// What a hundred plugins take in a process that has nothing else. They are one plugin with a hundred digests, compiled
/// once, but nothing of them is shared.
async fn size(wasm: Vec<u8>) {
    const PLUGINS: u8 = 100;
    let cache = tempfile::tempdir().unwrap();
    let engine = engine(cache.path());
    let first = engine.load("0.wasm", &wasm).unwrap();
    let compiled = std::fs::read_dir(cache.path()).unwrap().next().unwrap().unwrap().path();
    let name = compiled.file_name().unwrap().to_str().unwrap().to_owned();
    let mut plugins = Vec::new();
    for number in 1..=PLUGINS {
        // A custom section: its id, its size, the length of its name, its name.
        let wasm = [&wasm[..], &[0, 3, 1, b'v', number]].concat();
        let digest: String = Sha256::digest(&wasm).iter().map(|byte| format!("{byte:02x}")).collect();
        std::fs::copy(&compiled, cache.path().join(name.replace(first.digest(), &digest))).unwrap();
        let plugin = engine.load(&format!("{number}.wasm"), &wasm).unwrap();
        assert_eq!(plugin.digest(), digest);
        plugins.push(plugin);
    }
    resident("100 plugins loaded, resident", json!({"max": 150}));
    for plugin in &plugins {
        plugin.admit(TYPE, &plugin.types()[0].wit.example).await.unwrap().unwrap();
    }
    // Most of it is code, mapped from its file: the kernel takes it back where it needs the room.
    resident("100 plugins after a call of each, resident", json!({}));
}

fn resident(measure: &str, goal: Value) {
    let pages: f64 =
        std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let resident = (pages * 4096.0 / f64::from(1 << 20) * 10.0).round() / 10.0;
    println!(
        "{}",
        json!({"measure": measure, "unit": "MiB", "n": 1, "p50": resident, "p90": resident,
            "p99": resident, "max": resident, "goal": goal})
    );
}

/// Calls in which the host's part is most of it: the template plugin does next to nothing.
async fn small_calls(plugin: Plugin) {
    // The longest host there can be; it is in the answer twice.
    let host = format!("{}.example.com", "db".repeat(120));
    let spec = json!({"host": host, "port": 5432, "read_only": false});
    let filler = "x".repeat(3_400);
    let map = json!({"metadata": {"annotations": {"example.com/filler": filler}}, "data": spec});
    let mut input = input(&spec.to_string());
    input.resource_type = "template".into();
    input.observed = vec![object("v1", "ConfigMap", "cache", map).to_string()];
    input.secrets.clear();
    let (given, answer) = (input_bytes(&input), plugin.reconcile(input.clone()).await.unwrap());
    let child = &answer.children[0].object;
    let answered = child.len() + answer.status.endpoints[0].host.len() + answer.status.message.len();
    assert!(
        (3_900..4_300).contains(&given) && (700..1_200).contains(&answered),
        "{given} in, {answered} out"
    );
    measure_async("plugin call, 4 KiB in and 1 KiB out", 20_000, json!({"p50": 60}), || {
        let (plugin, input) = (plugin.clone(), input.clone());
        async move { plugin.reconcile(input).await.unwrap() }
    })
    .await;
    // Never done in production, where every call has an instance of its own. There is nothing to compare, which the
    // plugin says in two constant texts: whatever takes time is the way there and back.
    let call = Call::Diff { resource_type: "template".into(), current: None, desired: None };
    let mut taken = Vec::new();
    for _ in 0..20 {
        let session = plugin.session(vec![call.clone(); 1_100]).await.unwrap();
        assert!(session.answers.iter().all(Result::is_ok));
        taken.extend(session.durations.into_iter().skip(100));
    }
    report("plugin call, no-op in a warm instance", taken, json!({"p50": 0.4}));
}

fn input_bytes(input: &wit::Input) -> usize {
    let observed: usize = input.observed.iter().map(String::len).sum();
    observed + input.spec.len() + input.config.len()
}

async fn calls(plugin: Plugin) {
    let example = plugin.types()[0].wit.example.clone();
    let spec = plugin.admit(TYPE, &example).await.unwrap().unwrap();
    measure_async("plugin call, no-op", 20_000, json!({"p50": 15}), || {
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
        taken[index].as_nanos() as f64 / 1000.0
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
