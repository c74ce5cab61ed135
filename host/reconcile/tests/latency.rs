//! How long it takes from a custom resource to its objects. A measurement: run it with `--ignored --nocapture`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::{collections::HashMap, time::Instant};

use common::Cluster;
use futures::StreamExt as _;
use kube::{
    ResourceExt as _,
    runtime::watcher::{Event, watcher},
};
use serde_json::json;

const RESOURCES: usize = 100;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn from_a_custom_resource_to_its_first_object_and_to_ready() {
    let cluster = Cluster::start().await;
    let plane = cluster.plane();
    cluster.declare("redis", "warm", 1, json!({})).await;
    cluster.until_ready("redis", "warm", 1).await;

    let config_maps = watcher(cluster.api("ConfigMap"), Default::default());
    let resources = watcher(cluster.api("redis"), Default::default());
    let mut events = futures::stream::select(config_maps.boxed(), resources.boxed());
    let (mut stored, mut ready) = (vec![], vec![]);
    for number in 0..RESOURCES {
        let name = format!("cache-{number}");
        let begun = Instant::now();
        cluster.declare("redis", &name, 1, json!({})).await;
        while ready.len() == number {
            let Ok(Event::Apply(object)) = events.next().await.unwrap() else { continue };
            if object.name_any() == format!("{name}-config") && stored.len() == number {
                stored.push(begun.elapsed());
            } else if object.name_any() == name && object.data["status"]["phase"] == "Ready" {
                ready.push(begun.elapsed());
            }
        }
    }
    for (what, mut times) in HashMap::from([("first object", stored), ("ready", ready)]) {
        times.sort();
        println!(
            "{what}: p50 {:?}, p99 {:?}, n {}",
            times[times.len() / 2],
            times[times.len() * 99 / 100],
            times.len()
        );
    }
    println!("{} writes per resource", plane.tap.writes() / (RESOURCES + 1));
    let log = plane.tap.log();
    println!("{:#?}", log.iter().filter(|line| line.contains("cache-99")).collect::<Vec<_>>());
    plane.stop().await;
}
