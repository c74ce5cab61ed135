//! Work that a plugin asks the host to do, so that a pure function can look inside a database.
//!
//! A desk: what each resource asks for lies here until its plugin no longer asks for it. A step files the asks of an
//! outcome and takes the answers that are there; it never waits. What is due is done beside it, at a bounded pace, and
//! its answer wakes the resource. Answers are kept in memory only: after a restart everything is done again, so what
//! an ask changes must be something that can be done twice.
//!
//! Invariants:
//! - every ask gets an answer, also one that can't be done: a plugin that waits for none would wait for ever;
//! - of one id of one resource at most one is under way, whatever is asked for meanwhile;
//! - an answer is filed only with the very ask it was made for, and only while that is still asked for;
//! - nothing of a resource outlives it.

mod exec;
mod pace;
mod params;
mod state;

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use senren_engine::wit;
use serde_json::Value;
use tokio::sync::Notify;

pub(crate) use exec::Owner;
use params::Exec;
use state::{Resource, State, check, controls};

use crate::{
    api::Kube,
    clock::{Clock, millis},
    observe::Observed,
    resource::{CustomResource, Key},
};

/// How much a plugin may ask for, and how fast.
#[derive(Debug, Clone)]
pub struct AskLimits {
    /// How many are under way at once, of all resources.
    pub concurrency: usize,
    /// Of one resource.
    pub per_resource: usize,
    /// How many are begun per second for one resource, in the long run.
    pub rate: f64,
    /// And in a burst.
    pub burst: u32,
    /// Longest time that one may take.
    pub timeout: Duration,
    /// How much is kept of each stream of output, in bytes.
    pub output: usize,
}

impl Default for AskLimits {
    fn default() -> Self {
        Self {
            concurrency: 64,
            per_resource: 8,
            rate: 20.0,
            burst: 64,
            timeout: Duration::from_secs(10),
            output: 64 * 1024,
        }
    }
}

/// See the module. Clones share the desk.
#[derive(Clone)]
pub(crate) struct Asks(Arc<Desk>);

struct Desk {
    state: Mutex<State>,
    /// Rung when something may be due earlier than it was.
    changed: Notify,
    limits: AskLimits,
    clock: Arc<dyn Clock>,
}

/// An ask that is under way. Dropping it unfinished lets it be done again.
pub(crate) struct Job {
    asks: Asks,
    key: Key,
    owner: Owner,
    id: String,
    number: u64,
    work: Exec,
    done: bool,
}

impl Asks {
    pub(crate) fn new(limits: AskLimits, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Desk { state: Mutex::default(), changed: Notify::new(), limits, clock }))
    }

    pub(crate) fn limits(&self) -> &AskLimits {
        &self.0.limits
    }

    fn now(&self) -> u64 {
        millis(self.0.clock.now())
    }

    /// The answers that are there to what the resource last asked.
    pub(crate) fn answers(&self, resource: &CustomResource) -> Vec<wit::Answer> {
        let state = self.0.state.lock();
        let standing = state.resources.get(&resource.key).filter(|standing| standing.uid == resource.uid);
        standing.map_or_else(Vec::new, Resource::answers)
    }

    /// Takes `asks` as all that the resource asks for, and returns the answers that are there, and their count. `Err`:
    /// they break the contract, and what was asked before stands.
    pub(crate) fn stand(
        &self,
        resource: &CustomResource,
        asks: &[wit::Ask],
        observed: &Observed,
    ) -> Result<(Vec<wit::Answer>, u64), String> {
        check(asks)?;
        let now = self.now();
        let mut state = self.0.state.lock();
        if asks.is_empty() && !state.resources.contains_key(&resource.key) {
            return Ok((vec![], 0));
        }
        let answers = state.stand(resource, asks, controls(resource, observed), now, &self.0.limits);
        let count = state.count(&resource.key);
        drop(state);
        self.0.changed.notify_one();
        Ok((answers, count))
    }

    /// Another number whenever an answer of the resource is another.
    pub(crate) fn count(&self, key: &Key) -> u64 {
        self.0.state.lock().count(key)
    }

    /// The resource is gone, or nobody asks for it any more.
    pub(crate) fn forget(&self, key: &Key) {
        self.0.state.lock().forget(key);
    }

    /// When the resource's next ask is due, in milliseconds since 1970.
    pub(crate) fn next_due(&self, key: &Key) -> Option<u64> {
        let state = self.0.state.lock();
        state.resources.get(key)?.asks.values().filter_map(|ask| ask.at).min()
    }

    /// Waits for something to do.
    pub(crate) async fn next(&self) -> Job {
        loop {
            let changed = self.0.changed.notified();
            match self.take(None) {
                Ok(job) => return job,
                Err(None) => changed.await,
                Err(Some(at)) => {
                    let wait = Duration::from_millis(at.saturating_sub(self.now()).max(1));
                    // Either way something may be due now.
                    let _ = tokio::time::timeout(wait, changed).await;
                }
            }
        }
    }

    /// Something that is due, of one resource or of any; or when something will be.
    pub(crate) fn take(&self, of: Option<&Key>) -> Result<Job, Option<u64>> {
        let now = self.now();
        let taken = self.0.state.lock().take(of, now, &self.0.limits);
        taken.map(|(key, owner, id, number, work)| Job {
            asks: self.clone(),
            key,
            owner,
            id,
            number,
            work,
            done: false,
        })
    }
}

impl Job {
    /// Does the work and files its answer. Returns the resource to wake, if it still waits for that.
    pub(crate) async fn run(mut self, kube: &Kube) -> Option<Key> {
        let started = std::time::Instant::now();
        let result = exec::run(kube, &self.owner, &self.work, self.asks.limits().output).await;
        let outcome = if result.is_ok() { "done" } else { "failed" };
        metrics::counter!("senren_asks_total", "type" => self.key.type_name.clone(), "outcome" => outcome)
            .increment(1);
        metrics::histogram!("senren_ask_seconds", "type" => self.key.type_name.clone())
            .record(started.elapsed());
        if let Err(error) = &result {
            tracing::debug!(resource = %self.key, ask = self.id, error, "an ask could not be done");
        }
        self.finish(result)
    }

    fn finish(&mut self, result: Result<Value, String>) -> Option<Key> {
        self.done = true;
        let now = self.asks.now();
        let filed = self.asks.0.state.lock().finish(self, Some(result), now);
        self.asks.0.changed.notify_one();
        filed.then(|| self.key.clone())
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if !self.done {
            let now = self.asks.now();
            self.asks.0.state.lock().finish(self, None, now);
            self.asks.0.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
