//! Resource type `redis`: a primary and up to five replicas of it, in one StatefulSet.
//!
//! The way to read it: [`spec`] says what users may want, [`diff`] what a change of that means, [`objects`] which
//! Kubernetes objects run it, [`reconcile`] when it is ready. What a pod does is in `scripts/`.
//!
//! Invariants: the data of a database with persistence survives every change that `diff` does not call a loss; there
//! are no replicas without persistence, because a primary that comes back empty would empty them, too; what has not
//! changed in the spec never changes a pod template, so an upgrade of this plugin restarts nothing by itself,
//! unless what it fixes is in the template.

mod diff;
mod objects;
mod reconcile;
mod spec;
#[cfg(test)]
mod tests;

use senren_plugin::prelude::*;

pub use spec::{Persistence, Spec};

use crate::Config;

/// The type `redis`.
pub struct Redis;

impl Controller for Redis {
    type Spec = Spec;
    type Config = Config;
    const TYPE: &'static str = "redis";

    fn describe() -> Description {
        Description::new("RedisDatabase", "redisdatabases")
            .short_name("rdb")
            .column("Memory", "integer", ".spec.memory_mb")
            .column("Replicas", "integer", ".spec.replicas")
            .column("Version", "string", ".spec.version")
            .example(json!({"memory_mb": 64, "replicas": 1}))
            .owns([CONFIG_MAP, SERVICE, STATEFUL_SET])
            .observes([POD])
            .requires("secret-random")
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
