//! The engine: everything that plugins of a process share.

use crate::{
    EngineConfig, Limits, LoadError, Plugin,
    cache::Cache,
    compile::Compiler,
    config::wasmtime_config,
    epoch, load,
    pool::{LaneId, Pool},
};
use anyhow::{Context, ensure};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Loads plugins and runs them; cheap to clone. Its threads end with the last clone and the last plugin.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub wasmtime: wasmtime::Engine,
    pub limits: Limits,
    pub cache: Option<Cache>,
    pub compiler: Compiler,
    pub pool: Pool,
    lanes: AtomicU64,
}

impl Engine {
    /// Starts the threads, and claims the cache directory if there is one.
    pub fn new(config: EngineConfig) -> anyhow::Result<Engine> {
        let EngineConfig { threads, limits, cache_dir, cache_bytes, compile_limit } = config;
        ensure!(threads >= 2, "plugins need 2 threads at least, so that one that hangs doesn't stop all");
        limits.check().map_err(anyhow::Error::msg)?;
        let wasmtime = wasmtime::Engine::new(&wasmtime_config(&limits, threads))
            .map_err(anyhow::Error::from)
            .context("cannot set up WebAssembly here")?;
        let cache = cache_dir.map(|dir| Cache::open(&dir, cache_bytes, &wasmtime)).transpose()?;
        epoch::watch(&wasmtime).context("cannot start the thread that ends calls")?;
        let pool = Pool::start(threads, limits.queue).context("cannot start the threads that run plugins")?;
        let (compiler, lanes) = (Compiler::new(compile_limit), AtomicU64::new(0));
        Ok(Engine { inner: Arc::new(Inner { wasmtime, limits, cache, compiler, pool, lanes }) })
    }

    /// Compiles a plugin, or takes its compiled code from the cache, and asks it to describe itself. Blocks: for a
    /// fraction of a millisecond or, where there is something to compile, for as long as that takes. `origin` is
    /// where it comes from, for messages: a file, as a rule.
    pub fn load(&self, origin: &str, wasm: &[u8]) -> Result<Plugin, LoadError> {
        load::load(self, origin, wasm).map_err(|refusal| LoadError { origin: origin.to_owned(), refusal })
    }

    /// What the calls of plugins are held to, unless it is decided otherwise for one of them.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// Where compiled code is kept: a directory that nobody else may write to.
    pub fn cache_dir(&self) -> Option<&Path> {
        self.inner.cache.as_ref().map(Cache::dir)
    }

    pub(crate) fn new_lane(&self) -> LaneId {
        self.inner.lanes.fetch_add(1, Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("limits", &self.inner.limits).finish_non_exhaustive()
    }
}
