use std::time::Duration;

use futures::TryStreamExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchParams};
use senren_kubesim::faults::{Fault, Faults, Rule};
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn refusals_come_as_the_rules_say_and_change_nothing() {
    let sim = cluster().await;
    let faults = Faults::new([
        Rule::on(Fault::Conflict).verb("POST").resource("configmaps").nth(1),
        Rule::on(Fault::TooManyRequests { retry_after: 2 }).writes().nth(2),
        Rule::on(Fault::ServerError).writes().nth(3),
    ]);
    let maps = config_maps(&sim.client_with(faults.clone()));
    for code in [409, 429, 500] {
        let status = refusal(maps.create(&PostParams::default(), &object(config_map("a", json!({})))).await);
        assert_eq!(status.code, code);
        assert_eq!(status.details.map_or(0, |d| d.retry_after_seconds), if code == 429 { 2 } else { 0 });
    }
    create(&maps, config_map("a", json!({}))).await;
    assert_eq!(faults.happened().len(), 3);
    assert_eq!(faults.happened()[0].request, "POST configmaps");
}

#[tokio::test]
async fn an_answer_can_be_lost_although_the_request_was_executed() {
    let sim = cluster().await;
    let faulty = config_maps(&sim.client_with(Faults::new([Rule::on(Fault::LostAnswer).writes().nth(1)])));
    let result = faulty.create(&PostParams::default(), &object(config_map("a", json!({})))).await;
    assert!(matches!(result, Err(kube::Error::Service(_))), "{result:?}");
    assert!(config_maps(&sim.client()).get_opt("a").await.unwrap().is_some());
}

#[tokio::test]
async fn a_stale_read_shows_the_past() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    create(&maps, config_map("a", json!({"k": "1"}))).await;
    let change = json!({"data": {"k": "2"}});
    maps.patch("a", &PatchParams::default(), &Patch::Merge(&change)).await.unwrap();
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    let read = |revisions| {
        config_maps(&sim.client_with(Faults::new([Rule::on(Fault::StaleRead { revisions }).reads()])))
    };
    assert_eq!(read(1).get("a").await.unwrap().data["data"]["k"], "2");
    assert_eq!(read(2).get("a").await.unwrap().data["data"]["k"], "1");
    assert_eq!(read(2).list(&ListParams::default()).await.unwrap().items.len(), 1);
    assert_eq!(read(3).list(&ListParams::default()).await.unwrap().items.len(), 0);
}

#[tokio::test]
async fn after_a_crash_nothing_is_answered() {
    for executed in [false, true] {
        let sim = cluster().await;
        let faults = Faults::crash_at_write(2, executed);
        let maps = config_maps(&sim.client_with(faults.clone()));
        let work = async {
            for name in ["a", "b", "c"] {
                create(&maps, config_map(name, json!({}))).await;
            }
        };
        tokio::select! {
            () = work => panic!("the work was done"),
            () = faults.crashed() => (),
        }
        let left = config_maps(&sim.client()).list(&ListParams::default()).await.unwrap().items.len();
        assert_eq!(left, if executed { 2 } else { 1 });
        let late = tokio::time::timeout(Duration::from_millis(20), maps.get_opt("a")).await;
        assert!(late.is_err());
    }
}

#[tokio::test]
async fn watches_break_off_and_are_told_that_history_is_gone() {
    let sim = cluster().await;
    let maps = config_maps(&sim.client());
    create(&maps, config_map("a", json!({}))).await;
    let gone = config_maps(&sim.client_with(Faults::new([Rule::on(Fault::Gone).watches()])));
    let events: Vec<_> = gone.watch(&WatchParams::default(), "1").await.unwrap().try_collect().await.unwrap();
    assert!(matches!(&events[..], [kube::api::WatchEvent::Error(e)] if e.code == 410));
    let cut = config_maps(&sim.client_with(Faults::new([Rule::on(Fault::CutWatch { after: 1 }).watches()])));
    let events: Vec<_> = cut.watch(&WatchParams::default(), "0").await.unwrap().try_collect().await.unwrap();
    assert_eq!(events.len(), 1);
}

#[tokio::test]
async fn chance_is_the_same_for_the_same_seed() {
    let sim = cluster().await;
    let run = |seed| {
        let faults = Faults::new([Rule::on(Fault::ServerError).one_in(3, seed)]);
        let maps = config_maps(&sim.client_with(faults.clone()));
        async move {
            let mut failed = Vec::new();
            for n in 0..30 {
                if maps.get_opt("a").await.is_err() {
                    failed.push(n);
                }
            }
            failed
        }
    };
    let (one, again, other) = (run(1).await, run(1).await, run(2).await);
    assert!(one == again && one != other && !one.is_empty(), "{one:?} {other:?}");
}
