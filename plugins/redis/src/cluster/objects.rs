//! The Kubernetes objects of a Redis Cluster.
//!
//! | object | for |
//! |---|---|
//! | ConfigMap `<name>-config` | redis.conf and the scripts |
//! | Service `<name>-nodes` | headless: the DNS name of each pod, ready or not |
//! | Service `<name>` | where clients begin: any pod that is part of a cluster that works |
//! | PodDisruptionBudget `<name>` | at most one pod is evicted at a time |
//! | StatefulSet `<name>-shard-<n>` | a shard: its primary and replicas, whichever of them is which |
//!
//! A set for each shard, because shards come and go at their end and replicas at theirs. A change of the pod template
//! replaces every pod, so what goes into it is only what must.

use senren_plugin::Value;
use senren_plugin::objects::{self, StatefulSet, checksum};
use senren_plugin::prelude::*;

use super::Spec;
use super::sets::{SetPlan, SetSeen};
use crate::pods::{self, PORT, Template};
use crate::{Config, settings};

/// `policy/v1 PodDisruptionBudget`
pub(crate) const DISRUPTION_BUDGET: (&str, &str) = ("policy/v1", "PodDisruptionBudget");
/// Where nodes talk to each other.
const BUS_PORT: u16 = PORT + 10_000;
/// Annotation of a StatefulSet: which pod template it has.
pub(crate) const TEMPLATE: &str = "checksum/template";
/// Annotation of a pod: which password it was started with.
pub(crate) const PASSWORD: &str = "checksum/password";
/// Annotation of a StatefulSet: memory for data of each pod.
pub(crate) const MEMORY: &str = "redis/memory-mb";

const START: &str = include_str!("scripts/start.sh");
const READY: &str = include_str!("scripts/ready.sh");
const NODE: &str = include_str!("scripts/node.sh");
/// The script in the pods that looks and acts.
pub(crate) const NODE_SCRIPT: &str = "/etc/redis/node.sh";

/// Names of a cluster's objects.
pub(crate) struct Names {
    pub config: String,
    pub nodes: String,
    pub secret: String,
    /// What the names of its StatefulSets begin with.
    pub shard: String,
}

impl Names {
    pub(crate) fn of(input: &Input<Spec, Config>) -> Self {
        Self {
            config: input.child("config"),
            nodes: input.child("nodes"),
            secret: input.child("auth"),
            shard: input.child("shard-"),
        }
    }

    /// Name of a shard's StatefulSet.
    pub(crate) fn set(&self, shard: u32) -> String {
        format!("{}{shard}", self.shard)
    }

    /// Name of a pod.
    pub(crate) fn pod(&self, shard: u32, ordinal: u32) -> String {
        format!("{}{shard}-{ordinal}", self.shard)
    }

    /// Which shard and which of its pods a name means.
    pub(crate) fn place(&self, pod: &str) -> Option<(u32, u32)> {
        let (shard, ordinal) = pod.strip_prefix(&self.shard)?.split_once('-')?;
        Some((shard.parse().ok()?, ordinal.parse().ok()?))
    }

    /// Which shard a StatefulSet is.
    pub(crate) fn shard_of(&self, set: &str) -> Option<u32> {
        set.strip_prefix(&self.shard)?.parse().ok()
    }
}

/// redis.conf and the scripts.
pub(crate) fn config_map(name: &str, redis_conf: String) -> Value {
    let data = [
        ("redis.conf", redis_conf),
        ("start.sh", START.to_owned()),
        ("ready.sh", READY.to_owned()),
        ("node.sh", NODE.to_owned()),
    ];
    objects::config_map(name, data)
}

/// What is the same for all pods.
pub(crate) fn redis_conf(spec: &Spec, memory_mb: u64) -> String {
    let mut conf = format!(
        "port {PORT}\nprotected-mode no\ndir /data\nmaxmemory {memory_mb}mb\nmaxmemory-policy {}\n",
        spec.maxmemory_policy
    );
    // The append-only file alone: snapshots beside it would only fork more often. It is complete on shutdown.
    conf.push_str(if spec.persistence.enabled { "appendonly yes\n" } else { "appendonly no\n" });
    conf.push_str("save \"\"\nrepl-diskless-sync yes\nrepl-diskless-sync-delay 0\n");
    // A failed primary is replaced after five seconds. Replicas stay where they were put. While a shard is away, the
    // others go on serving.
    conf.push_str(
        "cluster-enabled yes\ncluster-config-file nodes.conf\ncluster-node-timeout 5000\n\
         cluster-allow-replica-migration no\ncluster-require-full-coverage no\n",
    );
    settings::write(&spec.config, &mut conf);
    conf
}

/// The Services, and the budget for evictions.
pub(crate) fn around(input: &Input<Spec, Config>, names: &Names) -> [Value; 3] {
    let ports = [("redis", PORT)];
    let mut budget = objects::object(DISRUPTION_BUDGET, input.name);
    budget["spec"] = json!({"maxUnavailable": 1, "selector": {"matchLabels": input.labels()}});
    [
        objects::headless_service(&names.nodes, input.labels(), &[("redis", PORT), ("bus", BUS_PORT)]),
        objects::service(input.name, input.labels(), &ports),
        budget,
    ]
}

/// What pods are made from, whatever their shard.
pub(crate) struct PodTemplate {
    pub memory_mb: u64,
    /// Tells one password from another; empty if there is none.
    pub password: String,
    annotations: Value,
    pod: Value,
    /// Tells one pod template from another.
    pub checksum: String,
}

impl PodTemplate {
    pub(crate) fn new(
        input: &Input<Spec, Config>,
        names: &Names,
        redis_conf: &str,
        memory_mb: u64,
        secret_version: Option<&str>,
    ) -> Self {
        let password = secret_version.map(|version| checksum(&[version])).unwrap_or_default();
        let mut annotations = json!({"checksum/config": checksum(&[redis_conf, START])});
        if !password.is_empty() {
            annotations[PASSWORD] = Value::from(password.clone());
        }
        let pod = pod_spec(input, names, memory_mb);
        let checksum = checksum(&[&pod.to_string(), &annotations.to_string()]);
        Self { memory_mb, password, annotations, pod, checksum }
    }

    /// The spec of a pod of a shard.
    fn of_shard(&self, labels: &Value) -> Value {
        let mut pod = self.pod.clone();
        // A machine or a zone that fails shall not take a primary and its replicas with it.
        let spread = |topology: &str| {
            json!({
                "maxSkew": 1, "topologyKey": topology, "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": labels},
            })
        };
        pod["topologySpreadConstraints"] =
            json!([spread("topology.kubernetes.io/zone"), spread("kubernetes.io/hostname")]);
        pod
    }
}

/// The pods of a shard, as many and as far replaced as `plan` says.
pub(crate) fn stateful_set(
    input: &Input<Spec, Config>,
    names: &Names,
    template: &PodTemplate,
    plan: &SetPlan,
    seen: Option<&SetSeen>,
) -> Value {
    let labels = labels(input, plan.shard);
    let mut claims = Vec::new();
    if input.spec.persistence.enabled {
        let wanted = input.spec.volume();
        let kept = seen.and_then(|seen| seen.volume.clone()).filter(|(bytes, _)| *bytes > wanted.0);
        claims.push(objects::claim("data", &kept.unwrap_or(wanted).1, input.config.storage_class()));
    }
    let mut set = Value::from(StatefulSet {
        service: &names.nodes,
        replicas: plan.replicas,
        annotations: json!({TEMPLATE: template.checksum, MEMORY: template.memory_mb.to_string()}),
        pod_annotations: template.annotations.clone(),
        pod: template.of_shard(&labels),
        claims,
        ..StatefulSet::new(&names.set(plan.shard), labels)
    });
    set["spec"]["updateStrategy"] =
        json!({"type": "RollingUpdate", "rollingUpdate": {"partition": plan.partition}});
    if input.spec.persistence.enabled {
        // A volume goes with its pod when this plugin takes a pod away for good, and at no other time.
        let when_scaled = if plan.shrinks { "Delete" } else { "Retain" };
        set["spec"]["persistentVolumeClaimRetentionPolicy"] =
            json!({"whenDeleted": "Retain", "whenScaled": when_scaled});
    }
    set
}

fn labels(input: &Input<Spec, Config>, shard: u32) -> Value {
    let mut labels = input.labels();
    labels["app.kubernetes.io/component"] = Value::from(format!("shard-{shard}"));
    labels
}

fn pod_spec(input: &Input<Spec, Config>, names: &Names, memory_mb: u64) -> Value {
    let spec = &input.spec;
    let mut env = pods::identity();
    env.push(json!({"name": "DOMAIN", "value": input.dns(&names.nodes)}));
    if spec.password {
        env.push(pods::password(&names.secret));
    }
    pods::pod_spec(Template {
        image: input.config.image(&spec.version),
        config: names.config.clone(),
        env,
        ports: json!([
            {"name": "redis", "containerPort": PORT}, {"name": "bus", "containerPort": BUS_PORT},
        ]),
        memory_limit_mb: pods::memory_limit_mb(memory_mb, spec.persistence.enabled),
        persistent: spec.persistence.enabled,
    })
}
