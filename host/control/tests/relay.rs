//! The relay: from a region's version to a message on the bus.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::time::{Duration, Instant};

use common::{OTHER, Plane, REGION, database};
use senren_api::{state::hash_of, v1};
use senren_control::{
    relay::{self, Step},
    upkeep::{self, Settings, Upkeep},
};

fn published(region: &str, version: u64) -> Step {
    Step::Published { region: region.into(), version }
}

fn names(state: &v1::RegionalState) -> Vec<&str> {
    state.resources.iter().map(|resource| resource.name.as_str()).collect()
}

#[tokio::test]
async fn a_burst_of_applies_is_one_message_that_names_the_whole_state() {
    let plane = Plane::new().await;
    assert_eq!(plane.publish_next().await, Step::Idle);
    plane.apply(vec![database("a", &[REGION])]).await;
    plane.apply(vec![database("a", &[REGION]), database("b", &[REGION])]).await;
    let other_site = v1::ApplyStateRequest {
        site: "payments".into(),
        databases: vec![database("c", &[REGION])],
        ..Default::default()
    };
    plane.try_apply(other_site).await.unwrap();

    assert_eq!(plane.publish_next().await, published(REGION, 3));
    assert_eq!(plane.publish_next().await, Step::Idle);
    let states = plane.published(REGION);
    assert_eq!(states.len(), 1);
    assert_eq!(names(&states[0]), ["a", "b", "c"]);
    assert_eq!(states[0].content_hash, hash_of(&states[0]));
    let a = &states[0].resources[0];
    assert_eq!((a.site.as_str(), a.r#type.as_str(), a.generation), ("default", "redis", 1));
    assert_eq!(a.spec_json, r#"{"memory_mb":64}"#);
}

#[tokio::test]
async fn only_regions_that_an_apply_touched_are_published() {
    let plane = Plane::new().await;
    plane.apply(vec![database("a", &[REGION]), database("b", &[OTHER])]).await;
    plane.publish_all().await;
    plane.apply(vec![database("a", &[REGION])]).await;
    assert_eq!(plane.publish_all().await, [published(OTHER, 2)]);
    assert_eq!(names(plane.published(OTHER).last().unwrap()), [""; 0], "an empty state is a state");
    plane.apply(vec![database("a", &[REGION])]).await;
    assert_eq!(plane.publish_next().await, Step::Idle, "nothing changed");
}

#[tokio::test]
async fn two_relays_publish_each_version_once() {
    let plane = Plane::new().await;
    let sibling = plane.sibling().await;
    let regions: Vec<String> = (0..20).map(|index| format!("aws:region-{index}")).collect();
    let regions: Vec<&str> = regions.iter().map(String::as_str).collect();
    plane.apply(vec![database("a", &regions)]).await;
    let steps = tokio::join!(plane.publish_all(), sibling.publish_all(), plane.publish_all());
    assert_eq!(steps.0.len() + steps.1.len() + steps.2.len(), 20);
    assert!(regions.iter().all(|region| plane.published(region).len() == 1));
}

#[tokio::test]
async fn a_region_that_cannot_be_published_delays_nobody_and_is_tried_again() {
    let plane = Plane::new().await;
    plane.bus.failing.lock().push(REGION.to_owned());
    plane.apply(vec![database("a", &[REGION, OTHER])]).await;
    let steps = plane.publish_all().await;
    assert!(steps.contains(&Step::Failed { region: REGION.into() }));
    assert!(steps.contains(&published(OTHER, 1)));
    assert_eq!(plane.publish_next().await, Step::Idle, "not before its time");
    let region = plane.regions().await.remove(0);
    assert!(region.problems[0].contains("broker down"), "{:?}", region.problems);
    plane.heartbeat(REGION, 1, 0).await;
    plane.heartbeat(OTHER, 1, 0).await;
    let reasons = async || {
        let resources = plane.status().await.resources;
        resources.into_iter().map(|r| (r.region, r.reason)).collect::<Vec<_>>()
    };
    let reason = |region: &str, reason: &str| (region.to_owned(), reason.to_owned());
    assert_eq!(reasons().await, [reason(REGION, "NotPublished"), reason(OTHER, "NotReported")]);

    plane.bus.failing.lock().clear();
    plane.clock.advance(250);
    assert_eq!(plane.publish_all().await, [published(REGION, 1)]);
    assert!(plane.regions().await.remove(0).problems.is_empty());
    assert_eq!(reasons().await, [reason(REGION, "NotReported"), reason(OTHER, "NotReported")]);
}

#[tokio::test]
async fn an_apply_never_waits_for_a_publication_and_what_it_changed_is_published_after_it() {
    let plane = Plane::new().await;
    plane.bus.hanging.lock().push(REGION.to_owned());
    plane.apply(vec![database("a", &[REGION])]).await;
    let hanging = tokio::spawn({
        let relay = plane.relay.clone();
        async move { relay::publish_next(&relay).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;

    let begin = Instant::now();
    plane.apply(vec![database("a", &[REGION, OTHER]), database("b", &[REGION])]).await;
    assert!(begin.elapsed() < Duration::from_millis(500), "{:?}", begin.elapsed());
    assert_eq!(plane.publish_all().await, [published(OTHER, 1)], "the region itself is taken");

    // As if that control plane had been killed in the middle: nothing is marked, the region is due again.
    hanging.abort();
    let _ = hanging.await;
    plane.bus.hanging.lock().clear();
    let begin = Instant::now();
    while plane.publish_next().await == Step::Idle {
        assert!(begin.elapsed() < Duration::from_secs(5), "never due again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(names(plane.published(REGION).last().unwrap()), ["a", "b"]);
}

#[tokio::test]
async fn a_version_names_a_content_whatever_happens_at_once() {
    let plane = Plane::new().await;
    let apply = |index: usize| {
        let site = format!("site-{}", index % 5);
        let databases = vec![database(&format!("db-{index}"), &[REGION])];
        plane.try_apply(v1::ApplyStateRequest { site, databases, ..Default::default() })
    };
    let applies = async {
        for round in 0..10 {
            for applied in futures::future::join_all((0..5).map(|i| apply(round * 5 + i))).await {
                applied.unwrap();
            }
        }
    };
    let relay = async {
        for _ in 0..100 {
            plane.publish_next().await;
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(applies, relay);
    plane.publish_all().await;
    let states = plane.published(REGION);
    assert!(states.windows(2).all(|pair| pair[0].version < pair[1].version), "versions only grow");
    let last = states.last().unwrap();
    assert_eq!((last.version, last.resources.len()), (50, 5));
}

fn upkeep(plane: &Plane) -> Upkeep {
    Upkeep::new(plane.store.clone(), plane.hub.clone(), plane.clock.sources(), Settings::default())
}

#[tokio::test]
async fn a_region_that_does_not_confirm_its_state_gets_it_again() {
    let plane = Plane::new().await;
    plane.apply(vec![database("a", &[REGION, OTHER])]).await;
    plane.publish_all().await;
    plane.heartbeat(REGION, 1, 1).await;
    let upkeep = upkeep(&plane);

    assert_eq!(upkeep::beat(&upkeep).await.unwrap(), 0, "they have time");
    plane.clock.advance(600_000);
    assert_eq!(upkeep::beat(&upkeep).await.unwrap(), 1);
    assert_eq!(plane.publish_all().await, [published(OTHER, 1)], "the one that did not confirm");
    assert_eq!(upkeep::beat(&upkeep).await.unwrap(), 0);

    // The right version with another content is no confirmation.
    plane.report(vec![common::heartbeat(REGION, 2, 1, "another content")]).await;
    assert!(!plane.regions().await[0].in_sync);
    plane.clock.advance(600_000);
    upkeep::beat(&upkeep).await.unwrap();
    assert!(plane.publish_all().await.contains(&published(REGION, 1)));
}

#[tokio::test]
async fn a_region_that_says_it_has_nothing_gets_its_state_soon() {
    let plane = Plane::new().await;
    plane.apply(vec![database("a", &[REGION])]).await;
    plane.publish_all().await;
    plane.heartbeat(REGION, 1, 0).await;
    assert_eq!(plane.publish_next().await, Step::Idle, "its topic may be about to tell it");
    plane.clock.advance(2000);
    plane.heartbeat(REGION, 2, 0).await;
    assert_eq!(plane.publish_next().await, published(REGION, 1));
    assert_eq!(plane.publish_next().await, Step::Idle);
}

#[tokio::test]
async fn a_region_that_has_less_than_it_said_before_gets_its_state_at_once() {
    let plane = Plane::new().await;
    plane.apply(vec![database("a", &[REGION])]).await;
    plane.publish_all().await;
    plane.heartbeat(REGION, 1, 1).await;
    plane.apply(vec![database("b", &[REGION])]).await;
    plane.publish_all().await;
    plane.heartbeat(REGION, 2, 1).await;
    assert_eq!(plane.publish_next().await, Step::Idle, "it has yet to read it");
    plane.heartbeat(REGION, 3, 2).await;
    plane.heartbeat(REGION, 4, 1).await;
    assert_eq!(plane.publish_next().await, published(REGION, 2));
}

#[tokio::test]
async fn a_control_plane_that_starts_tells_again_what_was_not_confirmed() {
    let plane = Plane::new().await;
    plane.apply(vec![database("a", &[REGION, OTHER])]).await;
    plane.publish_all().await;
    plane.heartbeat(REGION, 1, 1).await;
    assert_eq!(upkeep::catch_up(&upkeep(&plane)).await.unwrap(), 1);
    assert_eq!(plane.publish_all().await, [published(OTHER, 1)]);
}

#[tokio::test]
async fn a_version_from_the_future_is_overtaken_and_published() {
    let plane = Plane::new().await;
    plane.apply(vec![database("a", &[REGION])]).await;
    plane.publish_all().await;
    plane.report(vec![common::heartbeat(REGION, 1, 41, "of a backup that we do not have")]).await;
    assert_eq!(plane.publish_next().await, published(REGION, 42));
    assert_eq!(names(plane.published(REGION).last().unwrap()), ["a"]);
}

#[tokio::test]
async fn a_control_plane_that_knows_nothing_of_a_region_does_not_empty_it() {
    let plane = Plane::new().await;
    plane.report(vec![common::heartbeat(REGION, 1, 41, "made by another database")]).await;
    plane.clock.advance(3_600_000);
    upkeep::beat(&upkeep(&plane)).await.unwrap();
    assert_eq!(plane.publish_next().await, Step::Idle);
    let region = plane.regions().await.remove(0);
    assert!(region.problems[0].contains("is this the right database?"), "{:?}", region.problems);

    // An apply that names it says what it should be, above what it has.
    plane.apply(vec![database("a", &[REGION])]).await;
    assert_eq!(plane.publish_next().await, published(REGION, 42));
}

#[tokio::test]
async fn answers_are_kept_for_a_month() {
    let plane = Plane::new().await;
    let request =
        |databases| v1::ApplyStateRequest { request_id: "r".into(), databases, ..Default::default() };
    plane.try_apply(request(vec![database("a", &[REGION])])).await.unwrap();
    plane.clock.advance(29 * 24 * 3_600_000);
    upkeep::beat(&upkeep(&plane)).await.unwrap();
    assert!(plane.try_apply(request(vec![])).await.is_err(), "the id is taken");
    plane.clock.advance(2 * 24 * 3_600_000);
    upkeep::beat(&upkeep(&plane)).await.unwrap();
    assert_eq!(plane.try_apply(request(vec![])).await.unwrap().revision, 2);
}
