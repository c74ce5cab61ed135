//! Clusters that go on from a moment of another.

use std::time::Duration;

use senren_kubesim::{
    Frozen, KubeSim,
    kinds::{CLAIMS, PODS, STATEFUL_SETS},
    store::Store,
    workloads::Simulated,
};
use serde_json::{Value, json};

use crate::{
    common::{create, delete, get, is_ready, modify, names, processes, set, simulated, until},
    processes::with_claim,
};

async fn resume(frozen: &Frozen) -> KubeSim {
    KubeSim::resume(frozen, Simulated::default()).await.unwrap()
}

/// What must not change for a pod that goes on.
fn identity(store: &Store, pod: &str) -> [Value; 5] {
    let pod = get(store, &PODS, pod);
    let container = &pod["status"]["containerStatuses"][0];
    [
        pod["metadata"]["uid"].clone(),
        pod["metadata"]["resourceVersion"].clone(),
        pod["status"]["podIP"].clone(),
        container["containerID"].clone(),
        container["restartCount"].clone(),
    ]
}

#[tokio::test]
async fn what_runs_goes_on_and_nothing_is_written_for_it() {
    let sim = simulated(Simulated::default()).await;
    create(sim.store(), &STATEFUL_SETS, with_claim(set("db", 2, json!({"image": "x"}))));
    until(sim.store(), "both are ready", || is_ready(sim.store(), "db-1")).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (frozen, revision) = (sim.freeze().unwrap(), sim.store().revision());

    let next = resume(&frozen).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(next.store().revision(), revision, "a cluster at rest stays at rest");
    for pod in ["db-0", "db-1"] {
        assert_eq!(identity(next.store(), pod), identity(sim.store(), pod));
    }
    // A pod that is made now has an address that no pod ever had.
    let former = ["db-0", "db-1"].map(|pod| get(sim.store(), &PODS, pod)["status"]["podIP"].clone());
    delete(next.store(), &PODS, "db-0");
    let uid = get(sim.store(), &PODS, "db-0")["metadata"]["uid"].clone();
    let back =
        || is_ready(next.store(), "db-0") && get(next.store(), &PODS, "db-0")["metadata"]["uid"] != uid;
    until(next.store(), "it is made again", back).await;
    assert!(!former.contains(&get(next.store(), &PODS, "db-0")["status"]["podIP"]));
}

#[tokio::test]
async fn what_is_on_its_way_arrives() {
    let slow = Simulated { ready: Duration::from_secs(3600), ..Simulated::default() };
    let sim = simulated(slow).await;
    create(sim.store(), &STATEFUL_SETS, with_claim(set("db", 2, json!({"image": "x"}))));
    let pod = || get(sim.store(), &PODS, "db-0")["status"]["phase"] == "Running";
    until(sim.store(), "the first runs, and is not ready", pod).await;
    let frozen = sim.freeze().unwrap();
    let next = resume(&frozen).await;
    until(next.store(), "both are ready", || is_ready(next.store(), "db-1")).await;
    assert_eq!(identity(next.store(), "db-0")[3], identity(sim.store(), "db-0")[3], "the same instance");
}

#[tokio::test]
async fn futures_of_one_moment_know_nothing_of_each_other() {
    let sim = simulated(Simulated::default()).await;
    create(sim.store(), &STATEFUL_SETS, with_claim(set("db", 1, json!({"image": "x"}))));
    until(sim.store(), "it is ready", || is_ready(sim.store(), "db-0")).await;
    let frozen = sim.freeze().unwrap();
    let (more, gone) = (resume(&frozen).await, resume(&frozen).await);
    modify(more.store(), &STATEFUL_SETS, "db", |set| set["spec"]["replicas"] = json!(3));
    delete(gone.store(), &STATEFUL_SETS, "db");
    until(more.store(), "there are three", || is_ready(more.store(), "db-2")).await;
    until(gone.store(), "there is none", || names(gone.store(), &PODS).is_empty()).await;
    let last = resume(&frozen).await;
    for store in [sim.store(), last.store()] {
        assert_eq!(names(store, &PODS), ["db-0"]);
        assert_eq!(names(store, &CLAIMS), ["data-db-0"]);
    }
}

#[tokio::test]
async fn a_process_is_not_frozen() {
    let dir = tempfile::tempdir().unwrap();
    let sim = processes(dir.path()).await;
    assert!(sim.freeze().unwrap_err().to_string().contains("processes"));
    sim.shutdown().await;
}
