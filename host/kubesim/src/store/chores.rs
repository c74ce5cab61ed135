//! Work that the store notes for the controllers as it changes, each piece once however often it is noted.

use std::collections::{BTreeSet, VecDeque};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Place;

/// Work for the controllers in `collect`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Chore {
    /// Look whether this object's owners are still there.
    Owners(Place),
    /// Go on with the deletion of this object, which waits for its dependents.
    Dependents(Place),
    /// Give this namespace the account that every namespace has.
    Account(String),
    /// Empty this namespace, which is being deleted.
    Namespace(String),
    /// Delete the objects of this definition, which is being deleted.
    Definition(String),
}

#[derive(Default)]
pub(super) struct Chores {
    pending: Mutex<(VecDeque<Chore>, BTreeSet<Chore>)>,
    wake: Notify,
}

impl Chores {
    /// The same work, for somebody else to do.
    pub fn copy(&self) -> Chores {
        Chores { pending: Mutex::new(self.pending.lock().clone()), wake: Notify::new() }
    }

    pub fn push(&self, chore: Chore) {
        let mut pending = self.pending.lock();
        if pending.1.insert(chore.clone()) {
            pending.0.push_back(chore);
            self.wake.notify_one();
        }
    }

    /// The next piece of work; waits for one.
    pub async fn next(&self) -> Chore {
        loop {
            let wake = self.wake.notified();
            {
                let mut pending = self.pending.lock();
                if let Some(chore) = pending.0.pop_front() {
                    pending.1.remove(&chore);
                    return chore;
                }
            }
            wake.await;
        }
    }
}
