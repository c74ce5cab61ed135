//! What is taken away comes back as it should be: planes that die, clusters that are meddled with, messages
//! that are lost, late, repeated or out of order.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use kube::api::DeleteParams;
use senren_api::RegionId;
use senren_bus::Bus as _;
use senren_tests::{World, database};
use serde_json::json;

const AWS: &str = "aws:us-east-1";
const GCP: &str = "gcp:us-central1";
const CR: &str = "senren.io/v1/RedisDatabase";
const CONFIG_MAP: &str = "v1/ConfigMap";

#[tokio::test(flavor = "multi_thread")]
async fn a_child_deleted_behind_our_back_is_put_back_with_the_hub_gone() {
    let mut world = World::start(&[AWS]).await;
    world.apply(&[database("features", "redis", &[AWS], json!({}))]).await;
    world.until_ready(1).await;
    world.stop_control().await;
    world.bus.set_down(true);

    let cluster = world.cluster(AWS);
    cluster.api(CONFIG_MAP).delete("features-config", &DeleteParams::default()).await.unwrap();
    cluster.until(CONFIG_MAP, "features-config", |object| object.is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_regional_plane_that_starts_again_needs_only_its_cluster_and_the_bus() {
    let mut world = World::start(&[AWS]).await;
    let region: RegionId = AWS.parse().unwrap();
    world.apply(&[database("features", "redis", &[AWS], json!({}))]).await;
    world.until_ready(1).await;

    world.planes.remove(&region).unwrap().stop().await;
    world.cluster(AWS).api(CONFIG_MAP).delete("features-config", &DeleteParams::default()).await.unwrap();
    world.apply(&[database("features", "redis", &[AWS], json!({"memory_mb": 48}))]).await;
    world.stop_control().await;

    world.start_plane(&region);
    let has = |object: Option<&serde_json::Value>| {
        object.is_some_and(|config| config.to_string().contains("maxmemory 48mb"))
    };
    world.cluster(AWS).until(CONFIG_MAP, "features-config", has).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_regional_plane_is_taken_over_without_a_second_database() {
    let mut world = World::start(&[AWS]).await;
    let region: RegionId = AWS.parse().unwrap();
    world.apply(&[database("features", "redis", &[AWS], json!({"password": true}))]).await;
    world.cluster(AWS).until(CR, "features", |cr| cr.is_some()).await;
    world.planes.remove(&region).unwrap().kill().await;
    let before = world.cluster(AWS).get(CR, "features").await.unwrap();

    world.start_plane(&region);
    world.until_ready(1).await;
    let after = world.cluster(AWS).get(CR, "features").await.unwrap();
    assert_eq!(before["metadata"]["uid"], after["metadata"]["uid"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_repeated_and_out_of_order_end_in_the_last_state() {
    let world = World::start(&[AWS]).await;
    let topic = world.bus.topics().state_topic(&AWS.parse().unwrap());
    world.bus.hold();
    for (count, memory) in (1..).zip([32, 48, 64]) {
        world.apply(&[database("features", "redis", &[AWS], json!({"memory_mb": memory}))]).await;
        while world.bus.held(&topic) < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    world.bus.release(|records| {
        records.reverse();
        records.extend(records.clone());
    });
    world.until_ready(1).await;
    let config = world.cluster(AWS).get(CONFIG_MAP, "features-config").await.unwrap();
    assert!(config["data"]["redis.conf"].as_str().unwrap().contains("maxmemory 64mb"), "{config:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_region_is_unknown_and_true_again_when_it_is_back() {
    let mut world = World::start(&[AWS, GCP]).await;
    let region: RegionId = GCP.parse().unwrap();
    world.apply(&[database("features", "redis", &[AWS, GCP], json!({}))]).await;
    world.until_ready(2).await;

    world.planes.remove(&region).unwrap().stop().await;
    let of = |all: &[senren_api::v1::ResourceStatus], region: &str, phase: &str| {
        all.iter().any(|status| status.region == region && status.phase == phase)
    };
    let all = world.until("gcp is unknown", |all| of(all, GCP, "Unknown")).await;
    assert!(of(&all, AWS, "Ready"), "the other region is as it was");
    assert!(all.iter().all(|status| status.ready == (status.region == AWS)), "never a stale Ready");

    world.start_plane(&region);
    world.until_ready(2).await;
}
