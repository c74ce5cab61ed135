//! `senren plugin bench`: how long the calls of a plugin take as a region makes them, and what it costs to load it.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Args;
use futures::executor::block_on;
use senren_conformance::{TypicalCall, typical_calls};
use senren_engine::{Call, Engine, EngineConfig, Plugin};
use serde::Serialize;

use super::{Given, engine, size};
use crate::{cli::Output, exit::Failure, output::show, table::Table};

/// Settings of `senren plugin bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// A .wasm component, or the directory of a plugin crate, which is built first.
    #[arg(value_name = "FILE.wasm")]
    pub file: PathBuf,
    /// How often each call is made.
    #[arg(short = 'n', long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    pub calls: u32,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Serialize)]
struct Measured {
    name: String,
    version: String,
    bytes: usize,
    load: Load,
    calls: Vec<Measure>,
}

#[derive(Serialize)]
struct Load {
    /// From the component, without any cache.
    compiled_ms: f64,
    /// From compiled code, as at every start but the first.
    cached_ms: f64,
}

/// Times in microseconds.
#[derive(Serialize)]
struct Measure {
    resource_type: Option<String>,
    call: String,
    n: usize,
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
    /// The most linear memory that an instance had.
    memory_bytes: usize,
}

/// Loads that are measured.
const LOADS: usize = 20;

/// Measures loading, and the calls that a region makes for the examples of all types.
pub fn run(args: &BenchArgs) -> Result<(), Failure> {
    let given = Given::read(&args.file)?;
    let engine = engine()?;
    let started = Instant::now();
    let plugin = given.load(&engine)?;
    let load = Load { compiled_ms: ms(started.elapsed()), cached_ms: cached(&given)? };
    let describe = Measure::of(&plugin, None, "describe", &Call::Describe {}, args.calls)?;
    let mut calls = vec![describe];
    for TypicalCall { resource_type, name, call } in typical_calls(&engine, &plugin)? {
        calls.push(Measure::of(&plugin, Some(resource_type), name, &call, args.calls)?);
    }
    let (name, version) = (plugin.descriptor().name.clone(), plugin.descriptor().version.clone());
    show(args.output, &Measured { name, version, bytes: given.wasm.len(), load, calls }, text)
}

/// How long it takes to load what was compiled before.
fn cached(given: &Given) -> Result<f64, Failure> {
    let dir = tempfile::tempdir().context("a cache for compiled code")?;
    let config = EngineConfig { cache_dir: Some(dir.path().to_owned()), ..EngineConfig::default() };
    let engine = Engine::new(config)?;
    given.load(&engine)?;
    let mut taken = vec![];
    for _ in 0..LOADS {
        let started = Instant::now();
        given.load(&engine)?;
        taken.push(started.elapsed());
    }
    taken.sort();
    Ok(ms(taken[taken.len() / 2]))
}

impl Measure {
    fn of(
        plugin: &Plugin,
        resource_type: Option<String>,
        name: &str,
        call: &Call,
        times: u32,
    ) -> anyhow::Result<Self> {
        let about = || format!("`{name}` of the example");
        let session = block_on(plugin.session(vec![call.clone()])).with_context(about)?;
        if let Some(Err(error)) = session.answers.into_iter().next() {
            return Err(error).with_context(about);
        }
        let mut taken = vec![];
        for round in 0..times + times / 10 {
            let started = Instant::now();
            block_on(make(plugin, call)).with_context(about)?;
            // The first ones warm up.
            if round >= times / 10 {
                taken.push(started.elapsed());
            }
        }
        taken.sort();
        let at = |part: f64| {
            let index = (part * (taken.len() - 1) as f64).round() as usize;
            taken.get(index).map_or(0.0, |taken| taken.as_secs_f64() * 1e6)
        };
        Ok(Self {
            resource_type,
            call: name.to_owned(),
            n: taken.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: at(1.0),
            memory_bytes: session.memory_bytes,
        })
    }
}

/// The call as a region makes it: through the queue, in a fresh instance, its answer judged. What the plugin faults is an
/// answer, too.
async fn make(plugin: &Plugin, call: &Call) -> Result<(), senren_engine::CallError> {
    let made = match call.clone() {
        Call::Describe {} => plugin.answer(Call::Describe {}).await.map(drop),
        Call::Admit { resource_type, spec } => plugin.admit(&resource_type, &spec).await.map(drop),
        Call::Diff { resource_type, current, desired } => {
            plugin.diff(&resource_type, current.as_deref(), desired.as_deref()).await.map(drop)
        }
        Call::Reconcile(input) => plugin.reconcile(*input).await.map(drop),
    };
    match made {
        Err(senren_engine::CallError::Fault(_)) => Ok(()),
        made => made,
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn text(measured: &Measured) -> String {
    let mut table = Table::new(&["TYPE", "CALL", "P50", "P90", "P99", "MAX", "MEMORY"]);
    for measure in &measured.calls {
        let time = |micros: f64| format!("{micros:.0} µs");
        table.row(vec![
            measure.resource_type.clone().unwrap_or_default().into(),
            measure.call.as_str().into(),
            time(measure.p50).into(),
            time(measure.p90).into(),
            time(measure.p99).into(),
            time(measure.max).into(),
            size(measure.memory_bytes).into(),
        ]);
    }
    format!(
        "{} {}: {}; loads in {:.0} ms, compiled code in {:.2} ms\n\n{}",
        measured.name,
        measured.version,
        size(measured.bytes),
        measured.load.compiled_ms,
        measured.load.cached_ms,
        table.render()
    )
}
