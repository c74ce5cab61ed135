//! WatchStatus: what a client sees, and when.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::time::{Duration, Instant};

use common::{ControlPlane, OTHER, Plane, REGION, database, report_of, report_with};
use futures::StreamExt as _;
use senren_api::v1::{WatchStatusRequest, WatchStatusResponse};
use senren_control::api::Api;
use tonic::{Code, Request};

type Events = <Api as ControlPlane>::WatchStatusStream;

async fn watch(plane: &Plane, request: WatchStatusRequest) -> Events {
    plane.api.watch_status(Request::new(request)).await.unwrap().into_inner()
}

async fn next(events: &mut Events) -> WatchStatusResponse {
    let next = tokio::time::timeout(Duration::from_secs(5), events.next()).await.expect("an event");
    next.expect("an open stream").expect("no error")
}

/// `kind name phase`.
async fn told(events: &mut Events) -> String {
    let event = next(events).await;
    let kind = event.kind().as_str_name().trim_start_matches("KIND_");
    let resource = event.resource.map(|r| format!(" {} {}", r.name, r.phase)).unwrap_or_default();
    format!("{kind}{resource}")
}

async fn quiet(events: &mut Events) {
    let next = tokio::time::timeout(Duration::from_millis(150), events.next()).await;
    assert!(next.is_err(), "an event that nothing caused: {next:?}");
}

#[tokio::test]
async fn first_what_is_there_then_synced_then_every_change() {
    let plane = Plane::new().await;
    plane.heartbeat(REGION, 1, 0).await;
    plane.apply(vec![database("a", &[REGION])]).await;
    let resource = plane.only().await;
    let mut events = watch(&plane, WatchStatusRequest::default()).await;
    assert_eq!(told(&mut events).await, "CHANGED a Pending");
    assert_eq!(told(&mut events).await, "SYNCED");

    plane.report(vec![report_of(&resource, 2, "Creating")]).await;
    assert_eq!(told(&mut events).await, "CHANGED a Creating");
    plane.report(vec![report_of(&resource, 2, "Creating")]).await;
    plane.heartbeat(REGION, 3, 0).await;
    quiet(&mut events).await;

    plane.apply(vec![database("b", &[REGION])]).await;
    let mut both = [told(&mut events).await, told(&mut events).await];
    both.sort();
    assert_eq!(both, ["CHANGED a Deleting", "CHANGED b Pending"]);
    plane.report(vec![report_with(&resource, 4, "Deleting", |report| report.deleted = true)]).await;
    assert_eq!(told(&mut events).await, "REMOVED a Deleting");
}

#[tokio::test]
async fn a_watch_shows_only_what_it_asked_for() {
    let plane = Plane::new().await;
    let filter =
        WatchStatusRequest { regions: vec![REGION.into()], names: vec!["a".into()], ..Default::default() };
    let mut events = watch(&plane, filter).await;
    assert_eq!(told(&mut events).await, "SYNCED");
    plane.apply(vec![database("a", &[OTHER, REGION]), database("b", &[REGION])]).await;
    let event = next(&mut events).await;
    assert_eq!(event.revision, 1);
    assert_eq!(event.resource.map(|r| (r.name, r.region)).unwrap(), ("a".into(), REGION.into()));
    quiet(&mut events).await;

    let bad = WatchStatusRequest { regions: vec!["nowhere".into()], ..Default::default() };
    let refused = plane.api.watch_status(Request::new(bad)).await.err().unwrap();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_slow_client_gets_the_latest_state_and_not_each() {
    let plane = Plane::new().await;
    plane.heartbeat(REGION, 1, 0).await;
    plane.apply(vec![database("a", &[REGION])]).await;
    let resource = plane.only().await;
    let mut events = watch(&plane, WatchStatusRequest::default()).await;
    assert_eq!(told(&mut events).await, "CHANGED a Pending");
    assert_eq!(told(&mut events).await, "SYNCED");
    // More than any backlog holds.
    for sequence in 2..1500 {
        let phase = if sequence % 2 == 0 { "Creating" } else { "Ready" };
        plane.report(vec![report_of(&resource, sequence, phase)]).await;
    }
    plane.report(vec![report_of(&resource, 1500, "Degraded")]).await;
    let mut seen = vec![told(&mut events).await];
    while seen.last().unwrap() != "CHANGED a Degraded" {
        seen.push(told(&mut events).await);
    }
    assert!(seen.len() <= 3, "{seen:?}");
    quiet(&mut events).await;
}

#[tokio::test]
async fn silence_is_told_although_nothing_happens_and_so_is_its_end() {
    let plane = Plane::new().await;
    plane.heartbeat(REGION, 1, 0).await;
    plane.apply(vec![database("a", &[REGION])]).await;
    plane.report(vec![report_of(&plane.only().await, 2, "Ready")]).await;
    plane.clock.advance(2900);
    let mut events = watch(&plane, WatchStatusRequest::default()).await;
    assert_eq!(told(&mut events).await, "CHANGED a Ready");
    assert_eq!(told(&mut events).await, "SYNCED");
    let clock = plane.clock.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        clock.advance(200);
    });
    assert_eq!(told(&mut events).await, "CHANGED a Unknown");
    plane.clock.advance(5000);
    quiet(&mut events).await;
    plane.heartbeat(REGION, 3, 0).await;
    assert_eq!(told(&mut events).await, "CHANGED a Ready");
}

#[tokio::test]
async fn that_nothing_reaches_a_region_is_told_and_so_is_its_end() {
    let plane = Plane::new().await;
    plane.heartbeat(REGION, 1, 0).await;
    plane.bus.failing.lock().push(REGION.to_owned());
    plane.apply(vec![database("a", &[REGION])]).await;
    let mut events = watch(&plane, WatchStatusRequest::default()).await;
    let mut reason = async || next(&mut events).await.resource.map(|resource| resource.reason);
    assert_eq!(reason().await.as_deref(), Some("NotReported"));
    assert_eq!(reason().await, None, "synced");
    plane.publish_next().await;
    assert_eq!(reason().await.as_deref(), Some("NotPublished"));
    plane.bus.failing.lock().clear();
    plane.clock.advance(250);
    plane.publish_next().await;
    assert_eq!(reason().await.as_deref(), Some("NotReported"));
}

#[tokio::test]
async fn many_watchers_hear_of_a_change_and_an_apply_does_not_wait_for_them() {
    let plane = Plane::new().await;
    let mut watches = Vec::new();
    for _ in 0..100 {
        let mut events = watch(&plane, WatchStatusRequest::default()).await;
        assert_eq!(told(&mut events).await, "SYNCED");
        watches.push(tokio::spawn(async move { (told(&mut events).await, events) }));
    }
    let begin = Instant::now();
    plane.apply(vec![database("a", &[REGION])]).await;
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    for watch in watches {
        assert_eq!(watch.await.unwrap().0, "CHANGED a Pending");
    }
}

#[tokio::test]
async fn who_joins_others_sees_what_was_applied_before_its_call_and_what_they_do_from_then_on() {
    let plane = Plane::new().await;
    let mut first = watch(&plane, WatchStatusRequest::default()).await;
    assert_eq!(told(&mut first).await, "SYNCED");
    for round in 0..20 {
        let name = format!("db-{round}");
        plane.apply(vec![database(&name, &[REGION])]).await;
        let mut second = watch(&plane, WatchStatusRequest::default()).await;
        assert_eq!(told(&mut second).await, format!("CHANGED {name} Pending"));
        assert_eq!(told(&mut second).await, "SYNCED");
        plane.apply(vec![]).await;
        assert_eq!(told(&mut second).await, format!("REMOVED {name} Pending"));
    }
    // What came and went while it looked away never was, for the first one.
    plane.apply(vec![database("last", &[REGION])]).await;
    while told(&mut first).await != "CHANGED last Pending" {}
    quiet(&mut first).await;
}

#[tokio::test]
async fn a_watch_ends_with_the_control_plane() {
    let plane = Plane::new().await;
    let mut events = watch(&plane, WatchStatusRequest::default()).await;
    assert_eq!(told(&mut events).await, "SYNCED");
    plane.shutdown.cancel();
    assert_eq!(events.next().await.unwrap().unwrap_err().code(), Code::Unavailable);
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn from_report_to_watcher_takes_about_one_commit() {
    let plane = Plane::new().await;
    plane.heartbeat(REGION, 1, 0).await;
    plane.apply(vec![database("a", &[REGION])]).await;
    let resource = plane.only().await;
    let mut events = watch(&plane, WatchStatusRequest::default()).await;
    told(&mut events).await;
    told(&mut events).await;
    let mut took = Vec::new();
    for sequence in 2..102 {
        let phase = if sequence % 2 == 0 { "Creating" } else { "Ready" };
        let begin = Instant::now();
        plane.report(vec![report_of(&resource, sequence, phase)]).await;
        let committed = begin.elapsed();
        next(&mut events).await;
        took.push((begin.elapsed() - committed, committed));
    }
    took.sort();
    println!("commit → watcher: p50 {:?}, p90 {:?}; the commit: {:?}", took[50].0, took[90].0, took[50].1);
    assert!(took[50].0 < Duration::from_millis(20), "{:?}", took[50]);
}
