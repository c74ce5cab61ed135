//! Custom resource definitions on a real API server: applied when a plugin comes, upgraded when a newer one does, and
//! in force.

use std::{fs, path::Path};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
};
use senren_tests::real::plugins;
use serde_json::json;

use super::Plane;
use crate::kafka::{Hub, cluster, until};

const REGION: &str = "aws:us-east-1";

/// Puts a variant of the plugin there, as a careful tool does. See `tests/plugins/misbehaving/src/variant.rs`.
fn put(dir: &Path, variant: &str) {
    let mut wasm = fs::read(plugins().join("misbehaving.wasm")).unwrap();
    let mark = b"senren-misbehaving-variant:original";
    let at = wasm.windows(mark.len()).position(|window| window == mark).unwrap() + mark.len() - 8;
    wasm[at..at + 8].copy_from_slice(format!("{variant:-<8}").as_bytes());
    fs::write(dir.join(".new"), wasm).unwrap();
    fs::rename(dir.join(".new"), dir.join("misbehaving.wasm")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real engines: make e2e"]
async fn definitions_are_applied_and_upgraded_while_databases_run() {
    let hub = Hub::new(&[]);
    let (control, client) = (hub.control().await, cluster().await);
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "original");
    let plane = Plane::start(&hub, REGION, "plane", &[("PLUGIN_DIR", dir.path().to_str().unwrap())]);
    let declared = senren_tests::database("a", "misbehaving", &[REGION], json!({"size": 5}));
    let revision = control.apply("default", &[declared]).await;
    control.until_ready("default", revision).await;

    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    let largest = async || {
        let found = definitions.get("misbehavingdatabases.senren.io").await.unwrap();
        let schema = found.spec.versions[0].schema.as_ref()?.open_api_v3_schema.as_ref()?;
        schema.properties.as_ref()?["spec"].properties.as_ref()?["size"].maximum
    };
    assert_eq!(largest().await, Some(1_000_000.0));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("senren.io", "v1", "MisbehavingDatabase"));
    let resources =
        Api::<DynamicObject>::namespaced_with(client, &format!("{}-default", hub.prefix), &resource);
    let try_size = async |size: u32| {
        let params = PatchParams { dry_run: true, ..PatchParams::default() };
        resources.patch("a", &params, &Patch::Merge(&json!({"spec": {"size": size}}))).await
    };
    try_size(20).await.unwrap();

    put(dir.path(), "narrower");
    until("the definition is the newer one's", async || (largest().await == Some(9.0)).then_some(())).await;
    let refusal = until("it is in force", async || try_size(20).await.err()).await;
    assert!(refusal.to_string().contains("should be less than or equal to 9"), "{refusal}");
    assert!(control.status("default").await[0].ready, "what runs goes on");
    let served = until("the region says so", async || {
        let regions = control.until_regions("they are listed", |all| !all.is_empty()).await;
        regions[0].plugins.iter().find(|plugin| plugin.version == "0.2.0").cloned()
    })
    .await;
    assert_eq!(served.r#type, "misbehaving");
    plane.process.stop();
    // As the other tests of this cluster have it.
    put(dir.path(), "original");
    let plane = Plane::start(&hub, REGION, "again", &[("PLUGIN_DIR", dir.path().to_str().unwrap())]);
    until("it is as it was", async || (largest().await == Some(1_000_000.0)).then_some(())).await;
    control.apply("default", &[]).await;
    until("it is gone", async || resources.get_opt("a").await.unwrap().is_none().then_some(())).await;
    plane.process.stop();
}
