//! What runs a cluster, as text.

use senren_plugin::{Plugin as _, Value, json, testing};

use super::{input, reconcile};
use crate::Plugin;

fn conf(spec: &Value) -> String {
    let map = reconcile(input(spec)).object("ConfigMap", "profiles-config").unwrap();
    map["data"]["aerospike.conf"].as_str().unwrap().to_owned()
}

#[test]
fn it_keeps_to_the_contract() {
    testing::check::<Plugin>().unwrap();
}

#[test]
fn what_it_describes() {
    let descriptor = Plugin::describe();
    let served = &descriptor.types[0];
    let json = |text: &str| text.parse::<Value>().unwrap();
    insta::with_settings!({sort_maps => true}, {
        insta::assert_json_snapshot!("spec_schema", json(&served.spec_schema));
        insta::assert_json_snapshot!("config_schema", json(&descriptor.config_schema));
    });
}

#[test]
fn a_cluster_of_nothing_but_defaults() {
    insta::with_settings!({sort_maps => true}, {
        insta::assert_yaml_snapshot!("defaults", reconcile(input(&json!({}))).objects());
    });
}

#[test]
fn a_configuration_of_this_release_and_of_the_one_before() {
    let namespaces = json!({
        "profiles": {"memory_mb": 4096, "default_ttl_seconds": 86400, "evict_used_pct": 60},
        "sessions": {"memory_mb": 513},
    });
    let spec = |version: &str| json!({"nodes": 3, "version": version, "namespaces": namespaces});
    insta::assert_snapshot!("conf_8_1", conf(&spec("8.1.2.0")));
    insta::assert_snapshot!("conf_7_2", conf(&spec("7.2.0.6")));
    let between = conf(&spec("8.1.0.0"));
    assert!(between.contains("\tadmin {") && !between.contains("cgroup"), "{between}");
}

#[test]
fn nothing_of_enterprise_edition_is_configured() {
    let enterprise = [
        "security",
        "tls",
        "xdr",
        "strong-consistency",
        "compression",
        "rack-id",
        "feature-key",
        "fill-delay",
        "quiesce",
        "encryption",
        "index-type",
        "tomb-raider",
    ];
    for version in ["7.1.0.9", "7.2.0.6", "8.0.0.15", "8.1.2.0"] {
        let conf = conf(&json!({"version": version}));
        let found: Vec<_> = enterprise.iter().filter(|word| conf.contains(**word)).collect();
        assert!(found.is_empty(), "{version}: {found:?}");
    }
}

#[test]
fn a_mirror_is_where_the_image_comes_from() {
    let config = json!({"registry": "registry.example.com/mirror/"});
    let set = reconcile(input(&json!({})).with_config(&config)).object("StatefulSet", "profiles").unwrap();
    let image = &set["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!(image, "registry.example.com/mirror/aerospike/aerospike-server:8.1.2.0");
}

#[test]
fn only_what_nodes_run_on_replaces_them() {
    let template = |spec: Value| {
        let set = reconcile(input(&spec)).object("StatefulSet", "profiles").unwrap();
        set["spec"]["template"].clone()
    };
    let base = template(json!({}));
    assert_eq!(base, template(json!({"nodes": 8})));
    assert_ne!(base, template(json!({"version": "8.1.1.0"})));
    assert_ne!(base, template(json!({"namespaces": {"data": {"memory_mb": 1024}}})));
    assert_ne!(base, template(json!({"namespaces": {"data": {"default_ttl_seconds": 60}}})));
}
