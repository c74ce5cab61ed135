//! What users may want of a Redis, and what of that cannot be.

use std::collections::BTreeMap;

use senren_plugin::prelude::*;
use serde::{Deserialize, Serialize};

/// A Redis, as admitted; the defaults are in [`schema`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// Memory for data.
    pub memory_mb: u64,
    /// Read replicas besides the primary.
    pub replicas: u32,
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
    /// Size of each instance's volume.
    pub size: String,
}

/// Settings that users may put into redis.conf. Those that are missing here decide about identity, network,
/// replication, persistence or what may be executed, which is this plugin's business, or have a field of their own.
const SETTINGS: [&str; 47] = [
    "active-defrag-cycle-max",
    "active-defrag-cycle-min",
    "active-defrag-ignore-bytes",
    "active-defrag-max-scan-fields",
    "active-defrag-threshold-lower",
    "active-defrag-threshold-upper",
    "active-expire-effort",
    "activedefrag",
    "activerehashing",
    "aof-rewrite-incremental-fsync",
    "appendfsync",
    "auto-aof-rewrite-min-size",
    "auto-aof-rewrite-percentage",
    "busy-reply-threshold",
    "client-output-buffer-limit",
    "client-query-buffer-limit",
    "databases",
    "dynamic-hz",
    "hash-max-listpack-entries",
    "hash-max-listpack-value",
    "hz",
    "io-threads",
    "jemalloc-bg-thread",
    "latency-monitor-threshold",
    "latency-tracking",
    "lazyfree-lazy-eviction",
    "lazyfree-lazy-expire",
    "lazyfree-lazy-server-del",
    "lazyfree-lazy-user-del",
    "lazyfree-lazy-user-flush",
    "lfu-decay-time",
    "lfu-log-factor",
    "list-compress-depth",
    "list-max-listpack-size",
    "maxclients",
    "maxmemory-samples",
    "no-appendfsync-on-rewrite",
    "notify-keyspace-events",
    "proto-max-bulk-len",
    "repl-backlog-size",
    "repl-backlog-ttl",
    "set-max-intset-entries",
    "slowlog-log-slower-than",
    "slowlog-max-len",
    "tcp-keepalive",
    "timeout",
    "tracking-table-max-keys",
];

/// Form, defaults and effects.
pub(crate) fn schema() -> Schema {
    let persistence = Schema::object([
        (
            "enabled",
            Schema::boolean()
                .default(true)
                .effect(Effect::RollingRestart)
                .describe("Data outlives a restart. Mandatory with replicas."),
        ),
        (
            "size",
            Schema::string()
                .pattern("^[1-9][0-9]{0,5}(Mi|Gi|Ti)$")
                .default("1Gi")
                .describe("Size of each instance's volume: at least twice its memory. Can grow, not shrink."),
        ),
    ]);
    let policies = [
        "noeviction",
        "allkeys-lru",
        "allkeys-lfu",
        "allkeys-random",
        "volatile-lru",
        "volatile-lfu",
        "volatile-random",
        "volatile-ttl",
    ];
    Schema::object([
        (
            "memory_mb",
            Schema::integer()
                .minimum(16)
                .maximum(1 << 20)
                .default(64)
                .effect(Effect::RollingRestart)
                .describe("Memory for data, in MiB: redis.conf's `maxmemory`."),
        ),
        (
            "replicas",
            Schema::integer()
                .minimum(0)
                .maximum(5)
                .default(0)
                .describe("Replicas that serve reads, besides the primary."),
        ),
        (
            "version",
            Schema::string()
                .pattern(r"^(7\.[024]|8\.[0-9])(\.[0-9]{1,2})?$")
                .default("7.2")
                .effect(Effect::RollingRestart)
                .describe("Version of Redis: a tag of its image."),
        ),
        ("persistence", persistence.default(json!({}))),
        (
            "password",
            Schema::boolean()
                .default(false)
                .effect(Effect::RollingRestart)
                .describe("Clients need a password: key `password` of the Secret `<name>-auth`."),
        ),
        (
            "maxmemory_policy",
            Schema::one_of(policies)
                .default("noeviction")
                .effect(Effect::RollingRestart)
                .describe("What happens to a write when memory is full: refused, or keys are evicted."),
        ),
        (
            "config",
            Schema::map(Schema::string())
                .default(json!({}))
                .effect(Effect::RollingRestart)
                .describe("Further settings of redis.conf, each as text: `hz: \"20\"`."),
        ),
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
    if spec.persistence.enabled && spec.persistence.megabytes() < 2 * spec.memory_mb {
        let message = format!(
            "{} is too small for {} MB of memory: while the append-only file is rewritten, old and new are both \
             there. Set at least {}Mi",
            spec.persistence.size,
            spec.memory_mb,
            2 * spec.memory_mb
        );
        violations.add("/persistence/size", "too-small", message);
    }
    for (name, value) in &spec.config {
        admit_setting(name, value, violations);
    }
}

fn admit_setting(name: &str, value: &str, violations: &mut Violations) {
    let path = format!("/config/{}", name.replace('~', "~0").replace('/', "~1"));
    if SETTINGS.binary_search(&name).is_err() {
        let instead = match name {
            "maxmemory" => "set `memory_mb`",
            "maxmemory-policy" => "set `maxmemory_policy`",
            "requirepass" | "masterauth" => "set `password`",
            "replicaof" | "slaveof" => "set `replicas`",
            "appendonly" | "save" | "dir" => "set `persistence`",
            _ => "senren keeps it to itself, or Redis does not know it",
        };
        return violations.add(&path, "unknown-setting", format!("cannot be set here: {instead}"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || " ._:$%-".contains(c);
    if value.len() > 200 || !value.chars().all(plain) || value.trim() != value {
        let message = "must be up to 200 letters, digits, spaces and . _ : $ % -";
        violations.add(&path, "bad-value", message);
    }
}

impl Persistence {
    pub(crate) fn megabytes(&self) -> u64 {
        senren_plugin::bytes(&self.size).unwrap_or_default() >> 20
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use senren_plugin::{Plugin as _, Value};

    use super::*;
    use crate::Plugin;

    fn admit(spec: &Value) -> Result<Value, Vec<(String, String)>> {
        match Plugin::admit("redis".into(), spec.to_string()) {
            Ok(admitted) => Ok(serde_json::from_str(&admitted).unwrap()),
            Err(violations) => Err(violations.into_iter().map(|one| (one.path, one.code)).collect()),
        }
    }

    #[test]
    fn nothing_but_defaults_is_a_redis() {
        insta::assert_json_snapshot!(admit(&json!({})).unwrap());
    }

    #[test]
    fn settings_are_in_order_for_the_search() {
        assert!(SETTINGS.is_sorted());
    }

    #[test]
    fn what_cannot_be_is_refused_all_at_once() {
        for (spec, wrong) in [
            (
                json!({"replicas": 1, "persistence": {"enabled": false}}),
                vec![("/persistence/enabled", "needs-persistence")],
            ),
            (json!({"memory_mb": 1024}), vec![("/persistence/size", "too-small")]),
            (json!({"memory_mb": 1024, "persistence": {"size": "2Gi"}}), vec![]),
            (json!({"memory_mb": 1024, "persistence": {"enabled": false}}), vec![]),
            (json!({"config": {"requirepass": "x"}}), vec![("/config/requirepass", "unknown-setting")]),
            (json!({"config": {"loadmodule": "/x.so"}}), vec![("/config/loadmodule", "unknown-setting")]),
            (json!({"config": {"a/b": "x"}}), vec![("/config/a~1b", "unknown-setting")]),
            (json!({"config": {"hz": "10\nport 1"}}), vec![("/config/hz", "bad-value")]),
            (json!({"config": {"hz": "20", "notify-keyspace-events": ""}}), vec![]),
            (
                json!({"replicas": 2, "persistence": {"enabled": false}, "config": {"dir": "/"}}),
                vec![("/persistence/enabled", "needs-persistence"), ("/config/dir", "unknown-setting")],
            ),
        ] {
            let found = admit(&spec).err().unwrap_or_default();
            let found: Vec<_> = found.iter().map(|(path, code)| (path.as_str(), code.as_str())).collect();
            assert_eq!(found, wrong, "{spec}");
        }
    }
}
