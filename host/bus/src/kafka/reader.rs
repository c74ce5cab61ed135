//! A subscription in Kafka: all partitions, from the beginning or from where an earlier reader was. No consumer group:
//! nobody joins, commits or waits for a session to time out.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, StreamConsumer},
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::Headers as _,
};
use tokio::time::{Interval, MissedTickBehavior};

use super::{
    Context, PATIENCE, blocking, count_partitions,
    explain::{failed, misconfigured},
};
use crate::{BusError, Delivery, Event, From, Record, Subscription};

/// How often a reader of all partitions looks whether there are more.
const LOOK_FOR_PARTITIONS: Duration = Duration::from_secs(60);

pub(super) struct Reader {
    /// `None` only while it is dropped.
    consumer: Option<Arc<StreamConsumer<Context>>>,
    scout: Arc<BaseConsumer<Context>>,
    topic: String,
    /// Kafka's own name.
    log: String,
    partitions: i32,
    /// Partitions that are not read up to here yet; `None` once [`Event::CaughtUp`] was returned.
    behind: Option<HashMap<i32, i64>>,
    look: Interval,
}

impl Reader {
    pub(super) async fn new(
        settings: &ClientConfig,
        topic: &str,
        from: From,
        partitions: i32,
        scout: Arc<BaseConsumer<Context>>,
    ) -> Result<Self, BusError> {
        let consumer: StreamConsumer<Context> =
            settings.create_with_context(scout.context().as_ref().clone()).map_err(misconfigured)?;
        let what = format!("subscribe to topic {topic:?}");
        let (log, extents) = survey(&scout, topic, partitions).await?;
        let known = match from {
            From::Position(position) if position.log == log => position.offsets,
            From::Earliest | From::Position(_) => BTreeMap::new(),
        };
        let (mut all, mut behind) = (TopicPartitionList::new(), HashMap::new());
        for (partition, (low, high)) in extents {
            let start =
                known.get(&partition).copied().filter(|start| (low..=high).contains(start)).unwrap_or(low);
            // The number, not `Beginning`: that would be looked up only after half a second. Where it is compacted
            // away meanwhile, `auto.offset.reset` finds the beginning.
            all.add_partition_offset(topic, partition, Offset::Offset(start))
                .map_err(|error| failed(scout.context(), &what, &error))?;
            if start < high {
                behind.insert(partition, high);
            }
        }
        consumer.assign(&all).map_err(|error| failed(scout.context(), &what, &error))?;
        let mut look = tokio::time::interval(LOOK_FOR_PARTITIONS);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        look.reset();
        Ok(Self {
            consumer: Some(Arc::new(consumer)),
            scout,
            topic: topic.to_owned(),
            log,
            partitions,
            behind: Some(behind),
            look,
        })
    }

    /// Notes that a partition is read up to, not including, `offset`.
    fn progress(&mut self, partition: i32, offset: i64) {
        if let Some(behind) = &mut self.behind {
            behind.retain(|of, end| *of != partition || offset < *end);
        }
    }

    /// A topic that grew has partitions that nobody assigned to us.
    async fn check_partitions(&self) -> Result<(), BusError> {
        // Not being able to look is no reason to stop reading.
        let Ok(found) = count_partitions(&self.scout, &self.topic).await else { return Ok(()) };
        if found > self.partitions {
            return Err(BusError::Unavailable {
                what: format!("read topic {:?}", self.topic),
                cause: format!("it has {found} partitions now, not {}; subscribe anew", self.partitions),
            });
        }
        Ok(())
    }
}

#[async_trait]
impl Subscription for Reader {
    async fn next(&mut self) -> Result<Event, BusError> {
        let Some(consumer) = self.consumer.clone() else {
            return Err(BusError::Config("the subscription is closed".into()));
        };
        loop {
            if self.behind.as_ref().is_some_and(HashMap::is_empty) {
                self.behind = None;
                return Ok(Event::CaughtUp);
            }
            let received = tokio::select! {
                received = consumer.recv() => received,
                _ = self.look.tick() => {
                    self.check_partitions().await?;
                    continue;
                }
            };
            match received {
                Ok(message) => {
                    self.progress(message.partition(), message.offset() + 1);
                    return Ok(Event::Record(delivery(&message)));
                }
                Err(KafkaError::PartitionEOF(partition)) => self.progress(partition, i64::MAX),
                Err(error) if passes_by_itself(&error) => {
                    tracing::debug!(%error, topic = self.topic, "reading")
                }
                Err(error) => {
                    return Err(failed(
                        self.scout.context(),
                        &format!("read topic {:?}", self.topic),
                        &error,
                    ));
                }
            }
        }
    }

    fn log(&self) -> &str {
        &self.log
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // To end its connections takes a moment, for which no thread of the runtime may wait.
        let consumer = mem::take(&mut self.consumer);
        std::thread::spawn(move || drop(consumer));
    }
}

/// Which Kafka it is, and where each partition begins and ends now.
async fn survey(
    scout: &Arc<BaseConsumer<Context>>,
    topic: &str,
    partitions: i32,
) -> Result<(String, Vec<(i32, (i64, i64))>), BusError> {
    let (scout, topic) = (Arc::clone(scout), topic.to_owned());
    blocking(move || {
        let what = format!("find the end of topic {topic:?}");
        let extent = |partition| {
            let mut extent = scout.fetch_watermarks(&topic, partition, PATIENCE);
            // A new topic, or one whose broker is new, takes a moment to get round the cluster.
            for _ in 0..50 {
                if !extent.as_ref().is_err_and(is_not_settled) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(100));
                extent = scout.fetch_watermarks(&topic, partition, PATIENCE);
            }
            extent.map(|extent| (partition, extent)).map_err(|error| failed(scout.context(), &what, &error))
        };
        let extents = (0..partitions).map(extent).collect::<Result<_, _>>()?;
        // Known since it was first reached.
        Ok((scout.client().fetch_cluster_id(PATIENCE).unwrap_or_default(), extents))
    })
    .await
}

fn is_not_settled(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::NotLeaderForPartition
                | Code::LeaderNotAvailable
                | Code::UnknownTopicOrPartition
                | Code::UnknownPartition
        )
    )
}

/// Errors after which librdkafka goes on: it reconnects, looks for the leader, and so on.
fn passes_by_itself(error: &KafkaError) -> bool {
    let KafkaError::MessageConsumption(code) = error else { return false };
    matches!(
        code,
        Code::AllBrokersDown
            | Code::BrokerTransportFailure
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::Resolve
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::NetworkException
            | Code::OffsetOutOfRange
            // Of the group, which librdkafka looks after although nobody is in it.
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::CoordinatorLoadInProgress
            | Code::GroupAuthorizationFailed
    )
}

fn delivery(message: &rdkafka::message::BorrowedMessage<'_>) -> Delivery {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers.iter().map(|header| (header.key.to_owned(), text(header.value.unwrap_or_default()))).collect()
    });
    Delivery {
        record: Record {
            topic: message.topic().to_owned(),
            key: text(message.key().unwrap_or_default()),
            headers,
            payload: message.payload().map(Bytes::copy_from_slice),
        },
        partition: message.partition(),
        offset: message.offset(),
    }
}
