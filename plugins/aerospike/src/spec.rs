//! What users may want of an Aerospike cluster, and what of that cannot be.

use std::collections::BTreeMap;

use senren_plugin::prelude::*;
use serde::{Deserialize, Serialize};

/// Nodes that Community Edition lets into a cluster.
pub(crate) const MAX_NODES: u32 = 8;
/// Namespaces that Community Edition serves.
const MAX_NAMESPACES: usize = 2;
/// Bytes of a namespace's name.
const MAX_NAME: usize = 31;
/// The least `data-size` that every version takes, in MiB.
const MIN_MEMORY_MB: i64 = 512;
/// Of all namespaces of a node together, in MiB: more than any node has.
const MAX_MEMORY_MB: u64 = 4 << 20;

/// An Aerospike cluster, as admitted; the defaults are in [`schema`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// Nodes of the cluster.
    pub nodes: u32,
    /// On how many of them each record is.
    pub replication_factor: u32,
    /// Version of Aerospike.
    pub version: String,
    /// Its namespaces, by name.
    pub namespaces: BTreeMap<String, Namespace>,
}

/// What Aerospike calls a namespace is a database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Namespace {
    /// Memory for records, on each node.
    pub memory_mb: u64,
    /// Seconds until a record that is written without a lifetime of its own expires; 0: never.
    pub default_ttl_seconds: u32,
    /// Records that expire soonest are evicted when that much of the memory is used; 0: never.
    pub evict_used_pct: u32,
}

/// Form, defaults and effects.
pub(crate) fn schema() -> Schema {
    let namespace =
        Schema::object([
            (
                "memory_mb",
                Schema::integer()
                    .minimum(MIN_MEMORY_MB)
                    .maximum(1 << 20)
                    .default(MIN_MEMORY_MB)
                    .describe("Memory for records on each node, in MiB: `data-size`."),
            ),
            (
                "default_ttl_seconds",
                Schema::integer()
                    .minimum(0)
                    .maximum(315_360_000)
                    .default(0)
                    .describe("Lifetime of records that are written without one; 0: they never expire."),
            ),
            (
                "evict_used_pct",
                Schema::integer().minimum(0).maximum(100).default(0).describe(
                    "Evicts the records that expire soonest when that much memory is used; 0: never.",
                ),
            ),
        ]);
    Schema::object([
        (
            "nodes",
            Schema::integer()
                .minimum(1)
                .maximum(i64::from(MAX_NODES))
                .default(2)
                .effect(Effect::Rebalance)
                .describe("Nodes of the cluster; Community Edition has at most 8."),
        ),
        (
            "replication_factor",
            // Nodes that disagree about it form no cluster, so it can't be changed one node after the other.
            Schema::integer()
                .minimum(1)
                .maximum(i64::from(MAX_NODES))
                .default(2)
                .effect(Effect::Recreate)
                .describe(
                    "On how many nodes each record is. With 1, whatever stops a node loses its records.",
                ),
        ),
        (
            "version",
            Schema::string()
                .pattern(r"^(7\.[12]|8\.[0-9])\.[0-9]{1,2}\.[0-9]{1,2}$")
                .default("8.1.2.0")
                .effect(Effect::RollingRestart)
                .describe("Version of Aerospike: a tag of the image aerospike/aerospike-server."),
        ),
        (
            "namespaces",
            Schema::map(namespace)
                .default(json!({"data": {}}))
                .effect(Effect::RollingRestart)
                .describe("Namespaces by name, all in memory; Community Edition has at most 2."),
        ),
    ])
}

/// What the schema cannot say.
pub(crate) fn admit(spec: &Spec, violations: &mut Violations) {
    if spec.replication_factor > spec.nodes {
        let message = format!(
            "must be at most the number of nodes, {}: each copy of a record is on another node",
            spec.nodes
        );
        violations.add("/replication_factor", "more-than-nodes", message);
    }
    let count = spec.namespaces.len();
    if !(1..=MAX_NAMESPACES).contains(&count) {
        let message = format!("must be 1 or 2, Community Edition has no more; there are {count}");
        violations.add("/namespaces", "namespace-count", message);
    }
    for name in spec.namespaces.keys() {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        // Aerospike's own word for no name at all.
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(plain) || name == "null" {
            let path = format!("/namespaces/{}", name.replace('~', "~0").replace('/', "~1"));
            let message = "is no name of a namespace: 1 to 31 letters, digits, _ and -, and not `null`";
            violations.add(&path, "bad-name", message);
        }
    }
    let memory = spec.memory_mb();
    if memory > MAX_MEMORY_MB {
        let message = format!("need {memory} MiB of memory on each node; that is more than a node can have");
        violations.add("/namespaces", "too-big", message);
    }
}

impl Spec {
    /// Memory for the records of all namespaces on each node.
    pub(crate) fn memory_mb(&self) -> u64 {
        self.namespaces.values().fold(0, |sum, namespace| sum.saturating_add(namespace.memory_mb))
    }

    /// Every record is on more than one node.
    pub(crate) fn redundant(&self) -> bool {
        self.replication_factor > 1
    }

    /// `8.1.2.0` → [8, 1, 2, 0]
    pub(crate) fn release(&self) -> [u32; 4] {
        let mut parts = self.version.split('.').map(|part| part.parse().unwrap_or(0));
        [(); 4].map(|()| parts.next().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use senren_plugin::{Plugin as _, Value};

    use super::*;
    use crate::Plugin;

    fn admit(spec: &Value) -> Result<Value, Vec<(String, String)>> {
        match Plugin::admit("aerospike".into(), spec.to_string()) {
            Ok(admitted) => Ok(serde_json::from_str(&admitted).unwrap()),
            Err(violations) => Err(violations.into_iter().map(|one| (one.path, one.code)).collect()),
        }
    }

    #[test]
    fn nothing_but_defaults_is_a_cluster() {
        insta::assert_json_snapshot!(admit(&json!({})).unwrap());
    }

    #[test]
    fn what_cannot_be_is_refused_all_at_once() {
        let big = |mb: u64| json!({"memory_mb": mb});
        for (spec, wrong) in [
            (json!({"nodes": 1}), vec![("/replication_factor", "more-than-nodes")]),
            (json!({"nodes": 1, "replication_factor": 1}), vec![]),
            (json!({"nodes": 8, "replication_factor": 8}), vec![]),
            (json!({"namespaces": {}}), vec![("/namespaces", "namespace-count")]),
            (json!({"namespaces": {"a": {}, "b": {}}}), vec![]),
            (json!({"namespaces": {"a": {}, "b": {}, "c": {}}}), vec![("/namespaces", "namespace-count")]),
            (json!({"namespaces": {"a b": {}}}), vec![("/namespaces/a b", "bad-name")]),
            (json!({"namespaces": {"a/b": {}}}), vec![("/namespaces/a~1b", "bad-name")]),
            (json!({"namespaces": {"null": {}}}), vec![("/namespaces/null", "bad-name")]),
            (json!({"namespaces": {"x\n}": {}}}), vec![("/namespaces/x\n}", "bad-name")]),
            (json!({"namespaces": {"n".repeat(31): {}}}), vec![]),
            (json!({"namespaces": {"a": big(3 << 20), "b": big(3 << 20)}}), vec![("/namespaces", "too-big")]),
            (
                json!({"replication_factor": 3, "namespaces": {"": {}}}),
                vec![("/replication_factor", "more-than-nodes"), ("/namespaces/", "bad-name")],
            ),
        ] {
            let found = admit(&spec).err().unwrap_or_default();
            let found: Vec<_> = found.iter().map(|(path, code)| (path.as_str(), code.as_str())).collect();
            assert_eq!(found, wrong, "{spec}");
        }
    }
}
