//! Two views of the same events: `v1` and `events.k8s.io/v1`. Stored as the former.

use serde_json::Value;

use crate::kinds::{self, GroupResource};

/// The group of the newer view.
pub(crate) const GROUP: &str = "events.k8s.io";

/// (`v1`, `events.k8s.io/v1`)
const NAMES: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// Whether a path of this group and plural is the newer view.
pub(crate) fn is_view(group: &str, plural: &str) -> bool {
    group == GROUP && plural == "events"
}

/// What is stored behind a group and plural.
pub(crate) fn stored(group: &str, plural: &str) -> GroupResource {
    if is_view(group, plural) { kinds::EVENTS } else { GroupResource::new(group, plural) }
}

/// From the newer view to what is stored; of a whole event or of a patch of one.
pub(crate) fn to_stored(event: &mut Value) {
    rename(event, NAMES.iter().map(|(old, new)| (*new, *old)));
    if event.get("apiVersion").is_some() {
        event["apiVersion"] = "v1".into();
    }
}

/// From what is stored to the newer view.
pub(crate) fn to_view(event: &mut Value) {
    rename(event, NAMES.into_iter());
    event["apiVersion"] = format!("{GROUP}/v1").into();
}

fn rename<'a>(event: &mut Value, names: impl Iterator<Item = (&'a str, &'a str)>) {
    let Some(fields) = event.as_object_mut() else { return };
    for (from, to) in names {
        if let Some(value) = fields.remove(from) {
            fields.insert(to.into(), value);
        }
    }
}
