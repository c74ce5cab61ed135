//! What time it is: one clock for everything that plugins, statuses and asks see, so that a test or a replay can say
//! what it was.
//!
//! Invariant: time never goes back while a process lives, whatever happens to the machine's clock.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The time now; never earlier than what it said before.
    fn now(&self) -> Timestamp;
}

/// The clock of the machine. Where that is set back, this one goes on from where it was.
#[derive(Debug)]
pub struct SystemClock {
    last: Mutex<(Instant, Timestamp)>,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { last: Mutex::new((Instant::now(), Timestamp::now())) }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let mut last = self.last.lock();
        let (at, said) = *last;
        let now = onward(said, at.elapsed(), Timestamp::now());
        *last = (Instant::now(), now);
        now
    }
}

/// The machine's time, unless that is earlier than what was said `elapsed` ago: then that long after it.
fn onward(said: Timestamp, elapsed: std::time::Duration, machine: Timestamp) -> Timestamp {
    if machine >= said {
        return machine;
    }
    let elapsed = SignedDuration::try_from(elapsed).unwrap_or(SignedDuration::ZERO);
    said.checked_add(elapsed).unwrap_or(said)
}

/// As plugins see it.
pub(crate) fn millis(time: Timestamp) -> u64 {
    u64::try_from(time.as_millisecond()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_clock_that_is_set_back_goes_on() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(onward(at(100), Duration::from_secs(5), at(105)), at(105));
        assert_eq!(onward(at(100), Duration::from_secs(5), at(40)), at(105), "neither back nor still");
        assert_eq!(onward(at(100), Duration::from_secs(5), at(9_000)), at(9_000));
    }
}
