//! The one binary of senren: the control plane, the regional plane, the command line, and `senren dev`, which is
//! all of them on one machine. This file parses and calls; everything else is in the module it calls.

mod apply;
mod cli;
mod client;
mod consent;
mod dev;
mod document;
mod exit;
mod held;
mod history;
mod outcome;
mod output;
mod paint;
mod plan;
mod planes;
mod plugin;
mod progress;
mod regions;
mod shutdown;
mod state;
mod status;
mod table;
mod telemetry;
mod views;
mod wait;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{
    cli::{Cli, Command},
    exit::{Exit, Failure},
};

/// Most of what a plane does is to make and drop small things. Without huge pages: clearing them was a quarter of the work,
/// and an idle plane should be small.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command().and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(command: Command) -> Result<(), Failure> {
    if let Command::Plugin(command) = command {
        telemetry::init_command()?;
        return plugin::run(command);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot start threads: {error}")))?;
    let result = runtime.block_on(async move {
        match command {
            Command::Control(_) => telemetry::init_plane("senren-control")?,
            Command::Regional(_) => telemetry::init_plane("senren-regional")?,
            // Into its data directory, once that is ours.
            Command::Dev(_) => {}
            _ => telemetry::init_command()?,
        }
        match command {
            Command::Control(args) => planes::control(*args).await,
            Command::Regional(args) => planes::regional(*args).await,
            Command::Dev(args) => dev::run(args).await,
            Command::Plan(args) => plan::run(args).await,
            Command::Apply(args) => apply::run(args).await,
            Command::Diff(args) => state::diff(args).await,
            Command::Status(args) => status::run(args).await,
            Command::State(args) => state::run(args).await,
            Command::History(args) => history::run(args).await,
            Command::Rollback(args) => apply::rollback(args).await,
            Command::Confirm(args) => held::confirm(args).await,
            Command::ForceDelete(args) => held::force_delete(args).await,
            Command::Regions(args) => regions::run(args).await,
            Command::Plugin(_) => Ok(()),
        }
    });
    telemetry::end();
    result
}
