//! Settings of the bus, the same for both planes.

use std::{env, sync::Arc};

use crate::{Bus, BusError, KafkaBus, MemoryBus, Routing, Topics, kafka::settings};

/// How to reach Kafka. Every further `KAFKA_*` variable is passed to librdkafka: `KAFKA_SECURITY_PROTOCOL` becomes
/// `security.protocol`, `KAFKA_SASL_MECHANISM` `sasl.mechanism`, and so on.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Kafka")]
pub struct BusConfig {
    /// Kafka's addresses: host:port, separated by commas. `memory` keeps records in this process, for development.
    #[arg(long = "kafka-bootstrap-servers", env = "KAFKA_BOOTSTRAP_SERVERS", value_name = "HOST:PORT,…")]
    pub bootstrap_servers: String,

    /// First part of every topic's name; keeps installations that share a Kafka cluster apart.
    #[arg(
        long = "kafka-topic-prefix",
        env = "KAFKA_TOPIC_PREFIX",
        default_value = "senren",
        value_name = "NAME"
    )]
    pub topic_prefix: String,

    /// How states reach the regions: one topic for all, one per region, or per region and mirrored into a Kafka of
    /// the region's own. The same in both planes.
    #[arg(long = "kafka-routing", env = "KAFKA_ROUTING", value_enum, default_value_t)]
    pub routing: Routing,

    /// Partitions of a topic that is created; those of an existing topic stay as they are.
    #[arg(
        long = "kafka-topic-partitions", env = "KAFKA_TOPIC_PARTITIONS", default_value_t = 4, value_name = "COUNT",
        value_parser = clap::value_parser!(i32).range(1..=1000)
    )]
    pub topic_partitions: i32,

    /// Replicas of a topic that is created. Default: what the Kafka cluster has as its own default.
    #[arg(
        long = "kafka-topic-replicas", env = "KAFKA_TOPIC_REPLICAS", value_name = "COUNT",
        value_parser = clap::value_parser!(i32).range(1..=100)
    )]
    pub topic_replicas: Option<i32>,
}

impl BusConfig {
    /// The value of `bootstrap_servers` that means: in this process.
    pub const MEMORY: &str = "memory";

    /// How topics are named.
    pub fn topics(&self) -> Result<Topics, BusError> {
        Topics::new(&self.topic_prefix, self.routing)
            .map_err(|problem| BusError::Config(format!("KAFKA_TOPIC_PREFIX: {problem}")))
    }

    /// Makes the bus. Checks every setting; doesn't wait for Kafka, which may come up later.
    pub async fn connect(&self) -> Result<Arc<dyn Bus>, BusError> {
        let topics = self.topics()?;
        if self.bootstrap_servers == Self::MEMORY {
            tracing::warn!("the bus is in this process's memory: for development, nothing else can reach it");
            return Ok(Arc::new(MemoryBus::new(topics)));
        }
        let passed_on = settings::passed_on(env::vars())?;
        Ok(Arc::new(KafkaBus::new(self, topics, passed_on)?))
    }
}
