//! The component that a region runs, against the crate that the other tests test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;

use senren_engine::{Engine, EngineConfig};
use senren_plugin::{Plugin as _, json};
use senren_plugin_template::Plugin;

#[tokio::test]
async fn the_component_loads_and_answers_as_the_crate_does() {
    let path = senren_plugin_build::component(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    // Loading refuses what a region would refuse: imports, a schema that is not structural, a bad description.
    let engine = Engine::new(EngineConfig::default()).unwrap();
    let plugin = engine.load("template.wasm", &std::fs::read(path).unwrap()).unwrap();

    let spec = json!({"host": "db.example.com"}).to_string();
    let hosted = plugin.admit("template", &spec).await.unwrap().unwrap();
    assert_eq!(hosted, Plugin::admit("template".into(), spec).unwrap());

    let change = plugin.diff("template", None, Some(&hosted)).await.unwrap();
    assert_eq!(change.action, "create");
}
