//! `senren-plugin-build [--out DIR] CRATE_DIR…`: builds plugin crates and prints the paths of their components.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let (mut out, mut crates) = (None, Vec::new());
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--out" {
            out = Some(PathBuf::from(arguments.next().context("--out needs a directory")?));
        } else {
            crates.push(PathBuf::from(argument));
        }
    }
    if crates.is_empty() {
        bail!("usage: senren-plugin-build [--out DIR] CRATE_DIR…");
    }
    for dir in crates {
        let built = senren_plugin_build::component(&dir)?;
        let path = match &out {
            Some(out) => senren_plugin_build::install(&built, out)?,
            None => built,
        };
        println!("{}", path.display());
    }
    Ok(())
}
