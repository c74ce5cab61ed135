//! Which resources have something to be reported: a queue in which each is once, however often it changes.
//!
//! Every entry carries a ticket from a counter, which it keeps until its report is acknowledged. So one can wait
//! until everything that was due at some moment has been said, without stopping what comes after.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use parking_lot::Mutex;
use senren_api::ResourceKey;
use tokio::sync::watch;

pub(crate) struct Board {
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    next_ticket: u64,
    queue: BTreeMap<u64, ResourceKey>,
    queued: HashMap<ResourceKey, u64>,
    /// Being published, each with its ticket.
    in_flight: HashMap<ResourceKey, u64>,
}

/// A resource whose report is being published. Has to be given back by [`Board::done`] or [`Board::failed`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub key: ResourceKey,
    ticket: u64,
}

impl Default for Board {
    fn default() -> Self {
        Self { state: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl Board {
    /// There may be something to say about these.
    pub fn mark(&self, keys: impl IntoIterator<Item = ResourceKey>) {
        self.change(|state| keys.into_iter().for_each(|key| state.enqueue(key, None)));
    }

    /// The next one that nobody is publishing at the moment.
    pub fn take(&self) -> Option<Due> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let free = state.queue.iter().find(|(_, key)| !state.in_flight.contains_key(*key));
        let (ticket, key) = free.map(|(ticket, key)| (*ticket, key.clone()))?;
        state.queue.remove(&ticket);
        state.queued.remove(&key);
        state.in_flight.insert(key.clone(), ticket);
        Some(Due { key, ticket })
    }

    /// Its report is acknowledged.
    pub fn done(&self, due: &Due) {
        self.change(|state| state.in_flight.remove(&due.key));
    }

    /// Its report has to be published again.
    pub fn failed(&self, due: Due) {
        self.change(|state| {
            state.in_flight.remove(&due.key);
            state.enqueue(due.key, Some(due.ticket));
        });
    }

    /// Waits until there may be something to take.
    pub async fn wait(&self) {
        self.wait_until(|state| state.queue.values().any(|key| !state.in_flight.contains_key(key))).await;
    }

    /// Waits until everything that is due now has been acknowledged.
    pub async fn said(&self) {
        let now = self.state.lock().next_ticket;
        self.wait_until(|state| {
            let tickets: BTreeSet<u64> =
                state.queue.keys().take(1).copied().chain(state.in_flight.values().copied()).collect();
            tickets.first().is_none_or(|first| *first >= now)
        })
        .await;
    }

    async fn wait_until(&self, reached: impl Fn(&State) -> bool) {
        let mut changes = self.changes.subscribe();
        while !reached(&self.state.lock()) {
            // Can't fail: the sender is ours.
            let _ = changes.changed().await;
        }
    }

    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) {
        change(&mut self.state.lock());
        self.changes.send_modify(|count| *count += 1);
    }
}

impl State {
    fn enqueue(&mut self, key: ResourceKey, ticket: Option<u64>) {
        let queued = self.queued.get(&key).copied();
        let ticket = match (queued, ticket) {
            // What was due stays due since then.
            (Some(queued), None) => queued,
            (Some(queued), Some(ticket)) => {
                self.queue.remove(&queued);
                queued.min(ticket)
            }
            (None, Some(ticket)) => ticket,
            (None, None) => {
                self.next_ticket += 1;
                self.next_ticket - 1
            }
        };
        self.queued.insert(key.clone(), ticket);
        self.queue.insert(ticket, key);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use futures::FutureExt as _;

    use super::*;

    fn key(name: &str) -> ResourceKey {
        ResourceKey { site: Default::default(), name: name.parse().unwrap() }
    }

    #[test]
    fn a_resource_is_due_once_and_published_by_one_at_a_time() {
        let board = Board::default();
        board.mark([key("a"), key("b"), key("a")]);
        let a = board.take().unwrap();
        assert_eq!(a.key, key("a"));
        board.mark([key("a")]);
        assert_eq!(board.take().unwrap().key, key("b"));
        assert_eq!(board.take(), None, "a is being published");
        board.done(&a);
        assert_eq!(board.take().unwrap().key, key("a"), "it changed meanwhile");
    }

    #[test]
    fn all_is_said_once_what_was_due_is_acknowledged() {
        let board = Board::default();
        assert!(board.said().now_or_never().is_some());
        board.mark([key("a")]);
        let mut said = Box::pin(board.said());
        assert!(said.as_mut().now_or_never().is_none());
        let a = board.take().unwrap();
        board.mark([key("b")]);
        board.failed(a);
        assert!(said.as_mut().now_or_never().is_none(), "a failed");
        let a = board.take().unwrap();
        assert_eq!(a.key, key("a"), "what is due longest comes first");
        board.done(&a);
        assert!(said.now_or_never().is_some(), "b came later");
    }
}
