//! From the bytes of a file to a plugin that can be called, or the reason why not.

use crate::{
    CONTRACT, CallError, Engine, Plugin, SIMULATION, bindings,
    cache::{Cache, hex},
    call::Guard,
    describe::{self, Described},
    plugin::{Durations, Exports, Inner, Tuning},
    simulated,
};
use sha2::{Digest, Sha256};
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};

/// Of everything that a plugin exports.
const PACKAGE: &str = "senren:plugin/";

/// Larger files are refused before they are compiled.
const LARGEST: usize = 64 << 20;

/// A plugin that is refused: where it came from, and why.
#[derive(Debug, thiserror::Error)]
#[error("{origin}: {refusal}")]
pub struct LoadError {
    /// As passed to [`Engine::load`].
    pub origin: String,
    /// Why.
    #[source]
    pub refusal: Refusal,
}

/// Why a plugin is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Something else altogether.
    #[error("this is not a WebAssembly component: {0}")]
    NotAComponent(String),
    /// The compiler takes too long for it.
    #[error("the component takes longer than {0:?} to compile, which is the limit")]
    TooSlow(std::time::Duration),
    /// Others keep the compiler from it.
    #[error("the compiler is busy with other components, which take very long")]
    Busy,
    /// Damaged, or built with features that are not supported.
    #[error(
        "the component can't be compiled, because it is damaged or needs a feature that is not supported: {0}"
    )]
    Invalid(String),
    /// It asks for something of the host.
    #[error(
        "the component imports {}; a plugin may not import anything: build it for wasm32-unknown-unknown \
         (not WASI), without a clock, randomness, files or network", .0.join(", ")
    )]
    Imports(Vec<String>),
    /// It isn't a plugin, or of another version.
    #[error("the component is not a plugin that this version of senren can use: {0}")]
    Contract(String),
    /// It fails at describing itself.
    #[error("the plugin fails to describe itself: {0}")]
    Undescribed(#[source] CallError),
    /// It describes itself wrongly; all problems at once.
    #[error("the plugin describes itself wrongly: {}", .0.join("; "))]
    Description(Vec<String>),
    /// It needs what this host doesn't have.
    #[error("the plugin requires {} of its host, which this version of senren does not have", .0.join(", "))]
    Requires(Vec<String>),
}

pub(crate) fn load(engine: &Engine, origin: &str, wasm: &[u8]) -> Result<Plugin, Refusal> {
    must_be_a_component(wasm)?;
    let digest = hex(&Sha256::digest(wasm));
    let Compiled { component, mapped } = compiled(engine, &digest, wasm)?;
    let component = without_imports(engine, &component)?;
    let exports = exports(engine, &component)?;
    let lane = engine.new_lane();
    let descriptor =
        describe::ask(engine, lane, &component, &exports.describe).map_err(Refusal::Undescribed)?;
    if mapped {
        Cache::release(component.component());
    }
    let Described { types, config } = describe::check(&descriptor)?;
    let durations = Durations::of(&descriptor.name);
    let engine = engine.clone();
    let origin = origin.to_owned();
    let tuning = Tuning::of(&config, engine.limits().clone(), None);
    let inner =
        Inner { engine, lane, origin, digest, component, exports, descriptor, types, config, durations };
    Ok(Plugin::new(inner, tuning))
}

/// So that the most common mistakes are told in plain words.
fn must_be_a_component(wasm: &[u8]) -> Result<(), Refusal> {
    let refused = |why: &str| Err(Refusal::NotAComponent(why.to_owned()));
    match wasm.split_at_checked(8) {
        _ if wasm.is_empty() => refused("the file is empty"),
        _ if wasm.len() > LARGEST => refused("the file is larger than 64 MiB"),
        Some((b"\0asm\x01\0\0\0", _)) => refused(
            "it is a core module, which is what cargo builds; `senren plugin build` makes a component of it",
        ),
        Some((b"\0asm\x0d\0\x01\0", _)) => Ok(()),
        Some((header, _)) if header.starts_with(b"\0asm") => {
            refused("it is of an unknown version of WebAssembly")
        }
        _ => refused("it does not begin as a .wasm file does"),
    }
}

struct Compiled {
    component: Component,
    /// It came from the cache, whose file it is a mapping of.
    mapped: bool,
}

fn compiled(engine: &Engine, digest: &str, wasm: &[u8]) -> Result<Compiled, Refusal> {
    let kept = |engine: &Engine, digest: &str| {
        let cache = engine.inner.cache.as_ref()?;
        let component = cache.load(&engine.inner.wasmtime, digest)?;
        Some(Compiled { component, mapped: true })
    };
    if let Some(component) = kept(engine, digest) {
        return Ok(component);
    }
    let work = {
        let (engine, digest, wasm) = (engine.clone(), digest.to_owned(), wasm.to_owned());
        move || {
            // Another may have compiled it meanwhile.
            if let Some(component) = kept(&engine, &digest) {
                return Ok(component);
            }
            let component = Component::from_binary(&engine.inner.wasmtime, &wasm)?;
            // What is refused anyway isn't worth keeping. Nobody may be waiting for it any more, but the next one who asks
            // finds it.
            if let (Some(cache), 0) = (&engine.inner.cache, imports(&engine, &component).len()) {
                cache.store(&digest, &component);
                // From there, what isn't used takes no memory.
                return Ok(kept(&engine, &digest).unwrap_or(Compiled { component, mapped: false }));
            }
            Ok::<_, wasmtime::Error>(Compiled { component, mapped: false })
        }
    };
    let compiled = engine.inner.compiler.run(digest, work)?;
    compiled.map_err(|error| Refusal::Invalid(format!("{error:#}").replace('\n', " ")))
}

fn imports(engine: &Engine, component: &Component) -> Vec<String> {
    let ty = component.component_type();
    ty.imports(&engine.inner.wasmtime).map(|(name, _)| format!("\"{name}\"")).collect()
}

fn without_imports(engine: &Engine, component: &Component) -> Result<InstancePre<Guard>, Refusal> {
    let imports = imports(engine, component);
    if !imports.is_empty() {
        return Err(Refusal::Imports(imports));
    }
    // A linker that has nothing, for whatever the list above may have missed.
    let linker = Linker::<Guard>::new(&engine.inner.wasmtime);
    linker.instantiate_pre(component).map_err(|error| Refusal::Imports(vec![error.root_cause().to_string()]))
}

fn exports(engine: &Engine, component: &InstancePre<Guard>) -> Result<Exports, Refusal> {
    let mismatch = |error: wasmtime::Error| Refusal::Contract(format!("{error:#}"));
    let Some(instance) = component.component().get_export_index(None, CONTRACT) else {
        return Err(Refusal::Contract(no_controller(engine, component.component())));
    };
    // Interfaces of ours that this version doesn't know are abilities that it doesn't use.
    let foreign: Vec<_> = exported(engine, component.component())
        .into_iter()
        .filter(|name| !name.starts_with(PACKAGE))
        .collect();
    if !foreign.is_empty() {
        return Err(Refusal::Contract(format!(
            "it also exports {}, which no plugin does",
            foreign.join(", ")
        )));
    }
    // Compares every type with the contract's, once and for all calls.
    bindings::PluginPre::new(component.clone()).map_err(mismatch)?;
    let function = |name: &str| -> Result<ComponentExportIndex, Refusal> {
        let index = component.component().get_export_index(Some(&instance), name);
        index.ok_or_else(|| Refusal::Contract(format!("`{CONTRACT}` has no function `{name}`")))
    };
    Ok(Exports {
        describe: function("describe")?,
        admit: function("admit")?,
        diff: function("diff")?,
        reconcile: function("reconcile")?,
        simulate: simulation(component)?,
    })
}

/// Where the function of the optional interface is. `None`: the plugin does without.
fn simulation(component: &InstancePre<Guard>) -> Result<Option<ComponentExportIndex>, Refusal> {
    let Some(instance) = component.component().get_export_index(None, SIMULATION) else { return Ok(None) };
    simulated::SimulatedPluginPre::new(component.clone())
        .map_err(|error| Refusal::Contract(format!("{error:#}")))?;
    Ok(component.component().get_export_index(Some(&instance), "exec"))
}

fn exported(engine: &Engine, component: &Component) -> Vec<String> {
    component.component_type().exports(&engine.inner.wasmtime).map(|(name, _)| name.to_owned()).collect()
}

fn no_controller(engine: &Engine, component: &Component) -> String {
    let exports = exported(engine, component);
    let interface = CONTRACT.split('@').next().unwrap_or(CONTRACT);
    match exports.iter().find(|name| name.starts_with(interface)) {
        Some(other) => format!("it speaks `{other}`, but this host speaks `{CONTRACT}`"),
        None if exports.is_empty() => format!("it exports nothing, and must export `{CONTRACT}`"),
        None => format!("it exports {}, but not `{CONTRACT}`", exports.join(", ")),
    }
}
