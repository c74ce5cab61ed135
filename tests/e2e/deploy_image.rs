//! A Deployment in namespace `senren-system` with image `senren-api:latest` and four variables is a complete regional
//! plane: the rest is what the image brings and what every pod gets.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use senren_tests::{
    database,
    real::{
        Real,
        account::{Account, api_of},
        client_of, container, kafka, kubernetes, port,
    },
};
use serde_json::json;

const REGION: &str = "aws:us-east-1";
/// A cluster that no other test uses: here the namespaces are those of an installation.
const CLUSTER: usize = 9;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real engines: make e2e"]
async fn the_image_and_four_variables_are_a_complete_regional_plane() {
    let real = Real::start(&[]).await;
    let kubeconfig = kubernetes(CLUSTER);
    let client = client_of(&kubeconfig).await;
    let account = Account::create(&client, &kubeconfig, "senren").await;

    let environment = [
        ("MODE", "regional"),
        ("REGION_ID", REGION),
        ("KAFKA_BOOTSTRAP_SERVERS", kafka()),
        ("KAFKA_TOPIC_PREFIX", &real.prefix),
    ];
    let variables: Vec<_> =
        environment.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "senren", "namespace": "senren-system"},
        "spec": {
            "selector": {"matchLabels": {"app": "senren"}},
            "template": {
                "metadata": {"labels": {"app": "senren"}},
                "spec": {
                    "serviceAccountName": "senren-regional",
                    "containers": [{"name": "senren", "image": "senren-api:latest", "env": variables}],
                },
            },
        },
    });
    let dry = PatchParams { dry_run: true, ..PatchParams::apply("senren-tests") };
    api_of(&client, &deployment).patch("senren", &dry, &Patch::Apply(&deployment)).await.unwrap();

    // The image says where it is asked for its health; here, other programs may listen there.
    let health = format!("127.0.0.1:{}", port());
    let all: Vec<_> = environment.into_iter().chain([("METRICS_ADDR", health.as_str())]).collect();
    assert_eq!(container::image_environment()["METRICS_ADDR"], "0.0.0.0:9090");
    let container = container::start(&format!("{}-image", real.prefix), &account, &kubeconfig, &all);
    real.until_connected_to(&[REGION]).await;
    real.apply(&[database("orders", "template", &[REGION], json!({"host": "db.example.com"}))]).await;
    real.until_ready(1).await;

    let maps = Api::<ConfigMap>::namespaced(client, "senren-default");
    assert_eq!(maps.get("orders").await.unwrap().data.unwrap()["host"], "db.example.com");
    for probe in ["healthz", "readyz"] {
        let asked =
            std::process::Command::new("curl").arg("-sf").arg(format!("http://{health}/{probe}")).status();
        assert!(asked.unwrap().success(), "{probe}: {}", container.process.log());
    }
    real.apply(&[]).await;
    real.until("nothing is left", |all| all.is_empty()).await;
}
