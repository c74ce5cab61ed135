//! Runs cargo for a plugin crate, shielded from the environment of whoever asked: a test under `cargo test`, a
//! `make` with RUSTFLAGS, a workspace that unifies its features.

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::TARGET;

/// What the profile `plugin` is where a workspace does not say so itself. Code is compiled once and kept, so speed
/// comes before size.
const PROFILE: [&str; 6] = [
    "inherits=\"release\"",
    "opt-level=2",
    "lto=\"fat\"",
    "codegen-units=1",
    "panic=\"abort\"",
    "strip=true",
];

/// How memory is laid out. A call starts with all of it, and pays only for what it touches, but growing it is a call
/// to the host that costs more than a small call altogether; so there is room for an ordinary call from the start.
/// The stack below it holds what JSON of the greatest depth needs, several times.
const LAYOUT: &str = "target.wasm32-unknown-unknown.rustflags=\
    [\"-Clink-arg=-zstack-size=196608\", \"-Clink-arg=--initial-heap=524288\"]";

/// What cargo made of a plugin crate.
pub(crate) struct Built {
    /// Name of the package.
    pub package: String,
    /// The core module.
    pub core_module: PathBuf,
    /// Directory for the components of this workspace.
    pub components: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    crate_types: Vec<String>,
}

/// One line of `--message-format=json`; most of it concerns other tools.
#[derive(Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    filenames: Option<Vec<PathBuf>>,
}

/// Builds the crate in `crate_dir` for wasm.
pub(crate) fn build(crate_dir: &Path) -> Result<Built> {
    let manifest = crate_dir
        .join("Cargo.toml")
        .canonicalize()
        .with_context(|| format!("{} is not a crate: it has no Cargo.toml", crate_dir.display()))?;
    let metadata = metadata(&manifest)?;
    let package = metadata
        .packages
        .iter()
        .find(|package| package.manifest_path == manifest)
        .with_context(|| format!("{} describes no package", manifest.display()))?;
    if !package.targets.iter().any(|target| target.crate_types.iter().any(|kind| kind == "cdylib")) {
        bail!("{} builds no wasm: add `[lib] crate-type = [\"cdylib\", \"rlib\"]` to it", manifest.display());
    }
    let target_dir = metadata.target_directory.join("plugins");
    let core_module = compile(&manifest, &target_dir, &profile_arguments(&metadata.workspace_root))?;
    Ok(Built { package: package.name.clone(), core_module, components: target_dir.join("components") })
}

fn metadata(manifest: &Path) -> Result<Metadata> {
    let mut cargo = cargo();
    cargo.args(["metadata", "--no-deps", "--format-version=1", "--manifest-path"]).arg(manifest);
    let output = run(cargo.stderr(Stdio::piped()))?;
    if !output.status.success() {
        bail!("cargo metadata failed:\n{}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata answered what it should not")
}

fn compile(manifest: &Path, target_dir: &Path, profile: &[String]) -> Result<PathBuf> {
    let mut cargo = cargo();
    cargo.args(["build", "--lib", "--target", TARGET, "--profile", "plugin"]);
    cargo.args(["--message-format", "json-render-diagnostics", "--config", LAYOUT]).args(profile);
    cargo.arg("--manifest-path").arg(manifest).arg("--target-dir").arg(target_dir);
    // A person sees the progress; anyone else gets cargo's words with the error, and only then.
    let watched = std::io::stderr().is_terminal();
    let output = run(cargo.stderr(if watched { Stdio::inherit() } else { Stdio::piped() }))?;
    if !output.status.success() {
        if !has_wasm_target() {
            bail!(
                "this Rust has no standard library for {TARGET}. With rustup: `rustup target add {TARGET}`; \
                 with a Rust from Debian or Ubuntu: run `scripts/wasm-target` of the senren repository"
            );
        }
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("cargo build of {} failed\n{}", manifest.display(), words.trim_end());
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.reason == "compiler-artifact")
        .filter(|message| message.manifest_path.as_deref() == Some(manifest))
        .flat_map(|message| message.filenames.unwrap_or_default())
        .find(|file| file.extension() == Some(OsStr::new("wasm")))
        .with_context(|| format!("cargo built no wasm from {}", manifest.display()))
}

/// A workspace that defines the profile keeps the word on it.
fn profile_arguments(workspace_root: &Path) -> Vec<String> {
    let manifest = std::fs::read_to_string(workspace_root.join("Cargo.toml")).unwrap_or_default();
    if manifest.lines().any(|line| line.trim() == "[profile.plugin]") {
        return Vec::new();
    }
    PROFILE.iter().flat_map(|setting| ["--config".to_owned(), format!("profile.plugin.{setting}")]).collect()
}

/// Whether an empty crate compiles; a list of installed targets would say less, and rustup is not everywhere.
fn has_wasm_target() -> bool {
    let Ok(dir) = tempfile::tempdir() else { return true };
    let source = dir.path().join("empty.rs");
    if std::fs::write(&source, "").is_err() {
        return true;
    }
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--target", TARGET, "--crate-type=rlib", "--emit=metadata", "--out-dir"]).arg(dir.path());
    rustc.arg(source).stdin(Stdio::null()).output().is_ok_and(|output| output.status.success())
}

/// Cargo without what the environment says about *another* build: flags of the native target, features unified
/// over the whole workspace (they would put half of the host into the wasm), settings of unstable features.
fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os().filter(|(name, _)| concerns_another_build(name)) {
        cargo.env_remove(name);
    }
    cargo.stdin(Stdio::null()).stdout(Stdio::piped());
    cargo
}

fn concerns_another_build(name: &OsString) -> bool {
    let name = name.to_string_lossy();
    if ["CARGO_BUILD_JOBS", "CARGO_BUILD_TARGET_DIR"].contains(&&*name) {
        return false;
    }
    ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER"].contains(&&*name)
        || ["CARGO_BUILD_", "CARGO_UNSTABLE_", "CARGO_RESOLVER_", "CARGO_PROFILE_", "__CARGO_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

fn run(command: &mut Command) -> Result<Output> {
    command.output().with_context(|| {
        let program = command.get_program().to_string_lossy().into_owned();
        format!("cannot run {program}: is Rust installed, and on the PATH?")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_environment_of_another_build_is_kept_out() {
        for (name, kept_out) in [
            ("RUSTFLAGS", true),
            ("CARGO_UNSTABLE_FEATURE_UNIFICATION", true),
            ("CARGO_RESOLVER_FEATURE_UNIFICATION", true),
            ("CARGO_BUILD_TARGET", true),
            ("CARGO_BUILD_JOBS", false),
            ("CARGO_TARGET_DIR", false),
            ("CARGO_HOME", false),
            ("PATH", false),
        ] {
            assert_eq!(concerns_another_build(&name.into()), kept_out, "{name}");
        }
    }

    #[test]
    fn a_directory_without_a_crate_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = build(dir.path()).err().unwrap().to_string();
        assert!(error.contains("no Cargo.toml"), "{error}");
    }

    #[test]
    fn a_crate_that_makes_no_wasm_says_what_to_add() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("src")).unwrap();
        std::fs::write(dir.path().join("src/lib.rs"), "").unwrap();
        std::fs::write(
            dir.path().join("Cargo.toml"),
            "[package]\nname = \"x\"\nedition = \"2024\"\n[workspace]\n",
        )
        .unwrap();
        let error = build(dir.path()).err().unwrap().to_string();
        assert!(error.contains("cdylib"), "{error}");
    }
}
