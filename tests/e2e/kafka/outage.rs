//! Kafka goes and comes back: what was declared meanwhile is there in the end.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, api::DeleteParams};

use super::{Broker, Hub, cluster, database, until};

/// Longer than a record is tried, and than a relay waits for it.
const PAUSE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real engines: make e2e"]
async fn a_broker_that_was_killed_or_that_hung_finds_both_sides_as_they_were_and_they_catch_up() {
    let mut broker = Broker::start(&[]);
    let hub = Hub::new(&[("KAFKA_BOOTSTRAP_SERVERS", &broker.address())]);
    let control = hub.control().await;
    let _plane = hub.plane("aws:r", &[]);
    control.until_regions("it is heard", |all| all.iter().any(|region| region.phase == "Connected")).await;
    let declare = async |memory_mb| control.apply("default", &[database("db", &["aws:r"], memory_mb)]).await;
    control.until_observed("default", declare(64).await).await;
    let maps = Api::<ConfigMap>::namespaced(cluster().await, &format!("{}-default", hub.prefix));
    until("its object is there", async || maps.get_opt("db-config").await.unwrap().map(drop)).await;

    broker.kill();
    let revision = declare(65).await;
    // The region keeps up what it has.
    maps.delete("db-config", &DeleteParams::default()).await.unwrap();
    until("it is put back", async || maps.get_opt("db-config").await.unwrap().map(drop)).await;
    // Both are said: that it cannot be published, and that nobody knows what the region does.
    until("the status says why", async || {
        let status = control.status("default").await.remove(0);
        (status.phase == "Unknown").then_some(())
    })
    .await;
    let problem = until("the region's problem is shown", async || {
        let regions = control.until_regions("they are listed", |_| true).await;
        regions[0].problems.iter().find(|problem| problem.contains("cannot be published")).cloned()
    })
    .await;
    println!("{problem}");
    broker.up();
    let begin = Instant::now();
    control.until_observed("default", revision).await;
    println!("caught up {:?} after the broker was started again", begin.elapsed());

    broker.signal("STOP");
    let revision = declare(66).await;
    tokio::time::sleep(PAUSE).await;
    broker.signal("CONT");
    let begin = Instant::now();
    control.until_observed("default", revision).await;
    println!("caught up {:?} after the broker went on", begin.elapsed());

    // One that starts while there is no broker serves what it knows, and catches up, too.
    broker.kill();
    drop(control);
    let control = hub.control().await;
    let revision = control.apply("default", &[database("db", &["aws:r"], 67)]).await;
    assert_eq!(control.status("default").await.len(), 1);
    broker.up();
    control.until_observed("default", revision).await;
    let region = control
        .until_regions("all is confirmed", |regions| regions.iter().all(|r| r.in_sync))
        .await
        .remove(0);
    assert_eq!((region.applied_version, region.problems), (region.version, Vec::new()));
}
