//! The bus in Kafka: publishing, and topics that are made the way state needs them.
//!
//! One idempotent producer per process. Should librdkafka declare it dead (a fatal error), the next publish makes a
//! new one; what the old one had in flight has then failed, and its callers try again.

mod explain;
mod log;
mod reader;
pub(crate) mod settings;
mod topic;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use rdkafka::{
    admin::AdminClient,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord, Producer as _},
    util::Timeout,
};

use self::{
    explain::{failed, misconfigured, not_published},
    log::Context,
    settings::Settings,
};
use crate::{Bus, BusConfig, BusError, From, Record, Subscription, Topics, routing_key};

/// How long one question to the cluster may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A [`Bus`] in Kafka.
pub struct KafkaBus {
    topics: Topics,
    settings: Settings,
    context: Context,
    producer: RwLock<FutureProducer<Context>>,
    admin: AdminClient<Context>,
    /// Asks for metadata: unlike a producer's, a consumer's question creates no topic.
    scout: Arc<BaseConsumer<Context>>,
    new_topic: topic::Shape,
    /// Topics that are known to exist, with their partitions.
    known: Mutex<HashMap<String, i32>>,
    /// Topics whose settings were looked at.
    checked: Mutex<HashSet<String>>,
}

impl KafkaBus {
    /// Checks the settings; Kafka itself may come up later. `passed_on` are settings of librdkafka.
    pub fn new(
        config: &BusConfig,
        topics: Topics,
        passed_on: Vec<(String, String)>,
    ) -> Result<Self, BusError> {
        let settings = Settings::new(config, passed_on);
        let context = Context::default();
        let producer = new_producer(&settings, &context)?;
        let scout = settings.consumer(&format!("{}-scout", topics.prefix()));
        Ok(Self {
            admin: settings.client().create_with_context(context.clone()).map_err(misconfigured)?,
            scout: Arc::new(scout.create_with_context(context.clone()).map_err(misconfigured)?),
            context,
            producer: RwLock::new(producer),
            new_topic: topic::Shape {
                partitions: config.topic_partitions,
                // -1: the cluster's default.
                replicas: config.topic_replicas.unwrap_or(-1),
            },
            known: Mutex::default(),
            checked: Mutex::default(),
            topics,
            settings,
        })
    }

    /// The topic's number of partitions; creates it where it is missing.
    async fn ensure(&self, topic: &str) -> Result<i32, BusError> {
        if let Some(partitions) = self.known.lock().get(topic) {
            return Ok(*partitions);
        }
        if !topic::create(&self.admin, topic, self.new_topic).await?
            && self.checked.lock().insert(topic.to_owned())
        {
            topic::check(&self.admin, topic).await;
        }
        // A new topic takes a moment to get round the cluster.
        for _ in 0..50 {
            let partitions = count_partitions(&self.scout, topic).await?;
            if partitions > 0 {
                self.known.lock().insert(topic.to_owned(), partitions);
                return Ok(partitions);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(BusError::Unavailable {
            what: format!("use topic {topic:?}"),
            cause: "it does not exist, and was not created".into(),
        })
    }

    /// After a failure: forgets what may have changed, replaces a producer that is beyond help.
    fn recover(&self, topic: &str, error: &KafkaError) {
        if matches!(
            error.rdkafka_error_code(),
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition)
        ) {
            self.known.lock().remove(topic);
        }
        let mut producer = self.producer.write();
        if let Some((code, reason)) = producer.client().fatal_error() {
            tracing::error!(%code, reason, "the Kafka producer failed for good; making a new one");
            match new_producer(&self.settings, &self.context) {
                Ok(new) => *producer = new,
                Err(error) => tracing::error!(%error, "no new Kafka producer"),
            }
        }
    }
}

#[async_trait]
impl Bus for KafkaBus {
    fn topics(&self) -> &Topics {
        &self.topics
    }

    async fn reach(&self, topic: &str) -> Result<(), BusError> {
        count_partitions(&self.scout, topic).await.map(drop)
    }

    async fn publish(&self, record: Record) -> Result<(), BusError> {
        let started = std::time::Instant::now();
        let partitions = self.ensure(&record.topic).await?;
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in &record.headers {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let mut message: FutureRecord<'_, str, [u8]> = FutureRecord::to(&record.topic)
            .key(record.key.as_str())
            .partition(partition_of(&record.key, partitions))
            .headers(headers);
        if let Some(payload) = &record.payload {
            message = message.payload(payload.as_ref());
        }
        let producer = self.producer.read().clone();
        let result = producer.send(message, Timeout::After(PATIENCE)).await;
        if let Err((error, _)) = result {
            self.recover(&record.topic, &error);
            return Err(not_published(&self.context, &record, &error));
        }
        metrics::histogram!("senren_bus_publish_seconds", "topic" => record.topic)
            .record(started.elapsed().as_secs_f64());
        Ok(())
    }

    async fn subscribe(&self, topic: &str, from: From) -> Result<Box<dyn Subscription>, BusError> {
        // Looks again: a reader must know of every partition.
        self.known.lock().remove(topic);
        let partitions = self.ensure(topic).await?;
        let settings = self.settings.consumer(&format!("{}-reader", self.topics.prefix()));
        Ok(Box::new(reader::Reader::new(&settings, topic, from, partitions, Arc::clone(&self.scout)).await?))
    }
}

/// How many partitions a topic has; 0: there is no such topic, or not yet.
async fn count_partitions(scout: &Arc<BaseConsumer<Context>>, topic: &str) -> Result<i32, BusError> {
    let (scout, topic) = (Arc::clone(scout), topic.to_owned());
    blocking(move || {
        // What librdkafka has to say in the meantime must not pile up.
        while scout.poll(Duration::ZERO).is_some() {}
        let what = format!("look up topic {topic:?}");
        let metadata = scout
            .fetch_metadata(Some(&topic), PATIENCE)
            .map_err(|error| failed(scout.context(), &what, &error))?;
        let Some(found) = metadata.topics().first() else { return Ok(0) };
        match found.error().map(Code::from) {
            None => Ok(i32::try_from(found.partitions().len()).unwrap_or(i32::MAX)),
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::LeaderNotAvailable) => Ok(0),
            Some(code) => Err(failed(scout.context(), &what, &KafkaError::MetadataFetch(code))),
        }
    })
    .await
}

/// Which of `count` partitions a key belongs to: FNV-1a of its routing part. Every publisher must agree, so it
/// never changes.
fn partition_of(key: &str, count: i32) -> i32 {
    let hash = routing_key(key)
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let count = u32::try_from(count).unwrap_or(1).max(1);
    i32::try_from(hash % count).unwrap_or(0)
}

fn new_producer(settings: &Settings, context: &Context) -> Result<FutureProducer<Context>, BusError> {
    settings.producer().create_with_context(context.clone()).map_err(misconfigured)
}

/// Runs what would block a thread of the runtime.
async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, BusError> + Send + 'static,
) -> Result<R, BusError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(BusError::Unavailable { what: "ask Kafka".into(), cause: error.to_string() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_a_region_share_a_partition() {
        for region in ["aws:us-east-1", "gcp:us-central1", "onprem:berlin-2"] {
            let partition = partition_of(region, 16);
            assert_eq!(partition_of(&format!("{region}#3/4"), 16), partition);
            assert_eq!(partition_of(&format!("{region}/default/a"), 16), partition);
        }
        assert_eq!(partition_of("aws:us-east-1", 16), 4, "frozen: publishers of all releases must agree");
    }
}
