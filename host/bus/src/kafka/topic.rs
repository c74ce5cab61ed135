//! Topics the way state needs them: made so where they are missing, and compared where they are there.
//!
//! A topic that others made is used as it is: it may be set so on purpose, and we may not be allowed to change it. What
//! is set otherwise is said once, with the command that changes it.

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    error::{KafkaError, RDKafkaErrorCode as Code},
};

use super::{PATIENCE, explain::failed, log::Context};
use crate::{BusError, MAX_RECORD_BYTES};

/// Partitions and replicas of a topic that is made; -1 replicas: the cluster's default.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub partitions: i32,
    pub replicas: i32,
}

/// A setting of a topic, and what it is for.
struct Setting {
    name: &'static str,
    value: &'static str,
    fits: fn(found: &str) -> bool,
    otherwise: &'static str,
}

const SETTINGS: [Setting; 5] = [
    Setting {
        name: "cleanup.policy",
        value: "compact",
        fits: |found| found == "compact",
        otherwise: "what it deletes is missing to a region that comes later, until it is published again",
    },
    Setting {
        name: "max.message.bytes",
        value: "12582912",
        fits: |found| found.parse().is_ok_and(|bytes: usize| bytes >= MAX_RECORD_BYTES),
        otherwise: "larger states cannot be published",
    },
    // Republished states would pile up in the active segment, which is never compacted.
    Setting {
        name: "segment.ms",
        value: "600000",
        fits: |found| at_most(found, 600_000.0),
        otherwise: "superseded states are kept for that long",
    },
    Setting {
        name: "segment.bytes",
        value: "67108864",
        fits: |found| at_most(found, 67_108_864.0),
        otherwise: "so much of superseded states is kept",
    },
    Setting {
        name: "min.cleanable.dirty.ratio",
        value: "0.2",
        fits: |found| at_most(found, 0.2),
        otherwise: "more superseded states are kept",
    },
];

fn at_most(found: &str, most: f64) -> bool {
    found.parse().is_ok_and(|found: f64| found <= most)
}

/// False where it was there, or where we may not create topics and hope that it is there.
pub(super) async fn create(
    admin: &AdminClient<Context>,
    topic: &str,
    shape: Shape,
) -> Result<bool, BusError> {
    let new = NewTopic::new(topic, shape.partitions, TopicReplication::Fixed(shape.replicas));
    let new = SETTINGS.iter().fold(new, |new, setting| new.set(setting.name, setting.value));
    let what = format!("create topic {topic:?}");
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
    let context = admin.inner().context();
    let results =
        admin.create_topics([&new], &options).await.map_err(|error| failed(context, &what, &error))?;
    match results.into_iter().next() {
        Some(Err((_, Code::TopicAlreadyExists))) | None => Ok(false),
        Some(Ok(_)) => {
            tracing::info!(topic, partitions = shape.partitions, "created topic");
            Ok(true)
        }
        Some(Err((_, Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed))) => {
            tracing::debug!(topic, "may not create topics; using it as it is");
            Ok(false)
        }
        Some(Err((_, code))) => Err(failed(context, &what, &KafkaError::AdminOp(code))),
    }
}

/// Says what is set otherwise, as far as we may look.
pub(super) async fn check(admin: &AdminClient<Context>, topic: &str) {
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let described = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await;
    let Some(Ok(config)) = described.ok().and_then(|mut all| all.pop()) else {
        tracing::debug!(topic, "may not look at the topic's settings");
        return;
    };
    let found = |name: &str| config.get(name).and_then(|entry| entry.value.clone());
    let problems = problems(found);
    for (setting, found) in &problems {
        metrics::gauge!("senren_bus_topic_settings_off", "topic" => topic.to_owned(), "setting" => setting.name).set(1.0);
        tracing::warn!(
            topic,
            setting = setting.name,
            found,
            wanted = setting.value,
            "the topic is set otherwise: {}",
            setting.otherwise
        );
    }
    if !problems.is_empty() {
        let wanted: Vec<String> =
            problems.iter().map(|(setting, _)| format!("{}={}", setting.name, setting.value)).collect();
        let command = format!(
            "kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config {}",
            wanted.join(",")
        );
        tracing::warn!(topic, command, "to set it as it should be");
    }
}

/// What is set otherwise, and to what. What the broker does not know is its own business.
fn problems(found: impl Fn(&str) -> Option<String>) -> Vec<(&'static Setting, String)> {
    let off = |setting: &'static Setting| {
        let found = found(setting.name)?;
        (!(setting.fits)(&found)).then_some((setting, found))
    };
    SETTINGS.iter().filter_map(off).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, value: &str, off: &[&str]) {
        let found = |wanted: &str| (wanted == name).then(|| value.to_owned());
        let names: Vec<&str> = problems(found).into_iter().map(|(setting, _)| setting.name).collect();
        assert_eq!(names, off, "{name}={value}");
    }

    #[test]
    fn what_is_set_worse_than_we_would_is_named_and_what_is_set_better_is_not() {
        check("cleanup.policy", "compact", &[]);
        check("cleanup.policy", "compact,delete", &["cleanup.policy"]);
        check("max.message.bytes", "1048588", &["max.message.bytes"]);
        check("max.message.bytes", "20971520", &[]);
        check("segment.ms", "604800000", &["segment.ms"]);
        check("segment.ms", "100", &[]);
        check("min.cleanable.dirty.ratio", "0.5", &["min.cleanable.dirty.ratio"]);
        check("unknown", "1", &[]);
    }

    #[test]
    fn we_make_topics_as_we_want_them() {
        assert!(SETTINGS.iter().all(|setting| (setting.fits)(setting.value)));
    }
}
