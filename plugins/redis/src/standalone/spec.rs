//! What users may want of a Redis, and what of that cannot be.

use std::collections::BTreeMap;

use senren_plugin::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{fields, settings};

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
            fields::volume_size()
                .default("1Gi")
                .describe("Size of each instance's volume: at least twice its memory. Can grow, not shrink."),
        ),
    ]);
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
        ("version", fields::version()),
        ("persistence", persistence.default(json!({}))),
        (
            "password",
            Schema::boolean()
                .default(false)
                .effect(Effect::RollingRestart)
                .describe("Clients need a password: key `password` of the Secret `<name>-auth`."),
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
    settings::admit(&spec.config, &[], violations);
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
