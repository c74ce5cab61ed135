//! Services: endpoints, addresses of their own, names.

use senren_kubesim::{
    kinds::{ENDPOINT_SLICES, ENDPOINTS, EVENTS, PODS, SERVICES, STATEFUL_SETS},
    store::Store,
    workloads::Simulated,
};
use serde_json::{Value, json};

use crate::{
    common::{create, delete, get, is_ready, modify, names, processes, service, set, simulated, until},
    processes::{ask, redis},
};

fn addresses(store: &Store, service: &str, field: &str) -> Vec<Value> {
    let endpoints = get(store, &ENDPOINTS, service);
    let subsets = endpoints["subsets"].as_array().cloned().unwrap_or_default();
    subsets.iter().flat_map(|subset| subset[field].as_array().cloned().unwrap_or_default()).collect()
}

#[tokio::test]
async fn endpoints_follow_selectors_and_readiness() {
    let sim = simulated(Simulated::default()).await;
    let store = sim.store();
    create(store, &SERVICES, service("db", json!({"clusterIP": "None"})));
    until(store, "it has endpoints, though none", || names(store, &ENDPOINTS) == ["db"]).await;
    create(store, &STATEFUL_SETS, set("db", 2, json!({"image": "example.org/db"})));
    until(store, "both are behind it", || addresses(store, "db", "addresses").len() == 2).await;
    let first = addresses(store, "db", "addresses")[0].clone();
    assert_eq!(first["hostname"], "db-0");
    assert_eq!(first["targetRef"]["name"], "db-0");
    assert_eq!(first["ip"], get(store, &PODS, "db-0")["status"]["podIP"]);
    until(store, "the slice says the same", || {
        let slices = store.list(&ENDPOINT_SLICES, Some("default")).unwrap().items;
        slices.len() == 1 && slices[0]["endpoints"].as_array().is_some_and(|endpoints| endpoints.len() == 2)
    })
    .await;
    modify(store, &SERVICES, "db", |service| service["spec"]["selector"] = json!({"app": "other"}));
    until(store, "nobody is behind it", || addresses(store, "db", "addresses").is_empty()).await;
    delete(store, &SERVICES, "db");
    until(store, "all is gone", || {
        names(store, &ENDPOINTS).is_empty() && names(store, &ENDPOINT_SLICES).is_empty()
    })
    .await;
    sim.shutdown().await;
}

#[tokio::test]
async fn addresses_of_pods_that_are_not_ready_are_published_only_on_request() {
    use senren_kubesim::workloads::{Failure, FailureKind};
    let failures = vec![Failure { image: "*".into(), pod: "*".into(), kind: FailureKind::NeverReady }];
    let sim = simulated(Simulated { failures, ..Simulated::default() }).await;
    let store = sim.store();
    create(store, &SERVICES, service("db", json!({"clusterIP": "None"})));
    create(store, &STATEFUL_SETS, set("db", 1, json!({"image": "example.org/db"})));
    until(store, "it is known not to be ready", || addresses(store, "db", "notReadyAddresses").len() == 1)
        .await;
    assert!(addresses(store, "db", "addresses").is_empty());
    modify(store, &SERVICES, "db", |service| service["spec"]["publishNotReadyAddresses"] = json!(true));
    until(store, "it is published", || addresses(store, "db", "addresses").len() == 1).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_answers_on_its_own_address_while_someone_is_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let sim = processes(dir.path()).await;
    let store = sim.store();
    create(store, &SERVICES, service("db", json!({})));
    let address = format!("{}:6379", get(store, &SERVICES, "db")["spec"]["clusterIP"].as_str().unwrap());
    assert!(ask(&address, "PING").is_err(), "nobody is behind it yet");
    create(store, &STATEFUL_SETS, set("db", 1, redis()));
    until(store, "it answers", || ask(&address, "PING").is_ok_and(|answer| answer == "+PONG")).await;
    modify(store, &STATEFUL_SETS, "db", |set| set["spec"]["replicas"] = json!(0));
    until(store, "it refuses", || ask(&address, "PING").is_err()).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_reported_and_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let sim = processes(dir.path()).await;
    let store = sim.store();
    create(store, &SERVICES, service("db", json!({})));
    let address = format!("{}:6379", get(store, &SERVICES, "db")["spec"]["clusterIP"].as_str().unwrap());
    let squatter = std::net::TcpListener::bind(&address).unwrap();
    create(store, &STATEFUL_SETS, set("db", 1, redis()));
    until(store, "it is reported", || {
        let events = store.list(&EVENTS, Some("default")).unwrap().items;
        events
            .iter()
            .any(|event| event["reason"] == "AddressNotAvailable" && event["involvedObject"]["name"] == "db")
    })
    .await;
    drop(squatter);
    until(store, "it answers", || ask(&address, "PING").is_ok_and(|answer| answer == "+PONG")).await;
    sim.shutdown().await;
}

#[tokio::test]
async fn running_pods_see_the_names_of_services_and_of_each_other_as_they_change() {
    let dir = tempfile::tempdir().unwrap();
    let sim = processes(dir.path()).await;
    let store = sim.store();
    create(store, &SERVICES, service("db", json!({"clusterIP": "None"})));
    create(store, &STATEFUL_SETS, set("db", 1, redis()));
    until(store, "the first is ready", || is_ready(store, "db-0")).await;
    let look = |name: &str, host: &str| {
        let script = format!("while ! getent hosts {host}; do sleep 0.01; done");
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"restartPolicy": "Never",
            "containers": [{"name": "main", "image": "busybox", "command": ["sh", "-c", script]}]}})
    };
    let hosts = [
        ("a", "db"),
        ("b", "db.default.svc"),
        ("c", "db-1.db.default.svc.cluster.local"),
        ("d", "later.default.svc"),
    ];
    for (name, host) in hosts {
        create(store, &PODS, look(name, host));
    }
    for name in ["a", "b"] {
        until(store, "it resolves", || get(store, &PODS, name)["status"]["phase"] == "Succeeded").await;
    }
    until(store, "the others look", || get(store, &PODS, "d")["status"]["phase"] == "Running").await;
    modify(store, &STATEFUL_SETS, "db", |set| set["spec"]["replicas"] = json!(2));
    create(store, &SERVICES, service("later", json!({})));
    for name in ["c", "d"] {
        until(store, "it resolves what came later", || {
            get(store, &PODS, name)["status"]["phase"] == "Succeeded"
        })
        .await;
    }
    sim.shutdown().await;
}
