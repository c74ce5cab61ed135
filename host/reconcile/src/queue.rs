//! A queue of keys with work to do: each at most once in it, never the same key twice at once, a time for each that is
//! to wait. It knows nothing of what the work is.
//!
//! Two lanes: what just changed goes before what comes up by time, so that a long round over everything delays nobody
//! who waits for something; every few turns the other lane has the first right, so that it can't starve either.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

/// After so many keys of the urgent lane in a row, the other has its turn.
const URGENT_RUN: u32 = 8;

/// When a key comes up again whose work panicked.
const AFTER_PANIC: Duration = Duration::from_secs(60);

/// How soon a key is to be worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Comes up by time.
    Routine,
    /// Something changed.
    Urgent,
}

/// See the module. Clones share the queue.
pub(crate) struct Queue<K>(Arc<Shared<K>>);

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Shared<K> {
    state: Mutex<State<K>>,
    wake: Notify,
}

struct State<K> {
    urgent: VecDeque<K>,
    routine: VecDeque<K>,
    /// The lane each waiting key is in. An entry of a lane that this contradicts is void.
    waiting: HashMap<K, Lane>,
    running: HashSet<K>,
    /// Keys that came up again while they were worked on.
    again: HashMap<K, Lane>,
    /// When keys come up by time; the earliest time of each.
    timers: BTreeSet<(Instant, u64)>,
    timed: HashMap<K, (Instant, u64)>,
    keys_of_timers: HashMap<u64, K>,
    next_timer: u64,
    urgent_run: u32,
    /// Keys that must not run before a time, whatever changes.
    held: HashMap<K, Instant>,
}

/// A key being worked on. Dropping it ends the work, also when the work panics.
pub(crate) struct Lease<K: Eq + Hash + Clone> {
    queue: Queue<K>,
    key: K,
}

impl<K: Eq + Hash + Clone> Lease<K> {
    pub(crate) fn key(&self) -> &K {
        &self.key
    }
}

impl<K: Eq + Hash + Clone> Drop for Lease<K> {
    fn drop(&mut self) {
        let mut state = self.queue.0.state.lock();
        state.running.remove(&self.key);
        if let Some(lane) = state.again.remove(&self.key) {
            state.push(self.key.clone(), lane);
        } else if std::thread::panicking() {
            // Whoever would have said when to come back no longer can.
            state.push_at(self.key.clone(), Instant::now() + AFTER_PANIC);
        }
        drop(state);
        self.queue.0.wake.notify_one();
    }
}

impl<K: Eq + Hash + Clone> Queue<K> {
    pub(crate) fn new() -> Self {
        let state = State {
            urgent: VecDeque::new(),
            routine: VecDeque::new(),
            waiting: HashMap::new(),
            running: HashSet::new(),
            again: HashMap::new(),
            timers: BTreeSet::new(),
            timed: HashMap::new(),
            keys_of_timers: HashMap::new(),
            next_timer: 0,
            urgent_run: 0,
            held: HashMap::new(),
        };
        Self(Arc::new(Shared { state: Mutex::new(state), wake: Notify::new() }))
    }

    /// Puts `key` in, unless it is in already.
    pub(crate) fn push(&self, key: K, lane: Lane) {
        self.0.state.lock().push(key, lane);
        self.0.wake.notify_one();
    }

    /// Puts `key` in at `at`, or at the time it already has if that is earlier.
    pub(crate) fn push_at(&self, key: K, at: Instant) {
        self.0.state.lock().push_at(key, at);
        self.0.wake.notify_one();
    }

    /// Lets `key` rest until `until`, whatever changes.
    pub(crate) fn hold(&self, key: K, until: Instant) {
        let mut state = self.0.state.lock();
        state.held.insert(key.clone(), until);
        state.push_at(key, until);
        drop(state);
        self.0.wake.notify_one();
    }

    /// Forgets when `key` comes up by time.
    pub(crate) fn forget(&self, key: &K) {
        let mut state = self.0.state.lock();
        state.cancel_timer(key);
        state.held.remove(key);
    }

    /// Waits for a key to work on.
    pub(crate) async fn pop(&self) -> Lease<K> {
        loop {
            let next = {
                let mut state = self.0.state.lock();
                state.ring(Instant::now());
                if let Some(key) = state.take() {
                    return Lease { queue: self.clone(), key };
                }
                state.timers.first().map(|(at, _)| *at)
            };
            match next {
                Some(at) => tokio::select! {
                    () = self.0.wake.notified() => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => self.0.wake.notified().await,
            }
        }
    }
}

impl<K: Eq + Hash + Clone> State<K> {
    fn push(&mut self, key: K, lane: Lane) {
        if self.running.contains(&key) {
            let again = self.again.entry(key).or_insert(lane);
            *again = lane.max(*again);
            return;
        }
        let held = self.held.get(&key).copied().filter(|until| *until > Instant::now());
        if let Some(until) = held {
            return self.push_at(key, until);
        }
        if self.waiting.get(&key).is_some_and(|waiting| *waiting >= lane) {
            return;
        }
        self.cancel_timer(&key);
        self.waiting.insert(key.clone(), lane);
        match lane {
            Lane::Urgent => self.urgent.push_back(key),
            Lane::Routine => self.routine.push_back(key),
        }
    }

    fn push_at(&mut self, key: K, at: Instant) {
        if self.timed.get(&key).is_some_and(|(known, _)| *known <= at) {
            return;
        }
        self.cancel_timer(&key);
        self.next_timer += 1;
        let timer = (at, self.next_timer);
        self.timers.insert(timer);
        self.keys_of_timers.insert(timer.1, key.clone());
        self.timed.insert(key, timer);
    }

    fn cancel_timer(&mut self, key: &K) {
        if let Some(timer) = self.timed.remove(key) {
            self.timers.remove(&timer);
            self.keys_of_timers.remove(&timer.1);
        }
    }

    /// Moves every key whose time has come.
    fn ring(&mut self, now: Instant) {
        while let Some(timer) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&timer);
            if let Some(key) = self.keys_of_timers.remove(&timer.1) {
                self.timed.remove(&key);
                self.push(key, Lane::Routine);
            }
        }
    }

    fn take(&mut self) -> Option<K> {
        let first = if self.urgent_run < URGENT_RUN { Lane::Urgent } else { Lane::Routine };
        let second = if first == Lane::Urgent { Lane::Routine } else { Lane::Urgent };
        let (key, lane) = [first, second].into_iter().find_map(|lane| Some((self.take_from(lane)?, lane)))?;
        self.urgent_run = if lane == Lane::Urgent { self.urgent_run + 1 } else { 0 };
        self.held.remove(&key);
        self.running.insert(key.clone());
        Some(key)
    }

    fn take_from(&mut self, lane: Lane) -> Option<K> {
        loop {
            let keys = if lane == Lane::Urgent { &mut self.urgent } else { &mut self.routine };
            let key = keys.pop_front()?;
            if self.waiting.get(&key) == Some(&lane) {
                self.waiting.remove(&key);
                return Some(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;

    /// The key that comes up within no time, if any.
    async fn next(queue: &Queue<&'static str>) -> Option<Lease<&'static str>> {
        tokio::time::timeout(Duration::from_millis(5), queue.pop()).await.ok()
    }

    async fn order(queue: &Queue<&'static str>) -> Vec<&'static str> {
        let mut keys = vec![];
        while let Some(lease) = next(queue).await {
            keys.push(*lease.key());
        }
        keys
    }

    #[tokio::test]
    async fn a_key_is_in_it_once() {
        let queue = Queue::new();
        for key in ["a", "b", "a"] {
            queue.push(key, Lane::Urgent);
        }
        assert_eq!(order(&queue).await, ["a", "b"]);
    }

    #[tokio::test]
    async fn a_key_is_never_worked_on_twice_at_once_and_comes_up_again() {
        let queue = Queue::new();
        queue.push("a", Lane::Urgent);
        let lease = queue.pop().await;
        queue.push("a", Lane::Urgent);
        queue.push("b", Lane::Urgent);
        assert_eq!(order(&queue).await, ["b"]);
        drop(lease);
        assert_eq!(order(&queue).await, ["a"]);
    }

    #[tokio::test]
    async fn what_changed_goes_first_and_may_move_up() {
        let queue = Queue::new();
        for key in ["a", "b", "c"] {
            queue.push(key, Lane::Routine);
        }
        queue.push("c", Lane::Urgent);
        assert_eq!(order(&queue).await, ["c", "a", "b"]);
    }

    #[tokio::test]
    async fn routine_does_not_starve() {
        let queue = Queue::new();
        queue.push("routine", Lane::Routine);
        for turn in 0..=URGENT_RUN {
            queue.push("urgent", Lane::Urgent);
            let lease = queue.pop().await;
            assert_eq!(*lease.key() == "routine", turn == URGENT_RUN, "turn {turn}");
        }
    }

    #[tokio::test]
    async fn a_key_comes_up_at_its_earliest_time() {
        let queue = Queue::new();
        let now = Instant::now();
        queue.push_at("a", now + Duration::from_secs(50));
        queue.push_at("a", now + Duration::from_millis(20));
        queue.push_at("a", now + Duration::from_secs(90));
        drop(queue.pop().await);
        let waited = now.elapsed();
        assert!((Duration::from_millis(20)..Duration::from_secs(5)).contains(&waited), "{waited:?}");
        assert!(next(&queue).await.is_none());
    }

    #[tokio::test]
    async fn a_change_does_not_wait_for_the_timer() {
        let queue = Queue::new();
        queue.push_at("a", Instant::now() + Duration::from_secs(60));
        queue.push("a", Lane::Urgent);
        assert_eq!(order(&queue).await, ["a"]);
    }

    #[tokio::test]
    async fn a_held_key_rests_whatever_changes() {
        let queue = Queue::new();
        let now = Instant::now();
        queue.hold("a", now + Duration::from_millis(50));
        queue.push("a", Lane::Urgent);
        assert!(next(&queue).await.is_none());
        drop(queue.pop().await);
        assert!(now.elapsed() >= Duration::from_millis(50));
    }

    #[tokio::test]
    async fn work_that_panics_frees_its_key() {
        let queue = Queue::new();
        queue.push("a", Lane::Urgent);
        let lease = queue.pop().await;
        let panicked = tokio::spawn(async move {
            let _lease = lease;
            panic!("on purpose");
        });
        assert!(panicked.await.is_err());
        queue.push("a", Lane::Urgent);
        assert_eq!(order(&queue).await, ["a"]);
    }
}
