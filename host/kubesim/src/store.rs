//! Objects, the one revision counter, and the history that watches read.
//!
//! Everything is behind one lock: an operation sees one consistent state and takes effect at one revision, as
//! in etcd. Objects are shared snapshots (`Arc`), never changed in place. A watch is a cursor in the history
//! of its kind, not a queue of its own: a slow reader costs nothing and, once the history no longer reaches
//! back to its cursor, is told 410 as by a real server.
//!
//! This file knows no rule of Kubernetes; the verbs in `write`, `apply` and `delete` do.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use tokio::sync::{Notify, watch};

use crate::addresses::Addresses;
use crate::crd;
use crate::journal::Journal;
use crate::kinds::{self, GroupResource, Kind};
use crate::status::{self, Result};

pub use crate::delete::{DeleteOptions, Deletion, Propagation};
pub use crate::write::{Part, Write};

/// A stored object: a snapshot that never changes.
pub type Object = Arc<Value>;

/// How a store is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the journal lives; `None` keeps everything in memory.
    pub data_dir: Option<PathBuf>,
    /// Network of the services' addresses.
    pub network: Ipv4Addr,
    /// Changes kept per kind for watches.
    pub history: usize,
}

/// Namespace (empty for cluster-scoped objects) and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// The object's name.
    pub name: String,
}

impl Key {
    /// A key from its parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Key {
        Key { namespace: namespace.into(), name: name.into() }
    }
}

/// An object's place in the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Its kind.
    pub resource: GroupResource,
    /// Its namespace and name.
    pub key: Key,
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// It was created.
    Added,
    /// It was changed.
    Modified,
    /// It is gone.
    Deleted,
}

/// One change, as watches see it.
#[derive(Debug, Clone)]
pub struct Event {
    /// The revision the change took effect at; also in the object's `resourceVersion`.
    pub revision: u64,
    /// What happened.
    pub verb: Verb,
    /// The object after the change; for a deletion its last state.
    pub object: Object,
    /// The object before the change.
    pub previous: Option<Object>,
}

/// A consistent list.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The revision of the whole store that the list was read at; a watch from here misses nothing.
    pub revision: u64,
    /// The objects, ordered by namespace and name.
    pub items: Vec<Object>,
}

/// Work for the controllers in [`crate::collect`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Chore {
    /// Look whether this object's owners are still there.
    Owners(Place),
    /// Go on with the deletion of this object, which waits for its dependents.
    Dependents(Place),
    /// Empty this namespace, which is being deleted.
    Namespace(String),
    /// Delete the objects of this definition, which is being deleted.
    Definition(String),
}

pub(crate) struct Table {
    pub kind: Arc<Kind>,
    pub objects: BTreeMap<Key, Object>,
    history: VecDeque<Event>,
    /// Revision of the newest change that the history has dropped.
    forgotten: u64,
    head: watch::Sender<u64>,
}

pub(crate) struct State {
    pub revision: u64,
    pub addresses: Addresses,
    tables: HashMap<GroupResource, Table>,
    places: HashMap<String, Place>,
    dependents: HashMap<String, BTreeSet<Place>>,
    chores: Arc<Chores>,
    journal: Option<Journal>,
    history: usize,
    closed: bool,
}

#[derive(Default)]
struct Chores {
    pending: Mutex<(VecDeque<Chore>, BTreeSet<Chore>)>,
    wake: Notify,
}

impl Chores {
    fn push(&self, chore: Chore) {
        let mut pending = self.pending.lock();
        if pending.1.insert(chore.clone()) {
            pending.0.push_back(chore);
            self.wake.notify_one();
        }
    }
}

/// The objects of one embedded cluster. Cheap to clone; clones are the same store.
#[derive(Clone)]
pub struct Store {
    state: Arc<RwLock<State>>,
    chores: Arc<Chores>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("revision", &self.revision()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens a store, reading what an earlier one left in `data_dir`.
    pub fn open(settings: &Settings) -> anyhow::Result<Store> {
        let chores = Arc::new(Chores::default());
        let mut state = State {
            revision: 1,
            addresses: Addresses::new(settings.network),
            tables: HashMap::new(),
            places: HashMap::new(),
            dependents: HashMap::new(),
            chores: chores.clone(),
            journal: None,
            history: settings.history.max(1),
            closed: false,
        };
        for kind in kinds::builtin() {
            state.serve(kind);
        }
        if let Some(dir) = &settings.data_dir {
            state.journal = Some(Journal::open(dir, &mut state)?);
        }
        let store = Store { state: Arc::new(RwLock::new(state)), chores };
        store.bootstrap()?;
        Ok(store)
    }

    /// The kind behind a group and plural, if it is served.
    pub fn kind(&self, what: &GroupResource) -> Option<Arc<Kind>> {
        self.state.read().tables.get(what).map(|t| t.kind.clone())
    }

    /// All kinds served now.
    pub fn kinds(&self) -> Vec<Arc<Kind>> {
        let mut kinds: Vec<_> = self.state.read().tables.values().map(|t| t.kind.clone()).collect();
        kinds.sort_by(|a, b| a.resource.cmp(&b.resource));
        kinds
    }

    /// The newest revision.
    pub fn revision(&self) -> u64 {
        self.state.read().revision
    }

    /// Reads one object. `namespace` is empty for cluster-scoped kinds.
    pub fn get(&self, what: &GroupResource, namespace: &str, name: &str) -> Result<Object> {
        let state = self.state.read();
        state.table(what)?.get(what, &Key::new(namespace, name)).cloned()
    }

    /// Reads all objects of a kind, in one namespace or in all.
    pub fn list(&self, what: &GroupResource, namespace: Option<&str>) -> Result<Listing> {
        let state = self.state.read();
        let items = state.table(what)?.range(namespace).map(|(_, object)| object.clone()).collect();
        Ok(Listing { revision: state.revision, items })
    }

    /// The list as it was at an earlier revision, as far as the history reaches.
    pub fn list_at(&self, what: &GroupResource, namespace: Option<&str>, revision: u64) -> Result<Listing> {
        let state = self.state.read();
        let table = state.table(what)?;
        if revision < table.forgotten {
            return Err(status::expired(revision, table.forgotten));
        }
        let mut objects: BTreeMap<&Key, Object> =
            table.range(namespace).map(|(key, object)| (key, object.clone())).collect();
        let undo: Vec<(Key, Option<Object>)> = table
            .history
            .iter()
            .rev()
            .take_while(|change| change.revision > revision)
            .map(|change| (key_of(&change.object), change.previous.clone()))
            .filter(|(key, _)| namespace.is_none_or(|n| n == key.namespace))
            .collect();
        for (key, before) in &undo {
            match before {
                Some(object) => objects.insert(key, object.clone()),
                None => objects.remove(key),
            };
        }
        Ok(Listing { revision: revision.min(state.revision), items: objects.into_values().collect() })
    }

    /// The oldest revision that the history of a kind still reaches back to.
    pub fn oldest(&self, what: &GroupResource) -> Result<u64> {
        Ok(self.state.read().table(what)?.forgotten)
    }

    /// The changes of a kind after `revision`; of all namespaces.
    pub fn watch(&self, what: &GroupResource, revision: u64) -> Result<Watch> {
        let state = self.state.read();
        let table = state.table(what)?;
        if revision < table.forgotten {
            return Err(status::expired(revision, table.forgotten));
        }
        Ok(Watch {
            store: self.clone(),
            what: what.clone(),
            after: revision,
            head: table.head.subscribe(),
            ready: VecDeque::new(),
        })
    }

    /// The objects now and every change from here on: what a controller starts from.
    pub fn list_and_watch(&self, what: &GroupResource) -> Result<(Listing, Watch)> {
        let listing = self.list(what, None)?;
        let watch = self.watch(what, listing.revision)?;
        Ok((listing, watch))
    }

    /// Ends all writing, and lets go of the directory. What is there can still be read.
    pub(crate) fn close(&self) {
        let mut state = self.state.write();
        state.closed = true;
        state.journal = None;
    }

    /// Runs `change` alone on the state.
    pub(crate) fn transact<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.write())
    }

    /// Looks at the state, consistently.
    pub(crate) fn inspect<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.read())
    }

    /// The next piece of work for the controllers; waits for one.
    pub(crate) async fn next_chore(&self) -> Chore {
        loop {
            let wake = self.chores.wake.notified();
            {
                let mut pending = self.chores.pending.lock();
                if let Some(chore) = pending.0.pop_front() {
                    pending.1.remove(&chore);
                    return chore;
                }
            }
            wake.await;
        }
    }
}

impl Table {
    pub fn get(&self, what: &GroupResource, key: &Key) -> Result<&Object> {
        self.objects.get(key).ok_or_else(|| status::not_found(what, &key.name))
    }

    fn range<'a>(&'a self, namespace: Option<&'a str>) -> impl Iterator<Item = (&'a Key, &'a Object)> + 'a {
        let from = Key::new(namespace.unwrap_or_default(), "");
        self.objects.range(from..).take_while(move |(key, _)| namespace.is_none_or(|n| n == key.namespace))
    }

    fn record(&mut self, event: Event, limit: usize) {
        let revision = event.revision;
        self.history.push_back(event);
        while self.history.len() > limit {
            if let Some(dropped) = self.history.pop_front() {
                self.forgotten = dropped.revision;
            }
        }
        self.head.send_replace(revision);
    }
}

impl State {
    pub fn table(&self, what: &GroupResource) -> Result<&Table> {
        self.tables.get(what).ok_or_else(status::no_such_path)
    }

    pub fn tables(&self) -> impl Iterator<Item = &Table> {
        self.tables.values()
    }

    /// Starts to serve a kind, or serves it differently from now on.
    pub fn serve(&mut self, kind: Arc<Kind>) {
        if let Some(table) = self.tables.get_mut(&kind.resource) {
            table.kind = kind;
            return;
        }
        let table = Table {
            objects: BTreeMap::new(),
            history: VecDeque::new(),
            forgotten: self.revision,
            head: watch::Sender::new(self.revision),
            kind: kind.clone(),
        };
        self.tables.insert(kind.resource.clone(), table);
    }

    /// Stops to serve a kind. Its watches end.
    pub fn unserve(&mut self, what: &GroupResource) {
        self.tables.remove(what);
    }

    /// Where the object with this uid is.
    pub fn place_of(&self, uid: &str) -> Option<&Place> {
        self.places.get(uid)
    }

    /// The objects whose ownerReferences name this uid.
    pub fn dependents_of(&self, uid: &str) -> Vec<Place> {
        self.dependents.get(uid).map(|places| places.iter().cloned().collect()).unwrap_or_default()
    }

    /// Puts an object in its place at the next revision and returns it as stored.
    pub fn put(&mut self, what: &GroupResource, mut object: Value) -> Result<Object> {
        self.check_open()?;
        let key = key_of(&object);
        let revision = self.revision + 1;
        set_revision(&mut object, revision);
        let object: Object = Arc::new(object);
        if let Some(journal) = &mut self.journal {
            journal.put(what, revision, &object).map_err(status::internal)?;
        }
        self.revision = revision;
        let previous = self.restore(what, key.clone(), object.clone())?;
        let verb = if previous.is_some() { Verb::Modified } else { Verb::Added };
        let limit = self.history;
        if let Some(table) = self.tables.get_mut(what) {
            table.record(Event { revision, verb, object: object.clone(), previous: previous.clone() }, limit);
        }
        self.note_put(what, key, &object, previous.as_deref());
        self.compact();
        Ok(object)
    }

    /// Puts an object in its place as it is: no revision, no event. For loading, and the first half of `put`.
    pub fn restore(&mut self, what: &GroupResource, key: Key, object: Object) -> Result<Option<Object>> {
        let place = Place { resource: what.clone(), key };
        let table = self.tables.get_mut(what).ok_or_else(status::no_such_path)?;
        let previous = table.objects.insert(place.key.clone(), object.clone());
        if let Some(uid) = uid_of(&object) {
            self.places.insert(uid.to_owned(), place.clone());
        }
        if let Some(address) = address_of(what, &object) {
            self.addresses.take(address);
        }
        let before: Vec<String> = previous.as_deref().map(owner_uids).unwrap_or_default();
        let after = owner_uids(&object);
        for gone in before.iter().filter(|uid| !after.contains(uid)) {
            self.forget_dependent(gone, &place);
        }
        for new in after.into_iter().filter(|uid| !before.contains(uid)) {
            self.dependents.entry(new).or_default().insert(place.clone());
        }
        Ok(previous)
    }

    /// Takes an object away at the next revision and returns its last state.
    pub fn remove(&mut self, what: &GroupResource, key: &Key) -> Result<Object> {
        self.check_open()?;
        let revision = self.revision + 1;
        let table = self.tables.get_mut(what).ok_or_else(status::no_such_path)?;
        let previous = table.get(what, key)?.clone();
        if let Some(journal) = &mut self.journal {
            journal.remove(what, revision, key).map_err(status::internal)?;
        }
        self.revision = revision;
        table.objects.remove(key);
        let mut last = (*previous).clone();
        set_revision(&mut last, revision);
        let object: Object = Arc::new(last);
        let event = Event { revision, verb: Verb::Deleted, object: object.clone(), previous: Some(previous) };
        table.record(event, self.history);
        self.note_removed(&Place { resource: what.clone(), key: key.clone() }, &object);
        self.compact();
        Ok(object)
    }

    /// Takes an object away as the journal says: no revision, no event.
    pub fn forget(&mut self, what: &GroupResource, key: &Key) -> Option<Object> {
        let object = self.tables.get_mut(what)?.objects.remove(key)?;
        let place = Place { resource: what.clone(), key: key.clone() };
        self.unindex(&place, &object);
        Some(object)
    }

    fn unindex(&mut self, place: &Place, object: &Value) {
        if let Some(uid) = uid_of(object) {
            self.places.remove(uid);
        }
        if let Some(address) = address_of(&place.resource, object) {
            self.addresses.give_back(address);
        }
        for owner in owner_uids(object) {
            self.forget_dependent(&owner, place);
        }
    }

    /// Everything, for a compacted journal.
    pub fn everything(&self) -> impl Iterator<Item = (&GroupResource, &Object)> {
        self.tables.values().flat_map(|t| t.objects.values().map(|object| (&t.kind.resource, object)))
    }

    /// After loading: nothing older than this can be watched, and the controllers look at everything once.
    pub fn loaded(&mut self) {
        for table in self.tables.values_mut() {
            table.forgotten = self.revision;
            table.head.send_replace(self.revision);
        }
        let all: Vec<(GroupResource, Key, Object)> =
            self.everything().map(|(what, object)| (what.clone(), key_of(object), object.clone())).collect();
        for (what, key, object) in all {
            self.note_put(&what, key, &object, None);
        }
    }

    fn note_put(&mut self, what: &GroupResource, key: Key, object: &Value, previous: Option<&Value>) {
        let place = Place { resource: what.clone(), key };
        if *what == kinds::DEFINITIONS {
            crd::follow(self, object);
            self.chores.push(Chore::Definition(place.key.name.clone()));
        }
        let owners = owner_uids(object);
        if !owners.is_empty() && previous.is_none_or(|before| owner_uids(before) != owners) {
            self.chores.push(Chore::Owners(place.clone()));
        }
        if let Some(before) = previous {
            // A dependent that let go of its owner may be what the owner's deletion waits for.
            for let_go in owner_uids(before) {
                self.wake_owner(&let_go);
            }
        }
        if object["metadata"].get("deletionTimestamp").is_none() {
            return;
        }
        if *what == kinds::NAMESPACES {
            self.chores.push(Chore::Namespace(place.key.name));
        } else if waits_for_dependents(object) {
            self.chores.push(Chore::Dependents(place));
        }
    }

    fn note_removed(&mut self, place: &Place, object: &Value) {
        self.unindex(place, object);
        if place.resource == kinds::DEFINITIONS {
            crd::unfollow(self, object);
        }
        if let Some(uid) = uid_of(object) {
            for dependent in self.dependents_of(uid) {
                self.chores.push(Chore::Owners(dependent));
            }
        }
        for owner in owner_uids(object) {
            self.wake_owner(&owner);
        }
        let namespace = Key::new("", &place.key.namespace);
        if let Some(table) = self.tables.get(&kinds::NAMESPACES)
            && let Some(holder) = table.objects.get(&namespace)
            && holder["metadata"].get("deletionTimestamp").is_some()
        {
            self.chores.push(Chore::Namespace(namespace.name));
        }
        if let Some(table) = self.tables.get(&place.resource)
            && let Some(custom) = &table.kind.custom
            && table.objects.is_empty()
        {
            self.chores.push(Chore::Definition(custom.definition.clone()));
        }
    }

    fn wake_owner(&self, uid: &str) {
        let Some(place) = self.places.get(uid) else { return };
        let Some(owner) = self.tables.get(&place.resource).and_then(|t| t.objects.get(&place.key)) else {
            return;
        };
        if waits_for_dependents(owner) {
            self.chores.push(Chore::Dependents(place.clone()));
        }
    }

    fn forget_dependent(&mut self, owner: &str, place: &Place) {
        if let Some(places) = self.dependents.get_mut(owner) {
            places.remove(place);
            if places.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }

    fn check_open(&self) -> Result<()> {
        if self.closed { Err(status::unavailable("the embedded cluster has been shut down")) } else { Ok(()) }
    }

    fn compact(&mut self) {
        if !self.journal.as_ref().is_some_and(Journal::is_long) {
            return;
        }
        let Some(mut journal) = self.journal.take() else { return };
        if let Err(error) = journal.compact(self) {
            tracing::warn!(%error, "the journal could not be compacted, it goes on growing");
        }
        self.journal = Some(journal);
    }
}

/// A cursor in the history of one kind.
pub struct Watch {
    store: Store,
    what: GroupResource,
    after: u64,
    head: watch::Receiver<u64>,
    ready: VecDeque<Event>,
}

impl Watch {
    /// The next change; waits for one. 410 when the history was faster than the reader, 404 when the kind is
    /// no longer served. Cancel safe.
    pub async fn next(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            if self.head.changed().await.is_err() {
                return Err(status::no_such_path());
            }
        }
    }

    /// The next change if there is one already.
    pub fn try_next(&mut self) -> Result<Option<Event>> {
        const BATCH: usize = 256;
        if self.ready.is_empty() {
            self.head.mark_unchanged();
            let state = self.store.state.read();
            let table = state.table(&self.what)?;
            if self.after < table.forgotten {
                return Err(status::expired(self.after, table.forgotten));
            }
            let start = table.history.partition_point(|change| change.revision <= self.after);
            self.ready.extend(table.history.range(start..).take(BATCH).cloned());
        }
        let event = self.ready.pop_front();
        if let Some(event) = &event {
            self.after = event.revision;
        }
        Ok(event)
    }

    /// The newest revision, if every change up to it has been delivered.
    pub fn caught_up(&self) -> Option<u64> {
        let state = self.store.state.read();
        let table = state.table(&self.what).ok()?;
        let newest = table.history.back().map_or(0, |change| change.revision);
        (self.ready.is_empty() && newest <= self.after).then_some(state.revision)
    }
}

/// The namespace and name that an object says it has.
pub fn key_of(object: &Value) -> Key {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    Key::new(text("namespace"), text("name"))
}

/// The object's uid.
pub fn uid_of(object: &Value) -> Option<&str> {
    object["metadata"]["uid"].as_str()
}

/// The revision an object was last changed at.
pub fn revision_of(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse().ok()).unwrap_or_default()
}

fn set_revision(object: &mut Value, revision: u64) {
    object["metadata"]["resourceVersion"] = Value::String(revision.to_string());
}

fn owner_uids(object: &Value) -> Vec<String> {
    let owners = object["metadata"]["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
    owners.iter().filter_map(|owner| owner["uid"].as_str().map(str::to_owned)).collect()
}

fn address_of(what: &GroupResource, object: &Value) -> Option<Ipv4Addr> {
    if *what != kinds::SERVICES {
        return None;
    }
    object["spec"]["clusterIP"].as_str()?.parse().ok()
}

fn waits_for_dependents(object: &Value) -> bool {
    let finalizers = object["metadata"]["finalizers"].as_array().map(Vec::as_slice).unwrap_or_default();
    finalizers.iter().any(|f| f == "foregroundDeletion" || f == "orphan")
}
