//! What an operator can set, and what wasmtime is told because of it.

use std::{path::PathBuf, time::Duration};
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

/// What one call of a plugin may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of an instance.
    pub memory_bytes: usize,
    /// Entries of a table of functions.
    pub table_elements: usize,
    /// What an answer may take on the host, all strings and lists together.
    pub output_bytes: usize,
    /// Time of computation, not counting the wait for a thread.
    pub deadline: Duration,
    /// Calls that may wait for a thread, per plugin; a further one fails as `PluginOverloaded`.
    pub queue: usize,
}

/// No plugin can be given more memory than this.
pub const MAX_MEMORY_BYTES: usize = 1 << 30;

impl Limits {
    /// What can't be had of it, in words.
    pub fn check(&self) -> Result<(), String> {
        let memory = self.memory_bytes;
        if memory == 0 || !memory.is_multiple_of(1 << 16) || memory > MAX_MEMORY_BYTES {
            return Err(format!(
                "the memory limit of plugins must be a multiple of 64 KiB, at most {} MiB, and is {memory} bytes",
                MAX_MEMORY_BYTES >> 20
            ));
        }
        if self.deadline.is_zero() || self.output_bytes == 0 {
            return Err("plugins need some time, and some room for an answer".into());
        }
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory_bytes: 64 << 20,
            table_elements: 20_000,
            output_bytes: 4 << 20,
            deadline: Duration::from_secs(1),
            queue: 4096,
        }
    }
}

/// How to run plugins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// Threads that run plugins, two at least. This many calls can be under way at once.
    pub threads: usize,
    /// What one call may use, unless it is decided otherwise for its plugin.
    pub limits: Limits,
    /// Where compiled code is kept; made if it is not there, and must not be writable by anyone else. Without
    /// one, each start compiles every plugin.
    pub cache_dir: Option<PathBuf>,
    /// What compiled code may take there; what was not used for longest goes first.
    pub cache_bytes: u64,
    /// A plugin that takes longer to compile is refused.
    pub compile_limit: Duration,
}

impl Default for EngineConfig {
    /// One thread per processor, four at least: a plugin that hangs keeps a thread busy until its deadline.
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        EngineConfig {
            threads: processors.max(4),
            limits: Limits::default(),
            cache_dir: None,
            cache_bytes: 512 << 20,
            compile_limit: Duration::from_secs(60),
        }
    }
}

/// A component may consist of several core modules, though one is what compilers make where nothing is imported.
const CORE_INSTANCES_PER_PLUGIN: u32 = 16;
const MEMORIES_PER_PLUGIN: u32 = 2;
const TABLES_PER_PLUGIN: u32 = 8;

/// More slots than threads, so that the slots which several plugins left warm are still theirs when they come
/// again: taking over another module's slot costs a few system calls.
const WARM_SLOTS_PER_THREAD: u32 = 4;

/// What of an instance's memory is wiped by hand instead of being given back to the kernel, which costs the next
/// call a page fault per page: it halves the time of a small call. But only where the kernel can tell which pages
/// were touched (Linux 6.7); wiping all of them takes longer than the faults.
const KEEP_RESIDENT: usize = 2 << 20;

pub(crate) fn wasmtime_config(limits: &Limits, threads: usize) -> Config {
    let slots = u32::try_from(threads).unwrap_or(u32::MAX).saturating_mul(WARM_SLOTS_PER_THREAD);
    let keep = if PoolingAllocationConfig::is_pagemap_scan_available() { KEEP_RESIDENT } else { 0 };
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(CORE_INSTANCES_PER_PLUGIN))
        .total_memories(slots.saturating_mul(MEMORIES_PER_PLUGIN))
        .total_tables(slots.saturating_mul(TABLES_PER_PLUGIN))
        .max_core_instances_per_component(CORE_INSTANCES_PER_PLUGIN)
        .max_memories_per_component(MEMORIES_PER_PLUGIN)
        .max_tables_per_component(TABLES_PER_PLUGIN)
        .max_tables_per_module(TABLES_PER_PLUGIN)
        .max_memory_size(MAX_MEMORY_BYTES)
        .table_elements(limits.table_elements)
        .linear_memory_keep_resident(keep)
        .table_keep_resident(limits.table_elements.saturating_mul(size_of::<usize>()))
        .pagemap_scan(Enabled::Auto);

    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .epoch_interruption(true)
        // A plugin is a pure function on every host: no bit of a NaN may differ either.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .wasm_component_model(true)
        // On the one thread that is made for it, and none of those that have something better to do.
        .parallel_compilation(false)
        // Nothing in a call is asynchronous, and a store without the machinery for it is made faster.
        .concurrency_support(false)
        // These serve debuggers and profilers, and make compiled code larger and slower to load.
        .native_unwind_info(false)
        .generate_address_map(false);
    config
}
