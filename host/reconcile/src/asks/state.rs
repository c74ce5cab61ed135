//! What lies on the desk: who asks for what, what was answered, what is due when. Pure; the caller says what time it is.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

use kube::ResourceExt as _;
use senren_engine::wit;
use serde_json::{Value, json};

use super::{AskLimits, Job, Owner, pace::Pace, params::Exec};
use crate::{
    observe::{Observed, controlled_by},
    resource::{CustomResource, Key},
};

/// More of one resource are a bug of its plugin.
const MAX_ASKS: usize = 256;
const MAX_ID: usize = 253;
/// An answer is at least that fresh, in milliseconds.
const MIN_AGE: u64 = 50;
/// First and longest pause after work that could not be done, in milliseconds; doubled each time.
const BACK_OFF: u64 = 100;
const MAX_BACK_OFF: u64 = 10_000;

#[derive(Default)]
pub(super) struct State {
    pub(super) resources: HashMap<Key, Resource>,
    /// What is to be done, by when: time, resource, id. Without what is under way.
    pub(super) due: BTreeSet<(u64, Key, String)>,
    /// Ids that are under way, by uid of their resource.
    pub(super) running: HashMap<String, HashSet<String>>,
    last_number: u64,
    /// Answers filed, ever.
    filed: u64,
}

pub(super) struct Resource {
    pub(super) uid: String,
    controls: BTreeSet<String>,
    pace: Pace,
    pub(super) asks: BTreeMap<String, Ask>,
    /// Which was the last answer filed.
    filed: u64,
}

/// One ask of a resource.
pub(super) struct Ask {
    /// Tells it from another that has its id.
    number: u64,
    kind: String,
    params: String,
    /// `None`: it can't be done, and the answer says why.
    work: Option<Exec>,
    answer: Option<wit::Answer>,
    /// Times in a row that it could not be done.
    failures: u32,
    /// Its place in what is due.
    pub(super) at: Option<u64>,
}

impl Resource {
    pub(super) fn answers(&self) -> Vec<wit::Answer> {
        self.asks.values().filter_map(|ask| ask.answer.clone()).collect()
    }
}

impl Ask {
    fn new(ask: &wit::Ask, number: u64, now: u64, limits: &AskLimits) -> Self {
        let work = match ask.kind.as_str() {
            "exec" => Exec::parse(&ask.params, limits.timeout),
            other => Err(format!("asks of kind {other:?} are not known to this host, only exec is")),
        };
        let (kind, params) = (ask.kind.clone(), ask.params.clone());
        let (work, answer) = match work {
            Ok(work) => (Some(work), None),
            Err(problem) => (None, Some(answer(&ask.id, Err(problem), now))),
        };
        Self { number, kind, params, work, answer, failures: 0, at: None }
    }

    /// Takes `ask` for another request for the same: only how old its answer may become may differ. False where it is
    /// for something else.
    fn renew(&mut self, ask: &wit::Ask, limits: &AskLimits) -> bool {
        if self.kind != ask.kind {
            return false;
        }
        if self.params == ask.params {
            return true;
        }
        let (Some(work), Ok(wanted)) = (&mut self.work, Exec::parse(&ask.params, limits.timeout)) else {
            return false;
        };
        let max_age = wanted.max_age;
        if (Exec { max_age: work.max_age, ..wanted }) != *work {
            return false;
        }
        work.max_age = max_age;
        self.params.clone_from(&ask.params);
        true
    }

    /// When the answer that is there will be too old; after failures, when to try again.
    fn due_at(&self) -> Option<u64> {
        let answered = self.answer.as_ref()?.observed_at_ms;
        let max_age = self.work.as_ref().map_or(0, |work| ms(work.max_age));
        let pause = match self.failures {
            0 => max_age.max(MIN_AGE),
            failures => BACK_OFF.saturating_mul(1 << (failures - 1).min(16)).min(MAX_BACK_OFF),
        };
        Some(answered.saturating_add(pause))
    }

    /// Files the answer, and says when it is to be made anew.
    fn file(&mut self, id: &str, result: Result<Value, String>, now: u64) -> u64 {
        self.failures = if result.is_ok() { 0 } else { self.failures.saturating_add(1) };
        self.answer = Some(answer(id, result, now));
        self.due_at().unwrap_or(now)
    }
}

impl State {
    pub(super) fn stand(
        &mut self,
        resource: &CustomResource,
        asks: &[wit::Ask],
        controls: BTreeSet<String>,
        now: u64,
        limits: &AskLimits,
    ) -> Vec<wit::Answer> {
        let key = &resource.key;
        if self.resources.get(key).is_some_and(|standing| standing.uid != resource.uid) {
            self.forget(key);
        }
        let mut standing = self.resources.remove(key).unwrap_or_else(|| Resource {
            uid: resource.uid.clone(),
            controls: BTreeSet::new(),
            pace: Pace::new(limits.burst, now),
            asks: BTreeMap::new(),
            filed: 0,
        });
        standing.controls = controls;
        let mut before = std::mem::take(&mut standing.asks);
        for ask in asks {
            let known = before.remove(&ask.id);
            let (known, replaced) = match known.map(|mut known| (known.renew(ask, limits), known)) {
                Some((true, known)) => (Some(self.reschedule(key, &ask.id, known)), None),
                Some((false, other)) => (None, Some(other)),
                None => (None, None),
            };
            self.unschedule(key, &ask.id, replaced);
            let ask_now = known.unwrap_or_else(|| {
                self.last_number += 1;
                let mut new = Ask::new(ask, self.last_number, now, limits);
                // What is under way comes to its end first.
                if new.work.is_some() && !self.is_running(&resource.uid, &ask.id) {
                    new.at = Some(now);
                    self.due.insert((now, key.clone(), ask.id.clone()));
                }
                new
            });
            standing.asks.insert(ask.id.clone(), ask_now);
        }
        for (id, dropped) in before {
            self.unschedule(key, &id, Some(dropped));
        }
        let answers = standing.answers();
        self.resources.insert(key.clone(), standing);
        answers
    }

    pub(super) fn count(&self, key: &Key) -> u64 {
        self.resources.get(key).map_or(0, |standing| standing.filed)
    }

    pub(super) fn forget(&mut self, key: &Key) {
        let asks = self.resources.remove(key).map(|standing| standing.asks).unwrap_or_default();
        for (id, ask) in asks {
            self.unschedule(key, &id, Some(ask));
        }
    }

    /// Moves an ask that waits for its answer to become too old to where that is now.
    fn reschedule(&mut self, key: &Key, id: &str, mut ask: Ask) -> Ask {
        if let (Some(at), Some(due)) = (ask.at, ask.due_at())
            && at != due
        {
            self.due.remove(&(at, key.clone(), id.to_owned()));
            self.due.insert((due, key.clone(), id.to_owned()));
            ask.at = Some(due);
        }
        ask
    }

    fn unschedule(&mut self, key: &Key, id: &str, ask: Option<Ask>) {
        if let Some(at) = ask.and_then(|ask| ask.at) {
            self.due.remove(&(at, key.clone(), id.to_owned()));
        }
    }

    fn is_running(&self, uid: &str, id: &str) -> bool {
        self.running.get(uid).is_some_and(|ids| ids.contains(id))
    }

    #[allow(clippy::type_complexity)] // the parts of a job, which only `Asks` can make
    pub(super) fn take(
        &mut self,
        of: Option<&Key>,
        now: u64,
        limits: &AskLimits,
    ) -> Result<(Key, Owner, String, u64, Exec), Option<u64>> {
        loop {
            let is_meant = |key: &Key| of.is_none_or(|of| of == key);
            let may_run = |key: &Key| {
                let uid = self.resources.get(key).map(|standing| &standing.uid);
                let running = uid.and_then(|uid| self.running.get(uid)).map_or(0, HashSet::len);
                running < limits.per_resource.max(1)
            };
            let mut waiting = self.due.iter().filter(|(_, key, _)| is_meant(key));
            let next = waiting.find(|(at, key, _)| *at > now || may_run(key)).cloned();
            let Some((at, key, id)) = next else { return Err(None) };
            if at > now {
                return Err(Some(at));
            }
            self.due.remove(&(at, key.clone(), id.clone()));
            let Some(standing) = self.resources.get_mut(&key) else { continue };
            let Some(ask) = standing.asks.get_mut(&id) else { continue };
            let Some(work) = ask.work.clone() else { continue };
            if let Err(later) = standing.pace.take(limits.rate, limits.burst, now) {
                ask.at = Some(later);
                self.due.insert((later, key, id));
                continue;
            }
            ask.at = None;
            let namespace = key.namespace.clone();
            let owner = Owner { namespace, uid: standing.uid.clone(), controls: standing.controls.clone() };
            self.running.entry(standing.uid.clone()).or_default().insert(id.clone());
            return Ok((key, owner, id, ask.number, work));
        }
    }

    /// A job is over; without a result if it was given up. True where its answer was still asked for.
    pub(super) fn finish(&mut self, job: &Job, result: Option<Result<Value, String>>, now: u64) -> bool {
        if let Some(ids) = self.running.get_mut(&job.owner.uid) {
            ids.remove(&job.id);
            if ids.is_empty() {
                self.running.remove(&job.owner.uid);
            }
        }
        let standing = self.resources.get_mut(&job.key).filter(|standing| standing.uid == job.owner.uid);
        let Some(standing) = standing else { return false };
        let Some(ask) = standing.asks.get_mut(&job.id) else { return false };
        let (filed, at) = match result {
            Some(result) if ask.number == job.number => {
                self.filed += 1;
                standing.filed = self.filed;
                (true, ask.file(&job.id, result, now))
            }
            _ => (false, now),
        };
        if ask.work.is_some() {
            ask.at = Some(at);
            self.due.insert((at, job.key.clone(), job.id.clone()));
        }
        filed
    }
}

/// What would leave open which answer belongs to which ask, or what only a bug asks for.
pub(super) fn check(asks: &[wit::Ask]) -> Result<(), String> {
    if asks.len() > MAX_ASKS {
        return Err(format!("{} asks, at most {MAX_ASKS} are allowed", asks.len()));
    }
    let mut seen = HashSet::new();
    match asks.iter().find(|ask| ask.id.len() > MAX_ID || !seen.insert(&ask.id)) {
        Some(ask) if ask.id.len() > MAX_ID => {
            Err(format!("an ask's id is longer than {MAX_ID} bytes: {:.40}…", ask.id))
        }
        Some(ask) => Err(format!("two asks have the id {:?}", ask.id)),
        None => Ok(()),
    }
}

/// The uids of what the resource controls.
pub(super) fn controls(resource: &CustomResource, observed: &Observed) -> BTreeSet<String> {
    let own = observed.iter().filter(|(_, object)| controlled_by(object, &resource.uid));
    own.filter_map(|(_, object)| object.uid()).collect()
}

fn answer(id: &str, result: Result<Value, String>, now: u64) -> wit::Answer {
    let ok = result.is_ok();
    let output = result.unwrap_or_else(|problem| json!({"error": problem})).to_string();
    wit::Answer { id: id.to_owned(), ok, output, observed_at_ms: now }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
