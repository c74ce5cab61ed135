//! Plugins are exchanged while their databases run: no step is lost, none runs twice at once, and nothing waits.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::{Duration, Instant};

use common::{Cluster, Crash, until_quiet};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use senren_engine::{Limits, Plugin, PluginSet, Plugins};
use serde_json::{Value, json};

const RESOURCES: usize = 20;

/// A plugin of the same type that says something else, and whose schema reads differently.
fn other() -> Plugin {
    let other = |wasm: Vec<u8>| {
        replaced(replaced(wasm, b"OnRequest", b"OtherwIse"), b"goes into the Conf", b"GOES INTO the Conf")
    };
    common::load_changed("tests/plugins/misbehaving", other)
}

fn replaced(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let places: Vec<usize> = bytes
        .windows(from.len())
        .enumerate()
        .filter(|(_, window)| *window == from)
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| bytes[at..at + from.len()].copy_from_slice(to));
    bytes
}

fn set(plugin: &Plugin) -> PluginSet {
    PluginSet::of(vec![plugin.clone()]).0
}

fn name(number: usize) -> String {
    format!("db-{number}")
}

async fn described(cluster: &Cluster) -> Value {
    let api: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    let crd = api.get("misbehavingdatabases.senren.io").await.unwrap();
    let schema = serde_json::to_value(crd.spec.versions[0].schema.clone()).unwrap();
    schema["openAPIV3Schema"]["properties"]["spec"]["properties"]["size"]["description"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_takes_over_every_database_at_once() {
    let (one, other) = (common::misbehaving(), other());
    let cluster = Cluster::of_misbehaving().await;
    let plugins = Plugins::new(set(&one));
    let plane = cluster.plane_with(Crash::Never, plugins.clone());
    for number in 0..RESOURCES {
        cluster.declare("misbehaving", &name(number), 1, json!({"size": 7})).await;
    }
    for number in 0..RESOURCES {
        cluster.until_ready("misbehaving", &name(number), 1).await;
    }
    until_quiet(&plane.tap).await;
    assert_eq!(described(&cluster).await, "goes into the ConfigMap");

    let began = Instant::now();
    plugins.swap(set(&other));
    for number in 0..RESOURCES {
        cluster.until("misbehaving", &name(number), "said by the other", |s| s.reason == "OtherwIse").await;
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(described(&cluster).await, "GOES INTO the ConfigMap");
    until_quiet(&plane.tap).await;
    let statuses = plane.tap.log().iter().filter(|line| line.ends_with("/status")).count();
    // Their inventories and their readiness under the one, a word each under the other.
    assert!(statuses <= 4 * RESOURCES, "{statuses} writes of statuses");

    // Other limits or settings: the definition is the same, and nothing but the reconciling comes of it.
    let writes = plane.tap.writes();
    plugins.swap(set(&other.tuned(Limits { queue: 100, ..Limits::default() }, None)));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(plane.tap.writes(), writes, "{:#?}", plane.tap.log());
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_while_plugins_are_exchanged_again_and_again_is_not_lost() {
    let (one, other) = (common::misbehaving(), other());
    let cluster = Cluster::of_misbehaving().await;
    let plugins = Plugins::new(set(&one));
    let plane = cluster.plane_with(Crash::Never, plugins.clone());
    for generation in 1..=10 {
        plugins.swap(set(if generation % 2 == 0 { &other } else { &one }));
        for number in 0..RESOURCES {
            cluster.declare("misbehaving", &name(number), generation, json!({"size": generation})).await;
        }
    }
    for number in 0..RESOURCES {
        let last = |status: &senren_reconcile::status::Status| {
            status.phase == "Ready" && status.senren_generation == 10 && status.reason == "OtherwIse"
        };
        cluster.until("misbehaving", &name(number), "as the last one says", last).await;
        let object = cluster.get("ConfigMap", &name(number)).await.unwrap();
        assert!(object.data["data"]["spec"].as_str().unwrap().contains("\"size\":10"), "{object:?}");
    }
    assert_eq!(described(&cluster).await, "GOES INTO the ConfigMap", "the latest definition is the last");
    plane.stop().await;
}
