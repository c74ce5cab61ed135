//! The bus in memory: for `senren dev` and for tests. It behaves like a compacted Kafka topic of one partition,
//! including what hurts: records can be repeated, reordered, damaged or withheld, and the bus can be down.
//!
//! Nothing survives the process.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{Bus, BusError, Delivery, Event, From, Record, Subscription, Topics};

/// Superseded records are dropped once there are this many, and more of them than of the others, or once they have
/// this many bytes: the state of a region is one record, which may be large.
const COMPACT_ABOVE: usize = 1000;
const COMPACT_ABOVE_BYTES: usize = 16 * 1024 * 1024;

/// An in-memory [`Bus`]; clones share the topics.
#[derive(Clone)]
pub struct MemoryBus {
    topics: Arc<Topics>,
    /// No other bus has this name, of this process or another.
    log: Arc<str>,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Counts what happens, so that whoever waits looks again.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    logs: HashMap<String, Log>,
    down: bool,
    /// While `Some`, published records are acknowledged but don't arrive.
    held: Option<Vec<Record>>,
}

#[derive(Default)]
struct Log {
    records: BTreeMap<i64, Record>,
    latest: HashMap<String, i64>,
    end: i64,
    /// Of superseded records that are still there.
    superseded_bytes: usize,
}

impl Default for MemoryBus {
    fn default() -> Self {
        Self::new(Topics::default())
    }
}

impl MemoryBus {
    /// A bus without records.
    pub fn new(topics: Topics) -> Self {
        let shared = Shared { state: Mutex::default(), changes: watch::Sender::new(0) };
        let log = format!("memory-{:016x}", RandomState::new().hash_one(0)).into();
        Self { topics: Arc::new(topics), log, shared: Arc::new(shared) }
    }

    /// What the topic holds, oldest first: superseded records too, until they are compacted.
    pub fn records(&self, topic: &str) -> Vec<Delivery> {
        let state = self.shared.state.lock();
        let log = state.logs.get(topic);
        log.into_iter()
            .flat_map(|log| &log.records)
            .map(|(offset, record)| delivery(*offset, record))
            .collect()
    }

    /// Leaves the latest record of each key, as Kafka does when it gets round to it.
    pub fn compact(&self, topic: &str) {
        if let Some(log) = self.shared.state.lock().logs.get_mut(topic) {
            log.compact();
        }
    }

    /// While down, whatever is asked of the bus fails, and readers get an error.
    pub fn set_down(&self, down: bool) {
        self.shared.change(|state| state.down = down);
    }

    /// From now on records are acknowledged but withheld, until [`MemoryBus::release`].
    pub fn hold(&self) {
        self.shared.change(|state| {
            state.held.get_or_insert_default();
        });
    }

    /// How many records of a topic are withheld.
    pub fn held(&self, topic: &str) -> usize {
        let state = self.shared.state.lock();
        state.held.iter().flatten().filter(|record| record.topic == topic).count()
    }

    /// Delivers what was withheld, after `rearrange` has reordered, repeated, dropped or damaged it.
    pub fn release(&self, rearrange: impl FnOnce(&mut Vec<Record>)) {
        self.shared.change(|state| {
            let mut held = state.held.take().unwrap_or_default();
            rearrange(&mut held);
            held.into_iter().for_each(|record| state.append(record));
        });
    }
}

impl Shared {
    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.state.lock());
        self.changes.send_modify(|count| *count += 1);
        result
    }
}

impl State {
    fn append(&mut self, record: Record) {
        self.logs.entry(record.topic.clone()).or_default().append(record);
    }

    fn check_up(&self, what: impl FnOnce() -> String) -> Result<(), BusError> {
        if self.down {
            return Err(BusError::Unavailable { what: what(), cause: "the in-memory bus is down".into() });
        }
        Ok(())
    }
}

impl Log {
    fn append(&mut self, record: Record) {
        let superseded = self.latest.insert(record.key.clone(), self.end);
        let superseded = superseded.and_then(|offset| self.records.get(&offset)?.payload.as_ref());
        self.superseded_bytes += superseded.map_or(0, bytes::Bytes::len);
        self.records.insert(self.end, record);
        self.end += 1;
        let many = self.records.len() > COMPACT_ABOVE + 2 * self.latest.len();
        if many || self.superseded_bytes > COMPACT_ABOVE_BYTES {
            self.compact();
        }
    }

    fn compact(&mut self) {
        let latest = &self.latest;
        self.records.retain(|offset, record| latest.get(&record.key) == Some(offset));
        self.superseded_bytes = 0;
    }
}

fn delivery(offset: i64, record: &Record) -> Delivery {
    Delivery { record: record.clone(), partition: 0, offset }
}

#[async_trait]
impl Bus for MemoryBus {
    fn topics(&self) -> &Topics {
        &self.topics
    }

    async fn reach(&self, topic: &str) -> Result<(), BusError> {
        self.shared.state.lock().check_up(|| format!("look up topic {topic:?}"))
    }

    async fn publish(&self, record: Record) -> Result<(), BusError> {
        self.shared.change(|state| {
            state.check_up(|| format!("publish {:?} to topic {:?}", record.key, record.topic))?;
            match &mut state.held {
                Some(held) => held.push(record),
                None => state.append(record),
            }
            Ok(())
        })
    }

    async fn subscribe(&self, topic: &str, from: From) -> Result<Box<dyn Subscription>, BusError> {
        let state = self.shared.state.lock();
        state.check_up(|| format!("subscribe to topic {topic:?}"))?;
        let end = state.logs.get(topic).map_or(0, |log| log.end);
        let known = match from {
            From::Position(position) if *position.log == *self.log => position.offsets.get(&0).copied(),
            From::Earliest | From::Position(_) => None,
        };
        Ok(Box::new(MemorySubscription {
            topic: topic.to_owned(),
            log: Arc::clone(&self.log),
            next: known.filter(|next| *next <= end).unwrap_or_default(),
            caught_up_at: Some(end),
            changes: self.shared.changes.subscribe(),
            shared: Arc::clone(&self.shared),
        }))
    }
}

struct MemorySubscription {
    topic: String,
    log: Arc<str>,
    /// The next offset to deliver.
    next: i64,
    /// The end of the topic at subscription; `None` once that was said.
    caught_up_at: Option<i64>,
    changes: watch::Receiver<u64>,
    shared: Arc<Shared>,
}

impl MemorySubscription {
    /// The next event, if there is one.
    fn poll(&mut self) -> Result<Option<Event>, BusError> {
        let state = self.shared.state.lock();
        state.check_up(|| format!("read topic {:?}", self.topic))?;
        let next = state.logs.get(&self.topic).and_then(|log| log.records.range(self.next..).next());
        if let Some(end) = self.caught_up_at
            && next.is_none_or(|(offset, _)| *offset >= end)
        {
            self.caught_up_at = None;
            return Ok(Some(Event::CaughtUp));
        }
        Ok(next.map(|(offset, record)| {
            self.next = offset + 1;
            Event::Record(delivery(*offset, record))
        }))
    }
}

#[async_trait]
impl Subscription for MemorySubscription {
    async fn next(&mut self) -> Result<Event, BusError> {
        loop {
            self.changes.mark_unchanged();
            if let Some(event) = self.poll()? {
                return Ok(event);
            }
            // Can't fail: the sender lives as long as `shared`.
            let _ = self.changes.changed().await;
        }
    }

    fn log(&self) -> &str {
        &self.log
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::time::Duration;

    use super::*;
    use crate::Position;

    fn record(key: &str, payload: &'static str) -> Record {
        Record { topic: "t".into(), key: key.into(), headers: Vec::new(), payload: Some(payload.into()) }
    }

    /// What is ready now: payloads, and `-` for caught up.
    async fn drain(subscription: &mut Box<dyn Subscription>) -> Vec<String> {
        let mut seen = Vec::new();
        while let Ok(event) = tokio::time::timeout(Duration::from_millis(20), subscription.next()).await {
            seen.push(match event.unwrap() {
                Event::CaughtUp => "-".to_owned(),
                Event::Record(found) => String::from_utf8(found.record.payload.unwrap().to_vec()).unwrap(),
            });
        }
        seen
    }

    async fn bus(records: &[(&str, &'static str)]) -> MemoryBus {
        let bus = MemoryBus::default();
        for (key, payload) in records {
            bus.publish(record(key, payload)).await.unwrap();
        }
        bus
    }

    #[tokio::test]
    async fn a_reader_from_the_start_gets_everything_then_caught_up_then_what_comes() {
        let bus = bus(&[("a", "1"), ("b", "2"), ("a", "3")]).await;
        let mut reader = bus.subscribe("t", From::Earliest).await.unwrap();
        bus.publish(record("c", "4")).await.unwrap();
        assert_eq!(drain(&mut reader).await, ["1", "2", "3", "-", "4"]);
        bus.publish(record("a", "5")).await.unwrap();
        assert_eq!(drain(&mut reader).await, ["5"]);
    }

    #[tokio::test]
    async fn an_empty_topic_is_caught_up_at_once() {
        let bus = MemoryBus::default();
        assert_eq!(drain(&mut bus.subscribe("t", From::Earliest).await.unwrap()).await, ["-"]);
    }

    #[tokio::test]
    async fn compaction_leaves_the_latest_of_each_key() {
        let bus = bus(&[("a", "1"), ("b", "2"), ("a", "3")]).await;
        let mut reader = bus.subscribe("t", From::Earliest).await.unwrap();
        bus.compact("t");
        assert_eq!(drain(&mut reader).await, ["2", "3", "-"]);
        for _ in 0..3 * COMPACT_ABOVE {
            bus.publish(record("a", "x")).await.unwrap();
        }
        assert!(bus.records("t").len() <= COMPACT_ABOVE + 4, "it compacts by itself");
        let large = bytes::Bytes::from(vec![0; COMPACT_ABOVE_BYTES / 4]);
        for _ in 0..20 {
            bus.publish(Record { payload: Some(large.clone()), ..record("b", "") }).await.unwrap();
        }
        assert!(bus.records("t").len() <= 10, "sooner where records are large");
    }

    #[tokio::test]
    async fn a_reader_goes_on_where_another_one_was_unless_that_was_in_another_log() {
        let first = bus(&[("a", "1"), ("b", "2"), ("c", "3")]).await;
        let mut reader = first.subscribe("t", From::Earliest).await.unwrap();
        let mut position = Position::of(reader.log());
        for _ in 0..2 {
            let Event::Record(delivery) = reader.next().await.unwrap() else { panic!("caught up") };
            position.pass(&delivery);
        }
        let from = async |bus: &MemoryBus, position: &Position| {
            drain(&mut bus.subscribe("t", From::Position(position.clone())).await.unwrap()).await
        };
        assert_eq!(from(&first, &position).await, ["3", "-"]);
        assert_eq!(
            from(&bus(&[("a", "1"), ("b", "2"), ("c", "3")]).await, &position).await,
            ["1", "2", "3", "-"]
        );
        position.offsets.insert(0, 100);
        assert_eq!(from(&first, &position).await, ["1", "2", "3", "-"], "there is no such place");
    }

    #[tokio::test]
    async fn records_can_be_withheld_repeated_and_reordered() {
        let bus = MemoryBus::default();
        let mut reader = bus.subscribe("t", From::Earliest).await.unwrap();
        bus.hold();
        bus.publish(record("a", "1")).await.unwrap();
        bus.publish(record("a", "2")).await.unwrap();
        assert_eq!(drain(&mut reader).await, ["-"]);
        bus.release(|held| {
            held.reverse();
            held.push(held[0].clone());
        });
        assert_eq!(drain(&mut reader).await, ["2", "1", "2"]);
    }

    #[tokio::test]
    async fn a_bus_that_is_down_says_so_to_readers_too() {
        let bus = MemoryBus::default();
        let mut reader = bus.subscribe("t", From::Earliest).await.unwrap();
        assert_eq!(drain(&mut reader).await, ["-"]);
        let waiting = tokio::spawn(async move { reader.next().await });
        tokio::task::yield_now().await;
        bus.set_down(true);
        let error = waiting.await.unwrap().unwrap_err();
        assert!(error.retryable() && error.to_string().contains("is down"), "{error}");
        assert!(bus.publish(record("a", "1")).await.is_err());
        bus.set_down(false);
        assert!(bus.publish(record("a", "1")).await.is_ok());
    }
}
