//! A core module that carries its WIT world (`wit-bindgen` puts it into a custom section) becomes a component.
//!
//! A plugin is a pure function, so a module that needs anything from outside is refused here, by name, at the
//! author's desk, and not first by the region that is asked to load it.

use anyhow::{Context, Result, bail};
use wasmparser::{Encoding, Parser, Payload};
use wit_component::{ComponentEncoder, DecodedWasm};

/// Encodes a core module as a component without imports, and validates it.
pub fn encode(core: &[u8]) -> Result<Vec<u8>> {
    refuse_imports(&core_imports(core)?)?;
    let component = ComponentEncoder::default()
        .module(core)
        .context("its WIT world cannot be read")?
        .validate(true)
        .encode()
        .context("it does not export what its WIT world says; is there a `senren_plugin::export!(…)`?")?;
    let (imports, exports) = world(&component)?;
    refuse_imports(&imports.iter().map(|import| format!("`{import}`")).collect::<Vec<_>>())?;
    if exports.is_empty() {
        bail!("it exports nothing: add `senren_plugin::export!(YourType);` to the crate");
    }
    Ok(component)
}

fn refuse_imports(imports: &[String]) -> Result<()> {
    if imports.is_empty() {
        return Ok(());
    }
    bail!(
        "it imports {}. A plugin imports nothing: no clock, no randomness, no files, no network. Remove the code \
         or the dependency that needs this (often a time, random or wasm-bindgen feature of a crate)",
        imports.join(", ")
    )
}

/// The imports of the core module, as `module.name`.
fn core_imports(core: &[u8]) -> Result<Vec<String>> {
    let mut imports = Vec::new();
    for payload in Parser::new(0).parse_all(core) {
        match payload.context("not a WebAssembly module")? {
            Payload::Version { encoding: Encoding::Component, .. } => bail!("it is a component already"),
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.context("the import section is damaged")?;
                    imports.push(format!("`{}.{}`", import.module, import.name));
                }
            }
            _ => {}
        }
    }
    Ok(imports)
}

/// Names of what a component imports and exports.
pub fn world(component: &[u8]) -> Result<(Vec<String>, Vec<String>)> {
    match wit_component::decode(component)? {
        DecodedWasm::Component(resolve, world) => {
            let world = &resolve.worlds[world];
            let name = |key| resolve.name_world_key(key);
            Ok((world.imports.keys().map(name).collect(), world.exports.keys().map(name).collect()))
        }
        DecodedWasm::WitPackage(..) => bail!("it is a WIT package, not a component"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn check(wat: &str, says: &str) {
        let error = format!("{:#}", encode(&wat::parse_str(wat).unwrap()).unwrap_err());
        assert!(error.contains(says), "{error:?} does not say {says:?}");
    }

    #[test]
    fn a_module_that_imports_is_refused_by_the_imports_name() {
        check(
            r#"(module (import "wasi_snapshot_preview1" "clock_time_get" (func)) (import "env" "now" (func)))"#,
            "imports `wasi_snapshot_preview1.clock_time_get`, `env.now`",
        );
    }

    #[test]
    fn a_module_without_an_export_says_what_to_add() {
        check("(module)", "senren_plugin::export!");
    }

    #[test]
    fn what_is_no_core_module_is_refused() {
        check("(component)", "a component already");
        let error = format!("{:#}", encode(b"#!/bin/sh").unwrap_err());
        assert!(error.contains("not a WebAssembly module"), "{error}");
    }
}
