//! What users may want of a Redis Cluster, and what of that cannot be.

use std::collections::BTreeMap;

use senren_plugin::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{fields, settings};

/// A Redis Cluster, as admitted; the defaults are in [`schema`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// How many parts the data is spread over.
    pub shards: u32,
    /// Copies of each shard besides its primary.
    pub replicas: u32,
    /// Memory for data, of all shards together.
    pub memory_mb: u64,
    /// Version of Redis.
    pub version: String,
    /// Whether and where data outlives a restart.
    pub persistence: Persistence,
    /// Clients need a password.
    pub password: bool,
    /// What happens when memory is full.
    pub maxmemory_policy: String,
    /// Further settings of redis.conf.
    pub config: BTreeMap<String, String>,
}

/// Whether and where data outlives a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Persistence {
    /// Data is kept in an append-only file on a volume.
    pub enabled: bool,
    /// Size of each instance's volume; by default what its memory needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
}

/// Settings of redis.conf that only a cluster has.
const SETTINGS: [&str; 4] = [
    "cluster-allow-pubsubshard-when-down",
    "cluster-allow-reads-when-down",
    "cluster-node-timeout",
    "cluster-require-full-coverage",
];
/// Least memory of a shard.
const LEAST_MB: u64 = 16;

/// Form, defaults and effects.
pub(crate) fn schema() -> Schema {
    let persistence = Schema::object([
        (
            "enabled",
            Schema::boolean()
                .default(true)
                .effect(Effect::Recreate)
                .describe("Data outlives a restart. Mandatory with replicas."),
        ),
        (
            "size",
            fields::volume_size().describe(
                "Size of each instance's volume: at least twice its shard's memory, which is also the default. Can \
                 grow, not shrink.",
            ),
        ),
    ]);
    Schema::object([
        (
            "shards",
            Schema::integer().minimum(3).maximum(64).default(3).effect(Effect::Rebalance).describe(
                "Parts that the data is spread over, each on instances of its own. Growing and shrinking moves data \
                 between them while they serve.",
            ),
        ),
        (
            "replicas",
            Schema::integer()
                .minimum(0)
                .maximum(5)
                .default(1)
                .describe("Copies of each shard besides its primary, which take its place when it fails."),
        ),
        (
            "memory_mb",
            Schema::integer().minimum(48).maximum(1 << 26).default(192).effect(Effect::RollingRestart).describe(
                "Memory for data, in MiB, of the whole cluster: each shard's primary gets its equal part, as \
                 redis.conf's `maxmemory`. Replicas need as much again, which is not counted here.",
            ),
        ),
        ("version", fields::version()),
        ("persistence", persistence.default(json!({}))),
        (
            "password",
            Schema::boolean().default(false).effect(Effect::Forbidden).describe(
                "Clients need a password: key `password` of the Secret `<name>-auth`. Decided when the cluster is \
                 made.",
            ),
        ),
        ("maxmemory_policy", fields::maxmemory_policy()),
        ("config", fields::config()),
    ])
}

/// What the schema cannot say.
pub(crate) fn admit(spec: &Spec, violations: &mut Violations) {
    if spec.replicas > 0 && !spec.persistence.enabled {
        violations.add(
            "/persistence/enabled",
            "needs-persistence",
            "must be true with replicas: a primary that restarts empty would empty them, too",
        );
    }
    if spec.memory_mb / u64::from(spec.shards.max(1)) < LEAST_MB {
        let least = LEAST_MB * u64::from(spec.shards);
        let message =
            format!("is for {} shards, and each needs {LEAST_MB} MB: set at least {least}", spec.shards);
        violations.add("/memory_mb", "too-small", message);
    }
    let needed = 2 * spec.shard_memory_mb();
    if let (true, Some(size)) = (spec.persistence.enabled, &spec.persistence.size)
        && senren_plugin::bytes(size).unwrap_or_default() >> 20 < needed
    {
        let message = format!(
            "{size} is too small for a shard of {} MB: while the append-only file is rewritten, old and new are both \
             there. Set at least {needed}Mi, or leave it out",
            spec.shard_memory_mb()
        );
        violations.add("/persistence/size", "too-small", message);
    }
    settings::admit(&spec.config, &SETTINGS, violations);
}

impl Spec {
    /// Memory for data of each shard.
    pub(crate) fn shard_memory_mb(&self) -> u64 {
        self.memory_mb.div_ceil(u64::from(self.shards.max(1)))
    }

    /// Pods of a shard.
    pub(crate) fn pods(&self) -> u32 {
        1 + self.replicas
    }

    /// Size of an instance's volume, in bytes, and as Kubernetes writes it.
    pub(crate) fn volume(&self) -> (u64, String) {
        let size = self.persistence.size.clone().unwrap_or_else(|| {
            // Whole gibibytes: small changes of memory change no volume.
            format!("{}Gi", (2 * self.shard_memory_mb()).div_ceil(1024).max(1))
        });
        (senren_plugin::bytes(&size).unwrap_or_default(), size)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use senren_plugin::{Plugin as _, Value};

    use super::*;
    use crate::Plugin;

    fn admit(spec: &Value) -> Result<Value, Vec<(String, String)>> {
        match Plugin::admit("redis-cluster".into(), spec.to_string()) {
            Ok(admitted) => Ok(serde_json::from_str(&admitted).unwrap()),
            Err(violations) => Err(violations.into_iter().map(|one| (one.path, one.code)).collect()),
        }
    }

    #[test]
    fn nothing_but_defaults_is_a_cluster() {
        insta::assert_json_snapshot!(admit(&json!({})).unwrap());
    }

    #[test]
    fn memory_alone_is_enough_and_is_that_of_all_shards_together() {
        let spec: Spec = serde_json::from_value(admit(&json!({"memory_mb": 16384})).unwrap()).unwrap();
        assert_eq!((spec.shard_memory_mb(), spec.volume().1.as_str()), (5462, "11Gi"));
    }

    #[test]
    fn what_cannot_be_is_refused_all_at_once() {
        for (spec, wrong) in [
            (json!({"persistence": {"enabled": false}}), vec![("/persistence/enabled", "needs-persistence")]),
            (json!({"replicas": 0, "persistence": {"enabled": false}}), vec![]),
            (json!({"shards": 16}), vec![("/memory_mb", "too-small")]),
            (json!({"shards": 12}), vec![]),
            (
                json!({"memory_mb": 3072, "persistence": {"size": "1Gi"}}),
                vec![("/persistence/size", "too-small")],
            ),
            (json!({"memory_mb": 3072, "persistence": {"size": "2Gi"}}), vec![]),
            (json!({"config": {"cluster-node-timeout": "15000", "hz": "20"}}), vec![]),
            (
                json!({"config": {"cluster-enabled": "no"}}),
                vec![("/config/cluster-enabled", "unknown-setting")],
            ),
            (
                json!({"memory_mb": 48, "shards": 4, "config": {"port": "1"}}),
                vec![("/memory_mb", "too-small"), ("/config/port", "unknown-setting")],
            ),
        ] {
            let found = admit(&spec).err().unwrap_or_default();
            let found: Vec<_> = found.iter().map(|(path, code)| (path.as_str(), code.as_str())).collect();
            assert_eq!(found, wrong, "{spec}");
        }
    }
}
