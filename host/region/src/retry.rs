//! What did not succeed, and when to try it again: waiting twice as long each time.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use parking_lot::Mutex;
use senren_api::ResourceKey;
use tokio::time::Instant;

/// The waiting time after so many failures in a row.
pub(crate) fn backoff(failures: u32) -> Duration {
    let doubled = Duration::from_millis(100).saturating_mul(1 << failures.min(10));
    doubled.min(Duration::from_secs(30))
}

/// The resources that have to be tried again.
#[derive(Default)]
pub(crate) struct Retries {
    waiting: Mutex<HashMap<ResourceKey, Waiting>>,
}

struct Waiting {
    failures: u32,
    /// `None`: it is being tried.
    at: Option<Instant>,
    /// What is desired could not be taken in, and nobody was told: the state is not applied as long as this lasts.
    silent: bool,
}

impl Retries {
    /// It failed once more. Returns how often in a row.
    pub fn failed(&self, key: &ResourceKey, silent: bool) -> u32 {
        let mut waiting = self.waiting.lock();
        let failures = waiting.get(key).map_or(0, |waiting| waiting.failures);
        let at = Some(Instant::now() + backoff(failures));
        waiting.insert(key.clone(), Waiting { failures: failures + 1, at, silent });
        failures + 1
    }

    /// It succeeded, or no longer matters. Returns how often in a row it has failed now: never.
    pub fn settled(&self, key: &ResourceKey) -> u32 {
        self.waiting.lock().remove(key);
        0
    }

    /// It failed, and it isn't time yet.
    pub fn waits(&self, key: &ResourceKey) -> bool {
        self.waiting.lock().contains_key(key)
    }

    /// How many could not be taken in.
    pub fn unsettled(&self) -> usize {
        self.waiting.lock().values().filter(|waiting| waiting.silent).count()
    }

    /// Takes those whose time has come: each is tried until it has failed or is settled.
    pub fn due(&self) -> BTreeSet<ResourceKey> {
        let now = Instant::now();
        let mut waiting = self.waiting.lock();
        let due = waiting.iter_mut().filter(|(_, waiting)| waiting.at.is_some_and(|at| at <= now));
        due.map(|(key, waiting)| {
            waiting.at = None;
            key.clone()
        })
        .collect()
    }

    /// When the next one's time comes.
    pub fn next(&self) -> Option<Instant> {
        self.waiting.lock().values().filter_map(|waiting| waiting.at).min()
    }
}
