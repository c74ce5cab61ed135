//! Intake, step by step: what a record of the state topic does to the cluster, and what is said about it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams},
};
use senren_api::state::slot;
use senren_bus::Bus as _;
use senren_region::{OpenError, intake::Handled};
use serde_json::json;

const APPLIED: fn(u64) -> Handled = |version| Handled::TakenIn { version, unsettled: 0 };

#[tokio::test]
async fn a_state_becomes_custom_resources() {
    let region = Region::start().await;
    let mut protected = redis("b", 2);
    protected.deletion_protection = true;
    protected.site = "shop".into();
    assert_eq!(region.take_in(3, &[redis("a", 1), protected]).await, APPLIED(3));
    assert_eq!(region.names("redis").await, ["senren-default/a", "senren-shop/b"]);
    let found = region.crs("redis").await;
    let (a, b) = (&found[0], &found[1]);
    assert_eq!(a.labels()["senren.io/region"], "aws.us-east-1");
    assert_eq!(a.labels()["app.kubernetes.io/managed-by"], "senren");
    assert_eq!(a.annotations()["senren.io/uid"], format!("{UID}1"));
    assert_eq!(a.annotations()["senren.io/generation"], "1");
    assert!(!a.annotations().contains_key("senren.io/deletion-protection"));
    assert_eq!(b.annotations()["senren.io/deletion-protection"], "true");
    assert_eq!(a.data["spec"]["memory_mb"], 64);
    assert!(a.data["spec"]["replicas"].is_number(), "the admitted spec has the defaults");
    let namespace = namespace(region.cluster.client(), "senren-shop").await;
    assert_eq!(namespace.labels()["senren.io/region"], "aws.us-east-1");
    assert_eq!(namespace.labels()["senren.io/site"], "shop");
    assert_eq!(region.remembered("version").await.unwrap(), "3");
}

#[tokio::test]
async fn an_older_version_changes_nothing() {
    let region = Region::start().await;
    region.take_in(3, &[redis("a", 1)]).await;
    assert_eq!(region.take_in(2, &[]).await, Handled::Older { version: 2 });
    assert_eq!(region.names("redis").await, ["senren-default/a"]);
}

#[tokio::test]
async fn an_equal_version_reloads_and_writes_nothing_where_all_is_well() {
    let region = Region::start().await;
    region.take_in(3, &[redis("a", 1), redis("b", 2)]).await;
    let before = region.crs("redis").await;
    one(region.cluster.client(), "redis").delete("b", &Default::default()).await.unwrap();
    until("the plane has noticed", async || {
        region.take_in(3, &[redis("a", 1), redis("b", 2)]).await;
        region.names("redis").await.len() == 2
    })
    .await;
    let after = region.crs("redis").await;
    assert_eq!(before[0].resource_version(), after[0].resource_version());
    assert_ne!(before[1].uid(), after[1].uid());
}

#[tokio::test]
async fn what_is_changed_behind_our_back_is_put_right_at_once() {
    let region = Region::start().await;
    region.take_in(1, &[redis("a", 1), redis("b", 2)]).await;
    let api = one(region.cluster.client(), "redis");
    api.delete("a", &Default::default()).await.unwrap();
    let patch = json!({"spec": {"memory_mb": 128}});
    api.patch("b", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    until("both are as they were", async || {
        region.settle().await;
        let found = region.crs("redis").await;
        found.len() == 2 && found[1].data["spec"]["memory_mb"] == 64
    })
    .await;
}

#[tokio::test]
async fn nothing_but_a_state_of_this_region_deletes() {
    let region = Region::start().await;
    region.take_in(1, &[redis("a", 1)]).await;
    let empty = || encode(&state(9, None, &[]));
    let skipped = async |change: &dyn Fn(&mut senren_bus::Record), code: &str| {
        let mut record = empty();
        change(&mut record);
        match region.handle(&record).await {
            Handled::Skipped(error) => assert_eq!(error.code(), code),
            other => panic!("{code}: {other:?}"),
        }
    };
    skipped(&|r| r.payload = None, "tombstone").await;
    skipped(&|r| r.payload = Some("poison".into()), "undecodable").await;
    skipped(&|r| r.headers.clear(), "foreign-content-type").await;
    skipped(&|r| r.headers[1].1 = "99".into(), "unknown-version").await;
    skipped(&|r| r.key = "garbage".into(), "undecodable").await;
    let mut other = state(9, None, &[]);
    other.region = "gcp:us-central1".into();
    other.content_hash = senren_api::state::hash_of(&other);
    assert_eq!(region.handle(&encode(&other)).await, Handled::NotMine);
    assert_eq!(region.names("redis").await, ["senren-default/a"]);
    region.report().await;
    let problems = region.heartbeat().problems.join("\n");
    assert!(problems.contains("senren-version \"99\"") && problems.contains("garbage"), "{problems}");
    // A good one withdraws the problem.
    region.take_in(1, &[redis("a", 1)]).await;
    region.report().await;
    assert!(!region.heartbeat().problems.join("\n").contains("senren-version"));
}

#[tokio::test]
async fn a_resource_that_is_gone_from_the_state_goes_and_its_end_is_reported() {
    let region = Region::start().await;
    region.take_in(1, &[redis("a", 1), redis("b", 2)]).await;
    set_finalizer(region.cluster.client(), "redis", "a", true).await;
    region.settle().await;
    region.report().await;
    assert_eq!(region.reported(), ["a 1 g1 Pending", "b 2 g1 Pending"]);
    assert_eq!(region.take_in(2, &[redis("b", 2)]).await, APPLIED(2));
    region.settle().await;
    region.report().await;
    assert_eq!(region.reported(), ["a 1 g1 Deleting", "b 2 g1 Pending"]);
    assert!(
        region.remembered("unvouched").await.unwrap().contains("default/a"),
        "written down while it goes"
    );
    set_finalizer(region.cluster.client(), "redis", "a", false).await;
    until("its end is reported", async || {
        region.settle().await;
        region.report().await;
        region.reported() == ["a 1 g0 Deleting  deleted", "b 2 g1 Pending"]
    })
    .await;
    assert_eq!(region.names("redis").await, ["senren-default/b"]);
    region.take_in(2, &[redis("b", 2)]).await;
    assert_eq!(region.remembered("unvouched").await.unwrap(), "", "struck out once it was acknowledged");
}

#[tokio::test]
async fn an_end_that_could_not_be_reported_is_reported_after_a_restart() {
    let region = Region::start().await;
    region.take_in(1, &[redis("a", 1), resource("x", "unheard-of", 3, "{}")]).await;
    region.report().await;
    region.bus.set_down(true);
    region.take_in(2, &[]).await;
    region.settle().await;
    region.bus.set_down(false);
    let region = region.restart().await;
    region.take_in(2, &[]).await;
    region.report().await;
    assert_eq!(region.reported(), ["a 1 g0 Deleting  deleted", "x 3 g0 Deleting  deleted"]);
}

#[tokio::test]
async fn a_message_deletes_only_in_its_slots() {
    let region = Region::start().await;
    let (high, low) = (redis("a", 1), redis("global-features", 2));
    assert!(slot("default", "a") >= 128 && slot("default", "global-features") < 128);
    region.take_in(1, &[low.clone(), high]).await;
    let half = encode(&state(2, Some((0, 127)), &[]));
    assert_eq!(half.key, "aws:us-east-1#0/2");
    assert_eq!(region.handle(&half).await, APPLIED(2));
    assert_eq!(region.names("redis").await, ["senren-default/a"]);
    // What covers all, but is older, decides about the other half only.
    region.take_in(1, &[low]).await;
    assert_eq!(region.names("redis").await, Vec::<String>::new());
}

#[tokio::test]
async fn a_restart_remembers_what_was_taken_in() {
    let region = Region::start().await;
    region.take_in(5, &[redis("a", 1)]).await;
    let before = region.crs("redis").await;
    let region = region.restart().await;
    assert_eq!(region.take_in(4, &[]).await, Handled::Older { version: 4 });
    assert_eq!(region.take_in(5, &[redis("a", 1)]).await, APPLIED(5));
    assert_eq!(before[0].resource_version(), region.crs("redis").await[0].resource_version());
    region.report().await;
    let heartbeat = region.heartbeat();
    assert_eq!(
        (heartbeat.version, heartbeat.content_hash),
        (5, state(5, None, &[redis("a", 1)]).content_hash)
    );
    assert!(!heartbeat.cluster_uid.is_empty());
    let types: Vec<&str> = heartbeat.plugins.iter().map(|plugin| plugin.r#type.as_str()).collect();
    assert_eq!(types[..2], ["misbehaving", "redis"]);
    assert!(heartbeat.plugins[1].spec_schema_json.contains("memory_mb"));
}

/// What is wrong with one resource is said on it, and stops none of the others.
async fn check_refused(bad: senren_api::v1::DesiredResource, line: &str, words: &str) {
    let region = Region::start().await;
    assert_eq!(region.take_in(1, &[bad, redis("z", 9)]).await, APPLIED(1));
    assert_eq!(region.names("redis").await, ["senren-default/z"]);
    region.report().await;
    assert_eq!(region.reported()[0], line);
    let message = latest(&region.bus).into_values().next().unwrap().message;
    assert!(message.contains(words), "{message} should contain {words:?}");
}

#[tokio::test]
async fn a_resource_that_cannot_be_is_reported_and_the_others_go_on() {
    check_refused(
        resource("a", "unheard-of", 1, "{}"),
        "a 1 g1 Pending NoPlugin",
        "only: misbehaving, redis",
    )
    .await;
    check_refused(
        resource("a", "redis", 1, r#"{"memory_mb": "x"}"#),
        "a 1 g1 Failed InvalidSpec",
        "/memory_mb",
    )
    .await;
    check_refused(resource("a", "redis", 1, "{"), "a 1 g1 Failed InvalidSpec", "not JSON").await;
    let trap = r#"{"mode": "trap", "in": "admit"}"#;
    check_refused(resource("a", "misbehaving", 1, trap), "a 1 g1 Failed PluginTrap", "").await;
}

#[tokio::test]
async fn a_forbidden_change_leaves_the_database_as_it_is() {
    let region = Region::start().await;
    let sized = |generation, size: &str| {
        let spec = format!(r#"{{"memory_mb": 64, "persistence": {{"enabled": true, "size": "{size}"}}}}"#);
        senren_api::v1::DesiredResource { generation, ..resource("a", "redis", 1, &spec) }
    };
    region.take_in(1, &[sized(1, "2Gi")]).await;
    assert_eq!(region.take_in(2, &[sized(2, "1Gi")]).await, APPLIED(2));
    let found = region.crs("redis").await;
    assert_eq!(found[0].data["spec"]["persistence"]["size"], "2Gi");
    assert_eq!(found[0].annotations()["senren.io/generation"], "1");
    region.report().await;
    assert_eq!(region.reported(), ["a 1 g2 Failed ForbiddenChange"]);
    // Undone, all is well.
    region.take_in(3, &[sized(3, "2Gi")]).await;
    region.report().await;
    assert_eq!(region.reported(), ["a 1 g3 Pending"]);
}

#[tokio::test]
async fn a_replacement_that_loses_data_is_held_until_it_is_confirmed_for_that_generation() {
    let region = Region::start().await;
    let changed = |generation, mode: &str, confirmed| {
        let spec = format!(r#"{{"mode": "{mode}", "in": "diff", "size": {generation}}}"#);
        let resource = resource("a", "misbehaving", 1, &spec);
        senren_api::v1::DesiredResource { generation, data_loss_confirmed: confirmed, ..resource }
    };
    let state = async || {
        region.settle().await;
        region.report().await;
        let found = region.crs("misbehaving").await.remove(0);
        (found.data["spec"]["size"].as_u64().unwrap(), found.uid().unwrap(), region.reported().remove(0))
    };
    region.take_in(1, &[changed(1, "ok", false)]).await;
    let (_, uid, _) = state().await;
    assert_eq!(
        region.take_in(2, &[changed(2, "replace-empty", false)]).await,
        APPLIED(2),
        "the rest goes on"
    );
    let held = |generation: u64| format!("a 1 g{generation} Pending ReplacementHeld");
    assert_eq!(state().await, (1, uid.clone(), held(2)));
    let message = latest(&region.bus).into_values().next().unwrap().message;
    assert!(message.contains("`senren confirm a --region aws:us-east-1`"), "{message}");
    // Another change is another question.
    region.take_in(3, &[changed(3, "replace-empty", false)]).await;
    assert_eq!(state().await, (1, uid.clone(), held(3)));
    region.take_in(4, &[changed(3, "replace-empty", true)]).await;
    let (size, confirmed_uid, line) = state().await;
    assert_eq!((size, line.as_str()), (3, "a 1 g3 Pending"));
    assert_ne!(confirmed_uid, uid, "it was made anew");
    // What loses no data needs no confirmation.
    region.take_in(5, &[changed(5, "replace", false)]).await;
    let (size, replaced_uid, line) = state().await;
    assert_eq!((size, line.as_str()), (5, "a 1 g5 Pending"));
    assert_ne!(replaced_uid, confirmed_uid);
}

#[tokio::test]
async fn a_change_of_type_is_held_until_it_is_confirmed() {
    let region = Region::start().await;
    region.take_in(1, &[redis("a", 1)]).await;
    let other = |confirmed| senren_api::v1::DesiredResource {
        replaces_uid: format!("{UID}1"),
        data_loss_confirmed: confirmed,
        ..resource("a", "misbehaving", 2, "{}")
    };
    assert_eq!(region.take_in(2, &[other(false)]).await, APPLIED(2));
    region.settle().await;
    region.report().await;
    assert_eq!(region.reported(), ["a 1 g1 Pending", "a 2 g1 Pending ReplacementHeld"]);
    assert_eq!(region.names("redis").await, ["senren-default/a"]);
    assert!(region.crs("redis").await[0].metadata.deletion_timestamp.is_none());
    assert_eq!(region.names("misbehaving").await, Vec::<String>::new());
    // Undone, it is as it was.
    region.take_in(3, &[redis("a", 1)]).await;
    region.report().await;
    assert_eq!(region.reported()[0], "a 1 g1 Pending");
    region.take_in(4, &[other(false)]).await;
    region.take_in(5, &[other(true)]).await;
    until("the new one is there", async || {
        region.settle().await;
        region.names("misbehaving").await == ["senren-default/a"]
    })
    .await;
    assert_eq!(region.names("redis").await, Vec::<String>::new());
}

#[tokio::test]
async fn another_resource_under_the_same_name_waits_until_the_earlier_is_gone() {
    let region = Region::start().await;
    region.take_in(1, &[redis("a", 1)]).await;
    set_finalizer(region.cluster.client(), "redis", "a", true).await;
    region.settle().await;
    region.take_in(2, &[resource("a", "misbehaving", 2, "{}")]).await;
    region.settle().await;
    region.report().await;
    assert_eq!(region.reported(), ["a 1 g1 Deleting", "a 2 g1 Pending WaitsForDeletion"]);
    assert_eq!(region.names("misbehaving").await, Vec::<String>::new());
    set_finalizer(region.cluster.client(), "redis", "a", false).await;
    until("the new one is there", async || {
        region.settle().await;
        region.names("misbehaving").await == ["senren-default/a"]
    })
    .await;
    region.report().await;
    assert_eq!(region.reported(), ["a 1 g0 Deleting  deleted", "a 2 g1 Pending"]);
}

#[tokio::test]
async fn a_protected_resource_is_not_deleted() {
    let region = Region::start().await;
    let mut protected = redis("a", 1);
    protected.deletion_protection = true;
    region.take_in(1, &[protected]).await;
    region.take_in(2, &[]).await;
    assert_eq!(region.names("redis").await, ["senren-default/a"]);
    region.report().await;
    assert_eq!(region.reported(), ["a 1 g1 Deleting DeletionProtected"]);
    let patch = json!({"metadata": {"annotations": {"senren.io/deletion-protection": null}}});
    let api = one(region.cluster.client(), "redis");
    api.patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    until("it is gone", async || {
        region.settle().await;
        region.names("redis").await.is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_custom_resource_made_by_hand_is_left_alone() {
    let region = Region::start().await;
    region.take_in(1, &[redis("a", 1)]).await;
    let by_hand = json!({
        "apiVersion": "senren.io/v1", "kind": "RedisDatabase",
        "metadata": {"name": "mine", "labels": {
            "app.kubernetes.io/managed-by": "senren", "senren.io/region": "aws.us-east-1",
        }},
        "spec": {"memory_mb": 64},
    });
    let params = PatchParams::apply("kubectl");
    one(region.cluster.client(), "redis").patch("mine", &params, &Patch::Apply(&by_hand)).await.unwrap();
    region.settle().await;
    region.take_in(2, &[]).await;
    assert_eq!(region.names("redis").await, ["senren-default/mine"]);
}

#[tokio::test]
async fn two_regions_on_one_cluster_refuse_each_other() {
    let (cluster, bus) = Region::start().await.end().await;
    match open("gcp:us-central1", &cluster, &bus).await {
        Err(OpenError::Refused(message)) => {
            for words in
                ["\"aws:us-east-1\"", "gcp:us-central1", "NAMESPACE_PREFIX", "delete configmap senren-claim"]
            {
                assert!(message.contains(words), "{message} should contain {words:?}");
            }
        }
        other => panic!("{:?}", other.map(|_| "opened")),
    }
    assert!(open(REGION, &cluster, &bus).await.is_ok(), "its own region comes back");
}

#[tokio::test]
async fn a_heartbeat_confirms_a_version_only_after_its_reports() {
    let region = Region::start().await;
    region.take_in(1, &[redis("a", 1)]).await;
    let confirmed = Default::default();
    senren_region::heartbeat::beat(&region.plane, &confirmed).await.unwrap();
    assert_eq!(region.heartbeat().version, 0, "the report on a is still due");
    while senren_region::report::report_next(&region.plane).await.unwrap() {}
    senren_region::heartbeat::beat(&region.plane, &confirmed).await.unwrap();
    assert_eq!(region.heartbeat().version, 1);
    assert_eq!(region.bus.topics().status_topic(), "senren-status");
}

#[tokio::test]
async fn a_region_is_settled_while_it_has_nothing_but_what_is_desired() {
    let region = Region::start().await;
    let confirmed = Default::default();
    let settled = async || {
        region.settle().await;
        while senren_region::report::report_next(&region.plane).await.unwrap() {}
        senren_region::heartbeat::beat(&region.plane, &confirmed).await.unwrap();
        let heartbeat = region.heartbeat();
        (heartbeat.version, heartbeat.settled)
    };
    region.take_in(1, &[redis("a", 1)]).await;
    assert_eq!(settled().await, (1, true));
    set_finalizer(region.cluster.client(), "redis", "a", true).await;
    region.take_in(2, &[]).await;
    assert_eq!(settled().await, (2, false), "a is on its way out");
    set_finalizer(region.cluster.client(), "redis", "a", false).await;
    until("it is settled again", async || settled().await == (2, true)).await;
}
