//! The plugin as a host sees it: JSON in, manifests and status out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use senren_plugin::wit::{self, Outcome, Status};
use senren_plugin::{Plugin as _, Value, json, testing};

use crate::Plugin;

fn input(spec: &Value) -> wit::Input {
    let admitted = Plugin::admit("redis".into(), spec.to_string()).unwrap();
    testing::input("redis", "features", &serde_json::from_str(&admitted).unwrap())
}

fn reconcile(input: wit::Input) -> Outcome {
    Plugin::reconcile(input).unwrap()
}

/// What Kubernetes makes of the children: generations, addresses, and a StatefulSet that has seen its spec.
fn applied(outcome: &Outcome) -> Vec<Value> {
    let mut objects = outcome.objects();
    for object in &mut objects {
        object["metadata"]["generation"] = json!(1);
        if object["kind"] == "Service" && object["spec"]["clusterIP"] != "None" {
            object["spec"]["clusterIP"] = json!("10.0.0.7");
        }
        if object["kind"] == "StatefulSet" {
            let pods = object["spec"]["replicas"].clone();
            object["status"] = json!({
                "observedGeneration": 1, "replicas": pods, "updatedReplicas": pods, "updateRevision": "rev-1",
            });
        }
    }
    objects
}

fn pod(ordinal: u32, revision: &str, ready: bool) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("features-{ordinal}"), "labels": {"controller-revision-hash": revision}},
        "status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": if ready { "True" } else { "False" }},
        ]},
    })
}

fn stuck_pod(ordinal: u32, reason: &str) -> Value {
    let mut pod = pod(ordinal, "rev-1", false);
    pod["status"]["containerStatuses"] =
        json!([{"name": "redis", "state": {"waiting": {"reason": reason, "message": "as Kubernetes says"}}}]);
    pod
}

/// The status, once the children of a first call were applied and these pods are observed.
fn status_with(spec: &Value, last_phase: &str, pods: &[Value]) -> Status {
    let first = reconcile(input(spec));
    let objects = applied(&first);
    let observing = objects.iter().chain(pods).fold(input(spec), wit::Input::observing);
    reconcile(observing.after_phase(last_phase)).status
}

#[test]
fn it_keeps_to_the_contract() {
    testing::check::<Plugin>().unwrap();
}

#[test]
fn what_it_describes() {
    let descriptor = Plugin::describe();
    let served = &descriptor.types[0];
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    insta::with_settings!({sort_maps => true}, {
        insta::assert_json_snapshot!("spec_schema", json(&served.spec_schema));
        insta::assert_json_snapshot!("config_schema", json(&descriptor.config_schema));
    });
}

#[test]
fn a_redis_by_itself() {
    insta::with_settings!({sort_maps => true}, {
        insta::assert_yaml_snapshot!("alone", reconcile(input(&json!({}))).objects());
    });
}

#[test]
fn a_redis_with_everything() {
    let spec = json!({
        "memory_mb": 256, "replicas": 2, "version": "8.0", "password": true, "maxmemory_policy": "allkeys-lru",
        "persistence": {"size": "2Gi"}, "config": {"hz": "20", "notify-keyspace-events": ""},
    });
    let config = json!({"registry": "registry.example.com/mirror/", "storage_class": "fast"});
    let outcome = reconcile(input(&spec).with_config(&config).with_secret("features-auth", "v1"));
    insta::with_settings!({sort_maps => true}, {
        insta::assert_yaml_snapshot!("everything", outcome.objects());
    });
    assert_eq!(outcome.secrets[0].name, "features-auth");
}

#[test]
fn the_primary_makes_it_ready() {
    for (spec, last, pods, phase, ready, reason) in [
        (json!({}), "", vec![], "Creating", false, "PrimaryNotReady"),
        (json!({}), "", vec![pod(0, "rev-1", false)], "Creating", false, "PrimaryNotReady"),
        (json!({}), "", vec![pod(0, "rev-1", true)], "Ready", true, "AllReady"),
        // An older pod serves an older spec.
        (json!({}), "Ready", vec![pod(0, "rev-0", true)], "Degraded", false, "PrimaryNotReady"),
        (json!({}), "Ready", vec![], "Degraded", false, "PrimaryNotReady"),
        // An update lasts until all is ready again.
        (json!({}), "Updating", vec![pod(0, "rev-1", false)], "Updating", false, "RollingRestart"),
        (
            json!({"replicas": 1}),
            "Updating",
            vec![pod(0, "rev-1", true)],
            "Updating",
            true,
            "ReplicasNotReady",
        ),
        (json!({"replicas": 1}), "", vec![pod(0, "rev-1", true)], "Creating", true, "ReplicasNotReady"),
        (json!({"replicas": 1}), "Ready", vec![pod(0, "rev-1", true)], "Degraded", true, "ReplicasNotReady"),
        (
            json!({"replicas": 1}),
            "Creating",
            vec![pod(0, "rev-1", true), pod(1, "rev-1", true)],
            "Ready",
            true,
            "AllReady",
        ),
        (json!({"replicas": 1}), "Ready", vec![pod(1, "rev-1", true)], "Degraded", false, "PrimaryNotReady"),
    ] {
        let status = status_with(&spec, last, &pods);
        let found = (status.phase.as_str(), status.ready, status.reason.as_str());
        assert_eq!(found, (phase, ready, reason), "{spec} after {last:?} with {pods:?}");
    }
}

#[test]
fn trouble_of_a_pod_is_the_reason() {
    let one = json!({"replicas": 1});
    let mut unschedulable = pod(0, "rev-1", false);
    unschedulable["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]);
    for (pods, phase, ready, reason) in [
        (vec![stuck_pod(0, "CrashLoopBackOff")], "Failed", false, "CrashLoopBackOff"),
        (vec![stuck_pod(0, "ImagePullBackOff")], "Failed", false, "ImagePullBackOff"),
        (vec![unschedulable], "Creating", false, "Unschedulable"),
        (vec![stuck_pod(0, "ContainerCreating")], "Creating", false, "PrimaryNotReady"),
        (vec![pod(0, "rev-1", true), stuck_pod(1, "CrashLoopBackOff")], "Degraded", true, "CrashLoopBackOff"),
    ] {
        let status = status_with(&one, "Creating", &pods);
        let found = (status.phase.as_str(), status.ready, status.reason.as_str());
        assert_eq!(found, (phase, ready, reason), "{pods:?}: {}", status.message);
    }
}

#[test]
fn a_new_spec_is_not_ready_before_its_pods_are() {
    let old = reconcile(input(&json!({})));
    let new = json!({"memory_mb": 128});
    let objects = applied(&old);
    let pods = [pod(0, "rev-1", true)];
    let observing = objects.iter().chain(&pods).fold(input(&new), wit::Input::observing);
    let status = reconcile(observing.after_phase("Ready")).status;
    assert_eq!((status.phase.as_str(), status.ready), ("Updating", false));
}

#[test]
fn clients_are_told_a_name_or_an_address() {
    let first = reconcile(input(&json!({"replicas": 1})));
    assert!(first.status.endpoints.is_empty(), "there is no Service yet");
    for (config, host) in [
        (json!({}), "features.senren-default.svc"),
        (json!({"endpoint": "dns"}), "features.senren-default.svc"),
        (json!({"endpoint": "cluster-ip"}), "10.0.0.7"),
    ] {
        let observing = applied(&first).iter().fold(input(&json!({"replicas": 1})), wit::Input::observing);
        let endpoints = reconcile(observing.with_config(&config)).status.endpoints;
        let found: Vec<_> = endpoints.iter().map(|one| (one.name.as_str(), one.port)).collect();
        assert_eq!(found, [("primary", 6379), ("reads", 6379)]);
        assert_eq!(endpoints[0].host, host, "{config}");
    }
}

#[test]
fn pods_wait_for_their_password_and_are_never_left_out_again() {
    let spec = json!({"password": true});
    let first = reconcile(input(&spec));
    assert_eq!(first.status.phase, "Pending");
    assert!(first.object("StatefulSet", "features").is_none());

    let with_password = reconcile(input(&spec).with_secret("features-auth", "v1").after_phase("Pending"));
    let set = with_password.object("StatefulSet", "features").unwrap();
    let rotated =
        reconcile(input(&spec).with_secret("features-auth", "v2")).object("StatefulSet", "features").unwrap();
    let annotations = |set: &Value| set["spec"]["template"]["metadata"]["annotations"].clone();
    assert_ne!(annotations(&set), annotations(&rotated), "another password replaces the pods");

    for lost in [input(&spec).observing(&set), input(&spec).after_phase("Ready")] {
        let outcome = reconcile(lost);
        assert_eq!(outcome.secrets.len(), 1, "the host is to make it");
        let sets: Vec<_> =
            outcome.children.iter().filter(|child| child.object.contains("\"StatefulSet\"")).collect();
        assert!(
            !sets.is_empty() && sets.iter().all(|set| set.mode == "create-only"),
            "they stay as they are"
        );
    }
}

#[test]
fn only_what_pods_run_on_replaces_them() {
    let template = |spec: Value| {
        let set = reconcile(input(&spec)).object("StatefulSet", "features").unwrap();
        set["spec"]["template"].clone()
    };
    let base = template(json!({}));
    assert_eq!(base, template(json!({"replicas": 3})));
    assert_eq!(base, template(json!({"persistence": {"size": "8Gi"}})));
    assert_ne!(base, template(json!({"memory_mb": 65})));
    assert_ne!(base, template(json!({"config": {"hz": "20"}})));
    assert_ne!(base, template(json!({"version": "8.0"})));
}

#[test]
fn a_spec_of_an_earlier_version_still_reconciles() {
    let bare = testing::input("redis", "features", &json!({"memory_mb": 32}));
    assert!(
        reconcile(bare)
            .object("ConfigMap", "features-config")
            .unwrap()
            .to_string()
            .contains("maxmemory 32mb")
    );
}
