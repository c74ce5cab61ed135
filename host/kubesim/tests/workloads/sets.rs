//! StatefulSets over simulated pods: ordering, updates, scaling, adoption, failures.

use std::time::Duration;

use senren_kubesim::{
    kinds::{CLAIMS, CONTROLLER_REVISIONS, PODS, SERVICES, STATEFUL_SETS},
    store::{DeleteOptions, Propagation, Store, Verb},
    workloads::{Failure, FailureKind, Simulated},
};
use serde_json::{Value, json};

use crate::common::{
    condition, create, delete, events, get, is_ready, modify, names, service, set, simulated, until,
};

const IMAGE: &str = "example.org/db:1";

fn container() -> Value {
    json!({"image": IMAGE})
}

fn ready(store: &Store, name: &str) -> i64 {
    get(store, &STATEFUL_SETS, name)["status"]["readyReplicas"].as_i64().unwrap_or(0)
}

fn settled(store: &Store, name: &str, replicas: i64) -> bool {
    let set = get(store, &STATEFUL_SETS, name);
    let status = &set["status"];
    status["observedGeneration"] == set["metadata"]["generation"]
        && ["replicas", "readyReplicas", "updatedReplicas", "availableReplicas"]
            .iter()
            .all(|field| status[*field].as_i64().unwrap_or(0) == replicas)
}

/// (verb, pod) of everything that happened to pods since then.
fn history(store: &Store, since: u64) -> Vec<String> {
    let mut watch = store.watch(&PODS, since).unwrap();
    let mut seen = Vec::new();
    while let Some(event) = watch.try_next().unwrap() {
        let name = event.object["metadata"]["name"].as_str().unwrap();
        let was_terminating =
            event.previous.as_ref().is_some_and(|pod| pod["metadata"]["deletionTimestamp"].is_string());
        match event.verb {
            Verb::Added => seen.push(format!("+{name}")),
            Verb::Deleted => seen.push(format!("-{name}")),
            Verb::Modified
                if event.object["metadata"]["deletionTimestamp"].is_string() && !was_terminating =>
            {
                seen.push(format!("~{name}"));
            }
            Verb::Modified => {}
        }
    }
    seen
}

#[tokio::test]
async fn pods_are_made_in_order_each_when_the_one_before_is_ready() {
    let sim = simulated(Simulated::default()).await;
    let store = sim.store();
    create(store, &STATEFUL_SETS, set("db", 3, container()));
    let mut most_unready = 0;
    until(store, "all are ready", || {
        let unready = names(store, &PODS).iter().filter(|pod| !is_ready(store, pod)).count();
        most_unready = most_unready.max(unready);
        settled(store, "db", 3)
    })
    .await;
    assert_eq!(most_unready, 1);
    let pod = get(store, &PODS, "db-1");
    let labels = &pod["metadata"]["labels"];
    assert_eq!(labels["statefulset.kubernetes.io/pod-name"], "db-1");
    assert_eq!(labels["apps.kubernetes.io/pod-index"], "1");
    assert_eq!(
        labels["controller-revision-hash"],
        get(store, &STATEFUL_SETS, "db")["status"]["updateRevision"]
    );
    assert_eq!((&pod["spec"]["hostname"], &pod["spec"]["subdomain"]), (&json!("db-1"), &json!("db")));
    assert_eq!(pod["status"]["phase"], "Running");
    let reasons: Vec<_> = events(store, "db-1").into_iter().map(|(reason, _)| reason).collect();
    for reason in ["Scheduled", "Pulled", "Created", "Started"] {
        assert!(reasons.iter().any(|seen| seen == reason), "{reason} in {reasons:?}");
    }
    sim.shutdown().await;
}

#[tokio::test]
async fn an_update_rolls_from_the_top_and_keeps_claims() {
    let sim = simulated(Simulated::default()).await;
    let store = sim.store();
    let mut wanted = set("db", 3, container());
    wanted["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]);
    create(store, &STATEFUL_SETS, wanted);
    until(store, "the set is up", || settled(store, "db", 3)).await;
    let first = get(store, &STATEFUL_SETS, "db")["status"]["updateRevision"].clone();
    let since = store.revision();
    modify(store, &STATEFUL_SETS, "db", |set| {
        set["spec"]["template"]["metadata"]["annotations"] = json!({"config": "2"});
    });
    until(store, "the update is through", || {
        let status = get(store, &STATEFUL_SETS, "db")["status"].clone();
        settled(store, "db", 3)
            && status["updateRevision"] != first
            && status["currentRevision"] == status["updateRevision"]
    })
    .await;
    let expected: Vec<String> =
        [2, 1, 0].iter().flat_map(|n| ["~", "-", "+"].map(|verb| format!("{verb}db-{n}"))).collect();
    assert_eq!(history(store, since), expected);
    assert_eq!(names(store, &CLAIMS), ["data-db-0", "data-db-1", "data-db-2"]);
    let claim = get(store, &CLAIMS, "data-db-0");
    assert_eq!(
        (&claim["status"]["phase"], &claim["status"]["capacity"]["storage"]),
        (&json!("Bound"), &json!("1Gi"))
    );
    assert_eq!(names(store, &CONTROLLER_REVISIONS).len(), 2);

    modify(store, &STATEFUL_SETS, "db", |set| {
        set["spec"]["template"]["metadata"].as_object_mut().unwrap().remove("annotations");
    });
    until(store, "going back finds the first revision again", || {
        settled(store, "db", 3) && get(store, &STATEFUL_SETS, "db")["status"]["currentRevision"] == first
    })
    .await;
    assert_eq!(names(store, &CONTROLLER_REVISIONS).len(), 2);
    sim.shutdown().await;
}

#[tokio::test]
async fn a_partition_holds_back_the_pods_below_it() {
    let sim = simulated(Simulated::default()).await;
    let store = sim.store();
    create(store, &STATEFUL_SETS, set("db", 3, container()));
    until(store, "the set is up", || settled(store, "db", 3)).await;
    modify(store, &STATEFUL_SETS, "db", |set| {
        set["spec"]["updateStrategy"] = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}});
        set["spec"]["template"]["metadata"]["annotations"] = json!({"config": "2"});
    });
    let revisions = || {
        let revision =
            |pod: &str| get(store, &PODS, pod)["metadata"]["labels"]["controller-revision-hash"].clone();
        ["db-0", "db-1", "db-2"].map(revision)
    };
    until(store, "one pod is updated", || {
        get(store, &STATEFUL_SETS, "db")["status"]["updatedReplicas"] == 1 && ready(store, "db") == 3
    })
    .await;
    let [zero, one, two] = revisions();
    assert!(zero == one && one != two);
    delete(store, &PODS, "db-0");
    until(store, "the deleted pod is back", || ready(store, "db") == 3 && is_ready(store, "db-0")).await;
    assert_eq!(revisions()[0], zero, "a pod below the partition comes back as it was");
    sim.shutdown().await;
}

#[tokio::test]
async fn scaling_down_takes_the_highest_first_and_keeps_claims_unless_told_otherwise() {
    for keeps in [true, false] {
        let sim = simulated(Simulated::default()).await;
        let store = sim.store();
        let mut wanted = set("db", 3, container());
        wanted["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]);
        if !keeps {
            wanted["spec"]["persistentVolumeClaimRetentionPolicy"] =
                json!({"whenScaled": "Delete", "whenDeleted": "Retain"});
        }
        create(store, &STATEFUL_SETS, wanted);
        until(store, "the set is up", || settled(store, "db", 3)).await;
        let since = store.revision();
        modify(store, &STATEFUL_SETS, "db", |set| set["spec"]["replicas"] = json!(1));
        until(store, "two are gone", || settled(store, "db", 1) && names(store, &PODS) == ["db-0"]).await;
        assert_eq!(history(store, since), ["~db-2", "-db-2", "~db-1", "-db-1"]);
        let left: &[&str] = if keeps { &["data-db-0", "data-db-1", "data-db-2"] } else { &["data-db-0"] };
        until(store, "the claims are as wanted", || names(store, &CLAIMS) == left).await;
        sim.shutdown().await;
    }
}

#[tokio::test]
async fn a_parallel_set_does_not_wait_and_an_on_delete_set_does_not_replace() {
    let slow = Simulated { ready: Duration::from_millis(300), ..Simulated::default() };
    let sim = simulated(slow).await;
    let store = sim.store();
    let mut wanted = set("db", 5, container());
    wanted["spec"]["podManagementPolicy"] = json!("Parallel");
    wanted["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
    create(store, &STATEFUL_SETS, wanted);
    until(store, "all are made", || names(store, &PODS).len() == 5).await;
    assert_eq!(ready(store, "db"), 0);
    until(store, "all are ready", || settled(store, "db", 5)).await;
    let since = store.revision();
    modify(store, &STATEFUL_SETS, "db", |set| {
        set["spec"]["template"]["metadata"]["annotations"] = json!({"a": "b"})
    });
    until(store, "the change is seen", || {
        get(store, &STATEFUL_SETS, "db")["status"]["updatedReplicas"].is_null()
    })
    .await;
    assert_eq!(history(store, since), Vec::<String>::new());
    delete(store, &PODS, "db-3");
    until(store, "the deleted pod is new", || {
        get(store, &STATEFUL_SETS, "db")["status"]["updatedReplicas"] == 1
    })
    .await;
    sim.shutdown().await;
}

#[tokio::test]
async fn a_set_that_is_made_anew_adopts_the_pods_it_left_behind() {
    let sim = simulated(Simulated::default()).await;
    let store = sim.store();
    create(store, &STATEFUL_SETS, set("db", 2, container()));
    until(store, "the set is up", || settled(store, "db", 2)).await;
    let uids = || ["db-0", "db-1"].map(|pod| get(store, &PODS, pod)["metadata"]["uid"].clone());
    let before = uids();
    let orphan = DeleteOptions { propagation: Some(Propagation::Orphan), ..DeleteOptions::default() };
    store.delete(&STATEFUL_SETS, "default", "db", &orphan).unwrap();
    until(store, "the set is gone", || names(store, &STATEFUL_SETS).is_empty()).await;
    assert!(get(store, &PODS, "db-0")["metadata"].get("ownerReferences").is_none());
    let mut again = set("db", 2, container());
    again["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]);
    create(store, &STATEFUL_SETS, again);
    until(store, "the pods are adopted", || settled(store, "db", 2)).await;
    assert_eq!(uids(), before);
    let owner = get(store, &STATEFUL_SETS, "db")["metadata"]["uid"].clone();
    assert_eq!(get(store, &PODS, "db-1")["metadata"]["ownerReferences"][0]["uid"], owner);
    sim.shutdown().await;
}

#[tokio::test]
async fn planned_failures_look_as_in_a_cluster() {
    let kinds = [
        ("pull", FailureKind::ImagePull),
        ("crash", FailureKind::CrashLoop { after: Duration::from_millis(5), code: 3 }),
        ("unready", FailureKind::NeverReady),
        ("nowhere", FailureKind::Unschedulable),
    ];
    let failure = |(name, kind): &(&str, FailureKind)| Failure {
        image: "*".into(),
        pod: format!("{name}-*"),
        kind: *kind,
    };
    let sim =
        simulated(Simulated { failures: kinds.iter().map(failure).collect(), ..Simulated::default() }).await;
    let store = sim.store();
    for (name, _) in &kinds {
        create(store, &STATEFUL_SETS, set(name, 1, container()));
    }
    let main = |pod: &str| get(store, &PODS, pod)["status"]["containerStatuses"][0].clone();
    until(store, "the image is missing", || main("pull-0")["state"]["waiting"]["reason"] == "ErrImagePull")
        .await;
    until(store, "it loops", || main("crash-0")["state"]["waiting"]["reason"] == "CrashLoopBackOff").await;
    let crashed = main("crash-0");
    assert_eq!(crashed["lastState"]["terminated"]["exitCode"], 3);
    assert_eq!(crashed["restartCount"], 1, "the first restart is immediate");
    assert_eq!(get(store, &PODS, "crash-0")["status"]["phase"], "Running");
    until(store, "it runs", || main("unready-0")["state"]["running"].is_object()).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!is_ready(store, "unready-0"));
    until(store, "it has no node", || condition(&get(store, &PODS, "nowhere-0"), "PodScheduled").is_some())
        .await;
    let scheduled = condition(&get(store, &PODS, "nowhere-0"), "PodScheduled").unwrap();
    assert_eq!((&scheduled["status"], &scheduled["reason"]), (&json!("False"), &json!("Unschedulable")));
    for (name, _) in &kinds {
        delete(store, &STATEFUL_SETS, name);
    }
    until(store, "all are gone", || names(store, &PODS).is_empty()).await;
    sim.shutdown().await;
}

#[tokio::test]
async fn a_thousand_pods_are_cheap() {
    let sim = simulated(Simulated::default()).await;
    let store = sim.store();
    let began = std::time::Instant::now();
    for n in 0..1000 {
        let name = format!("db{n}");
        create(store, &SERVICES, service(&name, json!({})));
        create(store, &STATEFUL_SETS, set(&name, 1, container()));
    }
    println!("created after {:?}", began.elapsed());
    let (listing, mut changes) = store.list_and_watch(&STATEFUL_SETS).unwrap();
    let is_ready = |set: &Value| set["status"]["readyReplicas"] == 1;
    let mut ready = listing.items.iter().filter(|set| is_ready(set)).count();
    while ready < 1000 {
        let change = changes.next().await.unwrap();
        let before = change.previous.is_some_and(|set| is_ready(&set));
        ready = ready + usize::from(is_ready(&change.object)) - usize::from(before);
    }
    println!("1,000 sets of one pod, each with a service: ready after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    let threads = std::fs::read_dir("/proc/self/task").unwrap().count();
    assert!(threads < 64, "{threads} threads");
    sim.shutdown().await;
}
