//! From the call to the objects in a real Kubernetes, and back.

use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Service};
use kube::Api;
use senren_tests::{database, real::Real};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real engines: make e2e"]
async fn what_is_declared_for_two_regions_runs_in_two_clusters_and_what_is_not_any_more_goes() {
    let regions = ["aws:us-east-1", "gcp:us-central1"];
    let real = Real::start(&regions).await;
    real.apply(&[database("features", "redis", &regions, json!({"memory_mb": 64}))]).await;

    for status in real.until_ready(2).await {
        let client = real.regions[&status.region].client.clone();
        let set =
            Api::<StatefulSet>::namespaced(client.clone(), &real.namespace()).get("features").await.unwrap();
        assert_eq!(set.spec.replicas, Some(1));
        let service = Api::<Service>::namespaced(client, &real.namespace()).get("features").await.unwrap();
        assert_eq!(service.spec.unwrap().ports.unwrap()[0].port, 6379);
        assert_eq!(status.endpoints[0].host, format!("features.{}.svc", real.namespace()));
    }

    real.apply(&[]).await;
    real.until("nothing is left", |all| all.is_empty()).await;
    for region in real.regions.values() {
        let sets = Api::<StatefulSet>::namespaced(region.client.clone(), &real.namespace());
        assert_eq!(sets.list(&Default::default()).await.unwrap().items.len(), 0);
    }
}
