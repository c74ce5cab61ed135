//! Two replicas: one works, the other takes over, and the first does no harm when it comes back.

use std::time::{Duration, Instant};

use kube::{Api, ResourceExt as _, api::DynamicObject};

use super::{Plane, database, objects, until_leads_to};
use crate::kafka::{Hub, cluster};

const REGION: &str = "aws:us-east-1";
const WORKS: &str = "this replica works";
const STANDS_BY: &str = "standing by";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real engines: make e2e"]
async fn a_replica_takes_over_at_once_where_the_other_stops_and_after_a_moment_where_it_is_killed() {
    let hub = Hub::new(&[]);
    let (control, client) = (hub.control().await, cluster().await);
    let first = Plane::start(&hub, REGION, "first", &[]);
    first.until_ready(WORKS).await;
    let second = Plane::start(&hub, REGION, "second", &[]);
    second.until_ready(STANDS_BY).await;
    assert_eq!(second.measured("senren_region_active").await, Some(0.0));
    assert_eq!(first.measured("senren_region_active").await, Some(1.0));
    let revision = control.apply("default", &[database("a", &[REGION], "one")]).await;
    control.until_ready("default", revision).await;
    assert_eq!(second.measured("senren_region_reports_total").await, Some(0.0), "it says nothing");

    let begin = Instant::now();
    first.process.stop();
    second.until_ready(WORKS).await;
    println!("taken over {:?} after the other was told to stop", begin.elapsed());
    let revision = control.apply("default", &[database("a", &[REGION], "two")]).await;
    control.until_ready("default", revision).await;

    let third = Plane::start(&hub, REGION, "third", &[]);
    third.until_ready(STANDS_BY).await;
    let begin = Instant::now();
    second.process.kill();
    let revision = control.apply("default", &[database("a", &[REGION], "three")]).await;
    control.until_ready("default", revision).await;
    println!("converged {:?} after the other was killed", begin.elapsed());
    until_leads_to(&objects(&client, &hub), "a", "three").await;
    third.process.stop();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real engines: make e2e"]
async fn a_frozen_replica_is_taken_over_and_changes_nothing_when_it_thaws() {
    let hub = Hub::new(&[]);
    let (control, client) = (hub.control().await, cluster().await);
    let short = [("LEASE_DURATION", "3s")];
    let frozen = Plane::start(&hub, REGION, "frozen", &short);
    frozen.until_ready(WORKS).await;
    let other = Plane::start(&hub, REGION, "other", &short);
    other.until_ready(STANDS_BY).await;
    let names = ["a", "b", "c"];
    let declare = async |host: &str| {
        let declared: Vec<_> = names.iter().map(|name| database(name, &[REGION], host)).collect();
        control.apply("default", &declared).await
    };
    let revision = declare("one").await;
    control.until_ready("default", revision).await;

    // It has heard of this, and is in the middle of it.
    declare("two").await;
    frozen.signal("STOP");
    let begin = Instant::now();
    other.until_ready(WORKS).await;
    println!("taken over {:?} after the other froze, with a Lease of 3 s", begin.elapsed());
    let revision = declare("three").await;
    control.until_ready("default", revision).await;

    let versions = async || {
        let mut versions = Vec::new();
        for object in objects(&client, &hub).list(&Default::default()).await.unwrap() {
            versions.push((object.name_any(), object.resource_version()));
        }
        let kind = kube::core::GroupVersionKind::gvk("senren.io", "v1", "TemplateDatabase");
        let resource = kube::api::ApiResource::from_gvk(&kind);
        let api = Api::<DynamicObject>::namespaced_with(
            client.clone(),
            &format!("{}-default", hub.prefix),
            &resource,
        );
        for resource in api.list(&Default::default()).await.unwrap() {
            versions.push((resource.name_any(), resource.resource_version()));
        }
        versions
    };
    let before = versions().await;
    assert_eq!(before.iter().filter(|(name, _)| names.contains(&name.as_str())).count(), 6);
    frozen.signal("CONT");
    frozen.until_logged("the Lease is lost").await;
    frozen.until_ready(STANDS_BY).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(versions().await, before, "nothing was written");
    assert!(control.status("default").await.iter().all(|status| status.ready));

    other.process.stop();
    frozen.until_ready(WORKS).await;
    let revision = declare("four").await;
    control.until_ready("default", revision).await;
    frozen.process.stop();
}
