//! `senren plugin build`.

use anyhow::Context as _;

use crate::{cli::PluginBuildArgs, exit::Failure};

/// Builds each crate and prints where its component is.
pub fn build(args: &PluginBuildArgs) -> Result<(), Failure> {
    for directory in &args.crates {
        let built = senren_plugin_build::component(directory)?;
        let component = match (&args.out, built.file_name()) {
            (Some(out), Some(name)) => {
                std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
                let target = out.join(name);
                std::fs::copy(&built, &target)
                    .with_context(|| format!("cannot write {}", target.display()))?;
                target
            }
            _ => built,
        };
        println!("{}", component.display());
    }
    Ok(())
}
