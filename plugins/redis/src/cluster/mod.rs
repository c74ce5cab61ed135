//! Resource type `redis-cluster`: a Redis Cluster, formed, grown, shrunk and healed from what is observed.
//!
//! The way to read it: [`spec`] says what users may want, [`diff`] what a change of that means, [`objects`] which
//! Kubernetes objects run it. A [`look`] is what one node says; [`seen`] puts all of them together; [`plan`] decides on
//! the next [`command`]s, and [`sets`] on the pods; [`reconcile`] is all of it in order, and [`status`] the words for
//! it. What a pod does is in `scripts/`, and what it would do, where there is none, in [`simulation`].
//!
//! Invariants: a slot that has an owner never loses it, and keys that clients stored never get lost, by anything that is
//! planned here; there are no replicas without persistence; at most one pod at a time is taken from a cluster that
//! works; what has not changed in the spec never changes a pod template.

mod balance;
mod command;
mod diff;
mod look;
mod objects;
mod plan;
mod reconcile;
mod seen;
mod sets;
mod simulation;
mod slots;
mod spec;
mod status;
#[cfg(test)]
mod tests;

use senren_plugin::prelude::*;

pub use spec::{Persistence, Spec};

use crate::Config;

/// The type `redis-cluster`.
pub struct RedisCluster;

impl Controller for RedisCluster {
    type Spec = Spec;
    type Config = Config;
    const TYPE: &'static str = "redis-cluster";

    fn describe() -> Description {
        Description::new("RedisClusterDatabase", "redisclusterdatabases")
            .short_name("rcdb")
            .column("Shards", "integer", ".spec.shards")
            .column("Replicas", "integer", ".spec.replicas")
            .column("Memory", "integer", ".spec.memory_mb")
            .column("Version", "string", ".spec.version")
            .example(json!({"shards": 3, "replicas": 1, "memory_mb": 192}))
            .owns([CONFIG_MAP, SERVICE, STATEFUL_SET, objects::DISRUPTION_BUDGET])
            .observes([POD])
            .requires("secret-random")
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
