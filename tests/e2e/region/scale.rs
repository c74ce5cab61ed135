//! A thousand databases in one region: how soon a plane that starts again has caught up.

use std::time::{Duration, Instant};

use senren_api::v1::Database;

use super::{Plane, database};
use crate::kafka::Hub;

const REGION: &str = "aws:us-east-1";
const MANY: usize = 1000;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real engines: make e2e"]
async fn a_plane_that_starts_again_catches_up_with_a_thousand_databases() {
    let hub = Hub::new(&[]);
    let control = hub.control().await;
    let plane = Plane::start(&hub, REGION, "plane", &[]);
    let declared = |host: &str| -> Vec<Database> {
        (0..MANY).map(|number| database(&format!("d{number}"), &[REGION], host)).collect()
    };
    let begin = Instant::now();
    control.apply("default", &declared("one")).await;
    // A machine that is busy takes minutes for the first look at all of them, which is not what is asked here.
    let status = async || control.status("default").await;
    while status().await.iter().filter(|status| status.ready).count() < MANY {
        assert!(begin.elapsed() < Duration::from_secs(600), "{MANY} are ready in the end");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("{MANY} ready {:?} after their apply", begin.elapsed());
    let in_sync = |regions: &[senren_api::v1::Region]| regions.iter().all(|region| region.in_sync);
    control.until_regions("all is confirmed", in_sync).await;
    plane.process.stop();

    // One of them changes while it is away.
    let mut changed = declared("one");
    changed[0] = database("d0", &[REGION], "two");
    let revision = control.apply("default", &changed).await;
    let plane = Plane::start(&hub, REGION, "again", &[]);
    let begin = Instant::now();
    control.until_regions("all is confirmed", |regions| in_sync(regions)).await;
    println!("{MANY} known and what had changed confirmed {:?} after the start", begin.elapsed());
    let status = control.status("default").await;
    assert_eq!(status.iter().filter(|status| status.ready).count(), MANY);
    assert!(status.iter().any(|status| status.generation == revision));
    plane.process.stop();
}
