//! The walk from `ApplyState` to status and back, with everything real but Kafka and the pods.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use senren_api::v1::{ApplyStateRequest, ResourceStatus, resource_change::Action};
use senren_tests::{World, database};
use serde_json::json;

const AWS: &str = "aws:us-east-1";
const GCP: &str = "gcp:us-central1";

const CR: &str = "senren.io/v1/RedisDatabase";
const CONFIG_MAP: &str = "v1/ConfigMap";
const STATEFUL_SET: &str = "apps/v1/StatefulSet";

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_becomes_a_ready_database_in_every_region() {
    let world = World::start(&[AWS, GCP]).await;
    let answer = world.apply(&[database("features", "redis", &[AWS, GCP], json!({"memory_mb": 32}))]).await;
    assert_eq!(answer.revision, 1);
    assert!(answer.warnings.is_empty(), "{:?}", answer.warnings);
    assert!(answer.changes.iter().all(|change| change.action() == Action::Created));

    for status in world.until_ready(2).await {
        assert_eq!((status.phase.as_str(), status.observed_generation), ("Ready", 1));
        let endpoint = status.endpoints.first().expect("a ready database says where it is");
        assert_eq!((endpoint.host.as_str(), endpoint.port), ("features.senren-default.svc", 6379));
        assert!(status.ready_at.is_some() && status.observed_at.is_some());
        let cr = world.cluster(&status.region).get(CR, "features").await.unwrap();
        assert_eq!(cr["status"]["ready"], true);
        assert_eq!(cr["status"]["port"], 6379);
        assert_eq!(cr["metadata"]["annotations"]["senren.io/uid"], *status.uid);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_reaches_the_database_and_leaves_its_neighbour_alone() {
    let world = World::start(&[AWS]).await;
    let features = |memory| database("features", "redis", &[AWS], json!({"memory_mb": memory}));
    let sessions = database("sessions", "redis", &[AWS], json!({"replicas": 1}));
    world.apply(&[features(32), sessions.clone()]).await;
    world.until_ready(2).await;
    let before = world.cluster(AWS).get(STATEFUL_SET, "sessions").await;

    let answer = world.apply(&[features(48), sessions]).await;
    let actions: Vec<_> =
        answer.changes.iter().map(|change| (change.name.as_str(), change.action())).collect();
    assert_eq!(actions, [("features", Action::Updated), ("sessions", Action::Unchanged)]);
    world.until_ready(2).await;
    let config = world.cluster(AWS).get(CONFIG_MAP, "features-config").await.unwrap();
    assert!(config["data"]["redis.conf"].as_str().unwrap().contains("maxmemory 48mb"), "{config:#}");
    assert_eq!(world.cluster(AWS).get(STATEFUL_SET, "sessions").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_apply_leaves_out_goes_with_everything_it_had() {
    let world = World::start(&[AWS]).await;
    let gone = database("gone", "redis", &[AWS], json!({"password": true, "replicas": 1}));
    let stays = database("stays", "redis", &[AWS], json!({}));
    world.apply(&[gone, stays.clone()]).await;
    world.until_ready(2).await;

    let answer = world.apply(&[stays]).await;
    assert_eq!(answer.changes[0].action(), Action::Deleted);
    world.until("the deleted one is gone", |all| all.len() == 1 && all[0].name == "stays").await;
    let cluster = world.cluster(AWS);
    for kind in
        [CR, CONFIG_MAP, STATEFUL_SET, "v1/Service", "v1/Secret", "v1/Pod", "v1/PersistentVolumeClaim"]
    {
        cluster.until_no_name_has(kind, "gone").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn applying_the_same_again_writes_nothing_anywhere() {
    let world = World::start(&[AWS]).await;
    let features = database("features", "redis", &[AWS], json!({}));
    let first = world.apply(std::slice::from_ref(&features)).await;
    world.until_ready(1).await;
    let revision = world.cluster(AWS).settled().await;

    let second = world.apply(&[features]).await;
    assert_eq!(second.revision, first.revision);
    assert_eq!(second.changes[0].action(), Action::Unchanged);
    assert_eq!(world.cluster(AWS).settled().await, revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_was_never_seen_is_pending_and_converges_when_it_comes() {
    let world = World::start(&[AWS]).await;
    let answer = world.apply(&[database("features", "redis", &[AWS, GCP], json!({}))]).await;
    assert_eq!(answer.warnings.len(), 1, "{:?}", answer.warnings);
    assert_eq!(
        (answer.warnings[0].code.as_str(), answer.warnings[0].region.as_str()),
        ("RegionNeverSeen", GCP)
    );
    world.until("aws is ready", |all| all.iter().any(|status| status.ready)).await;
    let pending = world.status_of(GCP, "features").await.unwrap();
    assert_eq!((pending.phase.as_str(), pending.ready), ("Pending", false));
    assert!(pending.message.contains("never"), "{}", pending.message);

    let mut world = world;
    let region = GCP.parse().unwrap();
    world.clusters.insert(GCP.parse().unwrap(), senren_tests::Cluster::start(1).await);
    world.start_plane(&region);
    world.until_ready(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_its_region_lacks_is_warned_of_and_told_on_the_resource() {
    let mut world = World::start(&[AWS]).await;
    let region = GCP.parse().unwrap();
    let no_plugins = tempfile::tempdir().unwrap();
    world.clusters.insert(GCP.parse().unwrap(), senren_tests::Cluster::start(1).await);
    world.start_plane_with(&region, no_plugins.path());
    world.until_connected(&[GCP]).await;

    let answer = world.apply(&[database("features", "redis", &[AWS, GCP], json!({}))]).await;
    let warnings: Vec<_> = answer.warnings.iter().map(|w| (w.code.as_str(), w.region.as_str())).collect();
    assert_eq!(warnings, [("NoPlugin", GCP)]);
    let told = |status: &ResourceStatus| match status.region.as_str() {
        AWS => status.ready,
        _ => status.reason == "NoPlugin" && status.message.contains("redis"),
    };
    world.until("each is as its region can", |all| all.len() == 2 && all.iter().all(told)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_nobody_has_is_refused_with_the_types_that_there_are() {
    let world = World::start(&[AWS]).await;
    let databases = vec![database("search", "opensearch", &[AWS], json!({}))];
    let request = ApplyStateRequest { databases, ..Default::default() };
    let refusal = world.client().apply_state(request).await.unwrap_err();
    assert_eq!(refusal.code(), tonic::Code::InvalidArgument);
    assert!(refusal.message().contains("databases[0].type"), "{refusal}");
    assert!(refusal.message().contains("misbehaving, redis"), "{refusal}");
    assert!(world.status().await.is_empty());
}
