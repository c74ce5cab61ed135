//! How states reach their regions: one topic for all, one for each, or one for each mirrored into the region's own Kafka.

use std::{sync::Arc, time::Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, api::DeleteParams};
use senren_bus::{Bus, codec};

use super::{Broker, Hub, Mirror, Stub, cluster, database, records, until};

/// Two regions have what is declared, each over the topic that it should have it from.
async fn check(routing: &str, topic_of: [&str; 2]) {
    let hub = Hub::new(&[("KAFKA_ROUTING", routing)]);
    let control = hub.control().await;
    let bus: Arc<dyn Bus> = Arc::new(hub.bus());
    let ids = ["aws:us-east-1:shadow", "gcp:b"];
    let _stubs = ids.map(|id| Stub::start(id, Arc::clone(&bus)));
    let revision = control.apply("default", &[database("db", &ids, 64)]).await;
    control.until_ready("default", revision).await;

    let topics = topic_of.map(|topic| format!("{}-{topic}", hub.prefix));
    for (id, topic) in ids.iter().zip(&topics) {
        let found: Vec<String> = records(&*bus, topic).await.into_iter().map(|record| record.key).collect();
        assert!(found.iter().any(|key| key == id), "{routing}: {topic} has {found:?}");
        assert!(
            topics[0] == topics[1] || found.iter().all(|key| key == id),
            "{routing}: {topic} has {found:?}"
        );
    }
    // What a consumer routes by that reads no payloads.
    let shadow = records(&*bus, &topics[0]).await.into_iter().find(|record| record.key == ids[0]).unwrap();
    let header = |name| shadow.header(name).unwrap().to_owned();
    assert_eq!(["cloud", "region", "cluster"].map(header), ["aws", "us-east-1", "shadow"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real engines: make e2e"]
async fn a_region_has_its_state_from_a_topic_for_all_or_from_one_of_its_own() {
    check("keyed", ["state", "state"]).await;
    check("per-region", ["state.aws.us-east-1.shadow", "state.gcp.b"]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real engines: make e2e"]
async fn a_region_with_a_kafka_of_its_own_is_mirrored_and_goes_on_without_the_hubs() {
    const ID: &str = "aws:r";
    let (mut far, near) = (Broker::start(&[]), Broker::start(&[]));
    let (there, here) = (far.address(), near.address());
    let hub = Hub::new(&[("KAFKA_BOOTSTRAP_SERVERS", &there), ("KAFKA_ROUTING", "local")]);
    let (state, status) = (format!("{}-state.aws.r", hub.prefix), format!("{}-status", hub.prefix));
    let _mirror = Mirror::start(&[
        ("HUB_KAFKA_BOOTSTRAP_SERVERS", &there),
        ("LOCAL_KAFKA_BOOTSTRAP_SERVERS", &here),
        ("MIRROR", "aws.r"),
        ("STATE_TOPIC", &state),
        ("STATUS_TOPIC", &status),
    ]);
    let control = hub.control().await;
    let _plane = hub.plane(ID, &[("KAFKA_BOOTSTRAP_SERVERS", &here)]);
    let declare = async |memory_mb| control.apply("default", &[database("db", &[ID], memory_mb)]).await;
    let begin = Instant::now();
    control
        .until_regions("it is heard through the mirror", |all| all.iter().any(|r| r.phase == "Connected"))
        .await;
    println!("heard after {:?}", begin.elapsed());
    let told = async |what: &str, revision: u64| {
        let begin = Instant::now();
        control.until_observed("default", revision).await;
        println!("{what}: there and back over the mirror within {:?}", begin.elapsed());
    };
    told("the first state", declare(64).await).await;
    told("an update", declare(65).await).await;

    // The hub's Kafka is gone: what the region has it keeps as it should be.
    far.kill();
    let maps = Api::<ConfigMap>::namespaced(cluster().await, &format!("{}-default", hub.prefix));
    maps.delete("db-config", &DeleteParams::default()).await.unwrap();
    until("it is put back", async || maps.get_opt("db-config").await.unwrap().map(drop)).await;
    let revision = declare(66).await;
    far.up();
    told("what was declared without Kafka", revision).await;

    // Nothing went round in a circle.
    let (hub_bus, mut near_hub) = (hub.bus(), hub);
    near_hub.settings.insert(0, ("KAFKA_BOOTSTRAP_SERVERS", here));
    for bus in [&hub_bus, &near_hub.bus()] {
        let states = records(bus, &state).await;
        let versions: Vec<u64> = states.iter().map(|r| codec::decode_state(r).unwrap().version).collect();
        println!("versions on the state topic: {versions:?}");
        assert!(versions.is_sorted() && versions.len() < 20, "{versions:?}");
        assert_eq!(versions.last(), Some(&3));
    }
}
