//! `senren plugin build`.

use crate::{cli::PluginBuildArgs, exit::Failure};

/// Builds each crate and prints where its component is.
pub fn build(args: &PluginBuildArgs) -> Result<(), Failure> {
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
