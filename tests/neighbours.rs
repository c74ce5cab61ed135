//! A bad neighbour stays alone: whatever one plugin, one resource or one message does wrong is told on that
//! resource, in words, and the others never notice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use senren_bus::{Bus as _, Record};
use senren_tests::{World, database};
use serde_json::json;

const AWS: &str = "aws:us-east-1";

/// A resource whose plugin does `mode`, and what its status must say.
async fn check(mode: &str, reason: &str, words: &str) {
    let world = World::start(&[AWS]).await;
    let good = database("good", "redis", &[AWS], json!({}));
    let bad = database("bad", "misbehaving", &[AWS], json!({"mode": mode}));
    world.apply(&[good, bad]).await;
    let all = world
        .until(&format!("{mode} is told, and the neighbour is ready"), |all| {
            all.iter().any(|status| status.name == "good" && status.ready)
                && all.iter().any(|status| status.name == "bad" && !status.reason.is_empty() && !status.ready)
        })
        .await;
    let bad = all.iter().find(|status| status.name == "bad").unwrap();
    assert_eq!(bad.reason, reason, "{mode}: {}", bad.message);
    assert!(bad.message.contains(words), "{mode}: {:?} should say {words:?}", bad.message);
}

macro_rules! told {
    ($($test:ident: $mode:literal, $reason:literal, $words:literal;)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            check($mode, $reason, $words).await;
        })*
    };
}

told! {
    a_trap_is_told: "trap", "PluginTrap", "trap";
    a_loop_is_told: "loop", "PluginTimeout", "within 1s";
    memory_without_end_is_told: "memory", "PluginLimit", "memory";
    a_fault_is_told_with_its_own_words: "fault", "OnRequest", "failed on request";
    an_object_of_another_namespace_is_refused: "other-namespace", "GuardRefused", "namespace";
    an_object_of_another_owner_is_refused: "other-owner", "GuardRefused", "owner";
    an_object_of_a_kind_that_was_not_declared_is_refused: "other-kind", "GuardRefused", "Deployment";
    an_empty_outcome_is_refused: "empty-outcome", "PluginBadAnswer", "no children";
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_mean_nothing_delete_nothing() {
    let world = World::start(&[AWS]).await;
    world.apply(&[database("features", "redis", &[AWS], json!({}))]).await;
    world.until_ready(1).await;

    let topic = world.bus.topics().state_topic(&AWS.parse().unwrap());
    let record = |payload: Option<&'static [u8]>| Record {
        topic: topic.clone(),
        key: AWS.into(),
        headers: Vec::new(),
        payload: payload.map(Into::into),
    };
    world.bus.publish(record(None)).await.unwrap();
    world.bus.publish(record(Some(b"not protobuf"))).await.unwrap();

    world.apply(&[database("features", "redis", &[AWS], json!({"memory_mb": 48}))]).await;
    let all = world
        .until("the next state is taken in", |all| all.iter().all(|s| s.ready && s.generation == 2))
        .await;
    assert_eq!(all.len(), 1);
}
