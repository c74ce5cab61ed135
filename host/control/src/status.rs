//! What is said about a resource: desired, observed and the state of its region, made into one honest answer. Pure.
//!
//! Rules: never a stale `Ready`. `ready` only if the region is there and its report is about the very resource and
//! generation that is desired. A region that was never seen leaves its resources `Pending`, a silent one `Unknown`.

use chrono::{DateTime, Utc};
use prost_types::Timestamp;
use senren_api::v1::{Condition, ResourceReport, ResourceStatus};

use crate::{
    api::present_hold,
    store::{
        heartbeats::Seen,
        holds::{self, Hold, REPLACEMENT_HELD, Said},
        resources::Known,
    },
};

/// The status of a resource, now.
pub(crate) fn present(known: &Known, now: DateTime<Utc>) -> ResourceStatus {
    let mut status = desired(known);
    if let Some(report) = own_report(known) {
        observed(&mut status, known, report);
    }
    match &known.seen {
        None => never_seen(&mut status),
        Some(seen) if seen.is_silent(now) => silent(&mut status, seen, now),
        Some(seen) => connected(&mut status, known, seen),
    }
    status
}

/// The report, if it is about this resource and not about one that had its name before.
fn own_report(known: &Known) -> Option<&ResourceReport> {
    known.report.as_ref().filter(|report| report.uid.parse() == Ok(known.uid))
}

/// What of it waits for somebody's confirmation.
fn hold(known: &Known) -> Option<Hold> {
    let said = own_report(known).map(|report| Said {
        generation: report.generation,
        reason: &report.reason,
        message: &report.message,
    });
    let expected = known.expected_hold.as_ref().filter(|_| !known.removed());
    holds::in_force(expected, known.generation, known.data_loss_confirmed, said).filter(|_| !known.removed())
}

fn desired(known: &Known) -> ResourceStatus {
    ResourceStatus {
        site: known.site.clone(),
        region: known.region.clone(),
        name: known.name.clone(),
        r#type: known.type_name.clone(),
        uid: known.uid.to_string(),
        generation: known.generation,
        created_at: Some(timestamp(known.created_at)),
        applied_at: Some(timestamp(known.applied_at)),
        spec_json: known.spec.clone(),
        deletion_protection: known.deletion_protection,
        deleting: known.removed(),
        hold: hold(known).as_ref().map(present_hold),
        ..ResourceStatus::default()
    }
}

fn observed(status: &mut ResourceStatus, known: &Known, report: &ResourceReport) {
    let current = report.generation == known.generation && !known.removed() && !report.deleted;
    status.observed_generation = report.generation;
    status.phase.clone_from(&report.phase);
    status.ready = report.ready && current;
    status.reason.clone_from(&report.reason);
    status.message.clone_from(&report.message);
    status.endpoints.clone_from(&report.endpoints);
    status.conditions.clone_from(&report.conditions);
    status.details_json.clone_from(&report.details_json);
    status.observed_at = report.observed_at;
    status.ready_at = known.ready_at.filter(|_| current).map(timestamp);
}

fn explain(status: &mut ResourceStatus, phase: &str, reason: &str, message: String) {
    status.phase = phase.to_owned();
    status.reason = reason.to_owned();
    status.message = message;
}

fn never_seen(status: &mut ResourceStatus) {
    status.ready = false;
    let region = &status.region;
    let message = format!(
        "region never seen: no regional plane with id {region} has ever connected; start one, or correct the id"
    );
    explain(status, "Pending", "RegionNeverSeen", message);
}

fn silent(status: &mut ResourceStatus, seen: &Seen, now: DateTime<Utc>) {
    let last = if status.phase.is_empty() { "not reported" } else { status.phase.as_str() };
    let message = format!(
        "region {} was last heard {}; it goes on by itself, but what it does is not known here (last known: {last})",
        status.region,
        ago(seen.at, now)
    );
    status.ready = false;
    // As Kubernetes does with the conditions of a node that is gone: what was true is not known to be.
    for condition in &mut status.conditions {
        *condition = Condition { status: "Unknown".to_owned(), ..std::mem::take(condition) };
    }
    explain(status, "Unknown", "RegionSilent", message);
}

fn connected(status: &mut ResourceStatus, known: &Known, seen: &Seen) {
    let region = status.region.clone();
    let served = seen.types.contains(&known.type_name);
    let reported = own_report(known).filter(|report| !report.deleted);
    match reported {
        _ if known.removed() => departing(status, known, seen),
        None if !served => {
            let message = format!(
                "{region} has no plugin for type {} ({})",
                known.type_name,
                served_types(&seen.types)
            );
            explain(status, "Pending", "NoPlugin", message);
        }
        None if !known.relay_problem.is_empty() => not_published(status, "Pending", known),
        None => explain(status, "Pending", "NotReported", format!("{region} has not reported on it yet")),
        Some(report) if report.generation != known.generation && !known.relay_problem.is_empty() => {
            not_published(status, "Updating", known);
        }
        Some(report) if report.generation != known.generation && matches!(report.phase.as_str(), "Ready") => {
            let message = format!(
                "{region} reported generation {}, desired is {}",
                report.generation, known.generation
            );
            explain(status, "Updating", "NotYetTaken", message);
        }
        Some(_) => {}
    }
}

/// It is no longer desired. What the region says of it counts once the region knows that.
fn departing(status: &mut ResourceStatus, known: &Known, seen: &Seen) {
    let region = status.region.clone();
    let told = known.removed_version.is_some_and(|version| version <= seen.applied_version);
    let acts = told && matches!(status.phase.as_str(), "Deleting" | "Failed") || status.phase == "Deleting";
    if known.kept {
        let message =
            "it goes on until its replacement is confirmed, because its data would be lost".to_owned();
        explain(status, "Deleting", REPLACEMENT_HELD, message);
    } else if !acts && !known.relay_problem.is_empty() {
        not_published(status, "Deleting", known);
    } else if !acts {
        explain(status, "Deleting", "", format!("waiting for {region} to take it down"));
    }
    // A failure to delete says why.
    "Deleting".clone_into(&mut status.phase);
}

/// Its region cannot know of it, or of what was changed.
fn not_published(status: &mut ResourceStatus, phase: &str, known: &Known) {
    let message = format!("what was applied does not reach {} yet: {}", known.region, known.relay_problem);
    explain(status, phase, "NotPublished", message);
}

/// `2m 5s ago`.
pub(crate) fn ago(then: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = (now - then).num_seconds().max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s ago"),
        (0, 0, _) => format!("{minutes}m {}s ago", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m ago"),
        _ => format!("{days}d {hours}h ago"),
    }
}

/// `it serves: redis`.
pub(crate) fn served_types(types: &[String]) -> String {
    if types.is_empty() { "it serves none".to_owned() } else { format!("it serves: {}", types.join(", ")) }
}

/// For messages of the API.
pub(crate) fn timestamp(time: DateTime<Utc>) -> Timestamp {
    let nanos = i32::try_from(time.timestamp_subsec_nanos()).unwrap_or_default();
    Timestamp { seconds: time.timestamp(), nanos }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use chrono::TimeDelta;
    use uuid::Uuid;

    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn seen(seconds_ago: i64) -> Seen {
        Seen {
            at: now() - TimeDelta::seconds(seconds_ago),
            interval: TimeDelta::seconds(10),
            types: vec!["redis".into()],
            plugins_hash: String::new(),
            applied_version: 3,
        }
    }

    /// Desired at generation 3, reported `Ready` at 3, in a region heard a second ago.
    fn ready() -> Known {
        let uid = Uuid::from_u128(1);
        Known {
            uid,
            site: "default".into(),
            region: "aws:r".into(),
            name: "db".into(),
            type_name: "redis".into(),
            spec: "{}".into(),
            deletion_protection: false,
            generation: 3,
            created_at: now(),
            applied_at: now(),
            removed_version: None,
            data_loss_confirmed: false,
            expected_hold: None,
            kept: false,
            report: Some(ResourceReport {
                uid: uid.to_string(),
                generation: 3,
                phase: "Ready".into(),
                ready: true,
                conditions: vec![Condition {
                    r#type: "Ready".into(),
                    status: "True".into(),
                    ..Default::default()
                }],
                ..Default::default()
            }),
            ready_at: Some(now()),
            seen: Some(seen(1)),
            relay_problem: String::new(),
        }
    }

    fn check(change: impl FnOnce(&mut Known), phase: &str, ready_now: bool, reason: &str, words: &str) {
        let mut known = ready();
        change(&mut known);
        let status = present(&known, now());
        assert_eq!((status.phase.as_str(), status.ready, status.reason.as_str()), (phase, ready_now, reason));
        assert!(status.message.contains(words), "{:?} should contain {words:?}", status.message);
        assert_eq!(status.ready, status.ready && status.ready_at.is_some());
    }

    fn report(known: &mut Known) -> &mut ResourceReport {
        known.report.as_mut().unwrap()
    }

    #[test]
    fn ready_means_this_resource_at_this_generation_in_a_region_that_is_there() {
        check(|_| {}, "Ready", true, "", "");
        check(|k| k.generation = 4, "Updating", false, "NotYetTaken", "reported generation 3, desired is 4");
        check(|k| k.uid = Uuid::from_u128(2), "Pending", false, "NotReported", "has not reported");
        check(|k| k.seen = Some(seen(29)), "Ready", true, "", "");
        check(|k| k.seen = Some(seen(30)), "Unknown", false, "RegionSilent", "last heard 30s ago");
        check(|k| k.seen = Some(seen(4000)), "Unknown", false, "RegionSilent", "1h 6m ago");
        check(|k| k.removed_version = Some(3), "Deleting", false, "", "take it down");
        check(|k| report(k).deleted = true, "Pending", false, "NotReported", "has not reported");
    }

    #[test]
    fn what_keeps_a_resource_waiting_is_said() {
        let never = |k: &mut Known| (k.report, k.seen) = (None, None);
        check(never, "Pending", false, "RegionNeverSeen", "region never seen");
        check(|k| k.report = None, "Pending", false, "NotReported", "has not reported");
        let no_plugin = |k: &mut Known| {
            k.report = None;
            k.type_name = "aerospike".into();
        };
        check(no_plugin, "Pending", false, "NoPlugin", "no plugin for type aerospike (it serves: redis)");
        let failed = |k: &mut Known| {
            k.generation = 4;
            *report(k) = ResourceReport {
                phase: "Failed".into(),
                reason: "PluginTrap".into(),
                ready: false,
                ..report(k).clone()
            };
        };
        check(failed, "Failed", false, "PluginTrap", "");
        let stuck = |k: &mut Known| {
            failed(k);
            k.removed_version = Some(3);
        };
        check(stuck, "Deleting", false, "PluginTrap", "");
        let untold = |k: &mut Known| {
            stuck(k);
            k.removed_version = Some(4);
        };
        check(untold, "Deleting", false, "", "waiting for aws:r to take it down");
        let kept = |k: &mut Known| {
            k.removed_version = Some(3);
            k.kept = true;
        };
        check(kept, "Deleting", false, "ReplacementHeld", "until its replacement is confirmed");
    }

    #[test]
    fn what_cannot_be_published_says_so_where_it_matters() {
        let unpublished = |change: fn(&mut Known)| {
            move |k: &mut Known| {
                k.relay_problem = "broker down".into();
                change(k);
            }
        };
        check(unpublished(|_| {}), "Ready", true, "", "");
        check(unpublished(|k| k.report = None), "Pending", false, "NotPublished", "broker down");
        check(
            unpublished(|k| k.generation = 4),
            "Updating",
            false,
            "NotPublished",
            "does not reach aws:r yet",
        );
        check(unpublished(|k| k.removed_version = Some(3)), "Deleting", false, "NotPublished", "broker down");
        check(unpublished(|k| k.seen = None), "Pending", false, "RegionNeverSeen", "never seen");
    }

    #[test]
    fn the_conditions_of_a_silent_region_are_unknown() {
        let status = present(&Known { seen: Some(seen(100)), ..ready() }, now());
        assert_eq!(status.conditions[0].status, "Unknown");
    }
}
