//! Write a senren plugin in Rust.
//!
//! A plugin teaches senren a type of database. It is a pure function, compiled to a WebAssembly component that
//! imports nothing: from what is wanted and what is observed, it says which Kubernetes objects shall be there
//! and how the database is. The contract is `wit/plugin.wit`; this crate makes it a matter of one type that
//! implements [`Controller`], and a line of [`export!`]:
//!
//! ```
//! use senren_plugin::{prelude::*, objects::{self, StatefulSet}};
//!
//! /// What users write; the schema below holds its defaults.
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Spec { memory_mb: u32 }
//!
//! struct Memcached;
//!
//! impl Controller for Memcached {
//!     type Spec = Spec;
//!     type Config = NoConfig;
//!     const TYPE: &'static str = "memcached";
//!
//!     fn describe() -> Description {
//!         Description::new("MemcachedDatabase", "memcacheddatabases")
//!             .example(json!({"memory_mb": 64}))
//!             .owns([SERVICE, STATEFUL_SET])
//!             .observes([POD])
//!     }
//!
//!     fn schema() -> Schema {
//!         Schema::object([(
//!             "memory_mb",
//!             Schema::integer().minimum(8).default(64).effect(Effect::RollingRestart),
//!         )])
//!     }
//!
//!     fn reconcile(input: &Input<Spec, NoConfig>) -> Result<Outcome, Fault> {
//!         let memory = input.spec.memory_mb;
//!         let server = StatefulSet {
//!             service: input.name,
//!             replicas: 1,
//!             pod: json!({"containers": [{
//!                 "name": "memcached",
//!                 "image": "memcached:1.6",
//!                 "args": ["-m", memory.to_string()],
//!                 "ports": [{"name": "memcached", "containerPort": 11211}],
//!                 "readinessProbe": {"tcpSocket": {"port": 11211}},
//!             }]}),
//!             ..StatefulSet::new(input.name, input.labels())
//!         };
//!         let ready = input.observed.pod(&input.child("0")).is_some_and(|pod| pod.ready());
//!         let status = if ready { Status::ready("Serving") } else { Status::creating("WaitingForPod", "") };
//!         Ok(Outcome::new(status.endpoint("memcached", input.dns(input.name), 11211))
//!             .child(objects::service(input.name, input.labels(), &[("memcached", 11211)]))
//!             .child(server))
//!     }
//! }
//!
//! senren_plugin::export! { name: "memcached", config: NoConfig, controllers: [Memcached] }
//! # fn main() {}
//! ```
//!
//! `senren-plugin-build <crate>` makes the component. Tests are ordinary native ones: they call the functions of
//! the exported `Plugin` with inputs from [`testing`].
//!
//! What this crate must never do: ask for anything that a component would have to import, or hide what the
//! contract says behind behaviour of its own. Whoever needs the contract as it is implements [`Plugin`] and uses
//! [`export_plugin!`].

mod ask;
mod change;
mod controller;
mod describe;
mod export;
#[cfg(target_arch = "wasm32")]
mod memory;
pub mod objects;
mod observed;
mod outcome;
mod quantity;
mod schema;
mod simulation;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use ask::{Answer, Exec, Output};
pub use change::{Effect, FORBIDDEN_CHANGE};
pub use controller::{Controller, Input, NoConfig, Settings, Violations};
pub use describe::Description;
pub use observed::{Container, Object, Observed, Pod, StatefulSetStatus, Trouble};
pub use outcome::Phase;
pub use quantity::bytes;
pub use schema::Schema;
pub use serde_json::{Value, json};
pub use simulation::{SimulatedCall, SimulatedPod, SimulatedResult, Simulation};
pub use wit::Guest as Plugin;

/// Everything that an implementation of [`Controller`] usually needs.
pub mod prelude {
    pub use crate::objects::{CLAIM, CONFIG_MAP, POD, SERVICE, STATEFUL_SET};
    pub use crate::wit::{Change, Fault, Outcome, Status};
    pub use crate::{Controller, Description, Effect, Input, NoConfig, Phase, Schema, Violations, json};
}

/// The records of the contract, as `wit/plugin.wit` documents them; `json` is a [`String`].
pub mod wit {
    pub use crate::bindings::exports::senren::plugin::controller::{
        Answer, ApiKind, Ask, Change, Child, Condition, Descriptor, Endpoint, Event, Extras, Fault,
        FieldChange, Guest, Input, Json, Outcome, ResourceType, SecretRequest, SecretState, Status,
        Violation,
    };
    pub use crate::bindings::exports::senren::plugin::simulation::{
        ExecCall, ExecResult, Guest as SimulationGuest,
    };
}

#[doc(hidden)]
#[allow(missing_docs, unsafe_code, unused_qualifications, clippy::all, clippy::unwrap_used, clippy::panic)]
pub mod bindings {
    wit_bindgen::generate!({
        world: "simulated-plugin",
        path: "../../wit",
        pub_export_macro: true,
        export_macro_name: "export_simulated_bindings",
        default_bindings_module: "senren_plugin::bindings",
        additional_derives: [PartialEq],
    });
}

/// Only for what a component without a simulation says of itself: that its world is `plugin`. Its functions are
/// those of [`bindings`], whose types the rest of this crate uses.
#[doc(hidden)]
#[allow(
    missing_docs,
    unsafe_code,
    unused,
    unused_qualifications,
    clippy::all,
    clippy::unwrap_used,
    clippy::panic
)]
pub mod plain {
    wit_bindgen::generate!({
        world: "plugin",
        path: "../../wit",
        type_section_suffix: "plain",
    });
}

#[doc(hidden)]
pub mod private {
    //! What the macros expand to; not an interface.
    pub use crate::controller::{admit, diff, reconcile};
    pub use crate::describe::{also_requires, descriptor, unknown_type};
    #[cfg(target_arch = "wasm32")]
    pub use crate::memory::Allocator;
    pub use crate::simulation::{exec, not_simulated};
}
