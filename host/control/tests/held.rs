//! What is held: deletions that are too many at once, replacements that lose data; confirmed, taken back, forced.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::time::Duration;

use common::{
    ControlPlane, OTHER, Plane, REGION, actions, database, heartbeat, heartbeat_of_both_types, report_of,
    report_with, told, with_spec,
};
use futures::StreamExt as _;
use senren_api::v1::{self, ListHistoryRequest, ResourceStatus, WatchStatusRequest};
use tonic::{Code, Request};

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

fn all() -> Vec<v1::Database> {
    NAMES.map(|name| database(name, &[REGION])).to_vec()
}

/// A region that was seen, with six databases that run.
async fn six() -> Plane {
    let plane = Plane::new().await;
    plane.report(vec![heartbeat_of_both_types(REGION, 1)]).await;
    plane.apply(all()).await;
    for (sequence, resource) in (2..).zip(plane.status().await.resources) {
        plane.report(vec![report_of(&resource, sequence, "Ready")]).await;
    }
    plane
}

/// `name phase`, and whether it is deleting or held.
fn line(resource: &ResourceStatus) -> String {
    let hold = resource.hold.as_ref().map(|hold| format!(" held {} by {}", hold.kind, hold.revision));
    let deleting = if resource.deleting { " deleting" } else { "" };
    format!("{} {}{deleting}{}", resource.name, resource.phase, hold.unwrap_or_default())
}

async fn lines(plane: &Plane) -> Vec<String> {
    plane.status().await.resources.iter().map(line).collect()
}

async fn published_names(plane: &Plane) -> Vec<String> {
    plane.desired(REGION).await.resources.into_iter().map(|resource| resource.name).collect()
}

#[tokio::test]
async fn deletions_that_are_too_many_at_once_are_held_while_the_rest_goes_on() {
    let plane = six().await;
    let mut watch =
        plane.api.watch_status(Request::new(WatchStatusRequest::default())).await.unwrap().into_inner();
    for _ in 0..7 {
        watch.next().await.unwrap().unwrap();
    }
    let wanted = vec![with_spec("a", r#"{"memory_mb":128}"#), database("new", &[REGION])];
    let answer = plane.apply_carefully(wanted.clone()).await;
    assert_eq!(answer.revision, 2);
    let held = |name: &str| format!("aws:us-east-1/{name} deleted held Deletion");
    let expected: Vec<String> = ["aws:us-east-1/a updated".into()]
        .into_iter()
        .chain(["b", "c", "d", "e", "f"].map(held))
        .chain(["aws:us-east-1/new created".into()])
        .collect();
    assert_eq!(actions(&answer), expected);
    let message = &answer.changes[1].hold.as_ref().unwrap().message;
    assert!(message.contains("5 of 6 databases of site default would be deleted at once"), "{message}");
    assert!(message.contains("senren confirm b --region aws:us-east-1"), "{message}");

    // It runs on as it was, in the region too.
    let status = lines(&plane).await;
    assert_eq!(status[1], "b Ready held Deletion by 2");
    let desired = plane.desired(REGION).await;
    assert_eq!((desired.version, desired.resources.len()), (2, 7));
    let event = tokio::time::timeout(Duration::from_secs(5), async {
        loop {
            let event = watch.next().await.unwrap().unwrap();
            if let Some(resource) = event.resource.filter(|resource| resource.name == "b") {
                return line(&resource);
            }
        }
    });
    assert_eq!(event.await.unwrap(), "b Ready held Deletion by 2", "a watcher hears of it");

    // It is no longer declared; and to say so again, or something else, changes nothing of that.
    assert_eq!(plane.state(None).await.unwrap().databases.len(), 2);
    assert_eq!(plane.apply_carefully(wanted.clone()).await.revision, 2);
    let more = [wanted, vec![database("newer", &[REGION])]].concat();
    let answer = plane.apply_carefully(more).await;
    assert_eq!(answer.changes[1].hold.as_ref().unwrap().revision, 2, "of the apply that asked for it");
    let history = plane.history(ListHistoryRequest::default()).await;
    let changes = |index: usize| history[index].changes.iter().map(told).collect::<Vec<_>>();
    assert_eq!(changes(0), ["created"]);
    assert_eq!(changes(1)[1], "deleted held Deletion");
}

#[tokio::test]
async fn what_is_held_happens_once_it_is_confirmed_one_by_one_or_all() {
    let plane = six().await;
    plane.apply_carefully(vec![]).await;
    assert_eq!(plane.confirm(&["nobody"]).await.unwrap_err().code(), Code::NotFound);
    let some = plane.confirm(&["a", "b", "nobody"]).await.unwrap();
    let changes: Vec<String> = some.changes.iter().map(|c| format!("{} {}", c.name, told(c))).collect();
    assert_eq!((some.revision, changes), (3, vec!["a deleted".to_owned(), "b deleted".to_owned()]));
    assert_eq!(published_names(&plane).await, ["c", "d", "e", "f"]);
    let status = lines(&plane).await;
    assert_eq!(
        (status[0].as_str(), status[2].as_str()),
        ("a Deleting deleting", "c Ready held Deletion by 2")
    );

    let rest = plane.confirm(&[]).await.unwrap();
    assert_eq!((rest.revision, rest.changes.len()), (4, 4));
    assert!(published_names(&plane).await.is_empty());
    assert_eq!(plane.confirm(&[]).await.unwrap_err().code(), Code::NotFound);

    let history = plane.history(ListHistoryRequest::default()).await;
    let told: Vec<_> =
        history.iter().map(|e| format!("{} {} {}", e.kind, e.author, e.changes.len())).collect();
    assert_eq!(told, ["Confirm kim 4", "Confirm kim 2", "Apply  6", "Apply  6"]);
    assert_eq!(plane.state(Some(3)).await.unwrap().databases.len(), 0, "what is declared has not changed");
    assert_eq!(plane.state(Some(1)).await.unwrap().databases.len(), 6);
}

#[tokio::test]
async fn what_is_named_again_is_held_no_more_and_keeps_its_uid() {
    let plane = six().await;
    let uid = plane.status().await.resources[0].uid.clone();
    plane.apply_carefully(vec![]).await;
    let again =
        plane.apply_carefully(vec![database("a", &[REGION]), with_spec("b", r#"{"memory_mb":96}"#)]).await;
    assert_eq!(actions(&again)[..2], ["aws:us-east-1/a updated", "aws:us-east-1/b updated"]);
    assert_eq!(again.changes[0].uid, uid);
    assert_eq!(lines(&plane).await.iter().filter(|line| line.contains("held")).count(), 4);
    // An apply that confirms data loss confirms what it does not name.
    plane.apply(vec![database("a", &[REGION]), with_spec("b", r#"{"memory_mb":96}"#)]).await;
    assert_eq!(published_names(&plane).await, ["a", "b"]);
}

#[tokio::test]
async fn what_is_held_stays_held_although_it_would_not_be_too_many_any_more() {
    let plane = six().await;
    plane.apply_carefully(all()[4..].to_vec()).await;
    plane.apply_carefully(all()[1..].to_vec()).await;
    assert_eq!(lines(&plane).await[0], "a Ready held Deletion by 2");
    // And counts with what is to go now.
    plane.apply_carefully(all()[4..].to_vec()).await;
    assert_eq!(lines(&plane).await.iter().filter(|line| line.contains("held")).count(), 4);
}

#[tokio::test]
async fn a_confirmation_and_an_apply_at_the_same_time_come_one_after_the_other() {
    for _ in 0..8 {
        let plane = six().await;
        let sibling = plane.sibling().await;
        plane.apply_carefully(vec![]).await;
        let (confirmed, applied) = tokio::join!(
            plane.confirm(&[]),
            sibling.try_apply(v1::ApplyStateRequest { databases: all(), ..Default::default() })
        );
        let applied = applied.unwrap();
        let created = applied.changes.iter().all(|change| told(change) == "created");
        let kept = applied.changes.iter().all(|change| told(change) == "updated");
        match confirmed {
            Ok(confirmed) => {
                assert!(confirmed.revision == 3 && applied.revision == 4 && created, "{applied:?}")
            }
            Err(status) => {
                assert!(status.code() == Code::NotFound && applied.revision == 3 && kept, "{status}")
            }
        }
        assert_eq!(published_names(&plane).await, NAMES, "the apply has the last word");
    }
}

#[tokio::test]
async fn a_spec_that_makes_a_database_anew_is_held_by_its_region_until_it_is_confirmed() {
    let plane = six().await;
    let mut wanted = all();
    wanted[0] = with_spec("a", r#"{"memory_mb":64,"persistence":true}"#);
    let answer = plane.apply_carefully(wanted.clone()).await;
    assert_eq!(actions(&answer)[0], "aws:us-east-1/a updated held Replacement");
    assert_eq!(lines(&plane).await[0], "a Updating held Replacement by 2", "expected");
    let published = plane.desired(REGION).await;
    assert!(!published.resources[0].data_loss_confirmed && published.resources[0].replaces_uid.is_empty());

    let resource = plane.status().await.resources.remove(0);
    let held = report_with(&resource, 50, "Ready", |report| {
        report.reason = "ReplacementHeld".into();
        report.message = "its data would be lost; senren confirm a --region aws:us-east-1".into();
    });
    plane.report(vec![held]).await;
    let shown = plane.status().await.resources.remove(0);
    assert_eq!(
        shown.hold.unwrap().message,
        "its data would be lost; senren confirm a --region aws:us-east-1"
    );

    let confirmed = plane.confirm(&["a"]).await.unwrap();
    assert_eq!((confirmed.revision, told(&confirmed.changes[0]).as_str()), (3, "updated"));
    assert_eq!(confirmed.changes[0].generation, 2, "nothing else is desired of it");
    let published = plane.desired(REGION).await;
    assert_eq!((published.version, published.resources[0].data_loss_confirmed), (3, true));
    assert_eq!(plane.status().await.resources[0].hold, None);
    assert_eq!(plane.confirm(&["a"]).await.unwrap_err().code(), Code::NotFound);

    // A later change of the spec must be confirmed again; protection is no such change.
    wanted[0].deletion_protection = true;
    plane.apply_carefully(wanted.clone()).await;
    assert!(plane.desired(REGION).await.resources[0].data_loss_confirmed);
    wanted[0].spec_json = r#"{"memory_mb":64}"#.into();
    plane.apply_carefully(wanted).await;
    assert!(!plane.desired(REGION).await.resources[0].data_loss_confirmed);
}

#[tokio::test]
async fn the_region_has_the_last_word_on_whether_data_would_be_lost() {
    let plane = six().await;
    let mut wanted = all();
    wanted[0] = with_spec("a", r#"{"memory_mb":64,"persistence":true}"#);
    plane.apply_carefully(wanted.clone()).await;
    let resource = plane.status().await.resources.remove(0);
    plane.report(vec![report_of(&resource, 50, "Ready")]).await;
    assert_eq!(lines(&plane).await[0], "a Ready", "it did it without losing anything");
    assert_eq!(plane.confirm(&[]).await.unwrap_err().code(), Code::NotFound);

    // What the schema did not foresee.
    let surprised = report_with(&resource, 51, "Ready", |report| report.reason = "ReplacementHeld".into());
    plane.report(vec![surprised]).await;
    assert_eq!(lines(&plane).await[0], "a Ready held Replacement by 2");
    // The same apply, now with the confirmation.
    let answer = plane.apply(wanted).await;
    assert_eq!((answer.revision, actions(&answer)[0].as_str()), (3, "aws:us-east-1/a updated"));
    assert!(plane.desired(REGION).await.resources[0].data_loss_confirmed);
}

#[tokio::test]
async fn a_change_of_type_is_held_and_what_it_replaces_is_named() {
    let plane = six().await;
    let uid = plane.status().await.resources[0].uid.clone();
    let mut wanted = all();
    wanted[0].r#type = "redis-cluster".into();
    let answer = plane.apply_carefully(wanted).await;
    assert_eq!(actions(&answer)[0], "aws:us-east-1/a replaced held Replacement");
    let published = plane.desired(REGION).await.resources.remove(0);
    assert_eq!((published.replaces_uid.as_str(), published.data_loss_confirmed), (uid.as_str(), false));
    let status = plane.status().await.resources;
    assert_eq!(line(&status[0]), "a Deleting deleting");
    assert!(status[0].message.contains("until its replacement is confirmed"), "{}", status[0].message);
    assert_eq!(line(&status[1]), "a Pending held Replacement by 2");

    // Taken back: what runs is desired again, and nothing is lost.
    let back = plane.apply_carefully(all()).await;
    assert_eq!((actions(&back)[0].as_str(), &back.changes[0].uid), ("aws:us-east-1/a replaced", &uid));
    let published = plane.desired(REGION).await.resources.remove(0);
    assert_eq!(
        (&published.uid, published.r#type.as_str(), published.replaces_uid.as_str()),
        (&uid, "redis", "")
    );
    let current = plane.status().await.resources.into_iter().filter(|resource| !resource.deleting);
    assert_eq!(line(&current.into_iter().next().unwrap()), "a Updating");
}

#[tokio::test]
async fn a_confirmed_change_of_type_is_a_new_resource() {
    let plane = six().await;
    let mut wanted = all();
    wanted[0].r#type = "redis-cluster".into();
    plane.apply_carefully(wanted.clone()).await;
    let confirmed = plane.confirm(&[]).await.unwrap();
    assert_eq!(told(&confirmed.changes[0]), "replaced");
    assert!(plane.desired(REGION).await.resources[0].data_loss_confirmed);
    // Now it is too late to take it back: the data may be gone.
    let back = plane.apply_carefully(all()).await;
    assert_eq!(actions(&back)[0], "aws:us-east-1/a replaced held Replacement");
    assert_eq!(plane.desired(REGION).await.resources[0].replaces_uid, confirmed.changes[0].uid);
}

#[tokio::test]
async fn in_a_region_that_was_never_seen_nothing_is_held() {
    let plane = Plane::new().await;
    plane.apply_carefully(NAMES.map(|name| database(name, &[OTHER])).to_vec()).await;
    plane.apply_carefully(vec![]).await;
    assert!(plane.status().await.resources.is_empty());
}

#[tokio::test]
async fn a_lost_regions_resources_can_be_forgotten_and_a_connected_ones_not() {
    let plane = six().await;
    plane.publish_all().await;
    assert_eq!(plane.force_delete(REGION).await.unwrap_err().code(), Code::FailedPrecondition);
    plane.clock.advance(60_000);
    let nothing = plane.force_delete(REGION).await.unwrap_err();
    assert_eq!(nothing.code(), Code::NotFound);
    assert!(nothing.message().contains("an apply has to take it away first"), "{}", nothing.message());
    plane.apply(all()[4..].to_vec()).await;
    let version = plane.desired(REGION).await.version;
    let forgotten = plane.force_delete(REGION).await.unwrap();
    assert_eq!(forgotten.changes.iter().map(|change| change.name.as_str()).collect::<Vec<_>>(), &NAMES[..4]);
    assert_eq!(lines(&plane).await, ["e Unknown", "f Unknown"]);
    let entry = plane.history(ListHistoryRequest::default()).await.remove(0);
    assert_eq!((entry.kind.as_str(), entry.author.as_str(), entry.changes.len()), ("ForceDelete", "kim", 4));
    assert_eq!(plane.state(None).await.unwrap().databases.len(), 2);
    // Should it come back, it finds a state without them.
    assert_eq!(plane.desired(REGION).await.version, version);
    plane.report(vec![heartbeat(REGION, 100, version, "")]).await;
    assert_eq!(plane.force_delete(REGION).await.unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_confirmation_of_what_somebody_saw_before_it_changed_does_nothing() {
    let plane = six().await;
    let seen = plane.apply_carefully(vec![database("a", &[REGION])]).await.revision;
    plane.apply_carefully(vec![database("b", &[REGION])]).await;
    let confirm = async |expected| {
        let request = v1::ConfirmHeldRequest { expected_revision: Some(expected), ..Default::default() };
        plane.api.confirm_held(Request::new(request)).await
    };
    let refused = confirm(seen).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted, "{refused}");
    assert!(refused.message().contains("is at revision 3, not at the expected 2"), "{refused}");
    assert_eq!(published_names(&plane).await, NAMES);
    confirm(3).await.unwrap();
    assert_eq!(published_names(&plane).await, ["b"]);
}
