//! The threads that run plugins, and who is next on them.
//!
//! Each plugin has a queue of its own, and they take turns. One plugin gets at most half of the threads, and a
//! single one after a call of it ran into the deadline, until one doesn't: calls that hang cost the others a
//! thread, not their progress. A queue is bounded; where it is full, the call fails at once.

use parking_lot::{Condvar, Mutex};
use std::{
    collections::{HashMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// Whose turn it is, by plugin.
pub(crate) type LaneId = u64;

/// How a call went, as far as sharing the threads is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conduct {
    Answered,
    Hung,
    /// There was nothing left to do.
    Skipped,
}

pub(crate) type Job = Box<dyn FnOnce() -> Conduct + Send>;

/// A thread that just finished looks out for the next job this long before it sleeps: waking one up takes longer
/// than a small call. One thread at a time does.
const LOOKOUT: Duration = Duration::from_micros(150);

pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    threads: usize,
    queue_limit: usize,
    state: Mutex<State>,
    wake: Condvar,
    /// Jobs that wait, for the one on the lookout to see without the lock.
    waiting: AtomicUsize,
}

#[derive(Default)]
struct State {
    lanes: HashMap<LaneId, Lane>,
    /// Lanes with waiting jobs; the front one is next.
    turns: VecDeque<LaneId>,
    asleep: usize,
    lookout: bool,
    stopped: bool,
}

#[derive(Default)]
struct Lane {
    jobs: VecDeque<Job>,
    running: usize,
    /// Its last call ran into the deadline.
    hung: bool,
}

/// When a job that was taken will run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// Within a microsecond: a thread was on the lookout for it.
    AtOnce,
    /// When a thread has been woken up, or is free.
    Later,
}

/// Why a job was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl Pool {
    pub fn start(threads: usize, queue_limit: usize) -> std::io::Result<Pool> {
        let shared = Arc::new(Shared {
            threads,
            queue_limit,
            state: Mutex::default(),
            wake: Condvar::new(),
            waiting: AtomicUsize::new(0),
        });
        // From here on, dropping stops the threads that have been started.
        let pool = Pool { shared };
        for index in 0..threads {
            let shared = Arc::clone(&pool.shared);
            std::thread::Builder::new()
                .name(format!("senren-plugin-{index}"))
                .spawn(move || shared.work())?;
        }
        Ok(pool)
    }

    pub fn submit(&self, lane: LaneId, job: Job) -> Result<Start, Full> {
        let shared = &self.shared;
        let mut state = shared.state.lock();
        let State { lanes, turns, .. } = &mut *state;
        let queue = lanes.entry(lane).or_default();
        if queue.jobs.len() >= shared.queue_limit {
            return Err(Full);
        }
        if queue.jobs.is_empty() {
            turns.push_back(lane);
        }
        queue.jobs.push_back(job);
        let before = shared.waiting.fetch_add(1, Ordering::Release);
        // Whoever is on the lookout takes it, and wakes a colleague if there is more.
        if state.lookout {
            return Ok(if before == 0 { Start::AtOnce } else { Start::Later });
        }
        if state.asleep > 0 {
            shared.wake.notify_one();
        }
        Ok(Start::Later)
    }
}

impl Drop for Pool {
    /// What runs ends by its deadline; what waits is dropped, and its callers are told.
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.stopped = true;
        state.turns.clear();
        let lanes = std::mem::take(&mut state.lanes);
        drop(state);
        self.shared.wake.notify_all();
        drop(lanes);
    }
}

impl Shared {
    fn work(&self) {
        while let Some((lane, job)) = self.next() {
            // Only a bug of ours can panic here; it must not cost a thread.
            let conduct = catch_unwind(AssertUnwindSafe(job)).unwrap_or(Conduct::Skipped);
            self.done(lane, conduct);
        }
    }

    fn next(&self) -> Option<(LaneId, Job)> {
        let mut state = self.state.lock();
        let mut fresh = true;
        loop {
            if state.stopped {
                return None;
            }
            if let Some(taken) = state.take(self.threads) {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                if state.asleep > 0 && state.next_turn(self.threads).is_some() {
                    self.wake.notify_one();
                }
                return Some(taken);
            }
            if fresh && !state.lookout {
                state.lookout = true;
                drop(state);
                self.look_out();
                state = self.state.lock();
                state.lookout = false;
                fresh = false;
            } else {
                state.asleep += 1;
                self.wake.wait(&mut state);
                state.asleep -= 1;
            }
        }
    }

    fn look_out(&self) {
        let until = Instant::now() + LOOKOUT;
        while Instant::now() < until {
            for _ in 0..32 {
                if self.waiting.load(Ordering::Acquire) > 0 {
                    return;
                }
                std::hint::spin_loop();
            }
        }
    }

    fn done(&self, id: LaneId, conduct: Conduct) {
        let mut state = self.state.lock();
        let Some(lane) = state.lanes.get_mut(&id) else { return };
        lane.running -= 1;
        if conduct != Conduct::Skipped {
            lane.hung = conduct == Conduct::Hung;
        }
        // A lane that hung is remembered, for a plugin is few bytes; all others come and go.
        if lane.running == 0 && lane.jobs.is_empty() && !lane.hung {
            state.lanes.remove(&id);
        }
    }
}

impl State {
    /// The first lane whose turn it is and that isn't at its share already, as an index into `turns`.
    fn next_turn(&self, threads: usize) -> Option<usize> {
        self.turns.iter().position(|id| {
            self.lanes.get(id).is_some_and(|lane| {
                let share = if lane.hung { 1 } else { threads.div_ceil(2) };
                lane.running < share
            })
        })
    }

    fn take(&mut self, threads: usize) -> Option<(LaneId, Job)> {
        let id = self.turns.remove(self.next_turn(threads)?)?;
        let lane = self.lanes.get_mut(&id)?;
        let job = lane.jobs.pop_front()?;
        lane.running += 1;
        if !lane.jobs.is_empty() {
            self.turns.push_back(id);
        }
        Some((id, job))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::sync::mpsc::{self, Receiver, Sender};

    /// A job that says its name, and one that waits until it is told to go on.
    fn saying(name: &'static str, to: &Sender<&'static str>) -> Job {
        let to = to.clone();
        Box::new(move || {
            to.send(name).unwrap();
            Conduct::Answered
        })
    }

    fn waiting(go_on: Receiver<()>, conduct: Conduct) -> Job {
        Box::new(move || {
            let _ = go_on.recv();
            conduct
        })
    }

    #[test]
    fn plugins_take_turns() {
        let pool = Pool::start(1, 10).unwrap();
        let (go_on, gate) = mpsc::channel();
        let (said, heard) = mpsc::channel();
        pool.submit(0, waiting(gate, Conduct::Answered)).unwrap();
        for (lane, name) in [(1, "a1"), (1, "a2"), (1, "a3"), (2, "b1"), (3, "c1"), (2, "b2")] {
            pool.submit(lane, saying(name, &said)).unwrap();
        }
        go_on.send(()).unwrap();
        let order: Vec<_> = heard.iter().take(6).collect();
        assert_eq!(order, ["a1", "b1", "c1", "a2", "b2", "a3"]);
    }

    #[test]
    fn a_plugin_that_hung_gets_one_thread_until_it_answers() {
        let pool = Pool::start(4, 10).unwrap();
        let (said, heard) = mpsc::channel();
        let hold = |conduct| {
            let (go_on, gate) = mpsc::channel();
            pool.submit(1, waiting(gate, conduct)).unwrap();
            go_on
        };
        drop(hold(Conduct::Hung));
        let settle = || std::thread::sleep(Duration::from_millis(50));
        settle();
        let first = hold(Conduct::Answered);
        pool.submit(1, saying("second", &said)).unwrap();
        settle();
        assert!(heard.try_recv().is_err(), "the second waits for the first");
        drop(first);
        assert_eq!(heard.recv().unwrap(), "second");
        let first = hold(Conduct::Answered);
        pool.submit(1, saying("third", &said)).unwrap();
        assert_eq!(heard.recv().unwrap(), "third", "beside the first");
        drop(first);
    }

    #[test]
    fn a_full_queue_refuses_and_a_dropped_pool_forgets() {
        let pool = Pool::start(1, 1).unwrap();
        let (go_on, gate) = mpsc::channel();
        let (said, heard) = mpsc::channel();
        pool.submit(0, waiting(gate, Conduct::Answered)).unwrap();
        pool.submit(1, saying("never", &said)).unwrap();
        assert_eq!(pool.submit(1, saying("refused", &said)), Err(Full));
        drop(said);
        drop(pool);
        assert!(heard.recv().is_err(), "whoever waits for an answer is told that there will be none");
        drop(go_on);
    }

    #[test]
    fn a_job_that_panics_does_not_cost_a_thread() {
        let pool = Pool::start(1, 10).unwrap();
        let (said, heard) = mpsc::channel();
        pool.submit(0, Box::new(|| panic!("on purpose"))).unwrap();
        pool.submit(0, saying("alive", &said)).unwrap();
        assert_eq!(heard.recv().unwrap(), "alive");
    }
}
