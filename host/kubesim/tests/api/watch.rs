use std::time::{Duration, Instant};

use futures::{Stream, StreamExt, TryStreamExt};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use senren_kubesim::{Config, KubeSim};
use serde_json::json;

use crate::support::*;

type Item = Result<WatchEvent<DynamicObject>, kube::Error>;

async fn next(events: &mut (impl Stream<Item = Item> + Unpin)) -> String {
    let event = tokio::time::timeout(Duration::from_secs(5), events.next()).await.unwrap().unwrap().unwrap();
    let name = |o: DynamicObject| o.metadata.name.unwrap();
    match event {
        WatchEvent::Added(o) => format!("added {}", name(o)),
        WatchEvent::Modified(o) => format!("modified {}", name(o)),
        WatchEvent::Deleted(o) => format!("deleted {}", name(o)),
        WatchEvent::Bookmark(b) => format!("bookmark {}", b.metadata.annotations.len()),
        WatchEvent::Error(e) => format!("error {} {}", e.code, e.reason),
    }
}

#[tokio::test]
async fn a_watch_from_a_list_sees_every_change_after_it() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    create(&maps, config_map("before", json!({}))).await;
    let from = maps.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    create(&maps, config_map("a", json!({}))).await;
    let mut events = maps.watch(&WatchParams::default(), &from).await.unwrap().boxed();
    assert_eq!(next(&mut events).await, "added a");
    let patch = json!({"data": {"k": "v"}});
    maps.patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    assert_eq!(next(&mut events).await, "modified a");
    assert_eq!(next(&mut events).await, "deleted a");
}

#[tokio::test]
async fn a_watch_from_nowhere_begins_with_what_is_there() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    create(&maps, config_map("a", json!({}))).await;
    let mut events = maps.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    assert_eq!(next(&mut events).await, "added a");
}

#[tokio::test]
async fn who_selects_sees_objects_come_and_go_as_their_labels_change() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    let params = WatchParams::default().labels("color=red");
    let mut events = maps.watch(&params, "0").await.unwrap().boxed();
    create(&maps, config_map("a", json!({}))).await;
    for color in ["red", "blue"] {
        let label = json!({"metadata": {"labels": {"color": color}}});
        maps.patch("a", &PatchParams::default(), &Patch::Merge(&label)).await.unwrap();
    }
    assert_eq!(next(&mut events).await, "added a");
    assert_eq!(next(&mut events).await, "deleted a");
}

#[tokio::test]
async fn a_watch_from_before_the_history_is_told_410() {
    let sim = KubeSim::start(Config { history: 3, ..Config::default() }).await.unwrap();
    let maps = config_maps(&sim.client());
    let first = create(&maps, config_map("a", json!({}))).await;
    for n in 0..5 {
        let patch = json!({"data": {"n": n.to_string()}});
        maps.patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }
    let mut events = maps.watch(&WatchParams::default(), &version(&first)).await.unwrap().boxed();
    assert_eq!(next(&mut events).await, "error 410 Expired");
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn a_watch_ends_at_its_timeout_with_a_bookmark() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    let params = WatchParams::default().timeout(1);
    let from = maps.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let events = maps.watch(&params, &from).await.unwrap();
    let all: Vec<_> = events.try_collect().await.unwrap();
    assert!(matches!(all.as_slice(), [WatchEvent::Bookmark(_)]), "{all:?}");
}

#[tokio::test]
async fn kube_runtimes_watchers_work_with_lists_and_with_streaming_lists() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    create(&maps, config_map("a", json!({}))).await;
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let mut objects = watcher(maps.clone(), config).applied_objects().boxed();
        let first =
            tokio::time::timeout(Duration::from_secs(5), objects.try_next()).await.unwrap().unwrap().unwrap();
        assert_eq!(first.metadata.name.as_deref(), Some("a"));
        let patch = json!({"data": {"now": format!("{:?}", Instant::now())}});
        maps.patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
        let second =
            tokio::time::timeout(Duration::from_secs(5), objects.try_next()).await.unwrap().unwrap().unwrap();
        assert_ne!(second.metadata.resource_version, first.metadata.resource_version);
    }
}

#[tokio::test]
async fn a_change_reaches_a_watch_within_milliseconds() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    let mut events = maps.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    let mut worst = Duration::ZERO;
    for n in 0..20 {
        let begin = Instant::now();
        create(&maps, config_map(&format!("m{n}"), json!({}))).await;
        next(&mut events).await;
        worst = worst.max(begin.elapsed());
    }
    assert!(worst < Duration::from_millis(500), "{worst:?}");
}
