//! Resource type `aerospike`: a cluster of Aerospike Community Edition whose namespaces are in memory.
//!
//! The way to read it: [`spec`] says what users may want, [`diff`] what a change of that means, [`conf`] and
//! [`objects`] what runs it, [`nodes`] what the nodes say about their cluster, [`steps`] which of them may go next,
//! [`reconcile`] how it is. What a node does before its server starts is in `scripts/`. [`simulation`] answers for
//! nodes that are not there.
//!
//! Memory is all there is: a node that stops has lost its records, and what is safe depends on the others having
//! them. Community Edition can't empty a node beforehand (`quiesce` is Enterprise). So, as the invariant of all
//! this: no node that runs is taken away or replaced before all that run have said that they are one cluster and
//! move no partition any more; then every record is on as many nodes as the replication factor says, and the
//! others have the copies of the one that goes. One goes at a time.

mod conf;
mod config;
mod diff;
mod nodes;
mod objects;
mod reconcile;
pub mod simulation;
mod spec;
mod steps;
#[cfg(test)]
mod tests;

use senren_plugin::prelude::*;

pub use config::{Config, EndpointKind};
pub use spec::{Namespace, Spec};

/// `policy/v1 PodDisruptionBudget`
const DISRUPTION_BUDGET: (&str, &str) = ("policy/v1", "PodDisruptionBudget");

/// The type `aerospike`.
pub struct Aerospike;

impl Controller for Aerospike {
    type Spec = Spec;
    type Config = Config;
    const TYPE: &'static str = "aerospike";

    fn describe() -> Description {
        Description::new("AerospikeDatabase", "aerospikedatabases")
            .short_name("asdb")
            .column("Nodes", "integer", ".spec.nodes")
            .column("Replication", "integer", ".spec.replication_factor")
            .column("Version", "string", ".spec.version")
            .example(json!({"nodes": 3, "namespaces": {"profiles": {"memory_mb": 512}}}))
            .owns([CONFIG_MAP, SERVICE, DISRUPTION_BUDGET, STATEFUL_SET])
            .observes([POD])
            .requires("ask-exec")
    }

    fn schema() -> Schema {
        spec::schema()
    }

    fn admit(spec: &mut Spec, violations: &mut Violations) {
        spec::admit(spec, violations);
    }

    fn diff(change: &mut Change, current: &Spec, desired: &Spec) -> Result<(), Fault> {
        diff::diff(change, current, desired)
    }

    fn reconcile(input: &Input<Spec, Config>) -> Result<Outcome, Fault> {
        reconcile::reconcile(input)
    }
}

senren_plugin::export! { name: "aerospike", config: Config, controllers: [Aerospike], simulations: [Aerospike] }
