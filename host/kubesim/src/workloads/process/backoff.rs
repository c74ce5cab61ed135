//! How long a container that keeps ending waits before it starts again, as a kubelet counts it.
//!
//! The first restart is immediate; each further one within the delay waits, doubling up to the limit; a
//! container that has run for twice the limit starts afresh.

use std::time::{Duration, Instant};

/// The delays of a cluster.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// The first delay.
    pub base: Duration,
    /// The longest one.
    pub limit: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { base: Duration::from_secs(10), limit: Duration::from_secs(300) }
    }
}

/// One container's account.
#[derive(Debug, Default)]
pub struct Backoff {
    delay: Duration,
    updated: Option<Instant>,
}

impl Backoff {
    /// Called when a container has ended at `ended`; returns how long to wait from then.
    pub fn next(&mut self, policy: &Policy, ended: Instant) -> Duration {
        let expired = self.updated.is_none_or(|last| ended.duration_since(last) > policy.limit * 2);
        let wait = if expired { Duration::ZERO } else { self.delay };
        self.delay = if expired { policy.base } else { (self.delay * 2).min(policy.limit) };
        self.updated = Some(ended + wait);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_wait_ever_longer_until_a_long_run() {
        let policy = Policy::default();
        let mut backoff = Backoff::default();
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..8 {
            let wait = backoff.next(&policy, now);
            waits.push(wait.as_secs());
            now += wait + Duration::from_secs(1);
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(backoff.next(&policy, now + policy.limit * 3), Duration::ZERO);
    }
}
