use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::*;

#[tokio::test]
async fn a_stateful_set_is_filled_in() {
    let sim = cluster().await;
    let mut value = stateful_set("a");
    value["spec"].as_object_mut().unwrap().remove("replicas");
    value["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] =
        json!({"exec": {"command": ["true"]}});
    value["spec"]["template"]["spec"]["volumes"] =
        json!([{"name": "c", "configMap": {"name": "x"}}, {"name": "e"}]);
    value["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]);
    let stored = create(&stateful_sets(&sim.client()), value).await;
    let spec = &stored.data["spec"];
    assert_eq!(spec["replicas"], 1);
    assert_eq!(spec["revisionHistoryLimit"], 10);
    assert_eq!(spec["updateStrategy"], json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}));
    let retain = json!({"whenDeleted": "Retain", "whenScaled": "Retain"});
    assert_eq!(spec["persistentVolumeClaimRetentionPolicy"], retain);
    assert_eq!(spec["volumeClaimTemplates"][0]["spec"]["volumeMode"], "Filesystem");
    let pod = &spec["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(
        (&pod["restartPolicy"], &pod["terminationGracePeriodSeconds"]),
        (&json!("Always"), &json!(30))
    );
    assert_eq!(pod["volumes"][0]["configMap"]["defaultMode"], 420);
    assert_eq!(pod["volumes"][1], json!({"name": "e", "emptyDir": {}}));
    assert_eq!(container["ports"][0]["protocol"], "TCP");
    assert_eq!(
        (&container["imagePullPolicy"], &container["resources"]),
        (&json!("IfNotPresent"), &json!({}))
    );
    assert_eq!(
        (&container["readinessProbe"]["periodSeconds"], &container["readinessProbe"]["failureThreshold"]),
        (&json!(10), &json!(3))
    );
}

#[tokio::test]
async fn quantities_are_stored_in_one_form_and_applying_another_changes_nothing() {
    let sim = cluster().await;
    let sets = stateful_sets(&sim.client());
    let with = |memory: Value| {
        let mut value = stateful_set("a");
        value["spec"]["template"]["spec"]["containers"][0]["resources"] =
            json!({"limits": {"memory": memory}});
        value
    };
    let first = apply(&sets, "me", with("1024Mi".into())).await.unwrap();
    let limits = &first.data["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"];
    assert_eq!(limits["memory"], "1Gi");
    let again = apply(&sets, "me", with("1024Mi".into())).await.unwrap();
    assert_eq!((version(&again), again.metadata.generation), (version(&first), Some(1)));
    assert_eq!(refusal(apply(&sets, "me", with("lots".into())).await).code, 400);
}

#[tokio::test]
async fn a_service_gets_an_address_that_never_changes() {
    let sim = cluster().await;
    let services = api(&sim.client(), "", "v1", "Service");
    let service = |name: &str| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"ports": [{"port": 6379}], "selector": {"app": "a"}}})
    };
    let one = create(&services, service("a")).await;
    let two = create(&services, service("b")).await;
    let address = |o: &DynamicObject| o.data["spec"]["clusterIP"].as_str().unwrap().to_owned();
    assert!(address(&one).starts_with("127.80.") && address(&one) != address(&two));
    assert_eq!(one.data["spec"]["ports"], json!([{"port": 6379, "protocol": "TCP", "targetPort": 6379}]));
    let again = apply(&services, "me", service("a")).await.unwrap();
    assert_eq!(address(&again), address(&one));
    let put = services.replace("a", &PostParams::default(), &object(service("a"))).await.unwrap();
    assert_eq!(address(&put), address(&one));
    let other = json!({"spec": {"clusterIP": "127.80.9.9"}});
    assert_eq!(refusal(services.patch("a", &PatchParams::default(), &Patch::Merge(&other)).await).code, 422);
    let headless = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "h"}, "spec": {"clusterIP": "None"}});
    assert_eq!(create(&services, headless).await.data["spec"]["clusterIPs"], json!(["None"]));
}

#[tokio::test]
async fn only_some_fields_of_a_stateful_set_can_change() {
    let sim = cluster().await;
    let sets = stateful_sets(&sim.client());
    apply(&sets, "me", stateful_set("a")).await.unwrap();
    let mut changed = stateful_set("a");
    changed["spec"]["serviceName"] = "other".into();
    let status = refusal(apply(&sets, "me", changed).await);
    assert_eq!(
        status.message,
        "StatefulSet.apps \"a\" is invalid: spec: Forbidden: updates to statefulset spec for fields other than \
         'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', \
         'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
    );
    let mut scaled = stateful_set("a");
    scaled["spec"]["replicas"] = 3.into();
    apply(&sets, "me", scaled).await.unwrap();
}

async fn check_refused(change: impl FnOnce(&mut Value), code: u16, message: &str) {
    let sim = cluster().await;
    let mut value = stateful_set("a");
    change(&mut value);
    let result = stateful_sets(&sim.client()).create(&PostParams::default(), &object(value)).await;
    let status = refusal(result);
    assert!(status.code == code && status.message.contains(message), "{status:?}");
}

#[tokio::test]
async fn what_a_real_server_refuses_is_refused() {
    check_refused(|v| v["spec"]["replicas"] = "three".into(), 400, "cannot be handled as a StatefulSet")
        .await;
    check_refused(|v| v["spec"]["replicas"] = (-1).into(), 422, "spec.replicas: Invalid value: -1").await;
    check_refused(|v| v["metadata"]["name"] = "No_Name".into(), 422, "metadata.name: Invalid value").await;
    check_refused(
        |v| v["spec"]["template"]["metadata"]["labels"]["app"] = "b".into(),
        422,
        "`selector` does not match template `labels`",
    )
    .await;
    check_refused(
        |v| v["spec"]["template"]["spec"]["containers"] = json!([]),
        422,
        "spec.template.spec.containers: Required value",
    )
    .await;
    check_refused(
        |v| {
            v["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] =
                json!([{"name": "x", "mountPath": "/x"}])
        },
        422,
        "spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"x\"",
    )
    .await;
    check_refused(
        |v| v["metadata"]["labels"] = json!({"a b": "c"}),
        422,
        "metadata.labels: Invalid value: \"a b\"",
    )
    .await;
}

#[tokio::test]
async fn both_views_of_events_show_the_same_objects() {
    let sim = cluster().await;
    let client = sim.client();
    let new = api(&client, "events.k8s.io", "v1", "Event");
    create(
        &new,
        json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"}, "note": "hello",
        "regarding": {"kind": "ConfigMap", "name": "a"}, "reason": "R", "type": "Normal", "action": "A",
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "c", "reportingInstance": "i"}),
    )
    .await;
    let old = api(&client, "", "v1", "Event").get("e").await.unwrap();
    assert_eq!((&old.data["message"], &old.data["involvedObject"]["name"]), (&json!("hello"), &json!("a")));
    assert_eq!(new.get("e").await.unwrap().data["note"], "hello");
}

#[tokio::test]
async fn what_no_controller_here_would_do_is_refused_when_it_is_written() {
    let sim = cluster().await;
    let client = sim.client();
    let (sets, jobs) = (stateful_sets(&client), api(&client, "batch", "v1", "Job"));
    let check = async |api: &Api<DynamicObject>, mut object: Value, path: &str, value: Value, says: &str| {
        let (parent, field) = path.rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap()[field] = value;
        let status = refusal(apply(api, "me", object).await);
        assert_eq!(status.code, 501, "{path}");
        assert!(status.message.contains(says), "{}", status.message);
    };
    let set = || stateful_set("a");
    check(&sets, set(), "/spec/minReadySeconds", json!(3), "minReadySeconds").await;
    let pod = "/spec/template/spec";
    check(&sets, set(), &format!("{pod}/readinessGates"), json!([{"conditionType": "x"}]), "readinessGates")
        .await;
    let sidecar = json!([{"name": "s", "image": "i", "restartPolicy": "Always"}]);
    check(&sets, set(), &format!("{pod}/initContainers"), sidecar, "restartPolicy").await;
    let job = || {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "main", "image": "i"}]}}}})
    };
    check(&jobs, job(), "/spec/activeDeadlineSeconds", json!(5), "activeDeadlineSeconds").await;
    check(&jobs, job(), "/spec/completionMode", json!("Indexed"), "Indexed").await;
    apply(&jobs, "me", job()).await.unwrap();
    apply(&sets, "me", set()).await.unwrap();
}
