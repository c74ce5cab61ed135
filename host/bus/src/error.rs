//! What can go wrong between a plane and its bus, sorted by what the caller can do about it.

/// An error of the bus.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// A setting is wrong. Trying again is useless.
    #[error("bus configuration: {0}")]
    Config(String),
    /// It doesn't answer, or not now. Try again.
    #[error("{what}: {cause}")]
    Unavailable {
        /// What was to be done.
        what: String,
        /// In the bus's words.
        cause: String,
    },
    /// It refuses for good, until an operator grants the right.
    #[error("{what}: {cause}; grant this principal the right to do so on the Kafka cluster")]
    Denied {
        /// What was to be done.
        what: String,
        /// In the bus's words.
        cause: String,
    },
    /// The record exceeds what the topic takes.
    #[error(
        "record {key:?} of {bytes} bytes is too large for topic {topic:?}: {cause}; raise max.message.bytes of the \
         topic, or make the content smaller"
    )]
    TooLarge {
        /// The topic.
        topic: String,
        /// The record's key.
        key: String,
        /// Size of its payload.
        bytes: usize,
        /// In the bus's words.
        cause: String,
    },
}

impl BusError {
    /// Trying the same again may succeed without anybody changing anything.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}
