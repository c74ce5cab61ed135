//! Fields of a spec that every type of Redis has.

use senren_plugin::prelude::*;

pub(crate) fn version() -> Schema {
    Schema::string()
        .pattern(r"^(7\.[024]|8\.[0-9])(\.[0-9]{1,2})?$")
        .default("7.2")
        .effect(Effect::RollingRestart)
        .describe("Version of Redis: a tag of its image.")
}

pub(crate) fn maxmemory_policy() -> Schema {
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
    Schema::one_of(policies)
        .default("noeviction")
        .effect(Effect::RollingRestart)
        .describe("What happens to a write when memory is full: refused, or keys are evicted.")
}

pub(crate) fn config() -> Schema {
    Schema::map(Schema::string())
        .default(json!({}))
        .effect(Effect::RollingRestart)
        .describe("Further settings of redis.conf, each as text: `hz: \"20\"`.")
}

/// Size of a volume, as Kubernetes writes it.
pub(crate) fn volume_size() -> Schema {
    Schema::string().pattern("^[1-9][0-9]{0,5}(Mi|Gi|Ti)$")
}

/// `7.2.5` → (7, 2): files change with these only.
pub(crate) fn release(version: &str) -> (u32, u32) {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}
