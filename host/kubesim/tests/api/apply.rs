use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::*;

#[tokio::test]
async fn applying_creates_and_applying_again_changes_nothing() {
    let sim = cluster().await;
    let sets = stateful_sets(&sim.client());
    let first = apply(&sets, "me", stateful_set("a")).await.unwrap();
    assert_eq!(
        (first.data["spec"]["podManagementPolicy"].as_str(), first.metadata.generation),
        (Some("OrderedReady"), Some(1))
    );
    let again = apply(&sets, "me", stateful_set("a")).await.unwrap();
    assert_eq!(again, first);
}

#[tokio::test]
async fn the_manager_owns_exactly_what_it_applied() {
    let sim = cluster().await;
    let sets = stateful_sets(&sim.client());
    let stored = apply(&sets, "me", stateful_set("a")).await.unwrap();
    let container = json!({".": {}, "f:image": {}, "f:name": {},
        "f:ports": {"k:{\"containerPort\":6379,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}, "f:name": {}}}});
    let fields = json!({"f:spec": {"f:replicas": {}, "f:selector": {}, "f:serviceName": {}, "f:template": {
        "f:metadata": {"f:labels": {"f:app": {}}}, "f:spec": {"f:containers": {"k:{\"name\":\"main\"}": container}}}}});
    assert_eq!(managers(&stored), [("me".into(), "Apply".into(), String::new(), fields)]);
}

#[tokio::test]
async fn an_update_owns_what_it_changes_but_not_what_the_server_fills_in() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    let mut value = config_map("a", json!({"k": "v"}));
    value["metadata"]["labels"] = json!({"x": "y"});
    let stored = create(&maps, value).await;
    let fields = json!({"f:data": {".": {}, "f:k": {}}, "f:metadata": {"f:labels": {".": {}, "f:x": {}}}});
    assert_eq!(managers(&stored), [("unknown".into(), "Update".into(), String::new(), fields)]);
}

#[tokio::test]
async fn a_different_value_conflicts_with_its_owner_unless_forced() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    apply(&maps, "one", config_map("a", json!({"k": "1", "l": "1"}))).await.unwrap();
    let status = refusal(apply(&maps, "two", config_map("a", json!({"k": "2"}))).await);
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    assert_eq!(status.message, "Apply failed with 1 conflict: conflict with \"one\": .data.k");
    let causes = status.details.unwrap().causes;
    assert_eq!(
        (causes[0].reason.as_str(), causes[0].message.as_str(), causes[0].field.as_str()),
        ("FieldManagerConflict", "conflict with \"one\"", ".data.k")
    );
    let forced = force(&maps, "two", config_map("a", json!({"k": "2"}))).await.unwrap();
    assert_eq!(forced.data["data"], json!({"k": "2", "l": "1"}));
    assert_eq!(fields_of(&forced, "one"), Some(json!({"f:data": {"f:l": {}}})));
    assert_eq!(fields_of(&forced, "two"), Some(json!({"f:data": {"f:k": {}}})));
}

#[tokio::test]
async fn equal_values_are_shared_and_go_when_the_last_owner_lets_go() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    apply(&maps, "one", config_map("a", json!({"k": "1"}))).await.unwrap();
    apply(&maps, "two", config_map("a", json!({"k": "1", "l": "2"}))).await.unwrap();
    let without = apply(&maps, "one", config_map("a", json!({}))).await.unwrap();
    assert_eq!(without.data["data"], json!({"k": "1", "l": "2"}));
    let gone = apply(&maps, "two", config_map("a", json!({"l": "2"}))).await.unwrap();
    assert_eq!(gone.data["data"], json!({"l": "2"}));
}

#[tokio::test]
async fn what_is_no_longer_applied_is_removed_and_what_others_wrote_stays() {
    let sim = cluster().await;
    let sets = stateful_sets(&sim.client());
    let mut value = stateful_set("a");
    let containers = &mut value["spec"]["template"]["spec"]["containers"];
    containers[0]["env"] = json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]);
    containers.as_array_mut().unwrap().push(json!({"name": "side", "image": "busybox:1"}));
    apply(&sets, "me", value).await.unwrap();
    let other = json!({"metadata": {"annotations": {"other": "x"}}});
    sets.patch("a", &PatchParams::default(), &Patch::Merge(&other)).await.unwrap();
    let mut fewer = stateful_set("a");
    fewer["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": "B", "value": "2"}]);
    let stored = apply(&sets, "me", fewer).await.unwrap();
    let containers = stored.data["spec"]["template"]["spec"]["containers"].as_array().unwrap().clone();
    assert_eq!(containers.len(), 1);
    assert_eq!(containers[0]["env"], json!([{"name": "B", "value": "2"}]));
    assert_eq!(containers[0]["imagePullPolicy"], "IfNotPresent");
    assert_eq!(stored.metadata.annotations.unwrap()["other"], "x");
}

#[tokio::test]
async fn items_of_a_list_are_known_by_their_keys() {
    let sim = cluster().await;
    let services = api(&sim.client(), "", "v1", "Service");
    let service = |ports: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": ports}});
    apply(&services, "one", service(json!([{"name": "a", "port": 1}]))).await.unwrap();
    let both = apply(&services, "two", service(json!([{"name": "b", "port": 2}]))).await.unwrap();
    let names: Vec<&Value> =
        both.data["spec"]["ports"].as_array().unwrap().iter().map(|p| &p["name"]).collect();
    assert_eq!(names, ["a", "b"]);
    let twice = service(json!([{"name": "a", "port": 1}, {"name": "b", "port": 1}]));
    assert!(refusal(apply(&services, "one", twice).await).message.contains("duplicate entries for key"));
}

#[tokio::test]
async fn status_is_owned_apart_from_the_rest() {
    let (_sim, client) = with_widgets().await;
    let widgets = widgets(&client);
    apply(&widgets, "spec", widget("a", json!({"size": 1}))).await.unwrap();
    let status = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"},
        "status": {"phase": "Ready", "seen": 1}});
    let params = PatchParams::apply("status");
    let stored = widgets.patch_status("a", &params, &Patch::Apply(&status)).await.unwrap();
    assert_eq!(stored.metadata.generation, Some(1));
    assert_eq!(stored.data["status"], json!({"phase": "Ready", "seen": 1}));
    let entry = managers(&stored).into_iter().find(|(name, ..)| name == "status").unwrap();
    assert_eq!(
        (entry.1.as_str(), entry.2.as_str(), entry.3),
        ("Apply", "status", json!({"f:status": {"f:phase": {}, "f:seen": {}}}))
    );
    let again = widgets.patch_status("a", &params, &Patch::Apply(&status)).await.unwrap();
    assert_eq!(version(&again), version(&stored));
    let main = apply(&widgets, "spec", widget("a", json!({"size": 2}))).await.unwrap();
    assert_eq!((main.data["status"]["phase"].as_str(), main.metadata.generation), (Some("Ready"), Some(2)));
}

#[tokio::test]
async fn a_definition_says_how_its_lists_merge() {
    let (_sim, client) = with_widgets().await;
    let widgets = widgets(&client);
    let one = json!({"size": 1, "tags": ["a"], "parts": [{"name": "x", "count": 1}], "limits": {"cpu": "1"}});
    apply(&widgets, "one", widget("a", one)).await.unwrap();
    let two = json!({"tags": ["b"], "parts": [{"name": "y", "count": 2}], "limits": {"memory": "2"}});
    let both = apply(&widgets, "two", widget("a", two)).await.unwrap();
    assert_eq!(both.data["spec"]["tags"], json!(["a", "b"]));
    assert_eq!(both.data["spec"]["parts"], json!([{"name": "x", "count": 1}, {"name": "y", "count": 2}]));
    assert_eq!(both.data["spec"]["limits"], json!({"cpu": "1", "memory": "2"}));
    let fields = json!({"f:spec": {"f:limits": {"f:memory": {}}, "f:tags": {"v:\"b\"": {}},
        "f:parts": {"k:{\"name\":\"y\"}": {".": {}, "f:count": {}, "f:name": {}}}}});
    assert_eq!(fields_of(&both, "two"), Some(fields));
}

#[tokio::test]
async fn finalizers_and_owners_merge_item_by_item() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    let with = |finalizer: &str| {
        let mut value = config_map("a", json!({}));
        value["metadata"]["finalizers"] = json!([finalizer]);
        value
    };
    apply(&maps, "one", with("example.com/one")).await.unwrap();
    let both = apply(&maps, "two", with("example.com/two")).await.unwrap();
    assert_eq!(both.metadata.finalizers.unwrap(), ["example.com/one", "example.com/two"]);
    let one = apply(&maps, "two", config_map("a", json!({}))).await.unwrap();
    assert_eq!(one.metadata.finalizers.unwrap(), ["example.com/one"]);
}

#[tokio::test]
async fn a_field_that_the_kind_does_not_have_cannot_be_applied() {
    let sim = cluster().await;
    let sets = stateful_sets(&sim.client());
    let mut value = stateful_set("a");
    value["spec"]["colour"] = "red".into();
    let status = refusal(apply(&sets, "me", value).await);
    assert!(status.message.ends_with(".spec.colour: field not declared in schema"), "{}", status.message);
}

#[tokio::test]
async fn an_old_version_in_what_is_applied_conflicts() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    let first = apply(&maps, "me", config_map("a", json!({"k": "1"}))).await.unwrap();
    apply(&maps, "me", config_map("a", json!({"k": "2"}))).await.unwrap();
    let mut stale = config_map("a", json!({"k": "3"}));
    stale["metadata"]["resourceVersion"] = version(&first).into();
    assert_eq!(refusal(apply(&maps, "me", stale).await).code, 409);
}

#[tokio::test]
async fn a_replacement_may_say_who_owns_what() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    let mut stored = apply(&maps, "me", config_map("a", json!({"k": "v"}))).await.unwrap();
    stored.metadata.managed_fields.as_mut().unwrap()[0].manager = Some("heir".into());
    let replaced = maps.replace("a", &PostParams::default(), &stored).await.unwrap();
    assert_eq!(fields_of(&replaced, "heir"), Some(json!({"f:data": {"f:k": {}}})));
    let mut silent = replaced.clone();
    silent.metadata.managed_fields = None;
    let kept = maps.replace("a", &PostParams::default(), &silent).await.unwrap();
    assert_eq!(managers(&kept), managers(&replaced), "who knows nothing of it takes nothing away");
}

#[tokio::test]
async fn an_object_can_be_made_to_forget_its_managers() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    apply(&maps, "one", config_map("a", json!({"k": "1"}))).await.unwrap();
    let forget = json!({"metadata": {"managedFields": [{}]}});
    let stored = maps.patch("a", &PatchParams::default(), &Patch::Merge(&forget)).await.unwrap();
    assert_eq!(managers(&stored), []);
    // What nobody owns was somebody's all the same.
    let status = refusal(apply(&maps, "two", config_map("a", json!({"k": "2"}))).await);
    assert_eq!(
        status.message,
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.k"
    );
    force(&maps, "two", config_map("a", json!({"k": "2"}))).await.unwrap();
}

#[tokio::test]
async fn an_update_takes_ownership_of_what_it_changes() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    apply(&maps, "one", config_map("a", json!({"k": "1", "l": "1"}))).await.unwrap();
    let change = json!({"data": {"k": "2"}});
    let params = PatchParams { field_manager: Some("hand".into()), ..PatchParams::default() };
    let stored = maps.patch("a", &params, &Patch::Merge(&change)).await.unwrap();
    assert_eq!(fields_of(&stored, "one"), Some(json!({"f:data": {"f:l": {}}})));
    assert_eq!(fields_of(&stored, "hand"), Some(json!({"f:data": {"f:k": {}}})));
    let status = refusal(apply(&maps, "one", config_map("a", json!({"k": "1", "l": "1"}))).await);
    assert_eq!(status.message, "Apply failed with 1 conflict: conflict with \"hand\" using v1: .data.k");
    // What it no longer applies is not its own any more, and stays.
    let stored = apply(&maps, "one", config_map("a", json!({"l": "1"}))).await.unwrap();
    assert_eq!(stored.data["data"], json!({"k": "2", "l": "1"}));
}

#[tokio::test]
async fn applying_the_same_again_is_nothing_for_any_kind() {
    let sim = cluster().await;
    let client = sim.client();
    let mut set = stateful_set("a");
    set["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1024Mi"}}}}]);
    set["spec"]["template"]["spec"]["tolerations"] = json!([{"key": "x", "operator": "Exists"}]);
    set["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] = json!({"httpGet": {"port": "redis"}});
    let pod = json!({"containers": [{"name": "c", "image": "busybox"}], "restartPolicy": "Never"});
    let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    for (group, kind, mut value) in [
        ("", "ConfigMap", json!({"data": {"a": "b"}})),
        ("", "Secret", json!({"stringData": {"a": "b"}})),
        ("", "Secret", json!({"data": {"a": "Yg=="}, "type": "Opaque"})),
        ("", "Service", json!({"spec": {"ports": [{"port": 1}], "selector": {"a": "b"}}})),
        (
            "",
            "Service",
            json!({"spec": {"clusterIP": "None", "ports": [{"port": 1}], "publishNotReadyAddresses": true}}),
        ),
        ("", "PersistentVolumeClaim", json!({"spec": claim})),
        ("", "Pod", json!({"spec": pod})),
        ("apps", "StatefulSet", set),
        ("batch", "Job", json!({"spec": {"template": {"spec": pod}}})),
        (
            "coordination.k8s.io",
            "Lease",
            json!({"spec": {"holderIdentity": "x", "renewTime": "2026-01-01T00:00:00.000000Z"}}),
        ),
        (
            "policy",
            "PodDisruptionBudget",
            json!({"spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"a": "b"}}}}),
        ),
        (
            "discovery.k8s.io",
            "EndpointSlice",
            json!({"addressType": "IPv4", "endpoints": [{"addresses": ["127.0.0.1"]}], "ports": [{"port": 1}]}),
        ),
    ] {
        let objects = api(&client, group, "v1", kind);
        value["apiVersion"] = if group.is_empty() { "v1".into() } else { format!("{group}/v1").into() };
        value["kind"] = kind.into();
        value["metadata"] = json!({"name": "a", "labels": {"x": "y"}});
        let first = apply(&objects, "me", value.clone()).await.unwrap();
        let again = apply(&objects, "me", value.clone()).await.unwrap();
        assert_eq!(again, first, "{kind}");
        // Nor does writing back what was read, or applying it from elsewhere.
        let written = objects.replace("a", &PostParams::default(), &first).await.unwrap();
        assert_eq!(version(&written), version(&first), "{kind}");
        objects.delete("a", &kube::api::DeleteParams::default()).await.unwrap();
    }
}
