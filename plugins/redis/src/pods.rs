//! What the pods of every type of Redis have in common: who they run as, how they are probed, what they may use.

use senren_plugin::Value;
use senren_plugin::prelude::*;

/// Where clients connect.
pub(crate) const PORT: u16 = 6379;
/// Name of the one container.
pub(crate) const CONTAINER: &str = "redis";
/// User and group `redis` of the image.
const USER: u32 = 999;

/// What differs between the pods of one type and another.
pub(crate) struct Template {
    pub image: String,
    /// Name of the ConfigMap with redis.conf and the scripts.
    pub config: String,
    pub env: Vec<Value>,
    pub ports: Value,
    pub memory_limit_mb: u64,
    /// `/data` is on a claim; otherwise it goes with the pod.
    pub persistent: bool,
}

/// The spec of a pod.
pub(crate) fn pod_spec(template: Template) -> Value {
    let mut volumes = vec![
        json!({"name": "config", "configMap": {"name": template.config}}),
        json!({"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}}),
    ];
    if !template.persistent {
        volumes.push(json!({"name": "data", "emptyDir": {}}));
    }
    json!({
        "containers": [container(template)],
        "volumes": volumes,
        "terminationGracePeriodSeconds": 60,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    })
}

fn container(template: Template) -> Value {
    let memory = format!("{}Mi", template.memory_limit_mb);
    json!({
        "name": CONTAINER,
        "image": template.image,
        "command": ["sh", "/etc/redis/start.sh"],
        "env": template.env,
        "ports": template.ports,
        // So that the status can say why it does not start.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": {"requests": {"cpu": "50m", "memory": memory}, "limits": {"memory": memory}},
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/redis", "readOnly": true},
            {"name": "data", "mountPath": "/data"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
        // The script waits for up to four seconds by itself; one failure after that is enough.
        "readinessProbe": {
            "exec": {"command": ["sh", "/etc/redis/ready.sh"]},
            "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 1,
        },
        // Any answer will do, that it is still loading included.
        "livenessProbe": {
            "exec": {"command": ["sh", "-c", "exec redis-cli -h \"$POD_IP\" ping"]},
            "initialDelaySeconds": 10, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6,
        },
        "securityContext": {
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        },
    })
}

/// What a pod knows of itself.
pub(crate) fn identity() -> Vec<Value> {
    vec![
        json!({"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
        json!({"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}),
    ]
}

/// The password, under the name that redis-cli looks for.
pub(crate) fn password(secret: &str) -> Value {
    let reference = json!({"name": secret, "key": "password"});
    json!({"name": "REDISCLI_AUTH", "valueFrom": {"secretKeyRef": reference}})
}

/// Data, and beside it: what Redis itself and its connections need, and the pages that a forked child keeps while
/// clients go on writing (a rewrite of the append-only file, a replica's first copy).
pub(crate) fn memory_limit_mb(memory_mb: u64, forks: bool) -> u64 {
    memory_mb + 32 + memory_mb / if forks { 2 } else { 8 }
}
