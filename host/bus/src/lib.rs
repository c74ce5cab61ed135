//! The seam between the planes: topics, in Kafka or in memory, and the only codec of what travels on them.
//!
//! Everything on a topic is *state*: the latest record of a key stands for all earlier ones, so a lost, repeated,
//! late or reordered record does no harm, and a compacted topic is all the memory that a reader needs. Nothing
//! here knows what a record means beyond that; [`codec`] turns records into the messages of `senren.v1` and back.
//!
//! Invariants:
//! - a record is durable when [`Bus::publish`] has returned `Ok`; after an error it may or may not be;
//! - records of one region, whatever their keys, keep the order in which they were acknowledged: the partition is
//!   chosen by the part of the key before the first `#` or `/` (see [`routing_key`]);
//! - a subscriber that is too slow gets the latest record of each key, not each record.

mod config;
mod error;
mod kafka;
mod memory;
mod topics;

pub mod codec;

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;

pub use config::BusConfig;
pub use error::BusError;
pub use kafka::KafkaBus;
pub use memory::MemoryBus;
pub use topics::{Routing, Topics};

/// The largest record that every part of the way accepts: states of 10 MB and what surrounds them.
pub const MAX_RECORD_BYTES: usize = 12 * 1024 * 1024;

/// One record, as it is on a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The topic's name.
    pub topic: String,
    /// What compaction goes by.
    pub key: String,
    /// In the order in which they were set.
    pub headers: Vec<(String, String)>,
    /// `None`: a tombstone.
    pub payload: Option<Bytes>,
}

impl Record {
    /// With one more header, where there is a value for it.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: Option<String>) -> Self {
        self.headers.extend(value.map(|value| (name.to_owned(), value)));
        self
    }

    /// The value of the first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A record and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// What was published.
    pub record: Record,
    /// Its partition.
    pub partition: i32,
    /// Its place in the partition; grows, with gaps.
    pub offset: i64,
}

/// What a subscription yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The next record.
    Record(Delivery),
    /// Everything that was there at subscription has been delivered. Once per subscription.
    CaughtUp,
}

/// Where a subscription begins. It always reads all partitions: who reads, where several could, is not the bus's to
/// say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// With the first record that the topic still holds, of every partition.
    Earliest,
    /// Where an earlier reader was. With the first record where that means nothing: of a partition that is new, or in
    /// another log.
    Position(Position),
}

/// How far somebody has read a topic. An optimisation, like all offsets: to begin before it, or with the first record,
/// does no harm.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    /// Which log the offsets are of (see [`Subscription::log`]): those of another Kafka mean nothing.
    pub log: String,
    /// The next record to read, by partition.
    pub offsets: BTreeMap<i32, i64>,
}

impl Position {
    /// At the beginning of a log.
    pub fn of(log: &str) -> Self {
        Self { log: log.to_owned(), offsets: BTreeMap::new() }
    }

    /// Moves behind a record.
    pub fn pass(&mut self, delivery: &Delivery) {
        self.offsets.insert(delivery.partition, delivery.offset + 1);
    }
}

/// Kafka, or what stands for it.
#[async_trait]
pub trait Bus: Send + Sync {
    /// How the topics of this bus are named.
    fn topics(&self) -> &Topics;

    /// Asks now whether a topic can be reached. A reader goes on waiting while it can't: there may be nothing to read.
    async fn reach(&self, topic: &str) -> Result<(), BusError>;

    /// Durable when it returns `Ok`. Creates the topic where it is missing, as [`Bus::subscribe`] does. Gives up with an error after ten seconds; the first record of a topic may take
    /// longer, while the topic is looked up or created.
    async fn publish(&self, record: Record) -> Result<(), BusError>;

    /// Starts reading a topic.
    async fn subscribe(&self, topic: &str, from: From) -> Result<Box<dyn Subscription>, BusError>;
}

/// A reader's place in a topic.
#[async_trait]
pub trait Subscription: Send {
    /// The next event; waits for it, for ever if need be. Cancel-safe: an event that wasn't returned comes again.
    /// After an error the subscription is worn out: subscribe anew.
    async fn next(&mut self) -> Result<Event, BusError>;

    /// Names the log that is read, for a [`Position`]. Another Kafka has another.
    fn log(&self) -> &str;
}

/// The part of a key that chooses the partition: the region id in `region`, `region#i/n` and `region/site/name`.
pub fn routing_key(key: &str) -> &str {
    key.split(['#', '/']).next().unwrap_or(key)
}
