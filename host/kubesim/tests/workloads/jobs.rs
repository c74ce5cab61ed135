//! Jobs over simulated pods.

use std::time::Duration;

use senren_kubesim::{
    Workloads,
    kinds::{JOBS, PODS},
    workloads::{BackoffPolicy, Failure, FailureKind, Processes, Simulated},
};
use serde_json::{Value, json};

use crate::common::{condition, create, get, names, simulated, start, until};

fn job(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    spec["template"] = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "example.org/job"}]}});
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn a_job_is_complete_when_its_pods_have_ended_well() {
    let sim = simulated(Simulated::default()).await;
    let store = sim.store();
    create(store, &JOBS, job("once", json!({"completions": 3, "parallelism": 2})));
    until(store, "the job is complete", || condition(&get(store, &JOBS, "once"), "Complete").is_some()).await;
    let status = get(store, &JOBS, "once")["status"].clone();
    assert_eq!(status["succeeded"], 3);
    assert!(status["completionTime"].is_string());
    let phases: Vec<_> =
        names(store, &PODS).iter().map(|pod| get(store, &PODS, pod)["status"]["phase"].clone()).collect();
    assert_eq!(phases, ["Succeeded"; 3]);
    sim.shutdown().await;
}

#[tokio::test]
async fn a_job_fails_after_its_backoff_limit() {
    let kind = FailureKind::CrashLoop { after: Duration::from_millis(5), code: 1 };
    let failures = vec![Failure { image: "*".into(), pod: "*".into(), kind }];
    let backoff = BackoffPolicy { base: Duration::from_millis(20), limit: Duration::from_millis(100) };
    let simulated = Simulated { failures, ..Simulated::default() };
    let workloads = Workloads::Processes(Processes { backoff, simulated, ..Processes::default() });
    let sim = start(None, workloads).await;
    let store = sim.store();
    create(store, &JOBS, job("bad", json!({"backoffLimit": 2})));
    until(store, "the job has failed", || condition(&get(store, &JOBS, "bad"), "Failed").is_some()).await;
    assert_eq!(condition(&get(store, &JOBS, "bad"), "Failed").unwrap()["reason"], "BackoffLimitExceeded");
    assert_eq!(names(store, &PODS).len(), 3);
    sim.shutdown().await;
}
