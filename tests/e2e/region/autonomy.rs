//! A region needs nobody, and what it says is true.

use std::time::Instant;

use kube::api::DeleteParams;
use senren_localpg::LocalPostgres;

use super::{Plane, database, objects, until_leads_to};
use crate::kafka::{Broker, Hub, cluster, until};

const REGION: &str = "aws:us-east-1";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real engines: make e2e"]
async fn without_kafka_control_plane_and_database_a_deleted_object_is_put_back() {
    let mut broker = Broker::start(&[]);
    let hub = Hub::new(&[("KAFKA_BOOTSTRAP_SERVERS", &broker.address())]);
    let (control, client) = (hub.control().await, cluster().await);
    let dir = tempfile::tempdir().unwrap();
    let postgres = LocalPostgres::start(dir.path()).unwrap();
    let url = postgres.url("region").unwrap();
    let plane = Plane::start(&hub, REGION, "plane", &[("REGIONAL_DATABASE_URL", &url)]);
    let revision = control.apply("default", &[database("a", &[REGION], "one")]).await;
    control.until_ready("default", revision).await;
    let api = objects(&client, &hub);
    let uid = until_leads_to(&api, "a", "one").await;

    broker.kill();
    control.kill();
    drop(postgres);
    let begin = Instant::now();
    api.delete("a", &DeleteParams::default()).await.unwrap();
    let put_back = until_leads_to(&api, "a", "one").await;
    println!("put back {:?} after it was deleted", begin.elapsed());
    assert_ne!(put_back, uid);

    // And so it is for one that starts only now.
    plane.process.kill();
    let plane = Plane::start(&hub, REGION, "again", &[("REGIONAL_DATABASE_URL", &url)]);
    api.delete("a", &DeleteParams::default()).await.unwrap();
    assert_ne!(until_leads_to(&api, "a", "one").await, put_back);

    broker.up();
    let control = hub.control().await;
    let revision = control.apply("default", &[database("a", &[REGION], "two")]).await;
    control.until_ready("default", revision).await;
    let regions = control.until_regions("it is said", |all| !all[0].problems.is_empty()).await;
    assert!(regions[0].problems.join("; ").contains("the region's database can't be used"), "{regions:?}");
    plane.process.stop();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real engines: make e2e"]
async fn a_silent_region_is_unknown_with_its_age_and_true_again_within_a_beat() {
    let hub = Hub::new(&[]);
    let control = hub.control().await;
    let plane = Plane::start(&hub, REGION, "plane", &[]);
    let revision = control.apply("default", &[database("a", &[REGION], "one")]).await;
    control.until_ready("default", revision).await;

    plane.process.kill();
    let begin = Instant::now();
    let status = until("it is not known", async || {
        let status = control.status("default").await.remove(0);
        (status.phase == "Unknown").then_some(status)
    })
    .await;
    // A beat is a second here; three of them may be missing.
    println!("unknown {:?} after the plane was killed: {}", begin.elapsed(), status.message);
    assert!(
        begin.elapsed().as_secs_f64() > 1.9,
        "not before three beats are missing, of which one was heard"
    );
    assert!(!status.ready && status.reason == "RegionSilent", "{status:?}");
    assert!(
        status.message.contains("was last heard") && status.message.contains("s ago"),
        "{}",
        status.message
    );

    let plane = Plane::start(&hub, REGION, "again", &[]);
    let begin = Instant::now();
    control.until_ready("default", revision).await;
    println!("true again {:?} after the plane was started", begin.elapsed());
    plane.process.stop();
}
