//! A plugin that does what it must not: each time it is an error on that resource, in words, and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::{Duration, Instant};

use common::{Cluster, Crash};
use senren_engine::PluginSet;
use serde_json::json;

/// What each mode shows: reason, and how the message begins.
const MODES: &[(&str, &str, &str)] = &[
    ("trap", "PluginTrap", "the plugin crashed"),
    ("loop", "PluginTimeout", "the plugin did not answer within"),
    ("memory", "PluginLimit", "the plugin exceeded a limit"),
    ("stack", "PluginLimit", "the plugin exceeded a limit: the call stack"),
    ("huge-output", "PluginLimit", "the plugin exceeded a limit"),
    (
        "empty-outcome",
        "PluginBadAnswer",
        "the plugin's answer breaks the contract: the outcome has no children",
    ),
    (
        "ready-without-endpoint",
        "PluginBadAnswer",
        "the plugin's answer breaks the contract: the status says ready",
    ),
    ("fault", "OnRequest", "failed on request"),
    ("fault-retryable", "OnRequest", "failed on request, for now"),
    ("bad-json", "GuardRefused", "refused: object 1: is no JSON object"),
    ("unknown-mode", "GuardRefused", "refused: ConfigMap"),
    ("duplicate-child", "GuardRefused", "refused: ConfigMap duplicate-child: is there twice"),
    (
        "unknown-secret",
        "SecretFailed",
        "secret unknown-secret-auth: kind \"horoscope\" is not supported by this host",
    ),
    ("other-secret", "GuardRefused", "refused: Secret someone-elses: must be \"other-secret\" or start with"),
    (
        "other-namespace",
        "GuardRefused",
        "refused: ConfigMap other-namespace-other at /metadata/namespace: \"kube-system\" is not the resource's namespace",
    ),
    (
        "other-owner",
        "GuardRefused",
        "refused: ConfigMap other-owner-other at /metadata/ownerReferences: is the host's to set",
    ),
    ("other-labels", "GuardRefused", "refused: ConfigMap other-labels-other at /metadata/labels: label"),
    (
        "other-name",
        "GuardRefused",
        "refused: ConfigMap someone-elses at /metadata/name: must be \"other-name\" or start with",
    ),
    (
        "other-kind",
        "GuardRefused",
        "refused: Deployment other-kind: kind apps/v1/Deployment is not among those that the plugin says",
    ),
    (
        "cluster-role",
        "GuardRefused",
        "refused: ClusterRoleBinding cluster-role: kind rbac.authorization.k8s.io/v1/ClusterRoleBinding is never allowed",
    ),
    (
        "secret-child",
        "GuardRefused",
        "refused: Secret secret-child-secret: kind v1/Secret is never allowed: secrets are made by the host",
    ),
    (
        "privileged-pod",
        "GuardRefused",
        "refused: StatefulSet privileged-pod at /spec/template/spec/containers/0/securityContext/privileged: gives the pod the node",
    ),
    (
        "host-path",
        "GuardRefused",
        "refused: StatefulSet host-path at /spec/template/spec/volumes/0/hostPath: mounts the node's file system",
    ),
    (
        "host-network",
        "GuardRefused",
        "refused: StatefulSet host-network at /spec/template/spec/hostNetwork: shares the node's network",
    ),
    (
        "service-account",
        "GuardRefused",
        "refused: StatefulSet service-account at /spec/template/spec/serviceAccountName: gives access",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_misbehaviour_is_an_error_on_its_resource_and_disturbs_nothing_else() {
    let cluster = Cluster::start().await;
    let plane = cluster.plane();
    for (mode, ..) in MODES {
        cluster.declare("misbehaving", mode, 1, json!({"mode": mode})).await;
    }
    cluster.declare("redis", "good", 1, json!({})).await;
    cluster.declare("misbehaving", "good", 1, json!({"mode": "ok"})).await;
    cluster.until_ready("redis", "good", 1).await;
    cluster.until_ready("misbehaving", "good", 1).await;

    for (mode, reason, message) in MODES {
        let shown = |status: &senren_reconcile::status::Status| !status.reason.is_empty();
        let status = cluster.until("misbehaving", mode, "failed", shown).await;
        assert_eq!(status.reason, *reason, "{mode}: {status:#?}");
        assert!(status.message.starts_with(message), "{mode}: {}", status.message);
        assert_eq!((status.phase.as_str(), status.ready), ("Failed", false), "{mode}");
        let reconciled = status.conditions.iter().find(|condition| condition.kind == "Reconciled").unwrap();
        assert_eq!((reconciled.status.as_str(), reconciled.reason.as_str()), ("False", *reason), "{mode}");
        assert!(status.inventory.is_empty(), "{mode}: nothing was made");
    }
    assert_eq!(
        cluster.names("ConfigMap").await,
        ["good", "good-config"],
        "nothing of a refused outcome is applied"
    );
    assert_eq!(cluster.names("StatefulSet").await, ["good"]);
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_fault_what_runs_goes_on_and_is_still_shown() {
    let cluster = Cluster::of_misbehaving().await;
    let plane = cluster.plane();
    cluster.declare("misbehaving", "db", 1, json!({"mode": "ok"})).await;
    let before = cluster.until_ready("misbehaving", "db", 1).await;
    for (generation, mode) in [(2, "trap"), (3, "empty-outcome"), (4, "host-path")] {
        cluster.declare("misbehaving", "db", generation, json!({"mode": mode})).await;
        let status = cluster
            .until("misbehaving", "db", "degraded", |status| status.senren_generation == generation)
            .await;
        assert_eq!(status.phase, "Degraded", "{mode}");
        assert_eq!((status.ready, &status.endpoints), (true, &before.endpoints), "{mode}");
        assert_eq!(cluster.names("ConfigMap").await, ["db"], "{mode}: nothing is applied or pruned");
    }
    cluster.declare("misbehaving", "db", 5, json!({"mode": "ok"})).await;
    let after = cluster.until_ready("misbehaving", "db", 5).await;
    assert!(after.conditions.iter().any(|c| c.kind == "Reconciled" && c.status == "True"), "{after:#?}");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_never_settles_is_slowed_down() {
    let cluster = Cluster::of_misbehaving().await;
    let plane = cluster.plane();
    cluster.declare("misbehaving", "db", 1, json!({"mode": "not-deterministic"})).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let writes = plane.tap.writes();
    assert!((5..100).contains(&writes), "{writes} writes in 3 s");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_is_no_longer_accepted_runs_on_and_one_that_never_was_does_not_begin() {
    let cluster = Cluster::of_misbehaving().await;
    let plane = cluster.plane();
    let refused = json!({"mode": "fault", "in": "admit"});
    // Through the control plane, so it was once admitted.
    cluster.declare("misbehaving", "old", 1, refused.clone()).await;
    let status = cluster.until_ready("misbehaving", "old", 1).await;
    let accepted = status.conditions.iter().find(|condition| condition.kind == "SpecAccepted").unwrap();
    assert_eq!((accepted.status.as_str(), accepted.message.as_str()), ("False", "/mode: refused on request"));

    cluster.declare_by_hand("misbehaving", "new", refused).await;
    let status = cluster.until("misbehaving", "new", "refused", |status| !status.reason.is_empty()).await;
    assert_eq!(
        (status.reason.as_str(), status.message.as_str()),
        ("InvalidSpec", "the spec is refused: /mode: refused on request")
    );
    assert_eq!(cluster.names("ConfigMap").await, ["old"]);
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_plugin_a_resource_says_so_and_goes_on_when_it_is_back() {
    let cluster = Cluster::of_misbehaving().await;
    let served = cluster.plugins.clone();
    let plane = cluster.plane_with(Crash::Never, served.clone());
    cluster.declare("misbehaving", "db", 1, json!({"mode": "ok"})).await;
    cluster.until_ready("misbehaving", "db", 1).await;

    served.swap(PluginSet::default());
    let gone = |status: &senren_reconcile::status::Status| status.reason == "NoPlugin";
    let status = cluster.until("misbehaving", "db", "without a plugin", gone).await;
    assert_eq!((status.phase.as_str(), status.ready), ("Degraded", true));
    assert!(status.message.contains(".wasm"), "{}", status.message);
    assert_eq!(cluster.names("ConfigMap").await, ["db"]);

    let all = vec![common::misbehaving()];
    served.swap(PluginSet::of(all).0);
    cluster.until_ready("misbehaving", "db", 1).await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_makes_way_for_another_type_of_its_name() {
    let cluster = Cluster::start().await;
    let plane = cluster.plane();
    cluster.declare("redis", "db", 1, json!({})).await;
    cluster.until_ready("redis", "db", 1).await;
    cluster.delete("redis", "db").await;
    cluster.declare("misbehaving", "db", 2, json!({"mode": "ok"})).await;
    cluster.until_gone("redis", "db").await;
    cluster.until_ready("misbehaving", "db", 2).await;
    assert_eq!(cluster.leftovers().await, ["ConfigMap db"]);
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_resources_whose_plugin_hangs_hold_up_none_of_another_type() {
    let cluster = Cluster::start().await;
    let plane = cluster.plane();
    // More than are worked on at once, each for a second.
    for number in 0..40 {
        cluster.declare("misbehaving", &format!("hangs-{number}"), 1, json!({"mode": "loop"})).await;
    }
    cluster.until("misbehaving", "hangs-0", "failed", |status| status.phase == "Failed").await;
    let started = Instant::now();
    cluster.declare("redis", "cache", 1, json!({"memory_mb": 64})).await;
    cluster.until_ready("redis", "cache", 1).await;
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    drop(plane);
}
