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

use senren_plugin::Value;
use senren_plugin::objects::{self, StatefulSet, checksum};
use senren_plugin::prelude::*;

use super::Spec;
use crate::pods::{self, PORT, Template};
use crate::{Config, settings};

/// Annotation of the StatefulSet that tells whether what is observed is what was last wanted.
pub(crate) const CHECKSUM: &str = "checksum/stateful-set";

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
    settings::write(&spec.config, &mut conf);
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
    let spec = &input.spec;
    let forks = spec.persistence.enabled || spec.replicas > 0;
    pods::pod_spec(Template {
        image: input.config.image(&spec.version),
        config: names.config.clone(),
        env: environment(input, names),
        ports: json!([{"name": "redis", "containerPort": PORT}]),
        memory_limit_mb: pods::memory_limit_mb(spec.memory_mb, forks),
        persistent: spec.persistence.enabled,
    })
}

fn environment(input: &Input<Spec, Config>, names: &Names) -> Vec<Value> {
    let primary = format!("{}.{}", pod(input, 0), input.dns(&names.nodes));
    let mut environment = pods::identity();
    environment.push(json!({"name": "PRIMARY", "value": primary}));
    if input.spec.password {
        environment.push(pods::password(&names.secret));
    }
    environment
}
