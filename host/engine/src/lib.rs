//! Plugins: load, verify, cache, limit, call.
//!
//! A plugin is somebody else's code. This crate runs it such that it can't do harm, and can't be in the way of
//! its neighbours:
//! - A component that imports anything is refused when it is loaded; so is one that describes itself wrongly.
//! - Each call runs in a fresh instance, on one of a fixed number of threads made for that, under a deadline, and
//!   with a limit on memory, tables, stack and the size of the answer. There is no fallback without them.
//! - Whatever goes wrong is a [`CallError`] of that one call, and says which of these it was.
//! - A plugin that hangs occupies a share of the threads, then a single one: the others' calls go on.
//! - Compiled code is read back only from a directory that nobody else may write to, and only with the checksum
//!   that it was written with. Nothing else is ever passed to `deserialize`.
//!
//! What it must never do: give a plugin an import, run one on a caller's thread, believe what it answers about
//! objects (that is `reconcile`'s to judge), talk to a network.

mod cache;
mod call;
mod compile;
mod config;
mod describe;
mod engine;
mod epoch;
mod load;
mod plugin;
mod pool;
mod session;
mod set;

pub use call::CallError;
pub use config::{EngineConfig, Limits, MAX_MEMORY_BYTES};
pub use describe::HOST_FEATURES;
pub use engine::Engine;
pub use load::{LoadError, Refusal};
pub use plugin::{Plugin, ResourceType};
pub use session::{Answer, Call, Session};
pub use set::{LoadProblem, PluginSet, Plugins, Served};

/// The WIT package and version that this host speaks.
pub const CONTRACT: &str = "senren:plugin/controller@1.0.0";

/// What a plugin may export besides, so that its databases can be simulated.
pub const SIMULATION: &str = "senren:plugin/simulation@1.0.0";

#[allow(missing_docs, clippy::all)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "plugin",
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
    });
}

#[allow(missing_docs, dead_code, clippy::all)]
mod simulated {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "simulated-plugin",
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
    });
}

/// The types of `senren:plugin`, where `json` is a `String`.
pub mod wit {
    pub use crate::bindings::exports::senren::plugin::controller::{
        Answer, ApiKind, Ask, Change, Child, Condition, Descriptor, Endpoint, Event, Fault, FieldChange,
        Input, Outcome, ResourceType, SecretRequest, SecretState, Status, Violation,
    };
    pub use crate::simulated::exports::senren::plugin::simulation::{ExecCall, ExecResult};
}
