//! Whose a cluster is: planes that share one by different prefixes live in peace, any other meeting is refused.

use kube::api::DeleteParams;
use senren_tests::real::{PATIENCE, kubernetes};

use super::{Plane, database, objects, until_leads_to};
use crate::kafka::{Hub, cluster, until};

const AWS: &str = "aws:us-east-1";
const GCP: &str = "gcp:us-central1";

/// Waits until a plane has ended because it may not work here, and says so.
async fn until_refused(mut plane: Plane, words: &[&str]) {
    let status = until("it ends", async || plane.process.ended()).await;
    assert!(!status.success(), "{status}");
    let log = plane.process.log();
    for words in words {
        assert!(log.contains(words), "no {words:?} in {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real engines: make e2e"]
async fn planes_of_different_prefixes_do_not_touch_each_other() {
    let client = cluster().await;
    let hubs = [(Hub::new(&[]), AWS), (Hub::new(&[]), GCP)];
    let [(aws, _), (gcp, _)] = &hubs;
    let (first, second) = (aws.control().await, gcp.control().await);
    let planes = hubs.each_ref().map(|(hub, id)| Plane::start(hub, id, "plane", &[]));
    let revision = first.apply("default", &[database("a", &[AWS], "of-aws")]).await;
    first.until_ready("default", revision).await;
    let revision = second.apply("default", &[database("a", &[GCP], "of-gcp")]).await;
    second.until_ready("default", revision).await;
    let uid = until_leads_to(&objects(&client, gcp), "a", "of-gcp").await;
    until_leads_to(&objects(&client, aws), "a", "of-aws").await;

    first.apply("default", &[]).await;
    until("the one is gone", async || {
        objects(&client, aws).get_opt("a").await.unwrap().is_none().then_some(())
    })
    .await;
    assert_eq!(until_leads_to(&objects(&client, gcp), "a", "of-gcp").await, uid, "the other is as it was");
    objects(&client, gcp).delete("a", &DeleteParams::default()).await.unwrap();
    assert_ne!(
        until_leads_to(&objects(&client, gcp), "a", "of-gcp").await,
        uid,
        "its own plane puts it back"
    );
    planes.into_iter().for_each(|plane| plane.process.stop());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real engines: make e2e"]
async fn a_plane_of_another_region_is_refused_where_the_prefix_is_the_same() {
    let hub = Hub::new(&[]);
    let control = hub.control().await;
    let plane = Plane::start(&hub, AWS, "owner", &[]);
    plane.until_ready("this replica works").await;
    let intruder = Plane::start(&hub, GCP, "intruder", &[]);
    until_refused(
        intruder,
        &["belongs to region \"aws:us-east-1\"", "this plane is region gcp:us-central1", "NAMESPACE_PREFIX"],
    )
    .await;
    let revision = control.apply("default", &[database("a", &[AWS], "one")]).await;
    control.until_ready("default", revision).await;
    plane.process.stop();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real engines: make e2e"]
async fn two_swapped_region_ids_are_noticed() {
    let hub = Hub::new(&[]);
    let control = hub.control().await;
    let (here, there) = (kubernetes(0), kubernetes(1));
    assert_ne!(here, there, "it takes two clusters");
    let start = |id: &str, name: &str, kubeconfig: &std::path::Path| {
        Plane::start(&hub, id, name, &[("KUBECONFIG", kubeconfig.to_str().unwrap())])
    };
    let planes = [start(AWS, "aws", &here), start(GCP, "gcp", &there)];
    let revision = control.apply("default", &[database("a", &[AWS, GCP], "one")]).await;
    control.until_ready("default", revision).await;
    planes.into_iter().for_each(|plane| plane.process.stop());

    let (wrong_here, wrong_there) = (start(GCP, "gcp-wrong", &here), start(AWS, "aws-wrong", &there));
    until_refused(wrong_here, &["belongs to region \"aws:us-east-1\"", "If REGION_ID is wrong, correct it"])
        .await;
    until_refused(wrong_there, &["belongs to region \"gcp:us-central1\""]).await;
    let silent = |region: &senren_api::v1::Region| region.phase == "Silent";
    let told = control.until_regions("both are silent", |all| all.iter().all(silent)).await;
    println!("{:?} within {PATIENCE:?}", told.iter().map(|region| &region.phase).collect::<Vec<_>>());

    let planes = [start(AWS, "aws-again", &here), start(GCP, "gcp-again", &there)];
    control.until_ready("default", revision).await;
    planes.into_iter().for_each(|plane| plane.process.stop());
}
