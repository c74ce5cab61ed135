//! Objects, the one revision counter, and the history that watches read.
//!
//! Everything is behind one lock: an operation sees one consistent state and takes effect at one revision, as
//! in etcd. Objects are shared snapshots (`Arc`), never changed in place. A watch is a cursor in the history
//! of its kind, not a queue of its own: a slow reader costs nothing and, once the history no longer reaches
//! back to its cursor, is told 410 as by a real server.
//!
//! This file knows no rule of Kubernetes; the verbs in `write`, `apply` and `delete` do.

mod chores;
mod state;
mod watch;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::Value;

use crate::journal::Journal;
use crate::kinds::{self, GroupResource, Kind};
use crate::status::Result;

pub(crate) use chores::Chore;
use chores::Chores;
pub(crate) use state::State;
pub use watch::Watch;

pub use crate::delete::{DeleteOptions, Deletion, Propagation};
pub use crate::write::{Part, Told, Write};

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
        let mut state = State::new(settings, chores.clone());
        for kind in kinds::builtin() {
            state.serve(kind);
        }
        if let Some(dir) = &settings.data_dir {
            let journal = Journal::open(dir, &mut state)?;
            state.keep(journal);
        }
        let store = Store { state: Arc::new(RwLock::new(state)), chores };
        store.bootstrap()?;
        Ok(store)
    }

    /// Another store with the same objects, history and pending work. What becomes of one is nothing to the other.
    pub(crate) fn copy(&self) -> Store {
        let state = self.state.read();
        let chores = Arc::new(self.chores.copy());
        Store { state: Arc::new(RwLock::new(state.copy(chores.clone()))), chores }
    }

    /// The kind behind a group and plural, if it is served.
    pub fn kind(&self, what: &GroupResource) -> Option<Arc<Kind>> {
        self.state.read().table(what).ok().map(|t| t.kind.clone())
    }

    /// All kinds served now.
    pub fn kinds(&self) -> Vec<Arc<Kind>> {
        let mut kinds: Vec<_> = self.state.read().tables().map(|t| t.kind.clone()).collect();
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

    /// Reads the objects of a namespace whose names begin so.
    pub fn list_prefixed(&self, what: &GroupResource, namespace: &str, prefix: &str) -> Result<Vec<Object>> {
        let state = self.state.read();
        let from = state.table(what)?.objects.range(Key::new(namespace, prefix)..);
        let fits = |key: &Key| key.namespace == namespace && key.name.starts_with(prefix);
        Ok(from.take_while(|(key, _)| fits(key)).map(|(_, object)| object.clone()).collect())
    }

    /// The list as it was at an earlier revision, as far as the history reaches.
    pub fn list_at(&self, what: &GroupResource, namespace: Option<&str>, revision: u64) -> Result<Listing> {
        let state = self.state.read();
        let items = state.table(what)?.range_at(namespace, revision)?;
        Ok(Listing { revision: revision.min(state.revision), items })
    }

    /// The oldest revision that the history of a kind still reaches back to.
    pub fn oldest(&self, what: &GroupResource) -> Result<u64> {
        Ok(self.state.read().table(what)?.oldest())
    }

    /// The changes of a kind after `revision`; of all namespaces.
    pub fn watch(&self, what: &GroupResource, revision: u64) -> Result<Watch> {
        let head = self.state.read().table(what)?.follow(revision)?;
        Ok(Watch::new(self.clone(), what.clone(), revision, head))
    }

    /// The objects now and every change from here on: what a controller starts from.
    pub fn list_and_watch(&self, what: &GroupResource) -> Result<(Listing, Watch)> {
        // Both of the same moment: no history is short enough to be lost in between.
        let state = self.state.read();
        let table = state.table(what)?;
        let items = table.range(None).map(|(_, object)| object.clone()).collect();
        let (revision, head) = (state.revision, table.follow(state.revision)?);
        drop(state);
        Ok((Listing { revision, items }, Watch::new(self.clone(), what.clone(), revision, head)))
    }

    /// Ends all writing, and lets go of the directory. What is there can still be read.
    pub(crate) fn close(&self) {
        self.state.write().close();
    }

    /// Runs `change` alone on the state.
    pub(crate) fn transact<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.write())
    }

    /// Looks at the state, consistently.
    pub(crate) fn inspect<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.read())
    }

    /// Work that could not be done yet.
    pub(crate) fn later(&self, chore: Chore) {
        self.chores.push(chore);
    }

    /// The next piece of work for the controllers; waits for one.
    pub(crate) async fn next_chore(&self) -> Chore {
        self.chores.next().await
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
