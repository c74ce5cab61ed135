//! What a site declared, who changed it, and back to it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{OTHER, Plane, REGION, actions, database, told, with_spec};
use senren_api::v1::{self, ApplyStateRequest, ListHistoryRequest, RollbackStateRequest};
use senren_control::upkeep::{self, Settings, Upkeep};
use tonic::Code;

fn by(author: &str, databases: Vec<v1::Database>) -> ApplyStateRequest {
    ApplyStateRequest { author: author.into(), databases, confirm_data_loss: true, ..Default::default() }
}

fn back_to(revision: u64) -> RollbackStateRequest {
    RollbackStateRequest { revision, author: "kim".into(), ..Default::default() }
}

/// `name spec regions` of each database.
fn declared(state: &v1::GetStateResponse) -> Vec<String> {
    let line = |d: &v1::Database| format!("{} {} {}", d.name, d.spec_json, d.regions.join(","));
    state.databases.iter().map(line).collect()
}

#[tokio::test]
async fn the_state_of_every_revision_is_on_record_as_it_was_written() {
    let plane = Plane::new().await;
    assert_eq!(
        plane.state(None).await.unwrap(),
        v1::GetStateResponse { site: "default".into(), ..Default::default() }
    );
    let b = database("b", &[REGION]);
    plane.try_apply(by("ann", vec![b.clone(), database("a", &[REGION, OTHER])])).await.unwrap();
    plane.try_apply(by("bob", vec![b.clone(), with_spec("a", r#"{"memory_mb":128}"#)])).await.unwrap();
    plane.try_apply(by("bob", vec![b.clone(), with_spec("a", r#"{"memory_mb": 128}"#)])).await.unwrap();
    let protected = v1::Database { deletion_protection: true, ..b };
    plane.try_apply(by("", vec![protected.clone()])).await.unwrap();

    let a_was = r#"a {"memory_mb":64} aws:us-east-1,gcp:us-central1"#;
    let b_is = r#"b {"memory_mb":64} aws:us-east-1"#;
    let first = plane.state(Some(1)).await.unwrap();
    assert_eq!((declared(&first), first.author.as_str()), (vec![a_was.to_owned(), b_is.to_owned()], "ann"));
    let second = plane.state(Some(2)).await.unwrap();
    assert_eq!(declared(&second), [r#"a {"memory_mb":128} aws:us-east-1"#, b_is]);
    let latest = plane.state(None).await.unwrap();
    assert_eq!((latest.revision, latest.databases.len()), (3, 1), "what changes nothing is no revision");
    assert!(latest.databases[0].deletion_protection && latest.applied_at.is_some());
    assert!(plane.state(Some(0)).await.unwrap().databases.is_empty());
    assert_eq!(plane.state(Some(4)).await.unwrap_err().code(), Code::NotFound);

    // What is read can be applied as it is.
    let again = plane.try_apply(by("", latest.databases)).await.unwrap();
    assert_eq!(again.revision, 3);
}

#[tokio::test]
async fn the_history_says_who_changed_what_and_when_the_latest_first() {
    let plane = Plane::new().await;
    plane.heartbeat(REGION, 1, 0).await;
    plane.try_apply(by("ann", vec![database("a", &[REGION]), database("b", &[REGION])])).await.unwrap();
    plane.clock.advance(5000);
    let request = ApplyStateRequest { request_id: "r2".into(), ..by("bob", vec![database("a", &[REGION])]) };
    plane.try_apply(request).await.unwrap();
    plane.try_rollback(back_to(1)).await.unwrap();

    let entries = plane.history(ListHistoryRequest::default()).await;
    let line = |e: &v1::HistoryEntry| {
        let changes: Vec<String> = e.changes.iter().map(|c| format!("{} {}", c.name, told(c))).collect();
        format!("{} {} {}{} {}", e.revision, e.kind, e.author, e.request_id, changes.join(", "))
    };
    let lines: Vec<String> = entries.iter().map(line).collect();
    assert_eq!(
        lines,
        ["3 Rollback kim b created", "2 Apply bobr2 b deleted", "1 Apply ann a created, b created"]
    );
    assert_eq!(entries[0].rollback_to, Some(1));
    assert_eq!(entries[1].applied_at.unwrap().seconds - entries[2].applied_at.unwrap().seconds, 5);
    assert_eq!(entries[1].changes[0].generation, 2);

    let page = ListHistoryRequest { limit: 1, before_revision: Some(3), ..Default::default() };
    assert_eq!(plane.history(page).await.iter().map(|entry| entry.revision).collect::<Vec<_>>(), [2]);
    let long = by(&"x".repeat(129), vec![]);
    assert_eq!(plane.try_apply(long).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_rollback_is_an_apply_with_a_revision_of_its_own() {
    let plane = Plane::new().await;
    plane.heartbeat(REGION, 1, 0).await;
    plane.apply(vec![database("a", &[REGION])]).await;
    plane.apply(vec![with_spec("a", r#"{"memory_mb":128}"#), database("b", &[REGION])]).await;
    let answer = plane.try_rollback(back_to(1)).await.unwrap();
    assert_eq!(
        (answer.revision, actions(&answer)),
        (3, vec!["aws:us-east-1/a updated".into(), "aws:us-east-1/b deleted".into()])
    );
    assert_eq!(declared(&plane.state(None).await.unwrap()), [r#"a {"memory_mb":64} aws:us-east-1"#]);

    let unchanged = plane.try_rollback(back_to(1)).await.unwrap();
    assert_eq!(unchanged.revision, 3);
    let stale = RollbackStateRequest { expected_revision: Some(1), ..back_to(2) };
    assert_eq!(plane.try_rollback(stale).await.unwrap_err().code(), Code::Aborted);
    assert_eq!(plane.try_rollback(back_to(9)).await.unwrap_err().code(), Code::NotFound);
    // To before the first apply: everything goes, unless that is held.
    let nothing = plane.try_rollback(back_to(0)).await.unwrap();
    assert_eq!(actions(&nothing), ["aws:us-east-1/a deleted held Deletion"]);
}

#[tokio::test]
async fn a_rollback_that_is_repeated_by_its_id_happens_once() {
    let plane = Plane::new().await;
    let sibling = plane.sibling().await;
    plane.apply(vec![database("a", &[REGION])]).await;
    plane.apply(vec![database("a", &[REGION]), database("b", &[REGION])]).await;
    let request = || RollbackStateRequest { request_id: "back".into(), ..back_to(1) };
    let (one, two) = tokio::join!(plane.try_rollback(request()), sibling.try_rollback(request()));
    assert_eq!(one.as_ref().unwrap(), &two.unwrap());
    plane.apply(vec![database("c", &[REGION])]).await;
    assert_eq!(
        plane.try_rollback(request()).await.unwrap(),
        one.unwrap(),
        "the first answer, and nothing done"
    );
    assert_eq!(plane.state(None).await.unwrap().databases[0].name, "c");

    let other = RollbackStateRequest { request_id: "back".into(), ..back_to(2) };
    assert_eq!(plane.try_rollback(other).await.unwrap_err().code(), Code::AlreadyExists);
    let apply = ApplyStateRequest { request_id: "back".into(), ..Default::default() };
    assert_eq!(plane.try_apply(apply).await.unwrap_err().code(), Code::AlreadyExists);
}

#[tokio::test]
async fn what_an_earlier_revision_declared_is_checked_as_any_apply() {
    let plane = Plane::new().await;
    plane.apply(vec![with_spec("a", r#"{"memory_mb":1}"#)]).await;
    plane.apply(vec![database("a", &[REGION])]).await;
    plane.heartbeat(REGION, 1, 0).await;
    let refused = plane.try_rollback(back_to(1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("databases[0].spec/memory_mb"), "{}", refused.message());
}

#[tokio::test]
async fn applies_at_the_same_time_make_one_revision_each_and_every_one_is_whole() {
    let plane = Plane::new().await;
    let sibling = plane.sibling().await;
    let mut applies = tokio::task::JoinSet::new();
    for index in 0..24 {
        let api = if index % 2 == 0 { plane.api.clone() } else { sibling.api.clone() };
        let names = (0..=index % 5).map(|n| database(&format!("db-{index}-{n}"), &[REGION, OTHER]));
        let request = by(&index.to_string(), names.collect());
        applies.spawn(async move {
            let names: BTreeSet<String> = request.databases.iter().map(|d| d.name.clone()).collect();
            let call =
                v1::control_plane_server::ControlPlane::apply_state(&api, tonic::Request::new(request));
            (call.await.unwrap().into_inner().revision, names)
        });
    }
    let mut revisions = BTreeMap::new();
    while let Some(applied) = applies.join_next().await {
        let (revision, names) = applied.unwrap();
        assert!(revisions.insert(revision, names).is_none(), "revision {revision} twice");
    }
    assert_eq!(revisions.keys().copied().collect::<Vec<_>>(), (1..=24).collect::<Vec<u64>>());
    for (revision, names) in &revisions {
        let state = plane.state(Some(*revision)).await.unwrap();
        assert_eq!(&state.databases.into_iter().map(|d| d.name).collect::<BTreeSet<_>>(), names);
    }
    let desired = plane.desired(OTHER).await;
    let names: BTreeSet<String> = desired.resources.into_iter().map(|resource| resource.name).collect();
    assert_eq!((desired.version, &names), (24, &revisions[&24]), "what is published is the last one");
}

#[tokio::test]
async fn history_is_bounded_and_the_latest_state_is_never_forgotten() {
    let plane = Plane::new().await;
    for index in 1..=6 {
        plane.clock.advance(24 * 3_600_000);
        plane.apply(vec![database("a", &[REGION]), database(&format!("b-{index}"), &[REGION])]).await;
    }
    let keep = async |revisions: u32, days: u32| {
        let settings = Settings { history_revisions: revisions, history_days: days, ..Settings::default() };
        let upkeep = Upkeep::new(plane.store.clone(), plane.hub.clone(), plane.clock.sources(), settings);
        upkeep::beat(&upkeep).await.unwrap();
        let entries = plane.history(ListHistoryRequest::default()).await;
        entries.into_iter().map(|entry| entry.revision).collect::<Vec<_>>()
    };
    assert_eq!(keep(1000, 400).await, [6, 5, 4, 3, 2, 1]);
    assert_eq!(keep(4, 400).await, [6, 5, 4, 3]);
    assert_eq!(plane.state(Some(3)).await.unwrap().databases.len(), 2);
    assert_eq!(plane.state(Some(2)).await.unwrap_err().code(), Code::NotFound);
    plane.clock.advance(3600);
    assert_eq!(keep(4, 2).await, [6, 5]);
    plane.clock.advance(1000 * 24 * 3_600_000);
    assert_eq!(keep(4, 2).await, [6]);
    assert_eq!(plane.state(None).await.unwrap().databases.len(), 2);
    let rows: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM declared").fetch_one(&plane.sql).await.unwrap();
    assert_eq!(rows, 2, "what nobody can ask for is not kept");
}

#[tokio::test]
async fn what_a_site_declares_is_known_from_before_there_was_a_record_of_it() {
    let plane = Plane::new().await;
    plane.apply(vec![database("a", &[REGION, OTHER]), database("b", &[REGION])]).await;
    plane.apply(vec![database("a", &[OTHER, REGION]), database("c", &[REGION])]).await;
    // As the first version of the schema left it.
    let width = include_str!("../migrations/0002_width.sql");
    let undo = "DROP TABLE declared; DROP INDEX history_by_age, resources_replacing;
        ALTER TABLE history DROP COLUMN kind, DROP COLUMN rollback_to, DROP COLUMN recorded;
        ALTER TABLE statuses DROP COLUMN reason;
        ALTER TABLE resources DROP COLUMN data_loss_confirmed, DROP COLUMN replaces, DROP COLUMN hold_kind,
            DROP COLUMN hold_message, DROP COLUMN hold_revision";
    sqlx::raw_sql(undo).execute(&plane.sql).await.unwrap();
    sqlx::raw_sql(width).execute(&plane.sql).await.unwrap();

    let plane = plane.sibling().await;
    let state = plane.state(None).await.unwrap();
    let a = r#"a {"memory_mb":64} aws:us-east-1,gcp:us-central1"#;
    assert_eq!(declared(&state), [a, r#"c {"memory_mb":64} aws:us-east-1"#]);
    assert_eq!(plane.state(Some(1)).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(plane.history(ListHistoryRequest::default()).await.len(), 2);
}
