//! The Kubernetes objects of an Aerospike cluster.
//!
//! | object | for |
//! |---|---|
//! | ConfigMap `<name>-config` | aerospike.conf and the script that completes it |
//! | Service `<name>-nodes` | headless: the DNS name of each node, ready or not |
//! | Service `<name>` | clients: any node, which tells them of the others |
//! | PodDisruptionBudget `<name>` | whoever drains machines takes one node at a time |
//! | StatefulSet `<name>` | the nodes |
//!
//! A change of the pod template replaces every pod, so what goes into it is only what must. How many pods there are,
//! and from which one on they have the current template, is not up to this module: see [`crate::steps`].

use senren_plugin::Value;
use senren_plugin::objects::{self, StatefulSet, checksum};
use senren_plugin::prelude::*;

use crate::conf::{self, ADMIN_PORT, FABRIC_PORT, HEARTBEAT_PORT, SERVICE_PORT};
use crate::steps::Step;
use crate::{Config, DISRUPTION_BUDGET, Spec};

/// Annotation of the StatefulSet and of its pods that tells from which pod template they were made.
pub(crate) const TEMPLATE: &str = "checksum/pod-template";
/// The container that the server is in.
pub(crate) const CONTAINER: &str = "aerospike";
/// Any that is not root's: the image's own is.
const USER: u32 = 1000;
/// Nodes that one which starts asks for the others.
const SEEDS: u32 = 3;
/// What a server needs besides records and indexes, in MiB.
const BASE_MB: u64 = 512;

const START: &str = include_str!("scripts/start.sh");

/// Names of a cluster's objects.
pub(crate) struct Names {
    config: String,
    nodes: String,
}

impl Names {
    pub(crate) fn of(input: &Input<Spec, Config>) -> Self {
        Self { config: input.child("config"), nodes: input.child("nodes") }
    }
}

/// Name of a node's pod.
pub(crate) fn pod(input: &Input<Spec, Config>, ordinal: u32) -> String {
    format!("{}-{ordinal}", input.name)
}

/// What a node is made from.
pub(crate) struct Template {
    conf: String,
    pod: Value,
    /// Another one whenever pods are to be replaced.
    pub checksum: String,
}

impl Template {
    pub(crate) fn of(input: &Input<Spec, Config>, names: &Names) -> Self {
        let seeds: Vec<_> =
            (0..SEEDS).map(|n| format!("{}.{}", pod(input, n), input.dns(&names.nodes))).collect();
        // Nodes never join those of another cluster, whosever addresses they come to have.
        let cluster = format!("{}-{}", input.name, checksum(&[&input.raw.region, input.namespace]));
        let conf = conf::aerospike_conf(&cluster, &input.spec, &seeds);
        let pod = pod_spec(input, names);
        let checksum = checksum(&[&conf, START, &pod.to_string()]);
        Self { conf, pod, checksum }
    }
}

/// Everything but the nodes.
pub(crate) fn around(input: &Input<Spec, Config>, names: &Names, template: &Template) -> [Value; 4] {
    let data = [("aerospike.conf", template.conf.clone()), ("start.sh", START.to_owned())];
    let ports = [
        ("service", SERVICE_PORT),
        ("fabric", FABRIC_PORT),
        ("heartbeat", HEARTBEAT_PORT),
        ("admin", ADMIN_PORT),
    ];
    let mut budget = objects::object(DISRUPTION_BUDGET, input.name);
    budget["spec"] = json!({"maxUnavailable": 1, "selector": {"matchLabels": input.labels()}});
    [
        objects::config_map(&names.config, data),
        objects::headless_service(&names.nodes, input.labels(), &ports),
        objects::service(input.name, input.labels(), &ports[..1]),
        budget,
    ]
}

/// The nodes, as far as they may go now.
pub(crate) fn stateful_set(
    input: &Input<Spec, Config>,
    names: &Names,
    template: Template,
    step: &Step,
) -> Value {
    let mut set = Value::from(StatefulSet {
        service: &names.nodes,
        replicas: step.replicas,
        annotations: json!({TEMPLATE: template.checksum}),
        pod_annotations: json!({TEMPLATE: template.checksum}),
        pod: template.pod,
        ..StatefulSet::new(input.name, input.labels())
    });
    set["spec"]["updateStrategy"] =
        json!({"type": "RollingUpdate", "rollingUpdate": {"partition": step.partition}});
    set
}

fn pod_spec(input: &Input<Spec, Config>, names: &Names) -> Value {
    json!({
        "containers": [container(input)],
        "volumes": [
            {"name": "config", "configMap": {"name": names.config}},
            {"name": "work", "emptyDir": {"sizeLimit": "64Mi"}},
            {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
        ],
        // Copies of a record on one machine would go together.
        "topologySpreadConstraints": [{
            "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": input.labels()},
        }],
        "terminationGracePeriodSeconds": 60,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    })
}

fn container(input: &Input<Spec, Config>) -> Value {
    let memory = format!("{}Mi", memory_limit_mb(&input.spec));
    // The server listens once it has joined a cluster, or founded one.
    let listens = json!({"port": "service"});
    json!({
        "name": CONTAINER,
        "image": input.config.image(&input.spec.version),
        "command": ["sh", "/etc/senren/start.sh"],
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
        "ports": [
            {"name": "service", "containerPort": SERVICE_PORT},
            {"name": "fabric", "containerPort": FABRIC_PORT},
            {"name": "heartbeat", "containerPort": HEARTBEAT_PORT},
            {"name": "admin", "containerPort": ADMIN_PORT},
        ],
        // So that the status can say why it does not start.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": {"requests": {"cpu": "250m", "memory": memory}, "limits": {"memory": memory}},
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/senren", "readOnly": true},
            {"name": "work", "mountPath": conf::WORK_DIR},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
        "readinessProbe": {"tcpSocket": listens, "periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": 2},
        "livenessProbe": {
            "tcpSocket": listens,
            "initialDelaySeconds": 30, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6,
        },
        "securityContext": {
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        },
    })
}

fn memory_limit_mb(spec: &Spec) -> u64 {
    spec.memory_mb() + conf::index_mb(spec.memory_mb()) + BASE_MB
}
