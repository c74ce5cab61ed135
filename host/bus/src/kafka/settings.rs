//! What librdkafka is told: our choices, and whatever an operator passes on by `KAFKA_*` variables.
//!
//! Operators win over our choices, except where correctness hangs on one (see `OURS`). A variable that librdkafka
//! doesn't know stops the start: a misspelt security setting must not be ignored. Values may be secrets and are
//! never shown.

use rdkafka::{ClientConfig, config::RDKafkaLogLevel, error::KafkaError};

use crate::{BusConfig, BusError, MAX_RECORD_BYTES};

/// Variables that are arguments of ours, not librdkafka's (see [`BusConfig`]).
const ARGUMENTS: [&str; 5] = [
    "KAFKA_BOOTSTRAP_SERVERS",
    "KAFKA_TOPIC_PREFIX",
    "KAFKA_ROUTING",
    "KAFKA_TOPIC_PARTITIONS",
    "KAFKA_TOPIC_REPLICAS",
];

/// Variables of Kafka's own start scripts, which a developer's shell may have.
const SCRIPTS: [&str; 7] = [
    "KAFKA_HOME",
    "KAFKA_OPTS",
    "KAFKA_HEAP_OPTS",
    "KAFKA_JMX_OPTS",
    "KAFKA_JVM_PERFORMANCE_OPTS",
    "KAFKA_LOG4J_OPTS",
    "KAFKA_GC_LOG_OPTS",
];

/// Settings that rule 2 of the design hangs on: nobody may weaken them.
const OURS: [&str; 5] =
    ["enable.idempotence", "acks", "request.required.acks", "enable.auto.commit", "auto.offset.reset"];

/// The librdkafka settings among the environment variables. All that is wrong is named at once.
pub(crate) fn passed_on(
    vars: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<(String, String)>, BusError> {
    let mut settings = Vec::new();
    let mut problems = Vec::new();
    for (name, value) in vars {
        let Some(rest) = name.strip_prefix("KAFKA_") else { continue };
        if ARGUMENTS.contains(&name.as_str()) || SCRIPTS.contains(&name.as_str()) || is_service_link(rest) {
            continue;
        }
        let setting = rest.to_ascii_lowercase().replace('_', ".");
        match check(&setting, &value) {
            Ok(()) => settings.push((setting, value)),
            Err(problem) => problems.push(format!("{name} ({setting}): {problem}")),
        }
    }
    if problems.is_empty() {
        return Ok(settings);
    }
    problems.sort();
    Err(BusError::Config(format!(
        "{}; unset what is not meant, the others are listed in librdkafka's CONFIGURATION.md",
        problems.join("; ")
    )))
}

/// What Kubernetes sets in every pod of a namespace that has a Service named `kafka` or `kafka-…`.
fn is_service_link(rest: &str) -> bool {
    let rest = format!("_{rest}");
    rest.ends_with("_SERVICE_HOST")
        || rest.contains("_SERVICE_PORT")
        || rest.split("_PORT").skip(1).any(|tail| {
            tail.is_empty()
                || tail.strip_prefix('_').is_some_and(|tail| tail.starts_with(|c: char| c.is_ascii_digit()))
        })
}

/// Asks librdkafka about one setting.
fn check(setting: &str, value: &str) -> Result<(), String> {
    if OURS.contains(&setting) {
        return Err("it is fixed, because nothing may be lost or overtaken".into());
    }
    match ClientConfig::new().set(setting, value).create_native_config() {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientConfig(_, problem, _, _)) => Err(problem),
        Err(other) => Err(other.to_string()),
    }
}

/// The settings of all clients of a process. Not kept as a [`ClientConfig`], which does not give its secrets out again.
pub(super) struct Settings(Vec<(String, String)>);

impl Settings {
    pub fn new(config: &BusConfig, passed_on: Vec<(String, String)>) -> Self {
        let common = [
            ("bootstrap.servers", config.bootstrap_servers.as_str()),
            ("client.id", "senren"),
            // A record is waited for: not even a delayed ACK may hold it up.
            ("socket.nagle.disable", "true"),
            ("socket.keepalive.enable", "true"),
            ("reconnect.backoff.ms", "50"),
            ("reconnect.backoff.max.ms", "2000"),
            ("topic.metadata.refresh.interval.ms", "60000"),
        ];
        let common = common.map(|(setting, value)| (setting.to_owned(), value.to_owned()));
        Self(common.into_iter().chain(passed_on).collect())
    }

    /// For whoever only asks.
    pub fn client(&self) -> ClientConfig {
        self.over(&[], &[])
    }

    /// For what is published: nothing lost, nothing twice, nothing overtaken, and at once.
    pub fn producer(&self) -> ClientConfig {
        let size = MAX_RECORD_BYTES.to_string();
        let usual = [
            ("message.timeout.ms", "10000"),
            ("linger.ms", "0"),
            ("compression.type", "zstd"),
            ("message.max.bytes", &size),
            ("queue.buffering.max.kbytes", "262144"),
        ];
        self.over(&usual, &[("enable.idempotence", "true"), ("acks", "all")])
    }

    /// For what is read. The group is a name that librdkafka wants; nobody ever joins it or commits to it.
    pub fn consumer(&self, group: &str) -> ClientConfig {
        let size = MAX_RECORD_BYTES.to_string();
        let usual = [
            // The broker answers as soon as there is a byte. Longer waiting would save requests while idle, but a
            // partition that is added to a fetch has to wait for the one that is under way.
            ("fetch.min.bytes", "1"),
            ("fetch.wait.max.ms", "100"),
            ("fetch.error.backoff.ms", "100"),
            ("fetch.message.max.bytes", &size),
            ("queued.max.messages.kbytes", "32768"),
            ("allow.auto.create.topics", "false"),
            ("enable.partition.eof", "true"),
        ];
        let fixed = [("group.id", group), ("enable.auto.commit", "false"), ("auto.offset.reset", "earliest")];
        self.over(&usual, &fixed)
    }

    /// What an operator says goes over what is usual, not over what is fixed.
    fn over(&self, usual: &[(&str, &str)], fixed: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        let common = self.0.iter().map(|(setting, value)| (setting.as_str(), value.as_str()));
        for (setting, value) in usual.iter().copied().chain(common).chain(fixed.iter().copied()) {
            config.set(setting, value);
            if setting == "debug" {
                config.set_log_level(RDKafkaLogLevel::Debug);
            }
        }
        config
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn vars(vars: &[(&str, &str)]) -> Vec<(String, String)> {
        vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_an_operator_says_reaches_every_client_secrets_too_and_nothing_fixed_is_weakened() {
        let config = BusConfig {
            bootstrap_servers: "a:9092".into(),
            topic_prefix: "senren".into(),
            routing: crate::Routing::Keyed,
            topic_partitions: 4,
            topic_replicas: None,
        };
        let passed_on = vars(&[("sasl.password", "secret"), ("linger.ms", "5"), ("acks", "0")]);
        let settings = Settings::new(&config, passed_on);
        for client in [settings.client(), settings.producer(), settings.consumer("g")] {
            assert_eq!(client.get("sasl.password"), Some("secret"));
            assert_eq!(client.get("bootstrap.servers"), Some("a:9092"));
            assert_eq!(client.get("linger.ms"), Some("5"));
        }
        assert_eq!(settings.producer().get("acks"), Some("all"));
    }

    #[test]
    fn any_setting_of_librdkafka_is_passed_on() {
        let given = vars(&[
            ("KAFKA_SECURITY_PROTOCOL", "SASL_SSL"),
            ("KAFKA_SASL_MECHANISM", "SCRAM-SHA-512"),
            ("KAFKA_SSL_CA_LOCATION", "/ca.pem"),
            ("KAFKA_BOOTSTRAP_SERVERS", "a:9092"),
            ("KAFKA_HOME", "/opt/kafka"),
            ("HOME", "/root"),
        ]);
        let expected = vars(&[
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("ssl.ca.location", "/ca.pem"),
        ]);
        assert_eq!(passed_on(given).unwrap(), expected);
    }

    #[test]
    fn service_links_of_kubernetes_are_no_settings() {
        let given = vars(&[
            ("KAFKA_SERVICE_HOST", "10.0.0.1"),
            ("KAFKA_SERVICE_PORT_CLIENTS", "9092"),
            ("KAFKA_PORT", "tcp://10.0.0.1:9092"),
            ("KAFKA_PORT_9092_TCP_ADDR", "10.0.0.1"),
            ("KAFKA_UI_SERVICE_HOST", "10.0.0.2"),
            ("KAFKA_UI_PORT_80_TCP", "tcp://10.0.0.2:80"),
        ]);
        assert_eq!(passed_on(given).unwrap(), []);
    }

    #[test]
    fn what_is_wrong_is_named_all_at_once_without_the_values() {
        let error = passed_on(vars(&[
            ("KAFKA_SASL_PASSWRD", "secret"),
            ("KAFKA_SECURITY_PROTOCOL", "TLS-secret"),
            ("KAFKA_ACKS", "0"),
        ]))
        .unwrap_err()
        .to_string();
        for words in
            ["KAFKA_SASL_PASSWRD (sasl.passwrd)", "KAFKA_SECURITY_PROTOCOL", "KAFKA_ACKS (acks): it is fixed"]
        {
            assert!(error.contains(words), "{error} should contain {words:?}");
        }
        assert!(!error.contains("\"secret"), "{error}");
    }
}
