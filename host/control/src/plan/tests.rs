//! Every kind of change, and what is held of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use senren_api::{SiteName, v1::PluginInfo};

use super::*;
use crate::{catalog::Plugins, effects::Schemas};

const HAD: Uuid = Uuid::from_u128(1);
const NEW: Uuid = Uuid::from_u128(2);
const OLDER: Uuid = Uuid::from_u128(3);

fn want(region: &str, name: &str, type_name: &str, spec: &str) -> Desired {
    Desired {
        region: region.parse().unwrap(),
        name: name.parse().unwrap(),
        type_name: type_name.parse().unwrap(),
        spec: spec.into(),
        deletion_protection: false,
    }
}

fn have(region: &str, name: &str, deletion_protection: bool) -> Current {
    Current {
        uid: HAD,
        region: region.into(),
        name: name.into(),
        type_name: "redis".into(),
        spec: "{}".into(),
        deletion_protection,
        generation: 7,
        data_loss_confirmed: false,
        expected_hold: None,
        hold: None,
        reason: String::new(),
        predecessor: None,
        region_seen: true,
    }
}

fn held(kind: HoldKind) -> Option<Hold> {
    Some(Hold { kind, message: "too many".into(), revision: 7 })
}

fn plan(wanted: &[Desired], current: Vec<Current>, confirm_data_loss: bool) -> Plan {
    let schema = r#"{"type": "object", "properties": {
        "a": {"type": "integer"},
        "b": {"type": "integer", "default": 0, "x-senren-effect": "recreate"},
        "c": {"type": "integer", "x-senren-effect": "forbidden"}}}"#;
    let info = PluginInfo { r#type: "redis".into(), spec_schema_json: schema.into(), ..Default::default() };
    let plugins = Arc::new(Plugins::of(vec![info]));
    let terms = Terms {
        site: &SiteName::default(),
        revision: 8,
        confirm_data_loss,
        limits: Limits { count: 3, percent: 30 },
        schemas: &Schemas([("aws:r".to_owned(), plugins)].into()),
    };
    Plan::new(wanted, current, &terms, || NEW)
}

/// Has `db` in aws:r; expected is `action uid` per resource, and how many are protected.
fn check(wanted: &[Desired], protection: bool, expected: &[(&str, Action, Uuid)], protected: usize) {
    let plan = plan(wanted, vec![have("aws:r", "db", protection)], true);
    let changes: Vec<_> = plan.changes.iter().map(|c| (c.region.as_str(), c.action, c.uid)).collect();
    assert_eq!(changes, expected);
    assert_eq!(plan.protected.len(), protected);
}

#[test]
fn every_kind_of_change_is_found() {
    check(&[want("aws:r", "db", "redis", "{}")], false, &[("aws:r", Action::Unchanged, HAD)], 0);
    check(&[want("aws:r", "db", "redis", "{\"a\":1}")], false, &[("aws:r", Action::Updated, HAD)], 0);
    check(&[want("aws:r", "db", "other", "{}")], false, &[("aws:r", Action::Replaced, NEW)], 0);
    check(&[], false, &[("aws:r", Action::Deleted, HAD)], 0);
    check(
        &[want("gcp:r", "db", "redis", "{}"), want("aws:r", "db", "redis", "{}")],
        false,
        &[("aws:r", Action::Unchanged, HAD), ("gcp:r", Action::Created, NEW)],
        0,
    );
}

#[test]
fn what_is_protected_may_change_but_not_go() {
    check(&[want("aws:r", "db", "redis", "{\"a\":1}")], true, &[("aws:r", Action::Updated, HAD)], 0);
    check(&[want("aws:r", "db", "other", "{}")], true, &[("aws:r", Action::Replaced, NEW)], 1);
    check(&[], true, &[("aws:r", Action::Deleted, HAD)], 1);
    let moved = [want("gcp:r", "db", "redis", "{}")];
    let changes = [("aws:r", Action::Deleted, HAD), ("gcp:r", Action::Created, NEW)];
    check(&moved, true, &changes, 1);
}

#[test]
fn only_regions_whose_content_changes_are_touched() {
    let wanted = [want("aws:r", "db", "redis", "{}"), want("gcp:r", "db", "redis", "{}")];
    let both = plan(&wanted, vec![have("aws:r", "db", false)], false);
    assert_eq!(both.regions.into_iter().collect::<Vec<_>>(), ["gcp:r"]);
    assert_eq!(both.renamed.into_iter().collect::<Vec<_>>(), ["db"], "it is declared for another region");
    assert!(plan(&wanted[..1], vec![have("aws:r", "db", false)], false).is_empty());
    let held = plan(&[], vec![have("aws:r", "db", false)], false);
    assert!(held.regions.is_empty() && !held.is_empty(), "what is held is published as it was");
}

/// Of `all` databases in one region, an apply leaves out `going`; `held` of them stay.
fn check_deletions(all: usize, going: usize, held: usize) {
    let name = |index: usize| format!("db-{index}");
    let current =
        (0..all).map(|i| Current { uid: Uuid::from_u128(i as u128), ..have("aws:r", &name(i), false) });
    let wanted: Vec<Desired> = (going..all).map(|i| want("aws:r", &name(i), "redis", "{}")).collect();
    let plan = plan(&wanted, current.collect(), false);
    let found = plan.changes.iter().filter(|change| change.hold.is_some()).count();
    assert_eq!(found, held, "{going} of {all}");
    assert_eq!(plan.removals.len(), going - held);
}

#[test]
fn too_many_deletions_at_once_are_held() {
    check_deletions(10, 3, 0);
    check_deletions(13, 4, 4);
    check_deletions(14, 4, 0);
    check_deletions(1000, 300, 0);
    check_deletions(1000, 301, 301);
    check_deletions(3, 2, 0);
    check_deletions(3, 3, 3);
    check_deletions(1, 1, 1);
    check_deletions(0, 0, 0);
}

#[test]
fn a_limit_of_0_is_none() {
    for (count, percent) in [(0, 30), (3, 0)] {
        assert!(!Limits { count, percent }.exceeded(10, 10));
    }
}

/// What happens to a database that is as `change` makes it, if the site wants `wanted`: what is held, whether data
/// are lost, and whether anything changes.
fn check_hold(
    change: impl FnOnce(&mut Current),
    wanted: &[Desired],
    confirm: bool,
    expected: (Option<HoldKind>, bool, bool),
) {
    let mut current = have("aws:r", "db", false);
    change(&mut current);
    let plan = plan(wanted, vec![current], confirm);
    let only = &plan.changes[0];
    let found = (only.hold.as_ref().map(|hold| hold.kind), only.data_loss, !plan.is_empty());
    assert_eq!(found, expected, "{only:#?}");
}

#[test]
fn what_loses_data_is_held_until_it_is_confirmed() {
    use HoldKind::{Deletion, Replacement};
    let same = [want("aws:r", "db", "redis", "{}")];
    let made_anew = [want("aws:r", "db", "redis", "{\"b\":1}")];
    let default = [want("aws:r", "db", "redis", "{\"b\":0}")];
    let retyped = [want("aws:r", "db", "other", "{}")];
    let unseen = |have: &mut Current| have.region_seen = false;
    check_hold(|_| {}, &made_anew, false, (Some(Replacement), true, true));
    check_hold(|_| {}, &made_anew, true, (None, true, true));
    check_hold(unseen, &made_anew, false, (None, false, true));
    check_hold(|_| {}, &default, false, (None, false, true));
    check_hold(|_| {}, &retyped, false, (Some(Replacement), true, true));
    check_hold(|_| {}, &retyped, true, (None, true, true));
    check_hold(unseen, &retyped, false, (None, false, true));
    check_hold(unseen, &[], false, (None, false, true));

    let going = |have: &mut Current| (have.hold, have.expected_hold) = (held(Deletion), held(Deletion));
    check_hold(going, &[], false, (Some(Deletion), true, false));
    check_hold(going, &[], true, (None, true, true));
    check_hold(going, &same, false, (None, false, true));

    let kept = |have: &mut Current| have.hold = held(Replacement);
    check_hold(kept, &same, false, (Some(Replacement), false, false));
    check_hold(kept, &same, true, (None, true, true));
    let kept = |have: &mut Current| {
        have.hold = held(Replacement);
        have.reason = REPLACEMENT_HELD.into();
    };
    check_hold(kept, &made_anew, false, (None, false, true));
}

#[test]
fn a_replacement_that_is_held_can_be_taken_back() {
    let current = Current {
        type_name: "other".into(),
        hold: held(HoldKind::Replacement),
        predecessor: Some((OLDER, "redis".into())),
        ..have("aws:r", "db", false)
    };
    let back = plan(&[want("aws:r", "db", "redis", "{}")], vec![current.clone()], false);
    assert_eq!((back.updates[0].uid, back.removals[0], back.inserts.len()), (OLDER, HAD, 0));
    assert!(!back.changes[0].data_loss && back.changes[0].hold.is_none());
    let further = plan(&[want("aws:r", "db", "third", "{}")], vec![current.clone()], false);
    assert_eq!(further.inserts[0].replaces, Some(OLDER), "what runs is what would be lost");
    let running = Current { hold: None, ..current };
    let replaced = plan(&[want("aws:r", "db", "redis", "{}")], vec![running], false);
    assert_eq!(replaced.inserts[0].replaces, Some(HAD));
}

#[test]
fn what_cannot_be_changed_is_found_unless_the_region_kept_something_else() {
    let wanted = [want("aws:r", "db", "redis", "{\"c\":1}")];
    let found = plan(&wanted, vec![have("aws:r", "db", false)], false).forbidden;
    assert_eq!(found.iter().map(|forbidden| forbidden.path.as_str()).collect::<Vec<_>>(), ["/c"]);
    let kept = Current { reason: "ForbiddenChange".into(), ..have("aws:r", "db", false) };
    assert!(plan(&wanted, vec![kept], false).forbidden.is_empty());
}
