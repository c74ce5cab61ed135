//! What the watches have delivered, indexed by the resource that each object belongs to, plus our own writes that the
//! watches have yet to deliver.
//!
//! Invariants: an object is never replaced by an older reading of itself. A write of ours is visible at once and until
//! the watch of its kind has passed it, never longer, so a deletion can't be masked by the write before it. Managed
//! fields are dropped on arrival, and so is the content of secrets: nothing here could leak it.
//!
//! Resource versions are compared only where both are numbers, as etcd's are; elsewhere own writes are simply not
//! remembered, and a stale reading costs one harmless repetition.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use kube::{
    ResourceExt as _,
    api::{DynamicObject, TypeMeta},
};
use parking_lot::RwLock;
use tokio::time::Instant;

use crate::{
    kind::{ApiKind, ObjectId},
    names,
};

/// A watch that is later than this with a write of ours has failed.
const UNCONFIRMED: Duration = Duration::from_secs(10);

/// Objects that carry one resource's name in one namespace, whoever they belong to.
pub(crate) type Group = BTreeMap<ObjectId, Arc<DynamicObject>>;

/// See the module.
pub(crate) struct Cache {
    inner: RwLock<Inner>,
    /// How long a write of ours is remembered while no watch confirms it.
    unconfirmed: Duration,
}

impl Default for Cache {
    fn default() -> Self {
        Self { inner: RwLock::default(), unconfirmed: UNCONFIRMED }
    }
}

#[derive(Default)]
struct Inner {
    groups: HashMap<GroupKey, HashMap<ObjectId, Entry>>,
    /// The revision up to which each kind's watch has delivered; a kind is listed once its first list is complete.
    heads: HashMap<ApiKind, u64>,
}

/// Namespace and name of a custom resource.
type GroupKey = (String, String);

struct Entry {
    object: Arc<DynamicObject>,
    /// When we wrote it, until a watch confirms it.
    written: Option<Instant>,
}

/// What a delivery means for the resource it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Touched {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Cache {
    /// The objects of a group.
    pub(crate) fn group(&self, namespace: &str, name: &str) -> Group {
        let inner = self.inner.read();
        let Some(group) = inner.groups.get(&(namespace.to_owned(), name.to_owned())) else {
            return Group::new();
        };
        let current = |entry: &Entry| entry.written.is_none_or(|at| at.elapsed() < self.unconfirmed);
        let entries = group.iter().filter(|(_, entry)| current(entry));
        entries.map(|(id, entry)| (id.clone(), entry.object.clone())).collect()
    }

    /// One object of a group.
    pub(crate) fn get(&self, namespace: &str, group: &str, id: &ObjectId) -> Option<Arc<DynamicObject>> {
        let inner = self.inner.read();
        inner.groups.get(&(namespace.to_owned(), group.to_owned()))?.get(id).map(|entry| entry.object.clone())
    }

    /// Every object of `kind`.
    pub(crate) fn all(&self, kind: &ApiKind) -> Vec<Arc<DynamicObject>> {
        let inner = self.inner.read();
        let entries = inner.groups.values().flatten().filter(|(id, _)| id.kind == *kind);
        entries.map(|(_, entry)| entry.object.clone()).collect()
    }

    /// True once the first list of every one of `kinds` is in.
    pub(crate) fn synced<'a>(&self, mut kinds: impl Iterator<Item = &'a ApiKind>) -> bool {
        let inner = self.inner.read();
        kinds.all(|kind| inner.heads.contains_key(kind))
    }

    /// Takes in a complete list of `kind`, begun at `began`. Returns what it changed.
    pub(crate) fn replace(&self, kind: &ApiKind, list: Vec<DynamicObject>, began: Instant) -> Vec<Touched> {
        let head = list.iter().filter_map(revision).max().unwrap_or_default();
        let mut listed = HashSet::new();
        let mut inner = self.inner.write();
        // The server may have been restored from a backup: revisions start anew with the list.
        inner.heads.insert(kind.clone(), head);
        let mut touched = vec![];
        for object in list {
            if let Some((key, id, about)) = place(kind, &object) {
                listed.insert((key.clone(), id.clone()));
                let entry = Entry { object: Arc::new(stripped(kind, object)), written: None };
                inner.groups.entry(key).or_default().insert(id, entry);
                touched.push(about);
            }
        }
        inner.groups.retain(|key, group| {
            group.retain(|id, entry| {
                let written_since = entry.written.is_some_and(|at| at >= began);
                let keep = id.kind != *kind || written_since || listed.contains(&(key.clone(), id.clone()));
                if !keep {
                    touched.extend(place(kind, &entry.object).map(|(_, _, about)| about));
                }
                keep
            });
            !group.is_empty()
        });
        touched
    }

    /// Takes in a new or changed object. `None` where that is no news: we wrote it, or have read something newer, or
    /// only the status of a custom resource changed, which nobody but us writes.
    pub(crate) fn upsert(&self, kind: &ApiKind, object: DynamicObject) -> Option<Touched> {
        let (key, id, about) = place(kind, &object)?;
        let mut inner = self.inner.write();
        inner.advance(kind, &object);
        let group = inner.groups.entry(key).or_default();
        let mut news = true;
        if let Some(known) = group.get_mut(&id).filter(|known| known.object.uid() == object.uid()) {
            if older(&object, &known.object) {
                return None;
            }
            news = known.object.resource_version() != object.resource_version()
                && !(kind.group() == senren_api::GROUP && same_wish(&known.object, &object));
        }
        group.insert(id, Entry { object: Arc::new(stripped(kind, object)), written: None });
        news.then_some(about)
    }

    /// Takes in a deletion.
    pub(crate) fn remove(&self, kind: &ApiKind, object: &DynamicObject) -> Option<Touched> {
        let (key, id, about) = place(kind, object)?;
        let mut inner = self.inner.write();
        inner.advance(kind, object);
        let group = inner.groups.get_mut(&key)?;
        // What we have since created again under that name stays.
        group.retain(|other, entry| *other != id || entry.object.uid() != object.uid());
        if group.is_empty() {
            inner.groups.remove(&key);
        }
        Some(about)
    }

    /// Remembers what the API server answered to a write of ours.
    pub(crate) fn wrote(&self, object: DynamicObject) {
        let Some(id) = ObjectId::of(&object) else { return };
        let Some((key, id, _)) = place(&id.kind, &object) else { return };
        let mut inner = self.inner.write();
        let delivered = inner.heads.get(&id.kind).copied();
        let (Some(delivered), Some(revision)) = (delivered, revision(&object)) else { return };
        if revision <= delivered {
            return;
        }
        let group = inner.groups.entry(key).or_default();
        if group.get(&id).is_some_and(|known| older(&object, &known.object)) {
            return;
        }
        let entry = Entry { object: Arc::new(stripped(&id.kind, object)), written: Some(Instant::now()) };
        group.insert(id, entry);
    }
}

impl Inner {
    fn advance(&mut self, kind: &ApiKind, object: &DynamicObject) {
        if let (Some(head), Some(revision)) = (self.heads.get_mut(kind), revision(object)) {
            *head = revision.max(*head);
        }
    }
}

/// Where an object is kept, what it is, and whom it concerns. A custom resource concerns itself; a child carries the
/// name of its resource.
fn place(kind: &ApiKind, object: &DynamicObject) -> Option<(GroupKey, ObjectId, Touched)> {
    let namespace = object.namespace()?;
    let own_name = object.metadata.name.clone()?;
    let id = ObjectId::new(kind.clone(), own_name.clone());
    let name = match kind.group() {
        senren_api::GROUP => own_name,
        _ => object.labels().get(names::NAME)?.clone(),
    };
    Some(((namespace.clone(), name.clone()), id, Touched { namespace, name }))
}

fn stripped(kind: &ApiKind, mut object: DynamicObject) -> DynamicObject {
    object.metadata.managed_fields = None;
    // Objects of a list don't say what they are.
    object.types = Some(TypeMeta { api_version: kind.api_version.clone(), kind: kind.kind.clone() });
    if kind.kind == "Secret"
        && let Some(data) = object.data.as_object_mut()
    {
        data.remove("data");
        data.remove("stringData");
    }
    object
}

/// True where two readings of a custom resource ask for the same: nothing but its status differs.
fn same_wish(a: &DynamicObject, b: &DynamicObject) -> bool {
    a.metadata.generation == b.metadata.generation
        && a.metadata.annotations == b.metadata.annotations
        && a.metadata.labels == b.metadata.labels
        && a.metadata.finalizers == b.metadata.finalizers
        && a.metadata.deletion_timestamp.is_some() == b.metadata.deletion_timestamp.is_some()
        && a.data.get("spec") == b.data.get("spec")
}

fn revision(object: &DynamicObject) -> Option<u64> {
    object.metadata.resource_version.as_deref()?.parse().ok()
}

/// True where `a` is certainly an older reading than `b`.
fn older(a: &DynamicObject, b: &DynamicObject) -> bool {
    matches!((revision(a), revision(b)), (Some(a), Some(b)) if a < b)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn kind() -> ApiKind {
        ApiKind::new("v1", "ConfigMap")
    }

    fn object(uid: &str, revision: u64) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "a-config", "namespace": "senren-default", "uid": uid,
                         "resourceVersion": revision.to_string(), "labels": {names::NAME: "a"}},
        }))
        .unwrap()
    }

    fn seen(cache: &Cache) -> Option<String> {
        let id = ObjectId::new(kind(), "a-config");
        cache.group("senren-default", "a").get(&id).map(|object| object.resource_version().unwrap())
    }

    fn listed(objects: Vec<DynamicObject>) -> Cache {
        let cache = Cache::default();
        cache.replace(&kind(), objects, Instant::now());
        cache
    }

    #[tokio::test]
    async fn a_write_of_ours_is_seen_at_once_and_its_event_is_no_news() {
        let cache = listed(vec![]);
        cache.wrote(object("u1", 5));
        assert_eq!(seen(&cache).as_deref(), Some("5"));
        assert_eq!(cache.upsert(&kind(), object("u1", 5)), None);
        assert!(cache.upsert(&kind(), object("u1", 6)).is_some(), "a change by another is news");
    }

    #[tokio::test]
    async fn an_older_event_does_not_hide_a_write_of_ours() {
        let cache = listed(vec![object("u1", 3)]);
        cache.wrote(object("u1", 9));
        assert_eq!(cache.upsert(&kind(), object("u1", 4)), None);
        assert_eq!(seen(&cache).as_deref(), Some("9"));
    }

    #[tokio::test]
    async fn a_write_whose_deletion_was_already_delivered_leaves_no_ghost() {
        let cache = listed(vec![]);
        cache.upsert(&kind(), object("u1", 5));
        assert!(cache.remove(&kind(), &object("u1", 7)).is_some());
        cache.wrote(object("u1", 5));
        assert_eq!(seen(&cache), None);
    }

    #[tokio::test]
    async fn the_deletion_of_an_earlier_object_spares_its_successor() {
        let cache = listed(vec![object("u1", 3)]);
        cache.wrote(object("u2", 6));
        cache.remove(&kind(), &object("u1", 5));
        assert_eq!(seen(&cache).as_deref(), Some("6"));
    }

    #[tokio::test]
    async fn a_write_that_no_watch_confirms_is_forgotten() {
        let cache = Cache { unconfirmed: Duration::ZERO, ..listed(vec![]) };
        cache.wrote(object("u1", 5));
        assert_eq!(seen(&cache), None);
    }

    #[tokio::test]
    async fn a_list_replaces_everything_but_what_was_written_since_it_began() {
        let cache = listed(vec![object("u1", 3)]);
        let began = Instant::now();
        assert_eq!(cache.replace(&kind(), vec![], began).len(), 1, "the deletion of a missed object is news");
        assert_eq!(seen(&cache), None);
        cache.wrote(object("u2", 8));
        cache.replace(&kind(), vec![], began);
        assert_eq!(seen(&cache).as_deref(), Some("8"));
    }

    #[tokio::test]
    async fn only_what_a_resource_asks_for_is_news() {
        let kind = ApiKind::new("senren.io/v1", "RedisDatabase");
        let resource = |revision: u64, memory: u64, phase: &str| -> DynamicObject {
            serde_json::from_value(json!({
                "apiVersion": "senren.io/v1", "kind": "RedisDatabase",
                "metadata": {"name": "a", "namespace": "senren-default", "uid": "u", "resourceVersion": revision.to_string()},
                "spec": {"memory_mb": memory}, "status": {"phase": phase},
            }))
            .unwrap()
        };
        let cache = Cache::default();
        cache.replace(&kind, vec![resource(1, 64, "Pending")], Instant::now());
        assert_eq!(cache.upsert(&kind, resource(2, 64, "Ready")), None);
        assert!(cache.upsert(&kind, resource(3, 128, "Ready")).is_some());
    }
}
