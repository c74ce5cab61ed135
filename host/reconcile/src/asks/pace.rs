//! How often something may be done: so often at once, then at a rate. Pure; the caller says what time it is.

/// An allowance that fills up with time.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    left: f64,
    /// When `left` was that much, in milliseconds.
    at: u64,
}

impl Pace {
    /// A full one.
    pub(crate) fn new(burst: u32, now: u64) -> Self {
        Self { left: f64::from(burst), at: now }
    }

    /// Takes one, or says when there will be one.
    pub(crate) fn take(&mut self, per_second: f64, burst: u32, now: u64) -> Result<(), u64> {
        #[allow(clippy::cast_precision_loss)] // of a time in milliseconds between two calls
        let filled = now.saturating_sub(self.at) as f64 * per_second / 1000.0;
        self.left = (self.left + filled).min(f64::from(burst.max(1)));
        self.at = self.at.max(now);
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Ok(());
        }
        let missing = (1.0 - self.left) * 1000.0 / per_second.max(f64::MIN_POSITIVE);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates, which is meant
        Err(self.at.saturating_add((missing.ceil() as u64).max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_followed_by_a_rate() {
        let mut pace = Pace::new(2, 1000);
        let mut take = |now| pace.take(10.0, 2, now);
        assert_eq!([take(1000), take(1000), take(1000)], [Ok(()), Ok(()), Err(1100)]);
        assert_eq!([take(1100), take(1100)], [Ok(()), Err(1200)]);
        assert_eq!([take(9000), take(9000), take(9000)], [Ok(()), Ok(()), Err(9100)], "it fills no higher");
    }
}
