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
    /// The group that each object is in, by namespace: its label, which says so, may be changed by anybody.
    homes: HashMap<(String, ObjectId), GroupKey>,
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
                inner.put(key, id, Entry { object: Arc::new(stripped(kind, object)), written: None });
                touched.push(about);
            }
        }
        let Inner { groups, homes, .. } = &mut *inner;
        groups.retain(|key, group| {
            group.retain(|id, entry| {
                let written_since = entry.written.is_some_and(|at| at >= began);
                let keep = id.kind != *kind || written_since || listed.contains(&(key.clone(), id.clone()));
                if !keep {
                    homes.remove(&(key.0.clone(), id.clone()));
                    touched.push(Touched { namespace: key.0.clone(), name: key.1.clone() });
                }
                keep
            });
            !group.is_empty()
        });
        touched
    }

    /// Takes in a new or changed object. Says for whom it is news: for nobody where we wrote it, or have read something
    /// newer, or only the status of a custom resource changed, which nobody but us writes; for two where it went over
    /// from one to the other.
    pub(crate) fn upsert(&self, kind: &ApiKind, object: DynamicObject) -> Vec<Touched> {
        let mut inner = self.inner.write();
        inner.advance(kind, &object);
        let mut touched = vec![];
        let placed = place(kind, &object);
        let home = inner.home(kind, &object);
        if let Some((key, known)) =
            home.as_ref().and_then(|(key, id)| Some((key, inner.groups.get(key)?.get(id)?)))
            && known.object.uid() == object.uid()
        {
            if older(&object, &known.object) {
                return touched;
            }
            let same = known.object.resource_version() == object.resource_version()
                || (kind.group() == senren_api::GROUP && same_wish(&known.object, &object));
            if same && placed.as_ref().is_some_and(|(place, ..)| place == key) {
                let (key, id) = (key.clone(), ObjectId::new(kind.clone(), object.name_any()));
                inner.put(key, id, Entry { object: Arc::new(stripped(kind, object)), written: None });
                return touched;
            }
        }
        if let Some((key, id)) =
            home.filter(|(key, _)| placed.as_ref().is_none_or(|(place, ..)| place != key))
        {
            inner.take(&key, &id);
            touched.push(Touched { namespace: key.0, name: key.1 });
        }
        if let Some((key, id, about)) = placed {
            inner.put(key, id, Entry { object: Arc::new(stripped(kind, object)), written: None });
            touched.push(about);
        }
        touched
    }

    /// Takes in a deletion, also of what only left the selection of the watch.
    pub(crate) fn remove(&self, kind: &ApiKind, object: &DynamicObject) -> Option<Touched> {
        let mut inner = self.inner.write();
        inner.advance(kind, object);
        let (key, id) = inner.home(kind, object)?;
        // What we have since created again under that name stays.
        let known = inner.groups.get(&key).and_then(|group| group.get(&id));
        if known.is_some_and(|entry| entry.object.uid() == object.uid()) {
            inner.take(&key, &id);
        }
        Some(Touched { namespace: key.0, name: key.1 })
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
        let known = inner.groups.get(&key).and_then(|group| group.get(&id));
        if known.is_some_and(|known| older(&object, &known.object)) {
            return;
        }
        let entry = Entry { object: Arc::new(stripped(&id.kind, object)), written: Some(Instant::now()) };
        inner.put(key, id, entry);
    }
}

impl Inner {
    /// Where an object is kept now, whatever its labels say.
    fn home(&self, kind: &ApiKind, object: &DynamicObject) -> Option<(GroupKey, ObjectId)> {
        let id = ObjectId::new(kind.clone(), object.metadata.name.clone()?);
        let home = (object.namespace()?, id);
        let key = self.homes.get(&home)?.clone();
        Some((key, home.1))
    }

    fn put(&mut self, key: GroupKey, id: ObjectId, entry: Entry) {
        let before = self.homes.insert((key.0.clone(), id.clone()), key.clone());
        if let Some(before) = before.filter(|before| *before != key) {
            self.drop_from(&before, &id);
        }
        self.groups.entry(key).or_default().insert(id, entry);
    }

    fn take(&mut self, key: &GroupKey, id: &ObjectId) {
        self.homes.remove(&(key.0.clone(), id.clone()));
        self.drop_from(key, id);
    }

    fn drop_from(&mut self, key: &GroupKey, id: &ObjectId) {
        if let Some(group) = self.groups.get_mut(key) {
            group.remove(id);
            if group.is_empty() {
                self.groups.remove(key);
            }
        }
    }

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
        assert_eq!(cache.upsert(&kind(), object("u1", 5)), []);
        assert_eq!(cache.upsert(&kind(), object("u1", 6)).len(), 1, "a change by another is news");
    }

    #[tokio::test]
    async fn an_older_event_does_not_hide_a_write_of_ours() {
        let cache = listed(vec![object("u1", 3)]);
        cache.wrote(object("u1", 9));
        assert_eq!(cache.upsert(&kind(), object("u1", 4)), []);
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
    async fn an_object_that_is_labelled_otherwise_is_where_its_label_says_and_nowhere_else() {
        let labelled = |revision: u64, label: Option<&str>| {
            let mut object = object("u1", revision);
            let labels = label.map(|label| [(names::NAME.to_owned(), label.to_owned())].into());
            object.metadata.labels = labels;
            object
        };
        let touched = |name: &str| Touched { namespace: "senren-default".into(), name: name.into() };
        let count = |cache: &Cache, name: &str| cache.group("senren-default", name).len();
        let cache = listed(vec![object("u1", 3)]);
        assert_eq!(cache.upsert(&kind(), labelled(4, Some("b"))), [touched("a"), touched("b")]);
        assert_eq!((count(&cache, "a"), count(&cache, "b")), (0, 1));
        assert_eq!(cache.upsert(&kind(), labelled(5, None)), [touched("b")]);
        assert_eq!(count(&cache, "b"), 0);
        cache.upsert(&kind(), labelled(6, Some("a")));
        cache.wrote(labelled(7, Some("b")));
        assert_eq!((count(&cache, "a"), count(&cache, "b")), (0, 1));
        // It left the selection of the watch, without the label by which it was found.
        assert_eq!(cache.remove(&kind(), &labelled(8, None)), Some(touched("b")));
        assert_eq!(count(&cache, "b"), 0);
        let inner = cache.inner.read();
        assert!(inner.groups.is_empty() && inner.homes.is_empty());
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
        assert_eq!(cache.upsert(&kind, resource(2, 64, "Ready")), []);
        assert_eq!(cache.upsert(&kind, resource(3, 128, "Ready")).len(), 1);
    }
}
