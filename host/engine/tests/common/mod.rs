//! The plugin that misbehaves on request, and engines to load it into.
#![allow(dead_code)]

use senren_engine::{Engine, EngineConfig, Limits, Plugin, wit};
use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

/// Built once per test process, and by cargo only if it changed.
pub fn misbehaving_wasm() -> &'static [u8] {
    static WASM: OnceLock<Vec<u8>> = OnceLock::new();
    WASM.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/plugins/misbehaving");
        let component: PathBuf = senren_plugin_build::component(&source).unwrap();
        std::fs::read(component).unwrap()
    })
}

/// Another version of a component: it does the same, and has another digest.
pub fn another(wasm: &[u8], number: u8) -> Vec<u8> {
    // A custom section: its id, its size, the length of its name, its name.
    [wasm, &[0, 3, 1, b'v', number]].concat()
}

pub fn limits() -> Limits {
    Limits { deadline: Duration::from_millis(400), ..Limits::default() }
}

/// Compiling takes a second, so tests share what they compiled.
pub fn engine(limits: Limits) -> Engine {
    static CACHE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let cache_dir = CACHE.get_or_init(|| tempfile::tempdir().unwrap()).path().to_owned();
    let config = EngineConfig { threads: 4, limits, cache_dir: Some(cache_dir), ..EngineConfig::default() };
    Engine::new(config).unwrap()
}

pub fn misbehaving(limits: Limits) -> Plugin {
    engine(limits).load("misbehaving.wasm", misbehaving_wasm()).unwrap()
}

pub fn input(spec: &str) -> wit::Input {
    wit::Input {
        resource_type: "misbehaving".into(),
        region: "aws:us-east-1".into(),
        site: "default".into(),
        namespace: "senren-default".into(),
        name: "x".into(),
        uid: "1".into(),
        generation: 1,
        spec: spec.into(),
        config: "{}".into(),
        deleting: false,
        now_ms: 0,
        last_status: None,
        observed: Vec::new(),
        secrets: Vec::new(),
        answers: Vec::new(),
        extras: Vec::new(),
    }
}
