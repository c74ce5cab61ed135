use std::time::{Duration, Instant};

use kube::api::{DeleteParams, ListParams};
use serde_json::json;

use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_resources_with_children_come_and_go_in_seconds() {
    let (_sim, client) = with_widgets().await;
    let (widgets, maps, sets) = (widgets(&client), config_maps(&client), stateful_sets(&client));
    let begin = Instant::now();
    for n in 0..1_000 {
        let name = format!("w{n}");
        let owner = apply(&widgets, "me", widget(&name, json!({"size": n + 1}))).await.unwrap();
        apply(&maps, "me", owned_by(config_map(&name, json!({"n": n.to_string()})), &owner)).await.unwrap();
        apply(&sets, "me", owned_by(stateful_set(&name), &owner)).await.unwrap();
    }
    let created = begin.elapsed();
    let begin = Instant::now();
    for n in 0..1_000 {
        apply(&widgets, "me", widget(&format!("w{n}"), json!({"size": n + 1}))).await.unwrap();
    }
    let repeated = begin.elapsed();
    let begin = Instant::now();
    widgets.delete_collection(&DeleteParams::background(), &ListParams::default()).await.unwrap();
    eventually("all children are gone", || async {
        sets.list(&ListParams::default()).await.unwrap().items.is_empty()
            && maps.list(&ListParams::default()).await.unwrap().items.is_empty()
    })
    .await;
    let collected = begin.elapsed();
    eprintln!("created {created:?}, applied again {repeated:?}, collected {collected:?}");
    assert!(created + repeated + collected < Duration::from_secs(30));
}
