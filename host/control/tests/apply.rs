//! ApplyState, against a real PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::{collections::BTreeSet, time::Instant};

use common::{OTHER, Plane, REGION, actions, database};
use senren_api::v1::{self, ApplyStateRequest};
use tonic::Code;
use tonic_types::StatusExt as _;

fn with_id(id: &str, databases: Vec<v1::Database>) -> ApplyStateRequest {
    ApplyStateRequest { request_id: id.into(), databases, ..Default::default() }
}

fn expecting(revision: u64, databases: Vec<v1::Database>) -> ApplyStateRequest {
    ApplyStateRequest { expected_revision: Some(revision), databases, ..Default::default() }
}

#[tokio::test]
async fn an_apply_is_complete_what_it_does_not_name_is_deleted() {
    let plane = Plane::new().await;
    plane.heartbeat(REGION, 1, 0).await;
    plane.heartbeat(OTHER, 1, 0).await;

    let first = plane.apply(vec![database("a", &[OTHER, REGION]), database("b", &[REGION])]).await;
    assert_eq!(first.revision, 1);
    let created = ["aws:us-east-1/a created", "aws:us-east-1/b created", "gcp:us-central1/a created"];
    assert_eq!(actions(&first), created);
    assert!(first.changes.iter().all(|change| change.generation == 1));

    let again = plane.apply(vec![database("a", &[OTHER, REGION]), database("b", &[REGION])]).await;
    assert_eq!((again.revision, again.changes.len()), (1, 3), "nothing changed");
    assert!(actions(&again).iter().all(|action| action.ends_with("unchanged")));

    let bigger = v1::Database { spec_json: r#"{"memory_mb":128}"#.into(), ..database("a", &[REGION]) };
    let third = plane.apply(vec![bigger]).await;
    assert_eq!(third.revision, 2);
    let changed = ["aws:us-east-1/a updated", "aws:us-east-1/b deleted", "gcp:us-central1/a deleted"];
    assert_eq!(actions(&third), changed);
    assert_eq!(third.changes[0].uid, first.changes[0].uid, "an update keeps the uid");

    let departing: Vec<(String, bool)> =
        plane.status().await.resources.into_iter().map(|r| (r.name, r.deleting)).collect();
    let expected =
        [("a", false), ("a", true), ("b", true)].map(|(name, deleting)| (name.to_owned(), deleting));
    assert_eq!(departing, expected, "what was deleted is listed until its region says that it is gone");
}

#[tokio::test]
async fn another_type_under_the_same_name_is_another_resource() {
    let plane = Plane::new().await;
    let first = plane.apply(vec![database("a", &[REGION])]).await;
    let other = v1::Database { r#type: "aerospike".into(), ..database("a", &[REGION]) };
    let second = plane.apply(vec![other]).await;
    assert_eq!(actions(&second), ["aws:us-east-1/a replaced"]);
    assert_ne!(second.changes[0].uid, first.changes[0].uid);
}

#[tokio::test]
async fn sites_do_not_see_each_other() {
    let plane = Plane::new().await;
    plane.apply(vec![database("a", &[REGION])]).await;
    let other = ApplyStateRequest { site: "payments".into(), databases: Vec::new(), ..Default::default() };
    let answer = plane.try_apply(other).await.unwrap();
    assert_eq!((answer.revision, answer.changes.len()), (0, 0));
    assert_eq!(plane.status().await.resources.len(), 1);
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer_and_changes_nothing() {
    let plane = Plane::new().await;
    let first = plane.try_apply(with_id("r1", vec![database("a", &[REGION])])).await.unwrap();
    plane.apply(vec![database("b", &[REGION])]).await;

    let repeated = plane.try_apply(with_id("r1", vec![database("a", &[REGION])])).await.unwrap();
    assert_eq!(repeated, first);
    assert_eq!(plane.status().await.revision, 2);

    // Even if the same would be refused by now: the region has learned that 64 MB are not for it.
    plane.heartbeat(REGION, 1, 0).await;
    let refused = v1::Database { spec_json: r#"{"memory_mb":1}"#.into(), ..database("a", &[REGION]) };
    assert_eq!(
        plane.try_apply(with_id("r2", vec![refused])).await.unwrap_err().code(),
        Code::InvalidArgument
    );

    let reused = plane.try_apply(with_id("r1", vec![])).await.unwrap_err();
    assert_eq!(reused.code(), Code::AlreadyExists);
    assert!(reused.message().contains("use a new id"), "{}", reused.message());
}

#[tokio::test]
async fn the_same_request_twice_at_once_is_applied_once() {
    let plane = Plane::new().await;
    let sibling = plane.sibling().await;
    let request = || with_id("r1", vec![database("a", &[REGION])]);
    let (one, two) = tokio::join!(plane.try_apply(request()), sibling.try_apply(request()));
    assert_eq!(one.unwrap(), two.unwrap());
    assert_eq!(plane.status().await.revision, 1);

    // Also where it changes nothing.
    for index in 0..8 {
        let request = || with_id(&format!("again-{index}"), vec![database("a", &[REGION])]);
        let (one, two) = tokio::join!(plane.try_apply(request()), sibling.try_apply(request()));
        assert_eq!(one.unwrap(), two.unwrap());
    }
}

#[tokio::test]
async fn an_expected_revision_that_is_not_the_sites_aborts() {
    let plane = Plane::new().await;
    assert_eq!(plane.try_apply(expecting(0, vec![database("a", &[REGION])])).await.unwrap().revision, 1);
    let stale = plane.try_apply(expecting(0, vec![])).await.unwrap_err();
    assert_eq!(stale.code(), Code::Aborted);
    assert!(stale.message().contains("is at revision 1"), "{}", stale.message());
    assert_eq!(plane.status().await.resources.len(), 1);
    assert_eq!(plane.try_apply(expecting(1, vec![])).await.unwrap().revision, 2);
}

#[tokio::test]
async fn what_is_protected_does_not_go_until_an_earlier_apply_has_lifted_it() {
    let plane = Plane::new().await;
    let protected = v1::Database { deletion_protection: true, ..database("a", &[REGION, OTHER]) };
    plane.apply(vec![protected.clone()]).await;

    let retyped = v1::Database { r#type: "other".into(), deletion_protection: false, ..protected.clone() };
    for (databases, count) in [(vec![], 2), (vec![retyped], 2), (vec![database("a", &[REGION])], 1)] {
        let request = ApplyStateRequest { databases, ..Default::default() };
        let refused = plane.try_apply(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        let details = refused.get_details_precondition_failure().unwrap();
        assert_eq!(details.violations.len(), count);
        assert!(details.violations[0].description.contains("deletion_protection = false first"));
    }
    assert_eq!(plane.status().await.revision, 1);

    plane.apply(vec![database("a", &[REGION, OTHER])]).await;
    assert_eq!(plane.apply(vec![]).await.revision, 3);
}

#[tokio::test]
async fn bad_input_is_named_field_by_field_and_changes_nothing() {
    let plane = Plane::new().await;
    plane.heartbeat(REGION, 1, 0).await;
    let mut wrong = database("a", &[REGION, "us-east-1"]);
    wrong.spec_json = r#"{"memory_mb": 1}"#.into();
    let request = ApplyStateRequest {
        site: "No Site".into(),
        request_id: "x".repeat(200),
        databases: vec![database("ok", &[REGION]), wrong, database("ok", &[])],
        ..Default::default()
    };
    let refused = plane.try_apply(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let details = refused.get_details_bad_request().unwrap();
    let fields: Vec<&str> =
        details.field_violations.iter().map(|violation| violation.field.as_str()).collect();
    let expected = [
        "site",
        "request_id",
        "databases[1].regions[1]",
        "databases[2].name",
        "databases[2].regions",
        // What its regions say of it, too, so that nobody has to come twice.
        "databases[1].spec/memory_mb",
    ];
    assert_eq!(fields, expected);
    assert_eq!(plane.status().await.revision, 0);
}

async fn check_spec(spec: &str, expected: &[&str]) {
    let plane = Plane::new().await;
    plane.heartbeat(REGION, 1, 0).await;
    plane.heartbeat(OTHER, 1, 0).await;
    let wrong = v1::Database { spec_json: spec.into(), ..database("a", &[REGION, OTHER]) };
    let request = ApplyStateRequest { databases: vec![wrong], ..Default::default() };
    let fields: Vec<String> = match plane.try_apply(request).await {
        Ok(_) => Vec::new(),
        Err(status) => {
            let details = status.get_details_bad_request().unwrap();
            details.field_violations.iter().map(|violation| violation.field.clone()).collect()
        }
    };
    assert_eq!(fields, expected, "{spec}");
}

#[tokio::test]
async fn a_spec_is_checked_against_the_schema_that_its_regions_report() {
    check_spec(r#"{"memory_mb": 64, "replicas": 2}"#, &[]).await;
    check_spec(r#"{"memory_mb": 1}"#, &["databases[0].spec/memory_mb"]).await;
    check_spec("", &["databases[0].spec/memory_mb"]).await;
    let both = ["databases[0].spec/memory_mb", "databases[0].spec/memory_md"];
    check_spec(r#"{"memory_mb": "64", "memory_md": 1}"#, &both).await;
}

#[tokio::test]
async fn a_type_that_no_region_has_is_refused_unless_its_regions_are_still_to_come() {
    let plane = Plane::new().await;
    plane.heartbeat(REGION, 1, 0).await;
    let typed = |regions: &[&str]| v1::Database { r#type: "reddis".into(), ..database("a", regions) };

    let request = ApplyStateRequest { databases: vec![typed(&[REGION])], ..Default::default() };
    let refused = plane.try_apply(request).await.unwrap_err();
    let details = refused.get_details_bad_request().unwrap();
    assert_eq!(details.field_violations[0].field, "databases[0].type");
    let description = &details.field_violations[0].description;
    assert!(
        description.contains("did you mean redis?") && description.contains("known types: redis"),
        "{description}"
    );

    let answer = plane.apply(vec![typed(&[OTHER])]).await;
    let codes: Vec<&str> = answer.warnings.iter().map(|warning| warning.code.as_str()).collect();
    assert_eq!(codes, ["RegionNeverSeen"]);
}

#[tokio::test]
async fn warnings_say_what_will_not_work_as_it_is_now() {
    let plane = Plane::new().await;
    plane.heartbeat(REGION, 1, 0).await;
    let mut without = common::heartbeat(OTHER, 1, 0, "");
    if let Some(v1::status_report::Body::Heartbeat(beat)) = &mut without.body {
        beat.plugins.clear();
    }
    plane.report(vec![without]).await;

    let answer = plane.apply(vec![database("a", &[REGION, OTHER, "onprem:berlin-2"])]).await;
    let warnings: Vec<(&str, &str, &str)> =
        answer.warnings.iter().map(|w| (w.code.as_str(), w.region.as_str(), w.name.as_str())).collect();
    assert_eq!(warnings, [("RegionNeverSeen", "onprem:berlin-2", ""), ("NoPlugin", OTHER, "a")]);

    plane.clock.advance(3000);
    let answer = plane.apply(vec![database("a", &[REGION])]).await;
    assert_eq!(answer.warnings[0].code, "RegionSilent");
    assert!(answer.warnings[0].message.contains("3s ago"), "{}", answer.warnings[0].message);
}

#[tokio::test]
async fn applies_of_one_site_at_once_happen_one_after_the_other() {
    let plane = Plane::new().await;
    let sibling = plane.sibling().await;
    let apply = |index: usize| {
        let plane = if index.is_multiple_of(2) { &plane } else { &sibling };
        async move { plane.apply(vec![database(&format!("db-{index}"), &[REGION])]).await.revision }
    };
    let revisions: BTreeSet<u64> = futures::future::join_all((0..20).map(apply)).await.into_iter().collect();
    assert_eq!(revisions, (1..=20).collect());
    let left = plane.status().await;
    assert_eq!(left.resources.iter().filter(|resource| !resource.deleting).count(), 1);
}

#[tokio::test]
async fn only_one_of_those_who_expect_the_same_revision_wins() {
    let plane = Plane::new().await;
    let apply =
        |index: usize| plane.try_apply(expecting(0, vec![database(&format!("db-{index}"), &[REGION])]));
    let results = futures::future::join_all((0..10).map(apply)).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.iter().flat_map(|result| result.as_ref().err()).all(|e| e.code() == Code::Aborted));
}

#[tokio::test]
async fn sites_that_share_regions_in_any_order_never_deadlock() {
    let plane = Plane::new().await;
    let regions: Vec<String> = (0..8).map(|index| format!("aws:region-{index}")).collect();
    let apply = |index: usize| {
        let mut named: Vec<&str> = regions.iter().map(String::as_str).collect();
        named.rotate_left(index % 8);
        if index.is_multiple_of(3) {
            named.reverse();
        }
        let site = format!("site-{}", index % 10);
        let databases = vec![database(&format!("db-{index}"), &named)];
        plane.try_apply(ApplyStateRequest { site, databases, ..Default::default() })
    };
    for result in futures::future::join_all((0..60).map(apply)).await {
        result.unwrap();
    }
}

#[tokio::test]
async fn a_thousand_resources_are_one_transaction_and_not_a_thousand() {
    let plane = Plane::new().await;
    let databases: Vec<v1::Database> =
        (0..500).map(|i| database(&format!("db-{i}"), &[REGION, OTHER])).collect();
    let begin = Instant::now();
    let answer = plane.apply(databases).await;
    let took = begin.elapsed();
    assert_eq!(answer.changes.len(), 1000);
    assert!(took.as_secs() < 3, "{took:?}");
    println!("apply of 1,000 resources: {took:?}");
    plane.publish_all().await;
    assert_eq!(plane.published(REGION)[0].resources.len(), 500);

    let mut small = Vec::new();
    for index in 0..50 {
        let site = format!("site-{index}");
        let request =
            ApplyStateRequest { site, databases: vec![database("a", &[REGION])], ..Default::default() };
        let begin = Instant::now();
        plane.try_apply(request).await.unwrap();
        small.push(begin.elapsed());
    }
    small.sort();
    println!("apply of 1 resource: p50 {:?}, max {:?}", small[25], small[49]);
}

#[tokio::test]
async fn every_revision_is_in_the_history() {
    let plane = Plane::new().await;
    plane.try_apply(with_id("r1", vec![database("a", &[REGION])])).await.unwrap();
    plane.apply(vec![]).await;
    let rows: Vec<(i64, String, serde_json::Value)> =
        sqlx::query_as("SELECT revision, request_id, changes FROM history ORDER BY revision")
            .fetch_all(&plane.sql)
            .await
            .unwrap();
    let told: Vec<(i64, &str, &str)> = rows
        .iter()
        .map(|(r, id, changes)| (*r, id.as_str(), changes[0]["action"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [(1, "r1", "created"), (2, "", "deleted")]);
}

#[tokio::test]
async fn in_a_region_that_never_was_there_is_nothing_to_wait_for() {
    let plane = Plane::new().await;
    plane.apply(vec![database("a", &["aws:us-eats-1"])]).await;
    let pending = plane.only().await;
    assert_eq!((pending.phase.as_str(), pending.reason.as_str()), ("Pending", "RegionNeverSeen"));
    plane.apply(vec![]).await;
    assert!(plane.status().await.resources.is_empty());
}
