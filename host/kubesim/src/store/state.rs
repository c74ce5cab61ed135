//! The state behind the store's lock: tables of objects with their histories, and the indexes over them.
//!
//! `put` and `remove` are the only ways in which anything changes: each takes the next revision, goes to the
//! journal first, and notes what the controllers have to do about it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;

use super::chores::{Chore, Chores};
use super::{Event, Key, Object, Place, Settings, Verb, key_of, uid_of};
use crate::addresses::Addresses;
use crate::crd;
use crate::journal::Journal;
use crate::kinds::{self, GroupResource, Kind};
use crate::status::{self, Result};

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

impl Table {
    /// The revision of the oldest state that can be reconstructed.
    pub fn oldest(&self) -> u64 {
        self.forgotten
    }

    /// The revision of the newest change in the history.
    pub fn newest(&self) -> u64 {
        self.history.back().map_or(0, |change| change.revision)
    }

    /// The changes after a revision; 410 if the history doesn't reach back to it.
    pub fn since(&self, revision: u64) -> Result<impl Iterator<Item = &Event>> {
        self.reach(revision)?;
        let start = self.history.partition_point(|change| change.revision <= revision);
        Ok(self.history.range(start..))
    }

    /// Tells of changes to come, for who has seen everything up to a revision or can still see it.
    pub fn follow(&self, revision: u64) -> Result<watch::Receiver<u64>> {
        self.reach(revision)?;
        Ok(self.head.subscribe())
    }

    fn reach(&self, revision: u64) -> Result<()> {
        if revision < self.forgotten { Err(status::expired(revision, self.forgotten)) } else { Ok(()) }
    }

    /// The same objects and history; watched by nobody yet.
    fn copy(&self) -> Table {
        Table {
            kind: self.kind.clone(),
            objects: self.objects.clone(),
            history: self.history.clone(),
            forgotten: self.forgotten,
            head: watch::Sender::new(*self.head.borrow()),
        }
    }

    /// The objects of a namespace, or all, as they were at a revision: the present with what came after undone.
    pub fn range_at(&self, namespace: Option<&str>, revision: u64) -> Result<Vec<Object>> {
        let changes: Vec<&Event> = self.since(revision)?.collect();
        let mut objects: BTreeMap<Key, Object> =
            self.range(namespace).map(|(key, object)| (key.clone(), object.clone())).collect();
        for change in changes.into_iter().rev() {
            let key = key_of(&change.object);
            if namespace.is_some_and(|n| n != key.namespace) {
                continue;
            }
            match &change.previous {
                Some(before) => objects.insert(key, before.clone()),
                None => objects.remove(&key),
            };
        }
        Ok(objects.into_values().collect())
    }

    pub fn get(&self, what: &GroupResource, key: &Key) -> Result<&Object> {
        self.objects.get(key).ok_or_else(|| status::not_found(what, &key.name))
    }

    pub fn range<'a>(
        &'a self,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Key, &'a Object)> + 'a {
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
    pub(super) fn new(settings: &Settings, chores: Arc<Chores>) -> State {
        State {
            revision: 1,
            addresses: Addresses::new(settings.network),
            tables: HashMap::new(),
            places: HashMap::new(),
            dependents: HashMap::new(),
            chores,
            journal: None,
            history: settings.history.max(1),
            closed: false,
        }
    }

    /// The same objects, with the same past, and a future of their own; in memory only.
    pub(super) fn copy(&self, chores: Arc<Chores>) -> State {
        State {
            revision: self.revision,
            addresses: self.addresses.clone(),
            tables: self.tables.iter().map(|(what, table)| (what.clone(), table.copy())).collect(),
            places: self.places.clone(),
            dependents: self.dependents.clone(),
            chores,
            journal: None,
            history: self.history,
            closed: false,
        }
    }

    /// From now on every change goes to this journal.
    pub(super) fn keep(&mut self, journal: Journal) {
        self.journal = Some(journal);
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        self.journal = None;
    }

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
            if *what == kinds::NAMESPACES && previous.is_none() {
                self.chores.push(Chore::Account(place.key.name));
            }
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
        if place.resource == kinds::SERVICE_ACCOUNTS && place.key.name == kinds::DEFAULT_ACCOUNT {
            self.chores.push(Chore::Account(place.key.namespace.clone()));
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
            journal.put_off();
        }
        self.journal = Some(journal);
    }
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
