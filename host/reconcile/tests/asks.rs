//! A plugin looks inside its database: commands run in its own pods, and nowhere else, and their answers reach it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{Cluster, NAMESPACE, misbehaving, plugins_of};
use senren_kubesim::workloads::{ExecSimulator, Simulated, SimulatedExec, SimulatedResult};
use senren_reconcile::{Reconciler, resource::Key, status::Status};
use serde_json::{Value, json};

/// A database that counts what it was asked, and knows a few commands.
#[derive(Default)]
struct Database {
    asked: AtomicUsize,
}

#[async_trait::async_trait]
impl ExecSimulator for Database {
    async fn exec(&self, call: SimulatedExec) -> SimulatedResult {
        let count = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let (program, rest) = call.command.split_first().unwrap();
        let (exit_code, stdout) = match program.as_str() {
            "count" => (0, count.to_string()),
            "where" => {
                (0, format!("{} of {}", call.pod["metadata"]["name"].as_str().unwrap(), call.pods.len()))
            }
            "talk" => (0, "x".repeat(rest[0].parse().unwrap())),
            "sleep" => {
                tokio::time::sleep(Duration::from_millis(rest[0].parse().unwrap())).await;
                (0, "slept".to_owned())
            }
            _ => (127, String::new()),
        };
        SimulatedResult { exit_code, stdout: stdout.into(), stderr: b"on request".to_vec() }
    }
}

async fn cluster() -> (Cluster, Arc<Database>) {
    let database = Arc::new(Database::default());
    let simulated = Simulated { exec: Some(database.clone()), ..Simulated::default() };
    (Cluster::with(simulated, plugins_of(vec![misbehaving()])).await, database)
}

fn exec(pod: &str, command: &[&str]) -> Value {
    json!({"pod": pod, "command": command, "max-age-ms": 600_000})
}

fn answer<'a>(status: &'a Status, id: &str) -> &'a Value {
    status.details.get(id).unwrap_or(&Value::Null)
}

/// What the command of a resource called `asker` comes to.
async fn check(cluster: &Cluster, name: &str, ask: Value, ok: bool, expected: &str) {
    cluster.declare("misbehaving", name, 1, json!({"mode": "ask", "ask": {"it": ask}})).await;
    let settled = |status: &Status| {
        let answer = answer(status, "it");
        answer["ok"] == json!(ok) && answer["output"].to_string().contains(expected)
    };
    cluster.until("misbehaving", name, &format!("answered {expected:?}"), settled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_runs_in_the_resources_own_pod_and_its_answer_wakes_the_plugin() {
    let (cluster, _) = cluster().await;
    let plane = cluster.plane();
    check(&cluster, "a", exec("a-0", &["where"]), true, r#""stdout":"a-0 of 1""#).await;
    check(&cluster, "a", exec("a-0", &["where"]), true, r#""stderr":"on request""#).await;
    check(&cluster, "b", exec("b-0", &["no-such"]), true, r#""exit-code":127"#).await;
    check(&cluster, "c", exec("c-0", &["talk", "70000"]), true, r#""truncated":true"#).await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_done_is_answered_with_the_reason() {
    let (cluster, database) = cluster().await;
    let plane = cluster.plane();
    check(&cluster, "a", exec("a-0", &["where"]), true, "a-0").await;
    // A pod that carries every label of the resource, and that somebody else made.
    let labels = cluster.get("Pod", "a-0").await.unwrap().metadata.labels.unwrap();
    cluster.create(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a-intruder", "namespace": NAMESPACE, "labels": labels},
        "spec": {"containers": [{"name": "x", "image": "redis:7.2"}]},
    })).await;
    let asked = database.asked.load(Ordering::SeqCst);
    check(&cluster, "a", exec("a-intruder", &["where"]), false, "it does not belong to this resource").await;
    check(&cluster, "b", exec("a-0", &["where"]), false, "it does not belong to this resource").await;
    check(&cluster, "c", exec("c-7", &["where"]), false, "there is no such pod").await;
    check(
        &cluster,
        "d",
        json!({"pod": "d-0", "container": "y", "command": ["where"]}),
        false,
        "no container",
    )
    .await;
    check(&cluster, "e", json!({"pod": "e-0", "command": []}), false, "names no program").await;
    assert_eq!(database.asked.load(Ordering::SeqCst), asked, "none of them ran");
    let slow = json!({"pod": "f-0", "command": ["sleep", "60000"], "timeout-ms": 50});
    check(&cluster, "f", slow, false, "the command did not end within 50ms").await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_used_until_it_is_too_old_and_steps_do_not_wait_for_it() {
    let (cluster, database) = cluster().await;
    let plane = cluster.plane();
    let counted = |at_least: u64| {
        move |status: &Status| {
            let stdout = answer(status, "it")["output"]["stdout"].as_str().map(str::to_owned);
            stdout.and_then(|count| count.parse::<u64>().ok()).is_some_and(|count| count >= at_least)
        }
    };
    check(&cluster, "a", exec("a-0", &["count"]), true, "stdout").await;
    let asked = database.asked.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(database.asked.load(Ordering::SeqCst), asked, "it is not too old");
    let often = json!({"pod": "a-0", "command": ["count"], "max-age-ms": 20});
    cluster.declare("misbehaving", "a", 2, json!({"mode": "ask", "ask": {"it": often}})).await;
    cluster
        .until("misbehaving", "a", "asked again and again", counted(u64::try_from(asked).unwrap() + 3))
        .await;

    // A command that hangs holds up neither the resource's steps nor its other asks.
    let asks =
        json!({"it": often, "slow": {"pod": "a-0", "command": ["sleep", "60000"], "timeout-ms": 9_000}});
    cluster.declare("misbehaving", "a", 3, json!({"mode": "ask", "ask": asks})).await;
    let asked = database.asked.load(Ordering::SeqCst);
    let went_on = counted(u64::try_from(asked).unwrap() + 3);
    let on = |status: &Status| {
        status.senren_generation == 3 && went_on(status) && answer(status, "slow").is_null()
    };
    cluster.until("misbehaving", "a", "going on", on).await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_driver_asks_are_answered_when_the_caller_says_so() {
    let (cluster, database) = cluster().await;
    let key = Key { type_name: "misbehaving".into(), namespace: NAMESPACE.into(), name: "a".into() };
    let reconciler = Reconciler::new(cluster.client.clone(), cluster.plugins.clone(), Cluster::settings());
    let asks = json!({"one": exec("a-0", &["where"]), "two": exec("a-0", &["count"])});
    cluster.declare("misbehaving", "a", 1, json!({"mode": "ask", "ask": asks})).await;
    reconciler.reconcile_now(&key).await.unwrap();
    assert_eq!(database.asked.load(Ordering::SeqCst), 0, "nothing happens by itself");
    assert!(reconciler.next_due(&key).is_some());
    cluster.until_pod_ready("a-0").await;
    assert_eq!(reconciler.answer_due(&key).await, 2);
    reconciler.reconcile_now(&key).await.unwrap();
    let status = cluster.status("misbehaving", "a").await;
    assert_eq!(answer(&status, "one")["output"]["stdout"], "a-0 of 1", "{status:#?}");
    assert_eq!(answer(&status, "two")["output"]["stdout"], "2", "one after the other, in the order of ids");
    assert_eq!(reconciler.answer_due(&key).await, 0, "nothing is due");
}
