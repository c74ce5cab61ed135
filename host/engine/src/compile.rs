//! Compiling, off to the side: the only thing in a plugin's life that takes longer than a blink.
//!
//! Invariants: it never runs on a thread that has something else to do, a few run at once at most and behind everything
//! else, and whoever waits for one waits for a bounded time. A compilation can't be stopped: one that takes too long
//! runs on, alone, in a place of its own until it ends; so two of them can keep the places of others, never more. Several
//! regions of a process that want the same one wait for one compilation.

use crate::Refusal;
use parking_lot::{Condvar, Mutex};
use std::{
    collections::HashSet,
    sync::{Arc, mpsc},
    time::Duration,
};

/// How many run at once.
const PLACES: usize = 2;

/// As a Unix process that yields to all others with something to do.
const NICENESS: i32 = 10;

pub(crate) struct Compiler {
    limit: Duration,
    places: Arc<Places>,
}

struct Places {
    state: Mutex<State>,
    freed: Condvar,
}

struct State {
    free: usize,
    /// What is being compiled.
    digests: HashSet<String>,
}

impl Compiler {
    pub fn new(limit: Duration) -> Compiler {
        let state = State { free: PLACES, digests: HashSet::new() };
        let places = Places { state: Mutex::new(state), freed: Condvar::new() };
        Compiler { limit, places: Arc::new(places) }
    }

    /// Runs `work` where compiling is done, and waits for it. What is done for the same digest is done one after the other.
    pub fn run<T: Send + 'static>(
        &self,
        digest: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let place = Place::take(&self.places, digest, self.limit).ok_or(Refusal::Busy)?;
        let (done, result) = mpsc::sync_channel(1);
        let work = move || {
            yield_to_others();
            let value = work();
            give_back();
            // Before the answer: whoever has that finds the place free.
            drop(place);
            let _ = done.send(value);
        };
        std::thread::Builder::new()
            .name("senren-compile".into())
            .spawn(work)
            .map_err(|error| Refusal::Invalid(format!("there is no thread to compile it on: {error}")))?;
        result.recv_timeout(self.limit).map_err(|error| match error {
            mpsc::RecvTimeoutError::Timeout => Refusal::TooSlow(self.limit),
            mpsc::RecvTimeoutError::Disconnected => {
                Refusal::Invalid("the compiler broke, which is a bug of it".into())
            }
        })
    }
}

/// A place at the compiler, until it is dropped.
struct Place {
    places: Arc<Places>,
    digest: String,
}

impl Place {
    fn take(places: &Arc<Places>, digest: &str, patience: Duration) -> Option<Place> {
        let mut state = places.state.lock();
        let taken = |state: &mut State| state.free == 0 || state.digests.contains(digest);
        if places.freed.wait_while_for(&mut state, taken, patience).timed_out() {
            return None;
        }
        state.free -= 1;
        state.digests.insert(digest.to_owned());
        Some(Place { places: Arc::clone(places), digest: digest.to_owned() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.places.state.lock();
        state.free += 1;
        state.digests.remove(&self.digest);
        self.places.freed.notify_all();
    }
}

/// Linux has a niceness per thread. Elsewhere, or where it may not be changed, nothing is lost but politeness.
fn yield_to_others() {
    #[cfg(target_os = "linux")]
    #[allow(unsafe_code)]
    // SAFETY: takes three numbers, and touches no memory.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS);
    }
}

/// The compiler leaves tens of megabytes of free memory behind, which the allocator would keep for the next time.
fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)]
    // SAFETY: only touches what nobody uses.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn what_takes_too_long_is_given_up_and_keeps_one_place_until_it_ends() {
        let compiler = Compiler::new(Duration::from_millis(50));
        let (go_on, gate) = mpsc::channel::<()>();
        let hang = |gate: mpsc::Receiver<()>, digest| compiler.run(digest, move || gate.recv().is_ok());
        assert!(matches!(hang(gate, "a"), Err(Refusal::TooSlow(_))));
        assert_eq!(compiler.run("c", || 1).unwrap(), 1, "the other place is free");
        assert!(matches!(compiler.run("a", || 1), Err(Refusal::Busy)), "not for what is being compiled");
        let (go_on_too, gate) = mpsc::channel::<()>();
        assert!(matches!(hang(gate, "b"), Err(Refusal::TooSlow(_))));
        assert!(matches!(compiler.run("c", || 1), Err(Refusal::Busy)));
        drop((go_on, go_on_too));
        let compiler = Compiler { limit: Duration::from_secs(10), ..compiler };
        assert_eq!(compiler.run("a", || 1).unwrap(), 1, "they ended");
    }

    #[test]
    fn work_that_panics_frees_its_place() {
        let compiler = Compiler::new(Duration::from_secs(10));
        for _ in 0..2 * PLACES {
            assert!(matches!(compiler.run("a", || panic!("on purpose")), Err(Refusal::Invalid(_))));
        }
    }
}
