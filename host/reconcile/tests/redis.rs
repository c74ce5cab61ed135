//! The life of a Redis, with the shipped plugin, against the embedded Kubernetes API and simulated pods.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::{sync::Arc, time::Duration};

use common::{Cluster, Crash, NAMESPACE, Tap, plugins, until_quiet};
use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams},
};
use senren_reconcile::{Reconciler, names, resource::Key};
use serde_json::{Value, json};

fn redis(name: &str) -> Key {
    Key { type_name: "redis".into(), namespace: NAMESPACE.into(), name: name.into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_converges_to_ready_and_then_nothing_is_written() {
    let cluster = Cluster::start().await;
    let plane = cluster.plane();
    cluster.declare("redis", "cache", 1, json!({"memory_mb": 64, "replicas": 1, "password": true})).await;

    let status = cluster.until_ready("redis", "cache", 1).await;
    assert!(status.ready && status.host.is_some() && status.port == Some(6379), "{status:#?}");
    assert!(status.conditions.iter().any(|c| c.kind == "Reconciled" && c.status == "True"), "{status:#?}");
    assert_eq!(cluster.names("Pod").await, ["cache-0", "cache-1"]);
    assert_eq!(cluster.names("Secret").await, ["cache-auth"]);

    until_quiet(&plane.tap).await;
    let tap = Tap::new(Crash::Never);
    let reconciler = Reconciler::new(cluster.sim.client_with(tap.clone()), plugins(), Cluster::settings());
    for _ in 0..100 {
        reconciler.reconcile_now(&redis("cache")).await.unwrap().unwrap();
    }
    assert_eq!(tap.log(), Vec::<String>::new(), "100 further steps write nothing");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scaling_and_changes_reach_the_pods_and_keep_the_secret() {
    let cluster = Cluster::start().await;
    let plane = cluster.plane();
    cluster.declare("redis", "cache", 1, json!({"replicas": 0, "password": true})).await;
    cluster.until_ready("redis", "cache", 1).await;
    let secret = cluster.get("Secret", "cache-auth").await.unwrap();
    let pod = cluster.get("Pod", "cache-0").await.unwrap();

    cluster.declare("redis", "cache", 2, json!({"replicas": 2, "password": true})).await;
    cluster.until_ready("redis", "cache", 2).await;
    assert_eq!(cluster.names("Pod").await, ["cache-0", "cache-1", "cache-2"]);
    assert_eq!(cluster.names("Service").await, ["cache", "cache-nodes", "cache-reads"]);
    assert_eq!(cluster.get("Pod", "cache-0").await.unwrap().uid(), pod.uid(), "scaling restarts nothing");

    cluster.declare("redis", "cache", 3, json!({"replicas": 0, "password": true, "memory_mb": 128})).await;
    cluster.until_ready("redis", "cache", 3).await;
    until_quiet(&plane.tap).await;
    assert_eq!(cluster.names("Pod").await, ["cache-0"]);
    assert_eq!(
        cluster.names("Service").await,
        ["cache", "cache-nodes"],
        "what is no longer wanted is pruned"
    );
    assert_ne!(
        cluster.get("Pod", "cache-0").await.unwrap().uid(),
        pod.uid(),
        "another memory limit restarts"
    );
    let config = cluster.get("ConfigMap", "cache-config").await.unwrap();
    assert!(config.data["data"]["redis.conf"].as_str().unwrap().contains("maxmemory 128mb"));
    let after = cluster.get("Secret", "cache-auth").await.unwrap();
    assert_eq!((after.uid(), &after.data["data"]), (secret.uid(), &secret.data["data"]));
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_larger_volume_recreates_the_set_and_grows_the_claims_under_running_pods() {
    let cluster = Cluster::start().await;
    let plane = cluster.plane();
    cluster.declare("redis", "cache", 1, json!({"persistence": {"enabled": true, "size": "1Gi"}})).await;
    cluster.until_ready("redis", "cache", 1).await;
    let (set, pod) = (cluster.get("StatefulSet", "cache").await, cluster.get("Pod", "cache-0").await);

    cluster.declare("redis", "cache", 2, json!({"persistence": {"enabled": true, "size": "2Gi"}})).await;
    cluster.until_ready("redis", "cache", 2).await;
    until_quiet(&plane.tap).await;
    let size =
        |object: &kube::api::DynamicObject| object.data.pointer("/spec/resources/requests/storage").cloned();
    let claim = cluster.get("PersistentVolumeClaim", "data-cache-0").await.unwrap();
    assert_eq!(size(&claim), Some(json!("2Gi")));
    assert_ne!(cluster.get("StatefulSet", "cache").await.unwrap().uid(), set.unwrap().uid(), "made again");
    assert_eq!(
        cluster.get("Pod", "cache-0").await.unwrap().uid(),
        pod.unwrap().uid(),
        "adopted, not restarted"
    );
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_leaves_nothing() {
    let cluster = Cluster::start().await;
    let plane = cluster.plane();
    cluster.declare("redis", "cache", 1, json!({"replicas": 1, "password": true})).await;
    cluster.until_ready("redis", "cache", 1).await;
    assert!(!cluster.names("PersistentVolumeClaim").await.is_empty());
    cluster.delete("redis", "cache").await;
    cluster.until_gone("redis", "cache").await;
    assert_eq!(cluster.leftovers().await, Vec::<String>::new());
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_are_retained_where_the_resource_says_so() {
    let cluster = Cluster::start().await;
    let plane = cluster.plane();
    cluster.declare("redis", "cache", 1, json!({})).await;
    cluster.annotate("redis", "cache", names::CLAIMS, json!("retain")).await;
    cluster.until_ready("redis", "cache", 1).await;
    cluster.delete("redis", "cache").await;
    cluster.until_gone("redis", "cache").await;
    assert_eq!(cluster.leftovers().await, ["PersistentVolumeClaim data-cache-0"]);
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_redis_refuses_its_deletion_until_protection_is_off() {
    let cluster = Cluster::start().await;
    let plane = cluster.plane();
    cluster.declare("redis", "cache", 1, json!({})).await;
    cluster.annotate("redis", "cache", names::DELETION_PROTECTION, json!("true")).await;
    cluster.until_ready("redis", "cache", 1).await;
    cluster.delete("redis", "cache").await;
    let refused = |status: &senren_reconcile::status::Status| status.reason == "DeletionRefused";
    let status = cluster.until("redis", "cache", "refusing", refused).await;
    assert!(status.ready && status.message.contains("deletion_protection is on"), "{status:#?}");
    assert_eq!(cluster.names("Pod").await, ["cache-0"]);

    cluster.annotate("redis", "cache", names::DELETION_PROTECTION, Value::Null).await;
    cluster.until_gone("redis", "cache").await;
    assert_eq!(cluster.leftovers().await, Vec::<String>::new());
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_change_or_delete_is_put_right() {
    let cluster = Cluster::start().await;
    let plane = cluster.plane();
    cluster.declare("redis", "cache", 1, json!({"password": true})).await;
    cluster.until_ready("redis", "cache", 1).await;
    until_quiet(&plane.tap).await;

    let patch = json!({"data": {"redis.conf": "maxmemory 1mb\n"}});
    let api = cluster.api("ConfigMap");
    api.patch("cache-config", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    cluster.delete("Service", "cache-nodes").await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let config = cluster.get("ConfigMap", "cache-config").await.unwrap();
        let put_right = config.data["data"]["redis.conf"].as_str().unwrap().contains("maxmemory 64mb");
        let services = cluster.names("Service").await;
        if put_right && services == ["cache", "cache-nodes"] {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{services:?}, {config:#?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_that_name_that_is_not_ours_is_never_touched() {
    let cluster = Cluster::start().await;
    let foreign = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cache-config"}, "data": {"mine": "1"}});
    let api = cluster.api("ConfigMap");
    let before = api.create(&Default::default(), &serde_json::from_value(foreign).unwrap()).await.unwrap();
    let plane = cluster.plane();
    cluster.declare("redis", "cache", 1, json!({})).await;
    cluster.declare("redis", "other", 1, json!({})).await;
    cluster.until_ready("redis", "other", 1).await;
    let foreign = |status: &senren_reconcile::status::Status| status.reason == "ForeignObject";
    let status = cluster.until("redis", "cache", "refusing", foreign).await;
    assert_eq!(
        status.message,
        "ConfigMap cache-config exists and was not made by senren; it was not touched. Delete or rename it, or rename \
         the database"
    );
    assert_eq!(
        cluster.get("ConfigMap", "cache-config").await.unwrap().resource_version(),
        before.resource_version()
    );

    cluster.delete("ConfigMap", "cache-config").await;
    cluster.until_ready("redis", "cache", 1).await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_reading_is_harmless() {
    let cluster = Cluster::start().await;
    let plane = cluster.plane();
    cluster.declare("redis", "cache", 1, json!({"password": true})).await;
    cluster.until_ready("redis", "cache", 1).await;
    until_quiet(&plane.tap).await;
    plane.stop().await;
    let (secret, before) = (cluster.get("Secret", "cache-auth").await, cluster.leftovers().await);

    // Another plane sees the resource as it is, and none of its objects.
    let reconciler = Arc::new(Reconciler::new(cluster.sim.client(), plugins(), Cluster::settings()));
    let object = cluster.get("redis", "cache").await.unwrap();
    let set = plugins().current();
    let wit = &set.get("redis").unwrap().resource_type.wit;
    let resource = senren_reconcile::resource::CustomResource::parse(wit, "senren", object).unwrap();
    let blind = senren_reconcile::Observed::default();
    // It may fail, or do too much; it must not do harm.
    let _ = reconciler.reconcile(resource.clone(), &blind).await;
    // Nor may it with a resource that has changed since.
    let _ = reconciler.reconcile(resource, &blind).await;
    assert_eq!(cluster.leftovers().await, before);
    assert_eq!(cluster.get("Secret", "cache-auth").await.unwrap().data["data"], secret.unwrap().data["data"]);

    let plane = cluster.plane();
    cluster.until_ready("redis", "cache", 1).await;
    plane.stop().await;
}

/// What a plane is to do while it crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Create,
    Change,
    Delete,
}

impl Work {
    async fn begin(self, cluster: &Cluster) {
        match self {
            Work::Create => {
                cluster.declare("redis", "cache", 1, json!({"replicas": 1, "password": true})).await
            }
            Work::Change => {
                let spec =
                    json!({"replicas": 0, "password": true, "persistence": {"enabled": true, "size": "2Gi"}});
                cluster.declare("redis", "cache", 2, spec).await;
            }
            Work::Delete => cluster.delete("redis", "cache").await,
        }
    }

    async fn done(self, cluster: &Cluster) -> bool {
        let status = cluster.status("redis", "cache").await;
        match self {
            Work::Create => status.phase == "Ready" && status.senren_generation == 1,
            Work::Change => status.phase == "Ready" && status.senren_generation == 2,
            Work::Delete => cluster.get("redis", "cache").await.is_none(),
        }
    }

    async fn until_done(self, cluster: &Cluster) {
        match self {
            Work::Create => drop(cluster.until_ready("redis", "cache", 1).await),
            Work::Change => drop(cluster.until_ready("redis", "cache", 2).await),
            Work::Delete => cluster.until_gone("redis", "cache").await,
        }
    }
}

/// Does the work with a plane that crashes, then with one that doesn't. Returns how often the first wrote, and what
/// there is in the end.
async fn crash(work: Work, crash: Crash) -> (usize, Vec<String>) {
    let cluster = Cluster::start().await;
    if work != Work::Create {
        let plane = cluster.plane();
        Work::Create.begin(&cluster).await;
        Work::Create.until_done(&cluster).await;
        until_quiet(&plane.tap).await;
        plane.stop().await;
    }
    let plane = cluster.plane_with(crash, plugins());
    work.begin(&cluster).await;
    // It may write less often than the last one did, where events come together: then this is no crash.
    while !plane.tap.dead() && !work.done(&cluster).await {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    if crash == Crash::Never {
        until_quiet(&plane.tap).await;
    }
    let writes = plane.tap.writes();
    plane.stop().await;

    let plane = cluster.plane();
    work.until_done(&cluster).await;
    until_quiet(&plane.tap).await;
    plane.stop().await;
    let end = cluster.leftovers().await;
    cluster.sim.shutdown().await;
    (writes, end)
}

async fn check_crashes(work: Work) {
    let (writes, end) = crash(work, Crash::Never).await;
    assert!(writes > 3, "{work:?}: {writes} writes");
    for number in 0..writes {
        for at in [Crash::Before(number), Crash::After(number)] {
            assert_eq!(crash(work, at).await.1, end, "{work:?}, {at:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_write_of_a_creation_ends_where_none_does() {
    check_crashes(Work::Create).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_write_of_a_change_ends_where_none_does() {
    check_crashes(Work::Change).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_write_of_a_deletion_ends_where_none_does() {
    check_crashes(Work::Delete).await;
}
