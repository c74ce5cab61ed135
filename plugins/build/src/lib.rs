//! From a plugin's source to the one file that a region loads: `cargo build` for wasm, then the core module
//! encoded as a component.
//!
//! It exists so that no other tool needs to be installed for that (no `cargo component`, no `wasm-tools`), and
//! so that tests, `make` and `senren plugin build` make the very same bytes. Invariants: a component that it
//! writes imports nothing; the file appears whole or not at all; a cargo that is running (a test that builds its
//! fixture) is never waited for, because plugins are built in a target directory of their own.

mod cargo;
mod encode;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub use encode::{encode, world};

/// The rustc target that plugins are compiled for: it has no imports to begin with, unlike `wasm32-wasip2`.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// Builds the plugin crate in `crate_dir` and returns the path of its component: `<name>.wasm`, where `<name>`
/// is the crate's, without a leading `senren-plugin-`, in `<target directory>/plugins/components`.
///
/// Calling it again costs what a cargo build with nothing to do costs, and leaves an unchanged file untouched.
pub fn component(crate_dir: &Path) -> Result<PathBuf> {
    let built = cargo::build(crate_dir)?;
    let core = std::fs::read(&built.core_module)
        .with_context(|| format!("cannot read what cargo built, {}", built.core_module.display()))?;
    let component =
        encode(&core).with_context(|| format!("{} is not a senren plugin", built.core_module.display()))?;
    let path = built.components.join(file_name(&built.package));
    write_whole(&path, &component).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Puts a built component into a plugin directory, under its own name, and returns where it is.
pub fn install(component: &Path, plugin_dir: &Path) -> Result<PathBuf> {
    let name = component.file_name().with_context(|| format!("{} is no file", component.display()))?;
    let path = plugin_dir.join(name);
    let content = std::fs::read(component).with_context(|| format!("cannot read {}", component.display()))?;
    write_whole(&path, &content).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// `senren-plugin-redis_cluster` → `redis-cluster.wasm`.
fn file_name(package: &str) -> String {
    let dashed = package.replace('_', "-");
    format!("{}.wasm", dashed.strip_prefix("senren-plugin-").unwrap_or(&dashed))
}

/// A region may be watching the directory: a reader sees the old file or the new one, never half of one.
fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    if std::fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    let dir = path.parent().context("a path without a directory")?;
    std::fs::create_dir_all(dir)?;
    let mut file = tempfile::Builder::new()
        .prefix(".component-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(dir)?;
    file.write_all(content)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_component_is_named_after_its_crate() {
        for (package, name) in [
            ("senren-plugin-redis", "redis.wasm"),
            ("senren-plugin-redis_cluster", "redis-cluster.wasm"),
            ("my_database", "my-database.wasm"),
            ("senren-plugin", "senren-plugin.wasm"),
        ] {
            assert_eq!(file_name(package), name);
        }
    }

    #[test]
    fn an_unchanged_component_is_not_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/redis.wasm");
        write_whole(&path, b"one").unwrap();
        let before = std::fs::metadata(&path).unwrap().modified().unwrap();
        write_whole(&path, b"one").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), before);
        write_whole(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file stays");
    }
}
