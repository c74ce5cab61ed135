//! What a region finds that is added when the topic was compacted long ago.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};
use senren_bus::{Bus, Event, From, codec};

use super::{Hub, Stub, database, until};

const LATE: &str = "aws:late";
const VERSIONS: u64 = 6;

/// Makes a topic as an operator may who wants something else than we do.
async fn create(hub: &Hub, topic: &str, settings: &[(&str, &str)]) {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", hub.setting("KAFKA_BOOTSTRAP_SERVERS"));
    let admin: AdminClient<DefaultClientContext> = client.create().unwrap();
    let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
    let new = settings.iter().fold(new, |new, (name, value)| new.set(name, value));
    let made = admin.create_topics([&new], &AdminOptions::new()).await.unwrap();
    assert_eq!(made, [Ok(topic.to_owned())]);
}

/// The versions of the late region that the topic still has.
async fn versions(bus: &dyn Bus) -> Vec<u64> {
    let topic = bus.topics().state_topic(&LATE.parse().unwrap());
    let mut states = bus.subscribe(&topic, From::Earliest).await.unwrap();
    let mut found = Vec::new();
    while let Event::Record(delivery) = states.next().await.unwrap() {
        if delivery.record.key == LATE {
            found.push(codec::decode_state(&delivery.record).unwrap().version);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real engines: make e2e"]
async fn a_region_that_comes_late_has_its_state_from_a_topic_that_was_really_compacted() {
    let hub = Hub::new(&[]);
    let (state, status) = (format!("{}-state", hub.prefix), format!("{}-status", hub.prefix));
    // A segment is compacted once it is no longer the active one.
    let segments = [
        ("segment.ms", "100"),
        ("segment.bytes", "12582912"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("max.message.bytes", "12582912"),
    ];
    create(&hub, &state, &[&segments[..], &[("cleanup.policy", "compact")]].concat()).await;
    create(&hub, &status, &[("cleanup.policy", "delete")]).await;
    let control = hub.control().await;
    let bus: Arc<dyn Bus> = Arc::new(hub.bus());

    let mut last = 0;
    for version in 1..=VERSIONS {
        last = control.apply("default", &[database("db", &[LATE], 64 + version)]).await;
        until("it is published", async || versions(&*bus).await.contains(&version).then_some(())).await;
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    let left = until("compaction has run", async || {
        let left = versions(&*bus).await;
        // The last one of the segments that are closed, and the one in the segment that is open.
        (!left.contains(&1) && left.len() <= 2).then_some(left)
    })
    .await;
    println!("{VERSIONS} versions were published, the topic has {left:?}");
    assert_eq!(left.last(), Some(&VERSIONS));

    let late = Stub::start(LATE, Arc::clone(&bus));
    control.until_ready("default", last).await;
    assert_eq!(late.state().version, VERSIONS);

    // The status topic is not as we would have made it, the state topic is better.
    let log = control.log();
    assert!(log.contains("set otherwise") && log.contains("cleanup.policy"), "{log}");
    assert!(log.contains(&format!("--entity-name {status} --add-config cleanup.policy=compact,")), "{log}");
    assert!(!log.contains(&format!("--entity-name {state}")), "{log}");
}
