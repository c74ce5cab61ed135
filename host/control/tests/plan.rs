//! PlanState: what would happen, and that it doesn't.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{OTHER, Plane, REGION, database, heartbeat_of_both_types, told, with_spec};
use senren_api::v1::{self, PlanStateRequest};
use tonic::Code;

/// `region name action | summary`, with `!` for disruptive and `†` for data loss.
fn lines(plan: &v1::PlanStateResponse) -> Vec<String> {
    let line = |planned: &v1::PlannedChange| {
        let change = planned.change.as_ref().unwrap();
        let marks = [(planned.disruptive, "!"), (planned.data_loss, "†")];
        let marks: String = marks.into_iter().filter_map(|(marked, mark)| marked.then_some(mark)).collect();
        format!("{} {} {}{marks} | {}", change.region, change.name, told(change), planned.summary)
    };
    plan.changes.iter().map(line).collect()
}

#[tokio::test]
async fn a_plan_says_what_an_apply_would_do_and_what_that_would_mean() {
    let plane = Plane::new().await;
    plane.report(vec![heartbeat_of_both_types(REGION, 1)]).await;
    let names = ["gone", "moved", "retyped", "same", "small", "tuned", "young"];
    let mut databases: Vec<v1::Database> = names.iter().map(|name| database(name, &[REGION])).collect();
    databases.push(database("elsewhere", &[OTHER]));
    plane.apply(databases).await;
    let before = (plane.status().await, plane.state(None).await.unwrap(), plane.desired(REGION).await);

    let plan = plane
        .plan(vec![
            with_spec("same", r#"{"memory_mb":64,"replicas":0}"#),
            with_spec("small", r#"{"memory_mb":128,"replicas":1}"#),
            with_spec("tuned", r#"{"memory_mb":64,"replicas":2}"#),
            with_spec("moved", r#"{"memory_mb":64,"persistence":true}"#),
            v1::Database { r#type: "redis-cluster".into(), ..database("retyped", &[OTHER, REGION]) },
            database("young", &[REGION]),
        ])
        .await;
    assert_eq!(plan.revision, 1);
    let expected = [
        "aws:us-east-1 gone deleted!† | is deleted, with its data",
        "aws:us-east-1 moved updated held Replacement!† | persistence false → true: it is deleted with its data, and \
         made anew; held until it is confirmed",
        "aws:us-east-1 retyped replaced held Replacement!† | type redis → redis-cluster: it is deleted with its data, \
         and made anew; held until it is confirmed",
        "aws:us-east-1 same updated | nothing of what runs changes",
        "aws:us-east-1 small updated! | memory_mb 64 → 128, replicas 0 → 1: its instances restart one by one",
        "aws:us-east-1 tuned updated | replicas 0 → 2: in place",
        "aws:us-east-1 young unchanged | nothing changes",
        "gcp:us-central1 elsewhere deleted | is forgotten: its region was never seen",
        "gcp:us-central1 retyped created | is created",
    ];
    assert_eq!(lines(&plan), expected);
    let small = &plan.changes[4];
    let fields: Vec<_> = small.fields.iter().map(|f| (f.path.as_str(), f.effect.as_str())).collect();
    assert_eq!(fields, [("/memory_mb", "rolling-restart"), ("/replicas", "in-place")]);
    assert_eq!(small.fields[0].before_json.as_deref(), Some("64"));
    let created = plan.changes[8].change.as_ref().unwrap();
    assert_eq!((created.uid.as_str(), created.generation), ("", 2), "there is none yet");
    assert_eq!(plan.changes[8].fields[0].after_json.as_deref(), Some("64"));
    let codes: Vec<&str> = plan.warnings.iter().map(|warning| warning.code.as_str()).collect();
    assert_eq!(codes, ["RegionNeverSeen"]);

    let after = (plane.status().await, plane.state(None).await.unwrap(), plane.desired(REGION).await);
    assert_eq!(before, after, "nothing has changed");
}

#[tokio::test]
async fn an_apply_does_what_was_planned() {
    let plane = Plane::new().await;
    plane.heartbeat(REGION, 1, 0).await;
    plane.apply(["a", "b", "c"].map(|name| database(name, &[REGION])).to_vec()).await;
    let wanted = vec![with_spec("a", r#"{"memory_mb":64,"persistence":true}"#), database("d", &[REGION])];
    let plan = plane.plan(wanted.clone()).await;
    let applied = plane.apply_carefully(wanted).await;
    assert_eq!((applied.revision, plan.revision), (2, 1));
    let planned = plan.changes.iter().map(|planned| planned.change.clone().unwrap());
    for (planned, done) in planned.zip(&applied.changes) {
        assert_eq!(v1::ResourceChange { uid: done.uid.clone(), ..planned }, *done);
    }
}

#[tokio::test]
async fn a_rollback_can_be_planned_and_what_it_confirms() {
    let plane = Plane::new().await;
    plane.heartbeat(REGION, 1, 0).await;
    plane.apply(vec![database("a", &[REGION])]).await;
    plane.apply(vec![with_spec("a", r#"{"memory_mb":64,"persistence":true}"#)]).await;
    let back = PlanStateRequest { rollback_to: Some(1), ..Default::default() };
    let plan = plane.try_plan(back.clone()).await.unwrap();
    let summary = "persistence true → false: it is deleted with its data, and made anew";
    let held = format!("aws:us-east-1 a updated held Replacement!† | {summary}; held until it is confirmed");
    assert_eq!(lines(&plan), [held]);
    let confirmed = PlanStateRequest { confirm_data_loss: true, ..back.clone() };
    let plan = plane.try_plan(confirmed).await.unwrap();
    assert_eq!(lines(&plan), [format!("aws:us-east-1 a updated!† | {summary}")]);
    let both = PlanStateRequest { databases: vec![database("a", &[REGION])], ..back };
    assert_eq!(plane.try_plan(both).await.unwrap_err().code(), Code::InvalidArgument);
    let unknown = PlanStateRequest { rollback_to: Some(7), ..Default::default() };
    assert_eq!(plane.try_plan(unknown).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn without_a_schema_the_fields_are_told_and_no_effects() {
    let plane = Plane::new().await;
    plane.apply(vec![database("a", &[REGION])]).await;
    let plan = plane.plan(vec![with_spec("a", r#"{"memory_mb":96}"#)]).await;
    assert_eq!(lines(&plan), ["aws:us-east-1 a updated | memory_mb 64 → 96"]);
    assert_eq!(plan.changes[0].fields[0].effect, "");
}

#[tokio::test]
async fn what_an_apply_would_refuse_a_plan_refuses() {
    let plane = Plane::new().await;
    plane.heartbeat(REGION, 1, 0).await;
    let protected =
        v1::Database { deletion_protection: true, ..with_spec("a", r#"{"memory_mb":64,"zone":"1"}"#) };
    plane.apply(vec![protected, database("b", &[REGION])]).await;
    let moved = with_spec("a", r#"{"memory_mb":64,"zone":"2"}"#);
    for (databases, code, words) in [
        (vec![with_spec("a", "{}")], Code::InvalidArgument, "databases[0].spec/memory_mb"),
        (
            vec![database("b", &[REGION]), moved],
            Code::InvalidArgument,
            "databases[1].spec/zone: it cannot be changed",
        ),
        (vec![], Code::FailedPrecondition, "protected"),
    ] {
        let refused =
            plane.try_plan(PlanStateRequest { databases: databases.clone(), ..Default::default() }).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), code);
        assert!(refused.message().contains(words), "{}", refused.message());
        let request = v1::ApplyStateRequest { databases, ..Default::default() };
        let apply = plane.try_apply(request).await.unwrap_err();
        assert_eq!((apply.code(), apply.message()), (code, refused.message()));
    }
    assert_eq!(plane.status().await.revision, 1);
}
