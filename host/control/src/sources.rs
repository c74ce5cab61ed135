//! Where time and identity come from. Injected, so that a test, or a crash that is replayed, decides both.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// A clock and a source of ids.
#[derive(Clone)]
pub struct Sources {
    now: Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>,
    uid: Arc<dyn Fn() -> Uuid + Send + Sync>,
}

impl Sources {
    /// Sources of a test's own.
    pub fn new(
        now: impl Fn() -> DateTime<Utc> + Send + Sync + 'static,
        uid: impl Fn() -> Uuid + Send + Sync + 'static,
    ) -> Self {
        Self { now: Arc::new(now), uid: Arc::new(uid) }
    }

    /// The time, to the microsecond, which is what PostgreSQL keeps.
    pub fn now(&self) -> DateTime<Utc> {
        let now = (self.now)();
        DateTime::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now)
    }

    /// A uid that nothing else has.
    pub fn uid(&self) -> Uuid {
        (self.uid)()
    }
}

impl Default for Sources {
    /// The machine's clock, and version 7 ids, which keep the primary key's index compact.
    fn default() -> Self {
        Self::new(Utc::now, Uuid::now_v7)
    }
}
