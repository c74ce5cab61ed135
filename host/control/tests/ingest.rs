//! What regions report, and what becomes of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{OTHER, Plane, REGION, database, report_of, report_with};
use senren_api::v1;
use senren_bus::{Record, Topics, codec};
use senren_control::ingest;

/// A region that is there, with one resource in it, of which nothing was reported yet.
async fn plane_with_resource() -> (Plane, v1::ResourceStatus) {
    let plane = Plane::new().await;
    plane.heartbeat(REGION, 1, 0).await;
    plane.apply(vec![database("a", &[REGION])]).await;
    plane.publish_all().await;
    let resource = plane.only().await;
    assert_eq!((resource.phase.as_str(), resource.reason.as_str()), ("Pending", "NotReported"));
    (plane, resource)
}

#[tokio::test]
async fn a_status_travels_from_the_region_to_whoever_asks() {
    let (plane, resource) = plane_with_resource().await;
    plane.clock.advance(700);
    let report = report_with(&resource, 5, "Ready", |report| {
        report.endpoints = vec![v1::Endpoint { name: "primary".into(), host: "10.0.0.1".into(), port: 6379 }];
        report.details_json = r#"{"role":"primary"}"#.into();
    });
    assert_eq!(plane.report(vec![report]).await.changed, 1);
    let status = plane.only().await;
    assert!(status.ready);
    assert_eq!((status.phase.as_str(), status.observed_generation), ("Ready", 1));
    assert_eq!(status.endpoints[0].host, "10.0.0.1");
    assert_eq!(status.details_json, r#"{"role":"primary"}"#);
    let (applied, ready) = (status.applied_at.unwrap(), status.ready_at.unwrap());
    assert_eq!(
        (ready.seconds - applied.seconds) * 1000 + i64::from((ready.nanos - applied.nanos) / 1_000_000),
        700
    );
}

#[tokio::test]
async fn an_older_report_changes_nothing_in_whatever_order_they_come() {
    let (plane, resource) = plane_with_resource().await;
    let report = |sequence, phase| report_of(&resource, sequence, phase);
    plane.report(vec![report(5, "Ready"), report(3, "Creating"), report(4, "Failed")]).await;
    assert_eq!(plane.only().await.phase, "Ready");
    assert_eq!(plane.report(vec![report(4, "Failed")]).await.changed, 0);
    assert_eq!(
        plane.report(vec![report(5, "Failed")]).await.changed,
        0,
        "the same sequence is the same report"
    );
    assert_eq!(plane.only().await.phase, "Ready");
    plane.report(vec![report(6, "Degraded")]).await;
    let degraded = plane.only().await;
    assert_eq!((degraded.phase.as_str(), degraded.ready), ("Degraded", false));
}

#[tokio::test]
async fn a_report_about_an_earlier_generation_is_no_ready() {
    let (plane, before) = plane_with_resource().await;
    plane.report(vec![report_of(&before, 5, "Ready")]).await;
    plane.clock.advance(60);
    let bigger = v1::Database { spec_json: r#"{"memory_mb":128}"#.into(), ..database("a", &[REGION]) };
    plane.apply(vec![bigger]).await;
    let status = plane.only().await;
    assert_eq!((status.phase.as_str(), status.ready, status.ready_at), ("Updating", false, None));
    assert_eq!((status.generation, status.observed_generation), (2, 1));
    plane.report(vec![report_of(&status, 6, "Ready")]).await;
    let status = plane.only().await;
    assert!(status.ready && status.ready_at.is_some());
}

#[tokio::test]
async fn a_report_about_another_uid_region_or_name_changes_nothing() {
    let (plane, resource) = plane_with_resource().await;
    let wrong = [
        report_with(&resource, 5, "Ready", |report| report.uid = uuid::Uuid::nil().to_string()),
        report_with(&resource, 5, "Ready", |report| report.name = "b".into()),
        report_with(&resource, 5, "Ready", |report| report.site = "payments".into()),
        v1::StatusReport { region: OTHER.into(), ..report_of(&resource, 5, "Ready") },
    ];
    assert_eq!(plane.report(wrong.into()).await.changed, 0);
    assert_eq!(plane.only().await.phase, "Pending");
}

#[tokio::test]
async fn what_departs_is_forgotten_when_its_region_says_that_it_is_gone() {
    let (plane, resource) = plane_with_resource().await;
    plane.report(vec![report_of(&resource, 5, "Ready")]).await;
    plane.apply(vec![]).await;
    let departing = plane.only().await;
    assert!(departing.deleting && !departing.ready);
    assert_eq!(departing.phase, "Deleting");

    // Heartbeats alone never make a resource go that a region has reported on.
    for sequence in 6..10 {
        plane.heartbeat(REGION, sequence, 2).await;
    }
    assert!(plane.only().await.deleting);
    plane.report(vec![report_with(&resource, 10, "Deleting", |report| report.deleted = true)]).await;
    assert!(plane.status().await.resources.is_empty());
    assert_eq!(plane.report(vec![report_of(&resource, 11, "Ready")]).await.changed, 0);
}

#[tokio::test]
async fn what_a_new_cluster_in_the_place_of_the_old_one_knows_nothing_of_is_forgotten() {
    let (plane, resource) = plane_with_resource().await;
    plane.report(vec![report_of(&resource, 5, "Ready")]).await;
    plane.apply(vec![]).await;
    plane.publish_all().await;
    let beat = |sequence, version, settled: bool, served: bool| {
        let mut report = common::heartbeat(REGION, sequence, version, "");
        if let Some(v1::status_report::Body::Heartbeat(beat)) = &mut report.body {
            beat.settled = settled;
            beat.plugins.retain(|_| served);
        }
        vec![report]
    };
    for (sequence, version, settled, served) in
        [(6, 0, true, true), (7, 1, true, true), (8, 2, false, true), (9, 2, true, false)]
    {
        plane.report(beat(sequence, version, settled, served)).await;
        assert!(plane.only().await.deleting, "at heartbeat {sequence}");
    }
    plane.report(beat(10, 2, true, true)).await;
    assert!(plane.status().await.resources.is_empty());
}

#[tokio::test]
async fn a_settled_region_makes_nothing_go_that_is_desired() {
    let (plane, _) = plane_with_resource().await;
    let mut report = common::heartbeat(REGION, 6, 1, "");
    if let Some(v1::status_report::Body::Heartbeat(beat)) = &mut report.body {
        beat.settled = true;
    }
    plane.report(vec![report]).await;
    assert!(!plane.only().await.deleting);
}

#[tokio::test]
async fn a_heartbeat_that_waited_for_us_is_no_sign_that_the_region_is_there_now() {
    let (plane, resource) = plane_with_resource().await;
    plane.report(vec![report_of(&resource, 5, "Ready")]).await;
    plane.clock.advance(3_600_000);
    let sent = |sequence, seconds_ago: i64| {
        let now = plane.clock.sources().now().timestamp();
        let mut report = common::heartbeat(REGION, sequence, 0, "");
        if let Some(v1::status_report::Body::Heartbeat(beat)) = &mut report.body {
            beat.sent_at = Some(prost_types::Timestamp { seconds: now - seconds_ago, nanos: 0 });
        }
        vec![report]
    };
    assert_eq!(plane.report(sent(6, 600)).await.heartbeats, 1);
    let region = plane.regions().await.remove(0);
    assert_eq!(region.phase, "Silent");
    assert!(region.problems[0].contains("600s after it was sent"), "{:?}", region.problems);
    let status = plane.only().await;
    assert_eq!((status.phase.as_str(), status.ready), ("Unknown", false));
    assert!(status.message.contains("10m 0s ago"), "{}", status.message);

    // Clocks may differ by a while, in both directions.
    for (sequence, seconds_ago) in [(7, 50), (8, -7000)] {
        plane.report(sent(sequence, seconds_ago)).await;
        let region = plane.regions().await.remove(0);
        assert_eq!((region.phase.as_str(), region.problems.len()), ("Connected", 0));
    }
    assert!(plane.only().await.ready);
}

#[tokio::test]
async fn what_was_taken_back_before_its_region_got_round_to_it_is_forgotten_when_the_region_confirms() {
    let (plane, _) = plane_with_resource().await;
    plane.apply(vec![]).await;
    plane.publish_all().await;
    plane.heartbeat(REGION, 2, 1).await;
    assert!(plane.only().await.deleting, "that was before");
    plane.heartbeat(REGION, 3, 2).await;
    assert!(plane.status().await.resources.is_empty());
}

#[tokio::test]
async fn what_somebody_deleted_in_the_region_by_hand_is_still_desired() {
    let (plane, resource) = plane_with_resource().await;
    plane.report(vec![report_with(&resource, 5, "Deleting", |report| report.deleted = true)]).await;
    let status = plane.only().await;
    assert_eq!((status.phase.as_str(), status.deleting), ("Pending", false));
    plane.report(vec![report_of(&resource, 6, "Ready")]).await;
    assert!(plane.only().await.ready);
}

#[tokio::test]
async fn messages_that_mean_nothing_are_skipped_and_the_others_are_not_disturbed() {
    let (plane, resource) = plane_with_resource().await;
    let topics = Topics::default();
    let good = codec::encode_report(&topics, &report_of(&resource, 5, "Ready"));
    let bad = |change: &dyn Fn(&mut Record)| {
        let mut record = good.clone();
        change(&mut record);
        record
    };
    let invalid = |change: fn(&mut v1::ResourceReport)| {
        codec::encode_report(&topics, &report_with(&resource, 9, "Failed", change))
    };
    let records = [
        bad(&|record| record.payload = None),
        bad(&|record| record.payload = Some(b"garbage".to_vec().into())),
        bad(&|record| record.payload = Some(vec![0; 2_000_000].into())),
        bad(&|record| record.headers.clear()),
        invalid(|report| report.uid = "no uid".into()),
        invalid(|report| report.phase = "\0".into()),
        invalid(|report| report.name = "A/B".into()),
        invalid(|report| report.generation = u64::MAX),
        codec::encode_report(
            &topics,
            &v1::StatusReport { sequence: u64::MAX, ..report_of(&resource, 1, "Failed") },
        ),
        codec::encode_report(&topics, &common::heartbeat(REGION, 9, u64::MAX, "")),
        good.clone(),
    ];
    let handled = ingest::handle(&plane.ingest, &records).await.unwrap();
    assert_eq!((handled.changed, handled.heartbeats, handled.skipped), (1, 0, 10));
    assert!(plane.only().await.ready);
}

#[tokio::test]
async fn text_that_postgresql_cannot_hold_does_not_stop_a_heartbeat_or_a_report() {
    let (plane, resource) = plane_with_resource().await;
    let mut beat = common::heartbeat(REGION, 9, 0, "\0");
    if let Some(v1::status_report::Body::Heartbeat(beat)) = &mut beat.body {
        beat.problems = vec!["a\0b".into()];
        beat.plane_version = "\0".into();
    }
    let report = report_with(&resource, 8, "Failed", |report| report.message = "a\0b".into());
    let handled = plane.report(vec![beat, report]).await;
    assert_eq!((handled.changed, handled.heartbeats), (1, 1));
    assert_eq!(plane.regions().await[0].problems, ["ab"]);
}

#[tokio::test]
async fn two_control_planes_take_in_the_same_reports_at_once() {
    let (plane, resource) = plane_with_resource().await;
    let sibling = plane.sibling().await;
    let reports = |offset: u64| {
        let resource = resource.clone();
        move |plane: Plane| async move {
            for sequence in (10..200).filter(|sequence| sequence % 2 == offset) {
                let beat = common::heartbeat(REGION, sequence, 0, "");
                plane.report(vec![report_of(&resource, sequence, "Creating"), beat]).await;
            }
            plane
        }
    };
    let (plane, _) = tokio::join!(reports(0)(plane), reports(1)(sibling));
    plane.report(vec![report_of(&resource, 199, "Ready")]).await;
    assert_eq!(plane.only().await.phase, "Creating", "199 was there already");
}

#[tokio::test]
async fn a_regions_heartbeat_is_what_list_regions_shows() {
    let (plane, resource) = plane_with_resource().await;
    plane.apply(vec![database("a", &[REGION]), database("b", &[OTHER])]).await;
    plane.publish_all().await;
    plane.report(vec![report_of(&resource, 5, "Ready")]).await;
    plane.heartbeat(REGION, 6, 1).await;
    plane.heartbeat(REGION, 2, 0).await;

    let regions = plane.regions().await;
    assert_eq!(regions.len(), 2);
    let aws = &regions[0];
    assert_eq!((aws.id.as_str(), aws.phase.as_str(), aws.in_sync), (REGION, "Connected", true));
    assert_eq!((aws.version, aws.applied_version, aws.resources, aws.ready_resources), (1, 1, 1, 1));
    assert_eq!(aws.plugins[0].r#type, "redis");
    let gcp = &regions[1];
    assert_eq!((gcp.phase.as_str(), gcp.in_sync, gcp.version), ("NeverSeen", false, 1));
    assert_eq!(gcp.last_heartbeat_at, None);

    plane.clock.advance(3000);
    let aws = plane.regions().await.remove(0);
    assert_eq!((aws.phase.as_str(), aws.in_sync, aws.ready_resources), ("Silent", false, 0));
    let status = plane.status().await.resources.remove(0);
    assert_eq!((status.phase.as_str(), status.ready), ("Unknown", false));
    assert!(status.message.contains("3s ago"), "{}", status.message);
}

#[tokio::test]
async fn a_region_is_behind_from_the_first_apply_that_it_does_not_confirm_until_it_confirms_the_last() {
    let plane = Plane::new().await;
    plane.heartbeat(REGION, 1, 0).await;
    let region = async || plane.regions().await.remove(0);
    assert_eq!(region().await.behind_since, None);
    plane.apply(vec![database("a", &[REGION])]).await;
    let since = region().await.behind_since;
    assert!(since.is_some());
    plane.clock.advance(60_000);
    plane.apply(vec![database("b", &[REGION])]).await;
    plane.publish_all().await;
    plane.heartbeat(REGION, 2, 1).await;
    let behind = region().await;
    assert_eq!((behind.behind_since, behind.applied_version, behind.published_version), (since, 1, 2));
    plane.heartbeat(REGION, 3, 2).await;
    assert_eq!((region().await.behind_since, region().await.in_sync), (None, true));
}
