//! What a network and a busy API server do: the end is the same, only later.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Cluster, until_quiet};
use senren_kubesim::faults::{Fault, Faults, Rule};
use serde_json::json;

async fn check(faults: Vec<Rule>) {
    let cluster = Cluster::start().await;
    let faults = Faults::new(faults);
    let plane = cluster.plane_in_trouble(faults.clone());
    cluster.declare("redis", "cache", 1, json!({"replicas": 1, "password": true})).await;
    cluster.until_ready("redis", "cache", 1).await;
    let secret = cluster.get("Secret", "cache-auth").await.unwrap();
    cluster.declare("redis", "cache", 2, json!({"replicas": 0, "password": true, "memory_mb": 128})).await;
    cluster.until_ready("redis", "cache", 2).await;
    until_quiet(&plane.tap).await;
    assert_eq!(cluster.names("Pod").await, ["cache-0"]);
    let after = cluster.get("Secret", "cache-auth").await.unwrap();
    assert_eq!(after.data["data"], secret.data["data"], "a secret is made once");
    cluster.delete("redis", "cache").await;
    cluster.until_gone("redis", "cache").await;
    assert_eq!(cluster.leftovers().await, Vec::<String>::new());
    assert!(!faults.happened().is_empty(), "nothing went wrong");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_conflict() {
    check(vec![Rule::on(Fault::Conflict).writes().one_in(3, 1)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_whose_answers_are_lost() {
    check(vec![Rule::on(Fault::LostAnswer).writes().one_in(3, 2)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_busy_or_broken() {
    check(vec![
        Rule::on(Fault::TooManyRequests { retry_after: 1 }).writes().one_in(4, 3),
        Rule::on(Fault::ServerError).writes().one_in(4, 4),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_are_stale_and_watches_that_break_off() {
    check(vec![
        Rule::on(Fault::StaleRead { revisions: 5 }).reads().one_in(2, 5),
        Rule::on(Fault::CutWatch { after: 3 }).watches(),
    ])
    .await;
}
