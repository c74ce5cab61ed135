//! The component that a region runs, against the crate that the other tests test: same questions, same answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;

use senren_engine::{Engine, EngineConfig, wit as host};
use senren_plugin::{Plugin as _, json, testing, wit};
use senren_plugin_redis::Plugin;

const SPECS: [&str; 4] = [
    "{}",
    r#"{"memory_mb": 256, "replicas": 2, "password": true, "config": {"hz": "20"}}"#,
    r#"{"persistence": {"enabled": false}, "maxmemory_policy": "allkeys-lru"}"#,
    r#"{"memory_mb": 4096, "replicas": 1, "persistence": {"enabled": false}}"#,
];

#[tokio::test]
async fn the_component_answers_as_the_crate_does() {
    let path = senren_plugin_build::component(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    let engine = Engine::new(EngineConfig::default()).unwrap();
    let plugin = engine.load("redis.wasm", &std::fs::read(path).unwrap()).unwrap();

    for spec in SPECS {
        let native = Plugin::admit("redis".into(), spec.into());
        let hosted = plugin.admit("redis", spec).await.unwrap();
        let violations =
            |list: Vec<host::Violation>| list.into_iter().map(|one| (one.path, one.message)).collect();
        let hosted: Result<String, Vec<_>> = hosted.map_err(violations);
        assert_eq!(
            hosted,
            native.clone().map_err(|list| list.into_iter().map(|v| (v.path, v.message)).collect())
        );
        let Ok(admitted) = native else { continue };

        let input = testing::input("redis", "features", &serde_json::from_str(&admitted).unwrap())
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
