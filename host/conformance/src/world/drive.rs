//! How a plane's steps follow each other: until nothing changes any more, and no longer.

use std::time::Duration;

use senren_engine::wit;
use senren_reconcile::{Clock as _, ReconcileError, Retry, status::Status};
use tokio::time::Instant;

use super::World;
use crate::time::{self, millis};

/// A resource has come to rest when nothing has changed for so long, whatever its plugin asks or waits for.
const REST: Duration = Duration::from_secs(30);
/// Longest and first pause between two looks.
const LOOK: Duration = Duration::from_secs(5);
pub(super) const FIRST_LOOK: Duration = Duration::from_millis(1);
/// A plugin that has not come to rest after so many steps never will.
const MOST_STEPS: usize = 600;
/// Nor one that fails so often in a row.
const MOST_FAILURES: u32 = 8;

/// How a resource came to rest.
#[derive(Debug)]
pub(crate) enum Rest {
    /// It is there, and nothing changes any more.
    Still(Box<Status>),
    /// It is gone.
    Gone,
}

/// Why a resource did not come to rest.
#[derive(Debug)]
pub(crate) enum Unrest {
    /// Its steps fail, again and again; the last failure.
    Fails(ReconcileError),
    /// Its steps go on changing something; what the last ones wrote.
    Restless(Vec<String>),
}

impl World<'_> {
    /// One step of the plane, and what its plugin asks for.
    pub(crate) async fn step(&self) -> Result<Option<Option<Duration>>, ReconcileError> {
        let _still = time::hold();
        let result = self.reconciler.reconcile_now(&self.key).await;
        self.reconciler.answer_due(&self.key).await;
        result
    }

    /// Steps until nothing changes any more.
    pub(crate) async fn settle(&self) -> Result<Rest, Unrest> {
        self.drive(None, &mut || {}).await
    }

    /// As [`Self::settle`]; `between` is called after each step, once time has passed.
    pub(crate) async fn settle_with(&self, between: &mut dyn FnMut()) -> Result<Rest, Unrest> {
        self.drive(None, between).await
    }

    /// As [`Self::settle`], but not more than `most` steps.
    pub(crate) async fn steps(&self, most: usize) -> Result<Rest, Unrest> {
        self.drive(Some(most), &mut || {}).await
    }

    async fn drive(&self, most: Option<usize>, between: &mut dyn FnMut()) -> Result<Rest, Unrest> {
        let (mut failures, mut pause, mut moved) = (0, FIRST_LOOK, Instant::now());
        let mut seen = (self.scene.sim.store().revision(), self.told());
        for _ in 0..most.unwrap_or(MOST_STEPS) {
            let result = self.step().await;
            let sees = (self.scene.sim.store().revision(), self.told());
            if sees != seen {
                (seen, pause, moved) = (sees, FIRST_LOOK, Instant::now());
            }
            let next = match result {
                Ok(None) => return Ok(Rest::Gone),
                Ok(Some(next)) => {
                    failures = 0;
                    next
                }
                Err(failure) => {
                    failures += u32::from(failure.retry() != Retry::AtOnce);
                    if failures >= MOST_FAILURES || (failures > 1 && failure.retry() == Retry::OnChange) {
                        return Err(Unrest::Fails(failure));
                    }
                    Some(pause)
                }
            };
            if next == Some(Duration::ZERO) {
                continue;
            }
            if moved.elapsed() >= REST {
                break;
            }
            pause = (pause * 2).min(LOOK);
            self.wait([next, self.due()].into_iter().flatten().min().unwrap_or(REST)).await;
            between();
        }
        if most.is_none() && moved.elapsed() < REST {
            return Err(Unrest::Restless(self.tap.latest()));
        }
        Ok(Rest::Still(Box::new(self.status().await.unwrap_or_default())))
    }

    /// When something that the plugin asked for is to be done.
    fn due(&self) -> Option<Duration> {
        let due = self.reconciler.next_due(&self.key)?;
        Some(Duration::from_millis(due.saturating_sub(millis(self.scene.clock.now()))).max(FIRST_LOOK))
    }

    /// What the plugin was last told by its asks.
    fn told(&self) -> Vec<wit::Answer> {
        let calls = self.calls.0.lock();
        let timeless = |answer: &wit::Answer| wit::Answer { observed_at_ms: 0, ..answer.clone() };
        calls.last().map(|(input, _)| input.answers.iter().map(timeless).collect()).unwrap_or_default()
    }

    /// Lets so much time pass, or less where something changes.
    async fn wait(&self, longest: Duration) {
        let (before, until) = (self.scene.sim.store().revision(), Instant::now() + longest.min(REST));
        let mut nap = FIRST_LOOK;
        while self.scene.sim.store().revision() == before && Instant::now() < until {
            tokio::time::sleep(nap.min(until - Instant::now())).await;
            nap = (nap * 2).min(LOOK);
        }
    }
}

impl std::fmt::Display for Unrest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unrest::Fails(failure) => write!(f, "it fails for good: {} ({failure})", failure.reason()),
            Unrest::Restless(writes) => {
                write!(f, "it never comes to rest; it goes on writing {}", writes.join(", "))
            }
        }
    }
}
