//! What intake has to look at: each resource once, never one twice at once, and each type in a lane of its own, so
//! that a plugin that is slow holds up none but its own.
//!
//! Within a lane, what is new goes before what is looked at to be sure. It also knows what of the states that came
//! remains to be looked at for the first time; until that is nothing, no state is taken in.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    time::Instant,
};

use parking_lot::Mutex;
use senren_api::ResourceKey;
use tokio::sync::Notify;

/// The type that is desired; `None` where nothing is.
type LaneId = Option<String>;

/// How soon a resource is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Haste {
    /// It is most likely as it should be, or was tried before.
    Routine,
    /// A state changes it.
    New,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Work {
    state: Mutex<State>,
    /// Rung after a look at a resource, where nothing of the states that came remains.
    pub through: Notify,
}

#[derive(Default)]
struct State {
    lanes: BTreeMap<LaneId, Lane>,
    /// Where each waiting resource is. An entry of a lane that this contradicts is void.
    waiting: HashMap<ResourceKey, (LaneId, Haste)>,
    running: HashMap<ResourceKey, Running>,
    /// What of the states that came was not looked at since, and since when.
    open: HashSet<ResourceKey>,
    since: Option<Instant>,
}

#[derive(Default)]
struct Lane {
    new: VecDeque<ResourceKey>,
    routine: VecDeque<ResourceKey>,
    running: usize,
}

struct Running {
    lane: LaneId,
    /// Something came up meanwhile.
    again: Option<(LaneId, Haste)>,
}

impl Work {
    /// Has a resource looked at.
    pub fn add(&self, key: ResourceKey, lane: LaneId, haste: Haste) {
        self.state.lock().add(key, lane, haste);
    }

    /// Has a resource looked at for a state that came.
    pub fn open(&self, key: ResourceKey, lane: LaneId, haste: Haste) {
        let mut state = self.state.lock();
        state.since.get_or_insert_with(Instant::now);
        state.open.insert(key.clone());
        state.add(key, lane, haste);
    }

    /// True where something of the states that came remains to be looked at.
    pub fn is_open(&self) -> bool {
        !self.state.lock().open.is_empty()
    }

    /// The next one, of a lane in which fewer than `limit` are being looked at. Has to be given back by [`Work::done`].
    pub fn take(&self, limit: usize) -> Option<ResourceKey> {
        let mut state = self.state.lock();
        let State { lanes, waiting, running, .. } = &mut *state;
        let mut free = lanes.iter_mut().filter(|(_, lane)| lane.running < limit);
        let (key, id, lane) = free.find_map(|(id, lane)| Some((lane.pop(id, waiting)?, id.clone(), lane)))?;
        lane.running += 1;
        waiting.remove(&key);
        running.insert(key.clone(), Running { lane: id, again: None });
        Some(key)
    }

    /// It was looked at.
    pub fn done(&self, key: ResourceKey) {
        let mut state = self.state.lock();
        let Some(Running { lane: id, again }) = state.running.remove(&key) else { return };
        if let Some(lane) = state.lanes.get_mut(&id) {
            lane.running -= 1;
            if lane.running == 0 && lane.new.is_empty() && lane.routine.is_empty() {
                state.lanes.remove(&id);
            }
        }
        match again {
            Some((lane, haste)) => state.add(key, lane, haste),
            None => drop(state.open.remove(&key)),
        }
        if state.open.is_empty() {
            if let Some(since) = state.since.take() {
                metrics::histogram!("senren_region_intake_seconds").record(since.elapsed().as_secs_f64());
            }
            self.through.notify_one();
        }
    }
}

impl State {
    fn add(&mut self, key: ResourceKey, id: LaneId, haste: Haste) {
        if let Some(running) = self.running.get_mut(&key) {
            let before = running.again.as_ref().map_or(haste, |(_, before)| *before);
            running.again = Some((id, haste.max(before)));
            return;
        }
        let known = self.waiting.get(&key);
        let haste = known.map_or(haste, |(_, known)| haste.max(*known));
        if known.is_some_and(|(lane, known)| *lane == id && *known == haste) {
            return;
        }
        let lane = self.lanes.entry(id.clone()).or_default();
        match haste {
            Haste::New => lane.new.push_back(key.clone()),
            Haste::Routine => lane.routine.push_back(key.clone()),
        }
        self.waiting.insert(key, (id, haste));
    }
}

impl Lane {
    fn pop(&mut self, id: &LaneId, waiting: &HashMap<ResourceKey, (LaneId, Haste)>) -> Option<ResourceKey> {
        for (queue, haste) in [(&mut self.new, Haste::New), (&mut self.routine, Haste::Routine)] {
            while let Some(key) = queue.pop_front() {
                if waiting.get(&key).is_some_and(|(lane, known)| lane == id && *known == haste) {
                    return Some(key);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn key(name: &str) -> ResourceKey {
        ResourceKey { site: Default::default(), name: name.parse().unwrap() }
    }

    fn lane(name: &str) -> LaneId {
        Some(name.to_owned())
    }

    fn taken(work: &Work, limit: usize) -> Vec<String> {
        std::iter::from_fn(|| work.take(limit)).map(|key| key.name.to_string()).collect()
    }

    #[test]
    fn what_is_new_goes_first_and_each_once() {
        let work = Work::default();
        for name in ["a", "b", "a"] {
            work.add(key(name), lane("redis"), Haste::Routine);
        }
        work.add(key("b"), lane("redis"), Haste::New);
        assert_eq!(taken(&work, 9), ["b", "a"]);
    }

    #[test]
    fn a_full_lane_holds_up_no_other() {
        let work = Work::default();
        for name in ["a", "b", "c"] {
            work.add(key(name), lane("hangs"), Haste::New);
        }
        work.add(key("z"), lane("redis"), Haste::Routine);
        assert_eq!(taken(&work, 2), ["a", "b", "z"]);
        work.done(key("a"));
        assert_eq!(taken(&work, 2), ["c"]);
    }

    #[test]
    fn one_that_comes_up_while_it_is_looked_at_is_looked_at_again() {
        let work = Work::default();
        work.open(key("a"), lane("redis"), Haste::New);
        assert_eq!(taken(&work, 9), ["a"]);
        work.open(key("a"), lane("other"), Haste::New);
        assert_eq!(taken(&work, 9), Vec::<String>::new(), "never twice at once");
        work.done(key("a"));
        assert!(work.is_open(), "the later state is not looked at yet");
        assert_eq!(taken(&work, 9), ["a"]);
        work.done(key("a"));
        assert!(!work.is_open());
    }

    #[test]
    fn one_that_changes_its_type_waits_in_one_lane() {
        let work = Work::default();
        work.add(key("a"), lane("redis"), Haste::New);
        work.add(key("a"), lane("other"), Haste::New);
        assert_eq!(taken(&work, 9), ["a"]);
        work.done(key("a"));
        assert_eq!(taken(&work, 9), Vec::<String>::new());
    }
}
