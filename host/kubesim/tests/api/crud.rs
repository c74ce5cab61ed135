use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn what_is_created_can_be_read_again_with_identity_from_the_server() {
    let sim = cluster().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(sim.client());
    let data = [("k".to_owned(), "v".to_owned())].into();
    let map = ConfigMap { metadata: meta("a"), data: Some(data), ..ConfigMap::default() };
    let created = maps.create(&PostParams::default(), &map).await.unwrap();
    assert!(created.metadata.uid.is_some() && created.metadata.creation_timestamp.is_some());
    assert_eq!(created.metadata.namespace.as_deref(), Some("default"));
    assert_eq!(maps.get("a").await.unwrap(), created);
}

#[tokio::test]
async fn a_name_exists_once() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    create(&maps, config_map("a", json!({}))).await;
    let status = refusal(maps.create(&PostParams::default(), &object(config_map("a", json!({})))).await);
    assert_eq!((status.code, status.reason.as_str()), (409, "AlreadyExists"));
    assert_eq!(status.message, "configmaps \"a\" already exists");
    let details = status.details.unwrap();
    assert_eq!((details.name.as_str(), details.kind.as_str()), ("a", "configmaps"));
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let sim = cluster().await;
    let sets = stateful_sets(&sim.client());
    let status = refusal(sets.get("a").await);
    assert_eq!((status.code, status.message.as_str()), (404, "statefulsets.apps \"a\" not found"));
    let elsewhere: Api<ConfigMap> = Api::namespaced(sim.client(), "nowhere");
    let map = ConfigMap { metadata: meta("a"), ..ConfigMap::default() };
    let status = refusal(elsewhere.create(&PostParams::default(), &map).await);
    assert_eq!((status.code, status.message.as_str()), (404, "namespaces \"nowhere\" not found"));
}

#[tokio::test]
async fn generate_name_makes_different_names() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    let template = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "job-"}});
    let one = create(&maps, template.clone()).await.metadata.name.unwrap();
    let other = create(&maps, template).await.metadata.name.unwrap();
    assert!(one.starts_with("job-") && one.len() == 9 && one != other, "{one} {other}");
}

#[tokio::test]
async fn an_update_that_rests_on_an_old_version_conflicts() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    let first = create(&maps, config_map("a", json!({"k": "1"}))).await;
    let mut second = first.clone();
    second.data["data"]["k"] = "2".into();
    let stored = maps.replace("a", &PostParams::default(), &second).await.unwrap();
    assert_ne!(version(&stored), version(&first));
    let status = refusal(maps.replace("a", &PostParams::default(), &second).await);
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    assert_eq!(
        status.message,
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your \
         changes to the latest version and try again"
    );
}

#[tokio::test]
async fn an_update_without_a_version_overwrites() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    create(&maps, config_map("a", json!({"k": "1"}))).await;
    let stored =
        maps.replace("a", &PostParams::default(), &object(config_map("a", json!({"k": "2"})))).await.unwrap();
    assert_eq!(stored.data["data"]["k"], "2");
}

#[tokio::test]
async fn an_update_that_changes_nothing_keeps_the_version() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    let first = create(&maps, config_map("a", json!({"k": "1"}))).await;
    let again = maps.replace("a", &PostParams::default(), &first).await.unwrap();
    assert_eq!(version(&again), version(&first));
    let patch = json!({"data": {"k": "1"}});
    let patched = maps.patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    assert_eq!(version(&patched), version(&first));
}

#[tokio::test]
async fn generation_counts_changes_of_the_spec_only() {
    let sim = cluster().await;
    let sets = stateful_sets(&sim.client());
    let created = create(&sets, stateful_set("a")).await;
    assert_eq!(created.metadata.generation, Some(1));
    let label = json!({"metadata": {"labels": {"x": "y"}}});
    let labelled = sets.patch("a", &PatchParams::default(), &Patch::Merge(&label)).await.unwrap();
    assert_eq!(labelled.metadata.generation, Some(1));
    let status = json!({"status": {"replicas": 1, "readyReplicas": 1}});
    let reported = sets.patch_status("a", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    assert_eq!(reported.metadata.generation, Some(1));
    let scale = json!({"spec": {"replicas": 3}});
    let scaled = sets.patch("a", &PatchParams::default(), &Patch::Merge(&scale)).await.unwrap();
    assert_eq!(scaled.metadata.generation, Some(2));
}

#[tokio::test]
async fn status_and_the_rest_are_written_separately() {
    let sim = cluster().await;
    let sets = stateful_sets(&sim.client());
    create(&sets, stateful_set("a")).await;
    let both = json!({"spec": {"replicas": 5}, "status": {"replicas": 4}});
    let main = sets.patch("a", &PatchParams::default(), &Patch::Merge(&both)).await.unwrap();
    assert_eq!((&main.data["spec"]["replicas"], &main.data["status"]["replicas"]), (&json!(5), &json!(0)));
    let both = json!({"spec": {"replicas": 7}, "status": {"replicas": 4}});
    let status = sets.patch_status("a", &PatchParams::default(), &Patch::Merge(&both)).await.unwrap();
    assert_eq!(
        (&status.data["spec"]["replicas"], &status.data["status"]["replicas"]),
        (&json!(5), &json!(4))
    );
}

#[tokio::test]
async fn a_dry_run_answers_and_changes_nothing() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let answer = maps.create(&dry, &object(config_map("a", json!({"k": "v"})))).await.unwrap();
    assert!(answer.metadata.uid.is_some());
    assert!(maps.get_opt("a").await.unwrap().is_none());
    let params = PatchParams { dry_run: true, ..PatchParams::apply("me") };
    maps.patch("a", &params, &Patch::Apply(&config_map("a", json!({})))).await.unwrap();
    assert!(maps.get_opt("a").await.unwrap().is_none());
}

#[tokio::test]
async fn a_delete_with_the_wrong_precondition_conflicts() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    let created = create(&maps, config_map("a", json!({}))).await;
    for (uid, version) in [(Some("other".to_owned()), None), (None, Some("1".to_owned()))] {
        let preconditions = Some(Preconditions { uid, resource_version: version });
        let params = DeleteParams { preconditions, ..DeleteParams::default() };
        assert_eq!(refusal(maps.delete("a", &params).await).code, 409);
    }
    let preconditions =
        Some(Preconditions { uid: created.metadata.uid.clone(), resource_version: Some(version(&created)) });
    maps.delete("a", &DeleteParams { preconditions, ..DeleteParams::default() }).await.unwrap();
    assert!(maps.get_opt("a").await.unwrap().is_none());
}

#[tokio::test]
async fn a_finalizer_delays_deletion_and_no_new_one_can_be_added() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    let mut value = config_map("a", json!({}));
    value["metadata"]["finalizers"] = json!(["example.com/hold"]);
    create(&maps, value).await;
    let deleted = maps.delete("a", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert!(deleted.metadata.deletion_timestamp.is_some());
    let more = json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}});
    let status = refusal(maps.patch("a", &PatchParams::default(), &Patch::Merge(&more)).await);
    assert_eq!(status.code, 422);
    let none = json!({"metadata": {"finalizers": []}});
    maps.patch("a", &PatchParams::default(), &Patch::Merge(&none)).await.unwrap();
    assert!(maps.get_opt("a").await.unwrap().is_none());
}

#[tokio::test]
async fn lists_select_by_label_and_by_name() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    for (name, color) in [("a", "red"), ("b", "blue"), ("c", "red")] {
        let mut value = config_map(name, json!({}));
        value["metadata"]["labels"] = json!({"color": color});
        create(&maps, value).await;
    }
    let names = |params: ListParams| {
        let maps = maps.clone();
        async move {
            let list = maps.list(&params).await.unwrap();
            list.items.into_iter().map(|o| o.metadata.name.unwrap()).collect::<Vec<_>>()
        }
    };
    assert_eq!(names(ListParams::default()).await, ["a", "b", "c"]);
    assert_eq!(names(ListParams::default().labels("color=red")).await, ["a", "c"]);
    assert_eq!(names(ListParams::default().labels("color notin (red)")).await, ["b"]);
    assert_eq!(names(ListParams::default().fields("metadata.name=b")).await, ["b"]);
    assert_eq!(refusal(maps.list(&ListParams::default().fields("data.k=v")).await).code, 400);
}

#[tokio::test]
async fn a_list_in_pages_is_the_list_as_it_was_at_the_first_page() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    for name in ["a", "b", "c"] {
        create(&maps, config_map(name, json!({}))).await;
    }
    let first = maps.list(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!((first.items.len(), first.metadata.remaining_item_count), (2, Some(1)));
    create(&maps, config_map("bb", json!({}))).await;
    maps.delete("c", &DeleteParams::default()).await.unwrap();
    let token = first.metadata.continue_.unwrap();
    let second = maps.list(&ListParams::default().limit(2).continue_token(&token)).await.unwrap();
    let names: Vec<_> = second.items.iter().map(|o| o.metadata.name.clone().unwrap()).collect();
    assert_eq!((names, second.metadata.continue_), (vec!["c".to_owned()], None));
    assert_eq!(second.metadata.resource_version, first.metadata.resource_version);
}

#[tokio::test]
async fn secrets_keep_plain_strings_as_data() {
    let sim = cluster().await;
    let secrets: Api<Secret> = Api::default_namespaced(sim.client());
    let plain = [("password".to_owned(), "s3cret".to_owned())].into();
    let secret = Secret { metadata: meta("a"), string_data: Some(plain), ..Secret::default() };
    let stored = secrets.create(&PostParams::default(), &secret).await.unwrap();
    assert_eq!(stored.data.unwrap()["password"].0, b"s3cret");
    assert_eq!((stored.string_data, stored.type_.as_deref()), (None, Some("Opaque")));
}

#[tokio::test]
async fn an_unknown_field_is_dropped_or_refused_when_strict() {
    let sim = cluster().await;
    let sets = stateful_sets(&sim.client());
    let mut value = stateful_set("a");
    value["spec"]["colour"] = "red".into();
    let created = create(&sets, value).await;
    assert!(created.data["spec"].get("colour").is_none());
    let params = PatchParams {
        field_validation: Some(kube::api::ValidationDirective::Strict),
        ..PatchParams::default()
    };
    let patch = json!({"spec": {"colour": "red"}});
    let status = refusal(sets.patch("a", &params, &Patch::Merge(&patch)).await);
    assert_eq!(status.code, 422);
    assert!(status.message.ends_with("strict decoding error: unknown field \"spec.colour\""), "{status:?}");
}

#[tokio::test]
async fn what_is_not_supported_says_so() {
    let sim = cluster().await;
    let status = refusal(api(&sim.client(), "", "v1", "ConfigMap").get_scale("a").await);
    assert_eq!((status.code, status.reason.as_str()), (501, "NotImplemented"));
    let status = refusal(api(&sim.client(), "apps", "v1", "Deployment").get("a").await);
    assert_eq!(status.message, "the embedded Kubernetes API does not support deployments.apps");
    assert_eq!(refusal(api(&sim.client(), "example.org", "v1", "Thing").get("a").await).code, 404);
}

#[tokio::test]
async fn a_strategic_patch_merges_lists_of_built_in_kinds_by_their_keys() {
    let (sim, client) = with_widgets().await;
    let sets = stateful_sets(&client);
    create(&sets, stateful_set("a")).await;
    let containers = json!([{"name": "side", "image": "busybox"}, {"name": "main", "image": "redis:8"}]);
    let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    let patched = sets.patch("a", &PatchParams::apply("m"), &Patch::Strategic(&patch)).await.unwrap();
    let containers = patched.data["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    let seen: Vec<_> = containers.iter().map(|own| (own["name"].as_str(), own["image"].as_str())).collect();
    assert_eq!(seen, [(Some("side"), Some("busybox")), (Some("main"), Some("redis:8"))]);
    assert_eq!(containers[1]["ports"][0]["containerPort"], 6379, "what the patch doesn't name stays");
    let widgets = widgets(&client);
    create(&widgets, widget("w", json!({"size": 1}))).await;
    let patch = json!({"spec": {"size": 2}});
    let refused = refusal(widgets.patch("w", &PatchParams::default(), &Patch::Strategic(&patch)).await);
    assert_eq!(refused.code, 415);
    drop(sim);
}

#[tokio::test]
async fn a_sets_replicas_change_through_its_scale() {
    let sim = cluster().await;
    let sets = stateful_sets(&sim.client());
    let before = create(&sets, stateful_set("a")).await;
    let scale = sets.get_scale("a").await.unwrap();
    assert_eq!(scale.spec.as_ref().unwrap().replicas, Some(1));
    assert_eq!(scale.status.as_ref().unwrap().selector.as_deref(), Some("app=a"));
    let patch = Patch::Merge(json!({"spec": {"replicas": 3}}));
    let by = PatchParams { field_manager: Some("hpa".into()), ..PatchParams::default() };
    let scaled = sets.patch_scale("a", &by, &patch);
    assert_eq!(scaled.await.unwrap().spec.unwrap().replicas, Some(3));
    let after = sets.get("a").await.unwrap();
    assert_eq!((after.data["spec"]["replicas"].as_i64(), after.metadata.generation), (Some(3), Some(2)));
    let owners = managers(&after);
    let owner = owners.iter().find(|(name, ..)| name == "hpa").unwrap();
    assert_eq!((owner.2.as_str(), &owner.3), ("scale", &json!({"f:spec": {"f:replicas": {}}})));
    let stale =
        json!({"metadata": {"name": "a", "resourceVersion": version(&before)}, "spec": {"replicas": 4}});
    let stale =
        sets.replace_scale("a", &PostParams::default(), &serde_json::from_value(stale).unwrap()).await;
    assert_eq!(refusal(stale).code, 409);
    let negative = Patch::Merge(json!({"spec": {"replicas": -1}}));
    assert_eq!(refusal(sets.patch_scale("a", &PatchParams::default(), &negative).await).code, 422);
}

#[tokio::test]
async fn delete_collection_deletes_what_the_selector_selects() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    for (name, color) in [("a", "red"), ("b", "blue")] {
        let mut value = config_map(name, json!({}));
        value["metadata"]["labels"] = json!({"color": color});
        create(&maps, value).await;
    }
    maps.delete_collection(&DeleteParams::default(), &ListParams::default().labels("color=red"))
        .await
        .unwrap();
    assert!(maps.get_opt("a").await.unwrap().is_none() && maps.get_opt("b").await.unwrap().is_some());
}

#[tokio::test]
async fn discovery_finds_what_is_served() {
    let (sim, client) = with_widgets().await;
    let discovery = kube::Discovery::new(client.clone()).run().await.unwrap();
    for (group, kind) in [("apps", "StatefulSet"), ("example.com", "Widget"), ("", "Pod")] {
        let found = discovery.resolve_gvk(&kube::core::GroupVersionKind::gvk(group, "v1", kind));
        assert!(found.is_some(), "{group} {kind}");
    }
    assert_eq!(client.apiserver_version().await.unwrap().major, "1");
    drop(sim);
}
