//! What librdkafka says, in our log.
//!
//! It goes on by itself, whatever happens; callers hear of trouble by the operations that fail. These say mostly that
//! time is up, so what its connections last suffered from is remembered for whoever has to explain that. While brokers
//! are away each of its clients says so over and over: one line a minute per kind of trouble is enough.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode},
};

/// At the soonest, so long after a line comes another of its kind.
const SPACING: Duration = Duration::from_secs(60);

/// What was said longer ago explains nothing.
const FRESH: Duration = Duration::from_secs(60);

/// Carries librdkafka's log into ours. Its clones, one for each client, know the same.
#[derive(Clone, Default)]
pub(super) struct Context {
    trouble: Arc<Mutex<Option<(Instant, Trouble)>>>,
}

/// What the connections to the brokers suffer from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub code: RDKafkaErrorCode,
    /// In librdkafka's words.
    pub reason: String,
}

impl Context {
    /// What they suffered from a moment ago.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        let trouble = self.trouble.lock();
        trouble.as_ref().filter(|(since, _)| since.elapsed() < FRESH).map(|(_, trouble)| trouble.clone())
    }

    /// That no broker is left says less than why.
    fn remember(&self, code: RDKafkaErrorCode, reason: &str) {
        if code != RDKafkaErrorCode::AllBrokersDown {
            *self.trouble.lock() = Some((Instant::now(), Trouble { code, reason: reason.to_owned() }));
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        use RDKafkaLogLevel as L;
        if facility == "FAIL" && message.contains("in state APIVERSION_QUERY") {
            // The broker hangs up before a word was spoken, which librdkafka finds not worth an error.
            self.remember(RDKafkaErrorCode::BrokerTransportFailure, message);
        }
        match level {
            L::Emerg | L::Alert | L::Critical | L::Error | L::Warning if !LINES.due(facility) => {
                tracing::debug!(facility, "{message}");
            }
            L::Emerg | L::Alert | L::Critical | L::Error => tracing::error!(facility, "{message}"),
            L::Warning => tracing::warn!(facility, "{message}"),
            L::Notice | L::Info => tracing::info!(facility, "{message}"),
            L::Debug => tracing::debug!(facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            // No trouble: it is how a reader learns that it has caught up.
            return;
        }
        if let Some(code) = error.rdkafka_error_code() {
            self.remember(code, reason);
        }
        if LINES.due(&format!("{:?}", error.rdkafka_error_code())) {
            tracing::warn!(%error, "{reason}");
        } else {
            tracing::debug!(%error, "{reason}");
        }
    }
}

impl ConsumerContext for Context {}

/// Of all clients of this process: they are all told the same.
static LINES: LazyLock<Lines> = LazyLock::new(Lines::default);

/// When a line of each kind came last.
#[derive(Default)]
struct Lines(Mutex<HashMap<String, Instant>>);

impl Lines {
    /// Whether a line of this kind may come now; then it counts as come.
    fn due(&self, kind: &str) -> bool {
        self.due_at(kind, Instant::now())
    }

    fn due_at(&self, kind: &str, now: Instant) -> bool {
        let mut lines = self.0.lock();
        if lines.get(kind).is_some_and(|last| now.saturating_duration_since(*last) < SPACING) {
            return false;
        }
        lines.insert(kind.to_owned(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute_of_each_kind() {
        let (lines, start) = (Lines::default(), Instant::now());
        assert!(lines.due_at("FAIL", start));
        assert!(!lines.due_at("FAIL", start + Duration::from_secs(59)));
        assert!(lines.due_at("FETCH", start), "another kind");
        assert!(lines.due_at("FAIL", start + Duration::from_secs(60)));
    }
}
