//! What users may put into redis.conf, and what of redis.conf is the same for every type.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use senren_plugin::prelude::*;

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

/// Adds what is wrong with the field `config`. Besides the settings of every Redis, a type may know `more`.
pub(crate) fn admit(config: &BTreeMap<String, String>, more: &[&str], violations: &mut Violations) {
    for (name, value) in config {
        admit_setting(name, value, more, violations);
    }
}

fn admit_setting(name: &str, value: &str, more: &[&str], violations: &mut Violations) {
    let path = format!("/config/{}", name.replace('~', "~0").replace('/', "~1"));
    if SETTINGS.binary_search(&name).is_err() && !more.contains(&name) {
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

/// Adds them to a redis.conf.
pub(crate) fn write(config: &BTreeMap<String, String>, conf: &mut String) {
    for (name, value) in config {
        let value = if value.is_empty() { "\"\"" } else { value };
        // Writing to a String does not fail.
        let _ = writeln!(conf, "{name} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_in_order_for_the_search() {
        assert!(SETTINGS.is_sorted());
    }
}
