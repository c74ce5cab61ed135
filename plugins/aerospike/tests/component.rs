//! The component that a region runs, against the crate that the other tests test: same questions, same answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;

use senren_engine::{Engine, EngineConfig, Plugin as Component, wit as host};
use senren_plugin::{Plugin as _, Value, json, testing, wit};
use senren_plugin_aerospike::Plugin;

fn component() -> Component {
    let path = senren_plugin_build::component(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    let engine = Engine::new(EngineConfig::default()).unwrap();
    engine.load("aerospike.wasm", &std::fs::read(path).unwrap()).unwrap()
}

#[tokio::test]
async fn the_component_answers_as_the_crate_does() {
    let plugin = component();
    let big = json!({"nodes": 8, "replication_factor": 3, "namespaces": {"a": {"memory_mb": 4096}, "b": {}}});
    for spec in [json!({}), json!({"nodes": 1}), big] {
        let native = Plugin::admit("aerospike".into(), spec.to_string());
        let hosted = plugin.admit("aerospike", &spec.to_string()).await.unwrap();
        let said = |list: Vec<host::Violation>| list.into_iter().map(|one| (one.path, one.message)).collect();
        let hosted: Result<String, Vec<_>> = hosted.map_err(said);
        assert_eq!(
            hosted,
            native.clone().map_err(|list| list.into_iter().map(|one| (one.path, one.message)).collect())
        );
        let Ok(admitted) = native else { continue };

        let input = testing::input("aerospike", "profiles", &admitted.parse().unwrap());
        let native = Plugin::reconcile(input.clone()).unwrap();
        let hosted = plugin.reconcile(for_host(input)).await.unwrap();
        let children: Vec<_> = hosted.children.into_iter().map(|child| child.object).collect();
        assert_eq!(children, native.children.into_iter().map(|child| child.object).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn its_nodes_can_be_simulated() {
    let plugin = component();
    assert!(plugin.simulates());
    let pod = |n: u32| json!({"metadata": {"name": format!("profiles-{n}"), "uid": n.to_string()}, "status": {"phase": "Running"}});
    let input = testing::input("aerospike", "profiles", &json!({"nodes": 1, "replication_factor": 1}));
    let ready = json!({
        "kind": "Pod", "metadata": {"name": "profiles-0", "uid": "0"},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    });
    let asks = Plugin::reconcile(input.observing(&ready)).unwrap().asks;
    let params: Value = asks[0].params.parse().unwrap();
    let result = plugin
        .simulate(host::ExecCall {
            resource_type: "aerospike".into(),
            pod: pod(0).to_string(),
            container: params["container"].as_str().unwrap().into(),
            command: serde_json::from_value(params["command"].clone()).unwrap(),
            pods: vec![pod(0).to_string(), pod(1).to_string()],
            now_ms: 1,
            state: None,
        })
        .await
        .unwrap();
    assert_eq!((result.exit_code, result.stderr.as_str()), (0, ""));
    assert!(result.stdout.starts_with("cluster_size=2\n"), "{}", result.stdout);
}

fn for_host(input: wit::Input) -> host::Input {
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
        secrets: Vec::new(),
        answers: Vec::new(),
        extras: input.extras,
    }
}
