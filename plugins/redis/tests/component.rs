//! The component that a region runs, against the crate that the other tests test: same questions, same answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;

use senren_engine::{Engine, EngineConfig, Plugin as Component, wit as host};
use senren_plugin::wit::{self, SimulationGuest as _};
use senren_plugin::{Plugin as _, json, testing};
use senren_plugin_redis::Plugin;

const SPECS: [(&str, &str); 6] = [
    ("redis", "{}"),
    ("redis", r#"{"memory_mb": 256, "replicas": 2, "password": true, "config": {"hz": "20"}}"#),
    ("redis", r#"{"persistence": {"enabled": false}, "maxmemory_policy": "allkeys-lru"}"#),
    ("redis", r#"{"memory_mb": 4096, "replicas": 1, "persistence": {"enabled": false}}"#),
    ("redis-cluster", r#"{"memory_mb": 16384, "shards": 5, "password": true}"#),
    ("redis-cluster", r#"{"shards": 20, "memory_mb": 64}"#),
];

async fn component() -> Component {
    let path = senren_plugin_build::component(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    let engine = Engine::new(EngineConfig::default()).unwrap();
    engine.load("redis.wasm", &std::fs::read(path).unwrap()).unwrap()
}

#[tokio::test]
async fn the_component_answers_as_the_crate_does() {
    let plugin = component().await;
    for (type_name, spec) in SPECS {
        let native = Plugin::admit(type_name.into(), spec.into());
        let hosted = plugin.admit(type_name, spec).await.unwrap();
        let violations =
            |list: Vec<host::Violation>| list.into_iter().map(|one| (one.path, one.message)).collect();
        let hosted: Result<String, Vec<_>> = hosted.map_err(violations);
        assert_eq!(
            hosted,
            native.clone().map_err(|list| list.into_iter().map(|v| (v.path, v.message)).collect())
        );
        let Ok(admitted) = native else { continue };

        let input = testing::input(type_name, "features", &serde_json::from_str(&admitted).unwrap())
            .with_secret("features-auth", "v1")
            .with_config(&json!({"endpoint": "cluster-ip"}));
        let native = Plugin::reconcile(input.clone()).unwrap();
        let hosted = plugin.reconcile(for_host(input)).await.unwrap();
        let children =
            |outcome: host::Outcome| outcome.children.into_iter().map(|child| child.object).collect();
        let hosted: Vec<String> = children(hosted);
        assert_eq!(hosted, native.children.into_iter().map(|child| child.object).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn the_component_plays_a_cluster_as_the_crate_does() {
    let plugin = component().await;
    assert!(plugin.simulates());
    let pod = json!({
        "metadata": {"name": "features-shard-0-0", "uid": "u1"}, "spec": {},
        "status": {"phase": "Running", "podIP": "10.0.0.1"},
    })
    .to_string();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    for (command, exit_code) in [
        (words(&["sh", "/etc/redis/node.sh", "look"]), 0),
        (words(&["sh", "/etc/redis/node.sh", "do", "own 0-16383"]), 0),
        (words(&["sh", "/etc/redis/node.sh", "do", "dance"]), 1),
        (words(&["redis-cli", "PING"]), 127),
    ] {
        let native = Plugin::exec(wit::ExecCall {
            resource_type: "redis-cluster".into(),
            pod: pod.clone(),
            container: "redis".into(),
            command: command.clone(),
            pods: vec![pod.clone()],
            now_ms: 1,
            state: None,
        });
        let hosted = plugin.simulate(host::ExecCall {
            resource_type: "redis-cluster".into(),
            pod: pod.clone(),
            container: "redis".into(),
            command: command.clone(),
            pods: vec![pod.clone()],
            now_ms: 1,
            state: None,
        });
        let hosted = hosted.await.unwrap();
        assert_eq!((hosted.exit_code, &hosted.stdout), (native.exit_code, &native.stdout), "{command:?}");
        assert_eq!((hosted.exit_code, hosted.state), (exit_code, native.state), "{command:?}");
    }
}

fn for_host(input: wit::Input) -> host::Input {
    let secret = |one: wit::SecretState| host::SecretState { name: one.name, version: one.version };
    host::Input {
        resource_type: input.resource_type,
        region: input.region,
        site: input.site,
        namespace: input.namespace,
        name: input.name,
        uid: input.uid,
        generation: input.generation,
        spec: input.spec,
        config: input.config,
        deleting: input.deleting,
        now_ms: input.now_ms,
        last_status: input.last_status,
        observed: input.observed,
        secrets: input.secrets.into_iter().map(secret).collect(),
        answers: Vec::new(),
        extras: input.extras,
    }
}
