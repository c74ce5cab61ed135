//! `senren plugin …`: what an author of plugins does.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::exit::Failure;

/// `senren plugin …`
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Builds a plugin crate into a .wasm component.
    Build(PluginBuildArgs),
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
        PluginCommand::Build(args) => build(&args),
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
        println!("{}", component.display());
    }
    Ok(())
}
