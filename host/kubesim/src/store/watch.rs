//! A watch: a cursor in the history of one kind.

use std::collections::VecDeque;

use tokio::sync::watch;

use super::{Event, Store};
use crate::kinds::GroupResource;
use crate::status::{self, Result};

/// A cursor in the history of one kind.
pub struct Watch {
    store: Store,
    what: GroupResource,
    after: u64,
    head: watch::Receiver<u64>,
    ready: VecDeque<Event>,
}

impl Watch {
    pub(super) fn new(store: Store, what: GroupResource, after: u64, head: watch::Receiver<u64>) -> Watch {
        Watch { store, what, after, head, ready: VecDeque::new() }
    }

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
            self.ready.extend(state.table(&self.what)?.since(self.after)?.take(BATCH).cloned());
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
        let newest = state.table(&self.what).ok()?.newest();
        (self.ready.is_empty() && newest <= self.after).then_some(state.revision)
    }
}
