//! The whole walk as a team goes it: Python with the SDK as pip installs it, both planes, two clusters.

use std::process::Command;

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{Api, api::ListParams};
use senren_tests::real::{Real, Region};
use serde_json::{Value, json};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const REGIONS: [&str; 2] = ["aws:us-east-1", "gcp:us-central1"];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real engines: make e2e"]
async fn what_is_declared_in_python_runs_in_two_clusters_and_what_is_not_any_more_goes() {
    let real = Real::start(&REGIONS).await;
    check(&real, "create", "one.example.com", 192, 3 * 2 + 2 + 2).await;
    check(&real, "scale", "two.example.com", 384, 3 * 2 + 3 + 3).await;

    assert_eq!(declare(&real, "delete"), json!([]));
    for region in real.regions.values() {
        assert_eq!(pods(region, &real).await, 0);
    }
}

/// Declares a step, and looks for it in both clusters: an entry of a ConfigMap, memory, and the pods of all.
async fn check(real: &Real, step: &str, host: &str, memory_mb: u32, wanted_pods: usize) {
    let told = declare(real, step);
    let told = told.as_array().unwrap();
    assert_eq!(told.len(), 4 * REGIONS.len(), "{told:#?}");
    for resource in told {
        assert_eq!((&resource["ready"], &resource["phase"]), (&json!(true), &json!("Ready")), "{resource:#}");
        let outside = format!("{}.{}.svc", resource["name"].as_str().unwrap(), real.namespace());
        let wanted = if resource["type"] == "template" { host } else { &outside };
        assert_eq!(resource["host"], wanted, "{resource:#}");
    }
    for region in real.regions.values() {
        let maps = Api::<ConfigMap>::namespaced(region.client.clone(), &real.namespace());
        let entry = async |map: &str, key: &str| maps.get(map).await.unwrap().data.unwrap()[key].clone();
        assert_eq!(entry("orders", "host").await, host);
        let conf = entry("sessions-config", "redis.conf").await;
        assert!(conf.contains(&format!("maxmemory {memory_mb}mb")), "{conf}");
        assert_eq!(pods(region, real).await, wanted_pods);
    }
}

/// How many pods run.
async fn pods(region: &Region, real: &Real) -> usize {
    let pods = Api::<Pod>::namespaced(region.client.clone(), &real.namespace());
    let pods = pods.list(&ListParams::default()).await.unwrap();
    let runs =
        |pod: &&Pod| pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running"));
    pods.items.iter().filter(runs).count()
}

fn declare(real: &Real, step: &str) -> Value {
    let mut command = Command::new(python());
    command.arg(format!("{ROOT}/tests/e2e/sdk.py")).arg(step).env("SENREN_ENDPOINT", real.endpoint());
    let output = command.output().unwrap();
    let (said, problem) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{step}: {problem}");
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}\n{problem}"))
}

/// One that has the SDK.
fn python() -> String {
    let output = Command::new(format!("{ROOT}/scripts/python")).output().unwrap();
    let problem = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "scripts/python: {problem}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
