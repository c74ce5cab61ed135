//! Versions of one plugin, and a directory to drop them into.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, missing_docs)]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use senren_bus::MemoryBus;
use senren_engine::{Engine, EngineConfig};
use senren_kubesim::KubeSim;
use senren_region::RegionConfig;

use super::Running;
use crate::common::*;

/// The component of a variant of the misbehaving plugin.
pub fn variant(name: &str) -> Vec<u8> {
    static ORIGINAL: OnceLock<Vec<u8>> = OnceLock::new();
    let original = ORIGINAL.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/plugins/misbehaving");
        fs::read(senren_plugin_build::component(&source).unwrap()).unwrap()
    });
    let (mark, written) = (b"senren-misbehaving-variant:original", format!("{name:-<8}"));
    let at = original.windows(mark.len()).position(|window| window == mark).unwrap() + mark.len() - 8;
    let mut wasm = original.clone();
    wasm[at..at + 8].copy_from_slice(written.as_bytes());
    wasm
}

/// A plugin directory, a cache beside it, and a region with both.
pub struct Site {
    pub home: tempfile::TempDir,
}

impl Site {
    pub fn new() -> Site {
        let site = Site { home: tempfile::tempdir().unwrap() };
        fs::create_dir(site.plugins()).unwrap();
        site
    }

    pub fn plugins(&self) -> PathBuf {
        self.home.path().join("plugins")
    }

    /// As an editor or a careful tool does it.
    pub fn put(&self, file: &str, content: impl AsRef<[u8]>) {
        let hidden = self.plugins().join(".new");
        fs::write(&hidden, content).unwrap();
        fs::rename(hidden, self.plugins().join(file)).unwrap();
    }

    pub fn remove(&self, file: &str) {
        fs::remove_file(self.plugins().join(file)).unwrap();
    }

    pub fn config(&self) -> RegionConfig {
        let heartbeat_interval = Duration::from_millis(500);
        RegionConfig {
            plugin_dir: self.plugins(),
            heartbeat_interval,
            ..RegionConfig::new(REGION.parse().unwrap())
        }
    }

    /// A process, with an engine of its own.
    pub fn engine(&self) -> Engine {
        let cache_dir = Some(self.home.path().join("cache"));
        Engine::new(EngineConfig { cache_dir, ..EngineConfig::default() }).unwrap()
    }

    pub async fn start(&self) -> Running {
        self.start_on(living_cluster().await, MemoryBus::default())
    }

    pub fn start_on(&self, cluster: KubeSim, bus: MemoryBus) -> Running {
        Running::with_engine(self.config(), cluster, bus, self.engine())
    }
}
