//! The Kubernetes objects of a Redis.
//!
//! | object | for |
//! |---|---|
//! | ConfigMap `<name>-config` | redis.conf and the scripts |
//! | Service `<name>-nodes` | headless: the DNS name of each pod, ready or not |
//! | Service `<name>` | the primary, pod 0 |
//! | Service `<name>-reads` | with replicas: any instance that is ready |
//! | StatefulSet `<name>` | the pods |
//!
//! A change of the pod template replaces every pod, so what goes into it is only what must.

use std::fmt::Write;

use senren_plugin::Value;
use senren_plugin::objects::{self, StatefulSet, checksum};
use senren_plugin::prelude::*;

use crate::{Config, Spec};

/// Where clients and replicas connect.
pub(crate) const PORT: u16 = 6379;
/// Annotation of the StatefulSet that tells whether what is observed is what was last wanted.
pub(crate) const CHECKSUM: &str = "checksum/stateful-set";
/// User and group `redis` of the image.
const USER: u32 = 999;

const START: &str = include_str!("scripts/start.sh");
const READY: &str = include_str!("scripts/ready.sh");

/// Names of a Redis' objects.
pub(crate) struct Names {
    pub config: String,
    pub nodes: String,
    pub reads: String,
    pub secret: String,
}

impl Names {
    pub(crate) fn of(input: &Input<Spec, Config>) -> Self {
        Self {
            config: input.child("config"),
            nodes: input.child("nodes"),
            reads: input.child("reads"),
            secret: input.child("auth"),
        }
    }
}

/// Name of a pod; 0 is the primary.
pub(crate) fn pod(input: &Input<Spec, Config>, ordinal: u32) -> String {
    format!("{}-{ordinal}", input.name)
}

/// redis.conf and the scripts.
pub(crate) fn config_map(name: &str, redis_conf: String) -> Value {
    let data = [("redis.conf", redis_conf), ("start.sh", START.to_owned()), ("ready.sh", READY.to_owned())];
    objects::config_map(name, data)
}

/// What is the same for all pods.
pub(crate) fn redis_conf(spec: &Spec) -> String {
    let mut conf = format!(
        "port {PORT}\nprotected-mode no\ndir /data\nmaxmemory {}mb\nmaxmemory-policy {}\n",
        spec.memory_mb, spec.maxmemory_policy
    );
    // The append-only file alone: snapshots beside it would only fork more often. It is complete on shutdown.
    conf.push_str(if spec.persistence.enabled { "appendonly yes\n" } else { "appendonly no\n" });
    conf.push_str("save \"\"\nrepl-diskless-sync yes\nrepl-diskless-sync-delay 0\n");
    for (name, value) in &spec.config {
        let value = if value.is_empty() { "\"\"" } else { value };
        // Writing to a String does not fail.
        let _ = writeln!(conf, "{name} {value}");
    }
    conf
}

/// The Services, in front of all pods, of the primary, and of those that serve reads.
pub(crate) fn services(input: &Input<Spec, Config>, names: &Names) -> Vec<Value> {
    let ports = [("redis", PORT)];
    let mut primary = input.labels();
    primary["statefulset.kubernetes.io/pod-name"] = Value::from(pod(input, 0));
    let mut services = vec![
        objects::headless_service(&names.nodes, input.labels(), &ports),
        objects::service(input.name, primary, &ports),
    ];
    if input.spec.replicas > 0 {
        services.push(objects::service(&names.reads, input.labels(), &ports));
    }
    services
}

/// The pods. `secret_version` is that of the password, if there is one.
pub(crate) fn stateful_set(
    input: &Input<Spec, Config>,
    names: &Names,
    redis_conf: &str,
    secret_version: Option<&str>,
) -> (Value, String) {
    let persistence = &input.spec.persistence;
    let mut claims = Vec::new();
    if persistence.enabled {
        claims.push(objects::claim("data", &persistence.size, input.config.storage_class()));
    }
    let mut set = Value::from(StatefulSet {
        service: &names.nodes,
        replicas: 1 + input.spec.replicas,
        pod_annotations: json!({"checksum/config": checksum(&[redis_conf, START, secret_version.unwrap_or("")])}),
        pod: pod_spec(input, names),
        claims,
        ..StatefulSet::new(input.name, input.labels())
    });
    let wanted = checksum(&[&set.to_string()]);
    set["metadata"]["annotations"] = json!({CHECKSUM: wanted});
    (set, wanted)
}

fn pod_spec(input: &Input<Spec, Config>, names: &Names) -> Value {
    let mut volumes = vec![
        json!({"name": "config", "configMap": {"name": names.config}}),
        json!({"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}}),
    ];
    if !input.spec.persistence.enabled {
        volumes.push(json!({"name": "data", "emptyDir": {}}));
    }
    json!({
        "containers": [container(input, names)],
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

fn container(input: &Input<Spec, Config>, names: &Names) -> Value {
    let memory = format!("{}Mi", memory_limit_mb(&input.spec));
    json!({
        "name": "redis",
        "image": input.config.image(&input.spec.version),
        "command": ["sh", "/etc/redis/start.sh"],
        "env": environment(input, names),
        "ports": [{"name": "redis", "containerPort": PORT}],
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

fn environment(input: &Input<Spec, Config>, names: &Names) -> Value {
    let primary = format!("{}.{}", pod(input, 0), input.dns(&names.nodes));
    let mut environment = vec![
        json!({"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
        json!({"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}),
        json!({"name": "PRIMARY", "value": primary}),
    ];
    if input.spec.password {
        // The name that redis-cli looks for.
        let reference = json!({"name": names.secret, "key": "password"});
        environment.push(json!({"name": "REDISCLI_AUTH", "valueFrom": {"secretKeyRef": reference}}));
    }
    Value::Array(environment)
}

/// Data, and beside it: what Redis itself and its connections need, and the pages that a forked child keeps while
/// clients go on writing (a rewrite of the append-only file, a replica's first copy).
fn memory_limit_mb(spec: &Spec) -> u64 {
    let forks = spec.persistence.enabled || spec.replicas > 0;
    spec.memory_mb + 32 + spec.memory_mb / if forks { 2 } else { 8 }
}
