//! The plugin as a host sees it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod host;
mod real;
mod simulated;

use senren_plugin::wit::{self, Outcome};
use senren_plugin::{Plugin as _, Value, json, testing};

use crate::Plugin;

fn input(spec: &Value) -> wit::Input {
    let admitted = Plugin::admit("redis-cluster".into(), spec.to_string()).unwrap();
    testing::input("redis-cluster", "features", &serde_json::from_str(&admitted).unwrap())
}

fn reconcile(input: wit::Input) -> Outcome {
    Plugin::reconcile(input).unwrap()
}

#[test]
fn it_keeps_to_the_contract() {
    testing::check::<Plugin>().unwrap();
}

#[test]
fn what_it_describes() {
    let descriptor = Plugin::describe();
    let served = descriptor.types.iter().find(|served| served.name == "redis-cluster").unwrap();
    let schema: Value = serde_json::from_str(&served.spec_schema).unwrap();
    insta::with_settings!({sort_maps => true}, {
        insta::assert_json_snapshot!("spec_schema", schema);
    });
}

#[test]
fn a_cluster_with_everything() {
    let spec = json!({
        "shards": 3, "replicas": 2, "memory_mb": 16384, "version": "8.0", "password": true,
        "maxmemory_policy": "allkeys-lru", "config": {"hz": "20", "cluster-node-timeout": "15000"},
    });
    let config = json!({"registry": "registry.example.com/mirror/", "storage_class": "fast"});
    let outcome = reconcile(input(&spec).with_config(&config).with_secret("features-auth", "v1"));
    let of_one_shard: Vec<Value> = outcome
        .objects()
        .into_iter()
        .filter(|object| object["kind"] != "StatefulSet" || object["metadata"]["name"] == "features-shard-1")
        .map(|mut object| {
            // Scripts are files of their own.
            if let Some(data) = object.get_mut("data").and_then(Value::as_object_mut) {
                data.retain(|name, _| name == "redis.conf");
            }
            object
        })
        .collect();
    insta::with_settings!({sort_maps => true}, {
        insta::assert_yaml_snapshot!("everything", of_one_shard);
    });
    assert_eq!(outcome.secrets[0].name, "features-auth");
    let sets = outcome.objects().into_iter().filter(|object| object["kind"] == "StatefulSet").count();
    assert_eq!(sets, 3);
}

#[test]
fn only_what_pods_run_on_replaces_them() {
    let template = |spec: Value| {
        let set = reconcile(input(&spec)).object("StatefulSet", "features-shard-0").unwrap();
        set["spec"]["template"].clone()
    };
    let base = template(json!({}));
    assert_eq!(base, template(json!({"replicas": 3})));
    assert_eq!(base, template(json!({"shards": 6, "memory_mb": 384})));
    assert_eq!(base, template(json!({"persistence": {"size": "8Gi"}})));
    assert_ne!(base, template(json!({"memory_mb": 384})));
    assert_ne!(base, template(json!({"config": {"hz": "20"}})));
    assert_ne!(base, template(json!({"version": "8.0"})));
}

#[test]
fn pods_wait_for_their_password_and_are_never_left_out_again() {
    let spec = json!({"password": true});
    let first = reconcile(input(&spec));
    assert_eq!(first.status.phase, "Pending");
    assert!(first.object("StatefulSet", "features-shard-0").is_none());
    let set = reconcile(input(&spec).with_secret("features-auth", "v1").after_phase("Pending"))
        .object("StatefulSet", "features-shard-0")
        .unwrap();
    for lost in [input(&spec).observing(&set), input(&spec).after_phase("Ready")] {
        let outcome = reconcile(lost);
        assert_eq!(outcome.secrets.len(), 1, "the host is to make it");
        let sets: Vec<_> =
            outcome.children.iter().filter(|child| child.object.contains("\"StatefulSet\"")).collect();
        assert!(
            !sets.is_empty() && sets.iter().all(|set| set.mode == "create-only"),
            "they stay as they are"
        );
    }
}
