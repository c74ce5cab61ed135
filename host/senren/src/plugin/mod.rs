//! `senren plugin …`: what an author of plugins does, from the first line to a component that regions can load.

mod bench;
mod call;
mod check;
mod inspect;
mod new;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use senren_engine::{Engine, EngineConfig};

use crate::{
    exit::{Exit, Failure},
    output::print,
};

/// `senren plugin …`
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Makes a new plugin in Rust: a crate that works, with tests and a README.
    New(new::NewArgs),
    /// Builds a plugin crate into a .wasm component.
    Build(PluginBuildArgs),
    /// Checks that a plugin keeps to the contract, without a cluster.
    Check(check::CheckArgs),
    /// Shows what a plugin is: its types, their schemas, its digest.
    Inspect(inspect::InspectArgs),
    /// Measures how long a plugin takes, and how much memory.
    Bench(bench::BenchArgs),
    /// Makes one call of a plugin: what `check --reproductions` wrote, or what you write yourself.
    Call(call::CallArgs),
}

/// Settings of `senren plugin build`.
#[derive(Debug, Args)]
pub struct PluginBuildArgs {
    /// The crates' directories.
    #[arg(default_value = ".")]
    pub crates: Vec<PathBuf>,
    /// Copies the components into this directory; it is made if missing.
    #[arg(long)]
    pub out: Option<PathBuf>,
}

/// Runs one of them. Not async: what needs threads starts its own.
pub fn run(command: PluginCommand) -> Result<(), Failure> {
    match command {
        PluginCommand::New(args) => new::run(&args),
        PluginCommand::Build(args) => build(&args),
        PluginCommand::Check(args) => check::run(&args),
        PluginCommand::Inspect(args) => inspect::run(&args),
        PluginCommand::Bench(args) => bench::run(&args),
        PluginCommand::Call(args) => call::run(&args),
    }
}

/// Builds each crate and prints where its component is.
fn build(args: &PluginBuildArgs) -> Result<(), Failure> {
    for directory in &args.crates {
        let built = senren_plugin_build::component(directory)?;
        let component = match &args.out {
            Some(out) => senren_plugin_build::install(&built, out)?,
            None => built,
        };
        print(&component.display().to_string())?;
    }
    Ok(())
}

/// A component as a command was given it.
struct Given {
    /// Where it is.
    path: PathBuf,
    wasm: Vec<u8>,
}

impl Given {
    /// Reads the file. A directory is that of a plugin crate, which is built first.
    fn read(path: &Path) -> Result<Self, Failure> {
        let path = if path.is_dir() { senren_plugin_build::component(path)? } else { path.to_owned() };
        let unreadable =
            |error| Failure::new(Exit::Usage, format!("cannot read {}: {error}", path.display()));
        let wasm = fs::read(&path).map_err(unreadable)?;
        Ok(Self { path, wasm })
    }

    fn origin(&self) -> String {
        self.path.display().to_string()
    }

    /// Loads it, or says why a region would refuse it.
    fn load(&self, engine: &Engine) -> Result<senren_engine::Plugin, Failure> {
        engine.load(&self.origin(), &self.wasm).map_err(|error| Failure::new(Exit::Failed, error.to_string()))
    }
}

/// An engine as in a region, which keeps no compiled code.
fn engine() -> anyhow::Result<Engine> {
    Engine::new(EngineConfig::default()).context("plugins can't be run here")
}

/// `385 KiB`
fn size(bytes: usize) -> String {
    match bytes {
        0..10_240 => format!("{bytes} B"),
        10_240..10_485_760 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes >> 20),
    }
}
