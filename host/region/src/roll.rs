//! Every uid that this plane knows of, so that none ends without a word.
//!
//! A uid enters when it is desired, or when a custom resource carries it; it leaves when its `deleted` report is
//! acknowledged. In between it may lose its custom resource, be no longer desired, or never have had one.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use senren_api::ResourceKey;

use crate::memory::Known;

#[derive(Debug, Clone)]
struct Entry {
    known: Known,
    /// It is gone, and that remains to be reported.
    gone: bool,
}

/// The known uids, by name.
#[derive(Default)]
pub(crate) struct Roll {
    entries: Mutex<BTreeMap<ResourceKey, BTreeMap<String, Entry>>>,
}

impl Roll {
    /// It exists, or should.
    pub fn learn(&self, known: Known) {
        let mut entries = self.entries.lock();
        let same_name = entries.entry(known.key.clone()).or_default();
        same_name.entry(known.uid.clone()).or_insert(Entry { known, gone: false }).gone = false;
    }

    /// It is neither desired nor in the cluster.
    pub fn gone(&self, known: &Known) {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.get_mut(&known.key).and_then(|same_name| same_name.get_mut(&known.uid)) {
            entry.gone = true;
        }
    }

    /// Its end is acknowledged.
    pub fn forget(&self, known: &Known) {
        let mut entries = self.entries.lock();
        let Some(same_name) = entries.get_mut(&known.key) else { return };
        same_name.retain(|uid, entry| uid != &known.uid || !entry.gone);
        if same_name.is_empty() {
            entries.remove(&known.key);
        }
    }

    /// Those of a name that aren't known to be gone.
    pub fn present(&self, key: &ResourceKey) -> Vec<Known> {
        self.of(key, false)
    }

    /// Those of a name whose end remains to be reported.
    pub fn leaving(&self, key: &ResourceKey) -> Vec<Known> {
        self.of(key, true)
    }

    fn of(&self, key: &ResourceKey, gone: bool) -> Vec<Known> {
        let entries = self.entries.lock();
        let same_name = entries.get(key).into_iter().flat_map(BTreeMap::values);
        same_name.filter(|entry| entry.gone == gone).map(|entry| entry.known.clone()).collect()
    }

    /// Every name.
    pub fn keys(&self) -> Vec<ResourceKey> {
        self.entries.lock().keys().cloned().collect()
    }

    /// Every uid of which `which` is true. It may look at what is desired and at the custom resources, never at the roll.
    pub fn all(&self, which: impl Fn(&Known) -> bool) -> Vec<Known> {
        let entries = self.entries.lock();
        let known = entries.values().flat_map(BTreeMap::values).map(|entry| &entry.known);
        known.filter(|known| which(known)).cloned().collect()
    }
}
