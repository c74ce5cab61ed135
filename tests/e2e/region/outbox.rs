//! kill -9 of a plane with a database of its own, again and again: every status that a resource had is told.

use std::{collections::BTreeSet, time::Duration};

use senren_api::v1::status_report::Body;
use senren_bus::codec;
use senren_localpg::durable_test_database;

use super::{Plane, database};
use crate::kafka::{Hub, records, until};

const REGION: &str = "aws:us-east-1";
const KILLS: u32 = 6;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real engines: make e2e"]
async fn whatever_is_killed_every_change_of_a_status_is_told() {
    let hub = Hub::new(&[]);
    let control = hub.control().await;
    let own = durable_test_database();
    let settings = [("REGIONAL_DATABASE_URL", own.url.as_str())];
    let mut plane = Plane::start(&hub, REGION, "plane-0", &settings);
    plane.until_ready("this replica works").await;
    let mut revisions = Vec::new();
    for round in 1..=KILLS {
        // Each becomes what is declared, and says so; a kill comes somewhere in between.
        for step in 0..5 {
            let host = format!("host-{round}-{step}");
            revisions.push(control.apply("default", &[database("a", &[REGION], &host)]).await);
            let revision = *revisions.last().unwrap();
            if step < 4 {
                control.until_ready("default", revision).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(u64::from(round) * 3)).await;
        plane.process.kill();
        plane = Plane::start(&hub, REGION, &format!("plane-{round}"), &settings);
        control.until_ready("default", *revisions.last().unwrap()).await;
    }
    assert_eq!(plane.measured("senren_region_outbox_bypassed_total").await, Some(0.0));
    until("all is acknowledged", async || {
        (plane.measured("senren_region_outbox_reports").await == Some(0.0)).then_some(())
    })
    .await;
    plane.process.stop();

    // Compaction leaves only the latest; it doesn't come so soon.
    let bus = hub.bus();
    let told = records(&bus, &format!("{}-status", hub.prefix)).await;
    let ready: BTreeSet<u64> = told
        .iter()
        .filter_map(|record| match codec::decode_report(record).unwrap().body {
            Some(Body::Resource(report)) if report.ready => Some(report.generation),
            _ => None,
        })
        .collect();
    let missing: Vec<_> = revisions.iter().filter(|revision| !ready.contains(revision)).collect();
    assert!(missing.is_empty(), "nobody heard that {missing:?} of {revisions:?} were ready");
}
