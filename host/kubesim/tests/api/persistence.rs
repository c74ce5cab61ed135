use std::io::Write;

use futures::TryStreamExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, WatchParams};
use senren_kubesim::{Config, KubeSim};
use serde_json::json;

use crate::support::*;

async fn open(dir: &std::path::Path) -> KubeSim {
    KubeSim::start(Config { data_dir: Some(dir.to_owned()), ..Config::default() }).await.unwrap()
}

#[tokio::test]
async fn everything_outlives_the_process_and_revisions_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let sim = open(dir.path()).await;
    let client = sim.client();
    create(&definitions(&client), definition(widget_schema())).await;
    established(&client).await;
    let one = create(&widgets(&client), widget("a", json!({"size": 1}))).await;
    create(&config_maps(&client), config_map("gone", json!({}))).await;
    config_maps(&client).delete("gone", &DeleteParams::default()).await.unwrap();
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 1}]}});
    let service = create(&api(&client, "", "v1", "Service"), service).await;
    let revision = sim.store().revision();
    sim.shutdown().await;

    let sim = open(dir.path()).await;
    let client = sim.client();
    assert_eq!(sim.store().revision(), revision);
    assert_eq!(widgets(&client).get("a").await.unwrap(), one);
    assert!(config_maps(&client).get_opt("gone").await.unwrap().is_none());
    let other = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "t"}, "spec": {"ports": [{"port": 1}]}});
    let other = create(&api(&client, "", "v1", "Service"), other).await;
    assert_ne!(other.data["spec"]["clusterIP"], service.data["spec"]["clusterIP"]);
    let events: Vec<_> = widgets(&client)
        .watch(&WatchParams::default(), &version(&one))
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert!(matches!(&events[..], [kube::api::WatchEvent::Error(e)] if e.code == 410), "{events:?}");
}

#[tokio::test]
async fn a_last_line_that_was_cut_short_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let sim = open(dir.path()).await;
    create(&config_maps(&sim.client()), config_map("a", json!({}))).await;
    sim.shutdown().await;
    let mut file = std::fs::OpenOptions::new().append(true).open(dir.path().join("objects.jsonl")).unwrap();
    file.write_all(b"{\"r\":99,\"g\":\"\",\"p\":\"config").unwrap();
    for _ in 0..2 {
        let sim = open(dir.path()).await;
        let list = config_maps(&sim.client()).list(&ListParams::default()).await.unwrap();
        assert_eq!(list.items.len(), 1);
        let touch = json!({"data": {"at": sim.store().revision().to_string()}});
        config_maps(&sim.client()).patch("a", &PatchParams::default(), &Patch::Merge(&touch)).await.unwrap();
        sim.shutdown().await;
    }
}

#[tokio::test]
async fn a_long_journal_is_rewritten_and_says_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let sim = open(dir.path()).await;
    let store = sim.store();
    let what = senren_kubesim::kinds::CONFIG_MAPS;
    let by = senren_kubesim::store::Write::by("me");
    store.create(&what, "default", config_map("a", json!({})), &by).unwrap();
    for n in 0..10_100 {
        let part = senren_kubesim::store::Part::Main;
        store.modify(&what, part, "default", "a", &by, |o| o["data"]["n"] = n.to_string().into()).unwrap();
    }
    let (revision, last) = (store.revision(), store.get(&what, "default", "a").unwrap());
    sim.shutdown().await;
    let lines = std::fs::read_to_string(dir.path().join("objects.jsonl")).unwrap().lines().count();
    assert!(lines < 1_000, "{lines} lines");
    let sim = open(dir.path()).await;
    assert_eq!(sim.store().revision(), revision);
    assert_eq!(*sim.store().get(&what, "default", "a").unwrap(), *last);
}

#[tokio::test]
async fn two_clusters_do_not_share_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path()).await;
    let second = KubeSim::start(Config { data_dir: Some(dir.path().to_owned()), ..Config::default() }).await;
    assert!(second.err().unwrap().to_string().contains("another embedded cluster"));
}

#[tokio::test]
async fn what_was_answered_is_in_the_journal_before_the_answer() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sim = open(dir.path()).await;
    let created = create(&config_maps(&sim.client()), config_map("a", json!({"k": "v"}))).await;
    // As after kill -9: nothing had a chance to be flushed.
    std::fs::copy(dir.path().join("objects.jsonl"), copy.path().join("objects.jsonl")).unwrap();
    let other = open(copy.path()).await;
    assert_eq!(config_maps(&other.client()).get("a").await.unwrap(), created);
}

#[tokio::test]
async fn a_deletion_that_was_interrupted_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let sim = open(dir.path()).await;
    let maps = config_maps(&sim.client());
    let owner = create(&maps, config_map("owner", json!({}))).await;
    sim.shutdown().await;
    // The owner goes, and the process dies before the garbage collector has seen it.
    let journal = dir.path().join("objects.jsonl");
    let child = owned_by(config_map("child", json!({})), &owner);
    let mut child = child;
    child["metadata"]["uid"] = "u".into();
    child["metadata"]["namespace"] = "default".into();
    child["metadata"]["resourceVersion"] = "90".into();
    let put = json!({"r": 90, "g": "", "p": "configmaps", "o": child});
    let removed = json!({"r": 91, "g": "", "p": "configmaps", "d": ["default", "owner"]});
    let mut file = std::fs::OpenOptions::new().append(true).open(journal).unwrap();
    writeln!(file, "{put}\n{removed}").unwrap();
    let sim = open(dir.path()).await;
    gone(&config_maps(&sim.client()), "child").await;
}
