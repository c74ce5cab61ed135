//! Who owns which fields: `metadata.managedFields`, and the rules by which writes move ownership.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::fields::FieldSet;
use super::merge::{self, Comparison};
use crate::kinds::Kind;
use crate::shape::Shape;
use crate::status::{self, Result};
use crate::write::Part;

/// One entry: a manager, by the way it writes, and its fields.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    manager: String,
    applied: bool,
    subresource: String,
    api_version: String,
    time: String,
    fields: FieldSet,
}

impl Entry {
    fn is(&self, other: &Entry) -> bool {
        self.manager == other.manager
            && self.applied == other.applied
            && self.subresource == other.subresource
            && (self.applied || self.api_version == other.api_version)
    }

    fn describe(&self) -> String {
        let quoted = format!("{:?}", self.manager);
        let subresource = if self.subresource.is_empty() {
            String::new()
        } else {
            format!(" with subresource {:?}", self.subresource)
        };
        if self.applied {
            format!("{quoted}{subresource}")
        } else {
            format!("{quoted}{subresource} using {}", self.api_version)
        }
    }
}

/// All entries of an object.
#[derive(Debug, Clone, Default)]
pub struct Managed {
    entries: Vec<Entry>,
}

/// Who owns what was written before anybody owned anything.
const BEFORE: &str = "before-first-apply";

/// Who acts: the identity of the entry to be written.
#[derive(Debug, Clone, Copy)]
pub struct Actor<'a> {
    /// The field manager.
    pub manager: &'a str,
    /// Main object or status subresource.
    pub part: Part,
    /// `apps/v1`
    pub api_version: &'a str,
}

impl Actor<'_> {
    fn entry(&self, applied: bool, fields: FieldSet) -> Entry {
        Entry {
            manager: self.manager.to_owned(),
            applied,
            subresource: match self.part {
                Part::Main => String::new(),
                Part::Status => "status".into(),
                Part::Scale => "scale".into(),
            },
            api_version: self.api_version.to_owned(),
            time: now(),
            fields,
        }
    }
}

/// The current time as Kubernetes writes it: whole seconds, UTC.
pub fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A time as Kubernetes writes it; some are shown with microseconds.
pub fn shown(seconds: i64, nanos: i32, micro: bool) -> Option<String> {
    let format = if micro { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    Timestamp::new(seconds, nanos).ok().map(|time| time.strftime(format).to_string())
}

impl Managed {
    /// Takes the entries out of an object.
    pub fn take(object: &mut Value) -> Managed {
        let taken = object["metadata"].as_object_mut().and_then(|meta| meta.remove("managedFields"));
        let Some(Value::Array(entries)) = taken else { return Managed::default() };
        let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        let entries = entries
            .iter()
            .map(|entry| Entry {
                manager: text(entry, "manager"),
                applied: entry["operation"] == "Apply",
                subresource: text(entry, "subresource"),
                api_version: text(entry, "apiVersion"),
                time: text(entry, "time"),
                fields: FieldSet::parse(&entry["fieldsV1"]),
            })
            .collect();
        Managed { entries }
    }

    /// The entries after a write whose object carries entries of its own: they count, if they can be read.
    /// One empty entry is the documented way to make an object forget its managers.
    pub fn replaced_by(self, object: &mut Value) -> Managed {
        if object["metadata"]["managedFields"] == json!([{}]) {
            return Managed::default();
        }
        let given = Managed::take(object);
        let readable = |entry: &Entry| !entry.api_version.is_empty() && !entry.fields.is_empty();
        if given.entries.is_empty() || !given.entries.iter().all(readable) { self } else { given }
    }

    /// The same owners of the same fields, whenever they wrote them.
    pub fn same_owners(&self, other: &Managed) -> bool {
        let alike = |a: &Entry, b: &Entry| a.is(b) && a.api_version == b.api_version && a.fields == b.fields;
        let (mine, theirs) = (self.owning(), other.owning());
        mine.len() == theirs.len() && mine.iter().all(|a| theirs.iter().any(|b| alike(a, b)))
    }

    fn owning(&self) -> Vec<&Entry> {
        self.entries.iter().filter(|entry| !entry.fields.is_empty()).collect()
    }

    /// Puts the entries into an object.
    pub fn give(mut self, object: &mut Value) {
        self.entries.retain(|entry| !entry.fields.is_empty());
        if self.entries.is_empty() {
            return;
        }
        // As a real server sorts them: appliers first, then by time, then by name.
        self.entries.sort_by(|a, b| {
            (!a.applied, &a.time, &a.manager, &a.subresource).cmp(&(
                !b.applied,
                &b.time,
                &b.manager,
                &b.subresource,
            ))
        });
        let entries = self.entries.iter().map(|entry| {
            let mut out = json!({
                "manager": entry.manager,
                "operation": if entry.applied { "Apply" } else { "Update" },
                "apiVersion": entry.api_version,
                "fieldsType": "FieldsV1",
                "fieldsV1": entry.fields.to_value(),
            });
            if !entry.time.is_empty() {
                out["time"] = entry.time.clone().into();
            }
            if !entry.subresource.is_empty() {
                out["subresource"] = entry.subresource.clone().into();
            }
            out
        });
        object["metadata"]["managedFields"] = entries.collect();
    }

    /// An ordinary write made `old` into `new`: its author owns what it changed.
    pub fn update(&mut self, old: &Value, new: &Value, kind: &Kind, actor: Actor<'_>) {
        let found = strip(merge::compare(old, new, &kind.shape), kind, actor.part);
        let changed = found.modified.union(&found.added);
        for entry in &mut self.entries {
            entry.fields = entry.fields.difference(&changed).difference(&found.removed);
        }
        if changed.is_empty() {
            return;
        }
        let mut mine = actor.entry(false, changed);
        match self.entries.iter_mut().find(|entry| entry.is(&mine)) {
            Some(entry) => {
                mine.fields.clone_from(&entry.fields.clone().union(&mine.fields));
                *entry = mine;
            }
            None => self.entries.push(mine),
        }
    }

    /// Server-side apply of `config` to `live`: the merged object, with the ownership that follows from what was
    /// `said`, before anything was tidied.
    pub fn apply(
        &mut self,
        live: &Value,
        config: &Value,
        said: &Value,
        kind: &Kind,
        actor: Actor<'_>,
        force: bool,
    ) -> Result<Value> {
        let shape = &kind.shape;
        if self.owning().is_empty() {
            // Whatever is there was somebody's before anybody could say so.
            let nothing = json!({"apiVersion": live["apiVersion"], "kind": live["kind"]});
            let former = Actor { manager: BEFORE, ..actor };
            let fields = strip(merge::compare(&nothing, live, shape), kind, actor.part).added;
            self.entries.push(former.entry(false, fields));
        }
        let mut mine = actor.entry(true, strip_set(merge::fields_of(said, shape), kind, actor.part));
        let mut merged = merge::merge(live, config, shape);
        let at = self.entries.iter().position(|entry| entry.is(&mine));
        let before = at.map(|at| self.entries.remove(at));
        if let Some(before) = &before {
            self.prune(&mut merged, &before.fields, &mine.fields, shape);
        }
        let found = strip(merge::compare(live, &merged, shape), kind, actor.part);
        let changed = found.modified.union(&found.added);
        let conflicts = self.conflicts(&changed);
        if !force && !conflicts.is_empty() {
            return Err(status::apply_conflict(conflicts));
        }
        for entry in &mut self.entries {
            entry.fields = entry.fields.difference(&changed).difference(&found.removed);
        }
        if changed.is_empty() && found.removed.is_empty() {
            // A real server notes when an apply changed the object; one that never did has no time.
            mine.time = before.map(|before| before.time).unwrap_or_default();
        }
        self.entries.push(mine);
        Ok(merged)
    }

    /// Takes away what this manager applied before, applies no longer, and nobody else owns.
    fn prune(&self, merged: &mut Value, before: &FieldSet, now: &FieldSet, shape: &Shape) {
        let mut kept = now.clone();
        for entry in &self.entries {
            kept = kept.union(&entry.fields);
        }
        let gone = before.with_structs(shape).difference(&kept.with_structs(shape));
        if !gone.is_empty() {
            merge::remove(merged, &gone, shape);
        }
    }

    fn conflicts(&self, changed: &FieldSet) -> Vec<(String, String)> {
        let mut conflicts = Vec::new();
        for entry in &self.entries {
            for path in entry.fields.intersection(changed).paths() {
                conflicts.push((entry.describe(), path));
            }
        }
        conflicts
    }
}

/// Nobody owns what the server itself sets, nor what a path doesn't write.
fn strip_set(set: FieldSet, kind: &Kind, part: Part) -> FieldSet {
    const SERVER: &[&[&str]] = &[
        &["apiVersion"],
        &["kind"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ];
    let set = set.without(SERVER).without_member("metadata");
    match part {
        Part::Main | Part::Scale if kind.status => set.without(&[&["status"]]),
        Part::Main | Part::Scale => set,
        Part::Status if kind.custom.is_some() => set.only("status"),
        Part::Status => set.without(&[&["spec"]]),
    }
}

fn strip(found: Comparison, kind: &Kind, part: Part) -> Comparison {
    Comparison {
        added: strip_set(found.added, kind, part),
        removed: strip_set(found.removed, kind, part),
        modified: strip_set(found.modified, kind, part),
    }
}
