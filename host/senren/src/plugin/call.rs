//! `senren plugin call`: one call, made again. What a check found can be looked at until it is put right.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use futures::executor::block_on;
use senren_conformance::Replayed;

use super::{Given, engine};
use crate::{
    exit::{Exit, Failure},
    output::print,
};

/// Settings of `senren plugin call`.
#[derive(Debug, Args)]
pub struct CallArgs {
    /// A .wasm component, or the directory of a plugin crate, which is built first.
    #[arg(value_name = "FILE.wasm")]
    pub file: PathBuf,
    /// The call: {"admit": {"resource_type": …, "spec": …}}, {"diff": …}, {"reconcile": …} or {"describe": {}}, or a file
    /// that `check --reproductions` wrote; `-` is standard input.
    #[arg(value_name = "CALL.json")]
    pub call: PathBuf,
}

/// Makes the call and prints what came of it, as JSON.
pub fn run(args: &CallArgs) -> Result<(), Failure> {
    let given = Given::read(&args.file)?;
    let call = read(&args.call).map_err(|error| {
        Failure::new(Exit::Usage, format!("cannot read {}: {error}", args.call.display()))
    })?;
    let plugin = given.load(&engine()?)?;
    let replayed = block_on(Replayed::of(&plugin, &call));
    let replayed = replayed.map_err(|error| {
        Failure::new(Exit::Usage, format!("{} is no call of a plugin: {error}", args.call.display()))
    })?;
    print(&serde_json::to_string_pretty(&replayed).context("JSON")?)
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    match path.as_os_str() == "-" {
        true => io::stdin().read_to_string(&mut text)?,
        false => return fs::read_to_string(path),
    };
    Ok(text)
}
