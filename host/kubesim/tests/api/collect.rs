use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn what_is_owned_is_deleted_after_its_owner() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    let owner = create(&maps, config_map("owner", json!({}))).await;
    let child = create(&maps, owned_by(config_map("child", json!({})), &owner)).await;
    create(&maps, owned_by(config_map("grandchild", json!({})), &child)).await;
    maps.delete("owner", &DeleteParams::background()).await.unwrap();
    gone(&maps, "child").await;
    gone(&maps, "grandchild").await;
}

#[tokio::test]
async fn an_owner_that_was_never_there_does_not_hold() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    let mut owner = create(&maps, config_map("owner", json!({}))).await;
    owner.metadata.uid = Some("no-such-uid".into());
    create(&maps, owned_by(config_map("child", json!({})), &owner)).await;
    gone(&maps, "child").await;
}

#[tokio::test]
async fn orphans_stay_and_lose_their_owner() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    let owner = create(&maps, config_map("owner", json!({}))).await;
    create(&maps, owned_by(config_map("child", json!({})), &owner)).await;
    maps.delete("owner", &DeleteParams::orphan()).await.unwrap();
    gone(&maps, "owner").await;
    let child = maps.get("child").await.unwrap();
    assert_eq!(child.metadata.owner_references, None);
}

#[tokio::test]
async fn in_the_foreground_the_owner_goes_last() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    let owner = create(&maps, config_map("owner", json!({}))).await;
    let mut held = owned_by(config_map("child", json!({})), &owner);
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    create(&maps, held).await;
    maps.delete("owner", &DeleteParams::foreground()).await.unwrap();
    eventually("the child is being deleted", || async {
        maps.get("child").await.unwrap().metadata.deletion_timestamp.is_some()
    })
    .await;
    let waiting = maps.get("owner").await.unwrap();
    assert_eq!(waiting.metadata.finalizers.unwrap(), ["foregroundDeletion"]);
    let release = json!({"metadata": {"finalizers": null}});
    maps.patch("child", &PatchParams::default(), &Patch::Merge(&release)).await.unwrap();
    gone(&maps, "owner").await;
}

#[tokio::test]
async fn a_second_owner_keeps_an_object_alive() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    let one = create(&maps, config_map("one", json!({}))).await;
    let two = create(&maps, config_map("two", json!({}))).await;
    let mut child = owned_by(config_map("child", json!({})), &one);
    let second = owned_by(json!({"metadata": {}}), &two)["metadata"]["ownerReferences"][0].clone();
    child["metadata"]["ownerReferences"].as_array_mut().unwrap().push(second);
    child["metadata"]["ownerReferences"][1]["controller"] = false.into();
    create(&maps, child).await;
    maps.delete("one", &DeleteParams::background()).await.unwrap();
    eventually("the reference to the first owner is gone", || async {
        maps.get("child").await.unwrap().metadata.owner_references.unwrap().len() == 1
    })
    .await;
    maps.delete("two", &DeleteParams::background()).await.unwrap();
    gone(&maps, "child").await;
}

#[tokio::test]
async fn a_namespace_goes_with_everything_in_it() {
    let sim = cluster().await;
    let namespaces: Api<Namespace> = Api::all(sim.client());
    let namespace = Namespace { metadata: meta("site"), ..Namespace::default() };
    let created = namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    assert_eq!(created.metadata.labels.unwrap()["kubernetes.io/metadata.name"], "site");
    assert_eq!(created.status.unwrap().phase.as_deref(), Some("Active"));
    let maps = Api::namespaced_with(sim.client(), "site", &resource("", "v1", "ConfigMap"));
    let mut held = config_map("held", json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    create(&maps, held).await;
    create(&maps, config_map("free", json!({}))).await;
    let deleted = namespaces.delete("site", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert_eq!(deleted.status.unwrap().phase.as_deref(), Some("Terminating"));
    gone(&maps, "free").await;
    let status = refusal(maps.create(&PostParams::default(), &object(config_map("new", json!({})))).await);
    assert_eq!(status.code, 403);
    assert_eq!(status.details.unwrap().causes[0].reason, "NamespaceTerminating");
    let release = json!({"metadata": {"finalizers": null}});
    maps.patch("held", &PatchParams::default(), &Patch::Merge(&release)).await.unwrap();
    eventually("the namespace is gone", || async { namespaces.get_opt("site").await.unwrap().is_none() })
        .await;
}
