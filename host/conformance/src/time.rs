//! A time of its own for each scenario. It stands still while anything is left to do, and jumps to the next timer when
//! nothing is: pods take their time to start, and nobody waits for it.
//!
//! Plugins run on threads that this time knows nothing of, so whoever waits for one holds the time for so long.

use std::{sync::mpsc, time::Duration};

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use senren_reconcile::Clock;
use tokio::time::Instant;

/// Runs `scenario` to its end, on this thread.
pub(crate) fn run<T>(scenario: impl Future<Output = T>) -> anyhow::Result<T> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().context("cannot set up a scenario")?;
    Ok(runtime.block_on(scenario))
}

/// While it lives, time stands still.
pub(crate) struct Hold(#[allow(dead_code, reason = "its end is the signal")] mpsc::Sender<()>);

/// Holds the time of the scenario that this is called in.
pub(crate) fn hold() -> Hold {
    let (sender, released) = mpsc::channel::<()>();
    // The runtime does not advance a paused time while such a task runs.
    tokio::task::spawn_blocking(move || released.recv());
    Hold(sender)
}

/// The scenario's time as a date, for everything that tells it. Each scenario begins at the same one.
#[derive(Debug)]
pub(crate) struct ScenarioClock {
    since: Instant,
    before: Duration,
}

impl ScenarioClock {
    /// Goes on from where a scenario was after `elapsed`; from its beginning, if that is nothing.
    pub(crate) fn after(elapsed: Duration) -> Self {
        Self { since: Instant::now(), before: elapsed }
    }

    /// How long the scenario has lasted.
    pub(crate) fn elapsed(&self) -> Duration {
        self.before + self.since.elapsed()
    }
}

/// As plugins see it: milliseconds since 1970.
pub(crate) fn millis(time: Timestamp) -> u64 {
    u64::try_from(time.as_millisecond()).unwrap_or_default()
}

impl Clock for ScenarioClock {
    fn now(&self) -> Timestamp {
        // 2025-01-01T00:00:00Z
        let begin = Timestamp::from_second(1_735_689_600).unwrap_or_default();
        let elapsed = SignedDuration::try_from(self.elapsed()).unwrap_or_default();
        begin.checked_add(elapsed).unwrap_or(begin)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_hour_passes_at_once_but_not_while_it_is_held() {
        let real = std::time::Instant::now();
        run(async {
            let clock = ScenarioClock::after(Duration::ZERO);
            let hold = hold();
            let sleeping = tokio::spawn(tokio::time::sleep(Duration::from_secs(3600)));
            let elsewhere = std::thread::spawn(|| std::thread::sleep(Duration::from_millis(20)));
            let (sender, receiver) = tokio::sync::oneshot::channel();
            std::thread::spawn(move || {
                let _ = elsewhere.join();
                let _ = sender.send(());
            });
            receiver.await.unwrap();
            assert_eq!(clock.now().to_string(), "2025-01-01T00:00:00Z", "somebody else was at work");
            drop(hold);
            sleeping.await.unwrap();
            assert_eq!(clock.now().to_string(), "2025-01-01T01:00:00Z");
        })
        .unwrap();
        assert!(real.elapsed() < Duration::from_secs(10));
    }
}
