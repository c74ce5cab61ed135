//! What lies on the topics that nobody of ours wrote, or that is larger than usual.

use std::{sync::Arc, time::Instant};

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::Api;
use senren_api::v1::Database;
use senren_bus::{Bus, Record, codec};
use serde_json::json;

use super::{Hub, cluster, counted, database, free_address, until};

const ID: &str = "aws:r";

/// What may lie on `topic` under `key` where it has no business to, and as what it is counted.
fn nonsense(topic: &str, key: &str, ours: &Record) -> Vec<(Record, &'static str)> {
    let record = |payload: Option<&'static [u8]>| Record {
        topic: topic.into(),
        key: key.into(),
        headers: ours.headers.clone(),
        payload: payload.map(Into::into),
    };
    let headed = |name: &str, value: &str| {
        let mut record = record(Some(b"{}"));
        record.headers.retain(|(known, _)| known != name);
        record.headers.push((name.into(), value.into()));
        record
    };
    vec![
        (record(None), "tombstone"),
        (record(Some(b"\xff\xff no protobuf")), "undecodable"),
        (Record { headers: Vec::new(), ..record(Some(b"hello")) }, "foreign-content-type"),
        (headed(codec::CONTENT_TYPE, "application/json"), "foreign-content-type"),
        (headed(codec::VERSION, "99"), "unknown-version"),
        (Record { key: "no region's key".into(), ..record(Some(b"x")) }, "undecodable"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real engines: make e2e"]
async fn what_means_nothing_is_skipped_counted_and_reported_and_deletes_nothing() {
    let hub = Hub::new(&[]);
    let control = hub.control().await;
    let metrics = free_address();
    let plane = hub.plane(ID, &[("METRICS_ADDR", &metrics)]);
    let declared = control.apply("default", &[database("db", &[ID], 64)]).await;
    control.until_observed("default", declared).await;
    let sets = Api::<StatefulSet>::namespaced(cluster().await, &format!("{}-default", hub.prefix));
    let before = until("it has its object", async || sets.get_opt("db").await.unwrap()).await;

    let bus: Arc<dyn Bus> = Arc::new(hub.bus());
    let state = super::records(&*bus, &format!("{}-state", hub.prefix)).await.pop().unwrap();
    let status = super::records(&*bus, &bus.topics().status_topic()).await.pop().unwrap();
    let damaged = Record { payload: Some(state.payload.clone().unwrap().slice(..20)), ..state.clone() };
    let on_state = nonsense(&state.topic, ID, &state).into_iter().chain([(damaged, "undecodable")]);
    let on_status = nonsense(&status.topic, &format!("{ID}/default/db"), &status);
    let mut wanted = Vec::new();
    for (of_region, (record, reason)) in
        on_state.map(|what| (true, what)).chain(on_status.into_iter().map(|what| (false, what)))
    {
        bus.publish(record).await.unwrap();
        wanted.push((of_region, reason));
    }
    for of_region in [true, false] {
        let (address, name) = match of_region {
            true => (metrics.as_str(), "senren_region_skipped_records_total"),
            false => (control.metrics(), "senren_ingest_skipped_total"),
        };
        for reason in ["tombstone", "undecodable", "foreign-content-type", "unknown-version"] {
            let count = wanted.iter().filter(|found| **found == (of_region, reason)).count();
            until(&format!("{name} of {reason} is {count}"), async || {
                (counted(address, name, reason).await? >= count).then_some(())
            })
            .await;
        }
    }
    // Said where people look, and in both logs.
    let problem = |word: &'static str| {
        move |regions: &[senren_api::v1::Region]| {
            regions[0].problems.iter().any(|problem| problem.contains(word))
        }
    };
    let regions = control.until_regions("the region says so", problem("no region's key")).await;
    println!("{:#?}", regions[0].problems);
    assert!(plane.log().contains("skipped a record of the state topic"));
    assert!(control.log().contains("skipped a status message"));

    // Nothing has changed by it, and what comes next is as if nothing had been.
    let after = sets.get("db").await.unwrap();
    assert_eq!(
        (&before.metadata.uid, &before.metadata.generation),
        (&after.metadata.uid, &after.metadata.generation)
    );
    let declared = control.apply("default", &[database("db", &[ID], 65)]).await;
    control.until_observed("default", declared).await;
    let regions = control.until_regions("in sync", |regions| regions[0].in_sync).await;
    assert_eq!(regions[0].resources, 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real engines: make e2e"]
async fn a_state_of_ten_megabytes_goes_all_the_way() {
    let hub = Hub::new(&[]);
    let control = hub.control().await;
    // What hardly compresses.
    let mut seed = 1_u64;
    let mut noise = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + u8::try_from((seed >> 40) % 90).unwrap())
    };
    let databases: Vec<Database> = (0..165)
        .map(|number| {
            let text: String = (0..62_000).map(|_| noise()).filter(|c| !matches!(c, '"' | '\\')).collect();
            senren_tests::database(&format!("ledger-{number}"), "ledger", &[ID], json!({"entries": text}))
        })
        .collect();
    let revision = control.apply("default", &databases).await;
    let bytes: usize = databases.iter().map(|database| database.spec_json.len()).sum();
    assert!(bytes > 10_000_000, "{bytes}");

    // Nobody has a plugin for it, so that all of it is about the way.
    let begin = Instant::now();
    let _plane = hub.plane(ID, &[]);
    control.until_regions("it is confirmed, content and all", |all| all.iter().any(|r| r.in_sync)).await;
    println!("{bytes} bytes were confirmed {:?} after the plane was started", begin.elapsed());
    let known = until("all of it is reported on", async || {
        let all = control.status("default").await;
        all.iter()
            .all(|status| status.reason == "NoPlugin" && status.observed_generation == revision)
            .then_some(all)
    })
    .await;
    assert_eq!(known.len(), 165);
}
