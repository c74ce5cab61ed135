//! How the fields of the built-in kinds merge: the list-map keys, sets, maps and atomic fields that the real
//! types declare, by hand, for the kinds of [`crate::kinds`] and everything inside them.
//!
//! What isn't here follows the rule of `shape`: objects are structs, lists are atomic.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use crate::kinds::{self, GroupResource};
use crate::shape::{ListMap, Shape, Struct};

type Field = (&'static str, Arc<Shape>);

static METADATA: LazyLock<Arc<Shape>> = LazyLock::new(|| {
    object(
        &[],
        [
            ("labels", map()),
            ("annotations", map()),
            ("finalizers", Arc::new(Shape::Set)),
            ("ownerReferences", list(&["uid"], Arc::new(Shape::Atomic))),
            ("managedFields", atomic()),
        ],
    )
});

static SHAPES: LazyLock<BTreeMap<GroupResource, Arc<Shape>>> = LazyLock::new(|| {
    let root = |fields: Vec<Field>| {
        let fields = fields.into_iter().chain([("metadata", metadata())]);
        object(&["metadata", "spec", "status"], fields)
    };
    let plain =
        |fields: Vec<Field>| object(&["metadata"], fields.into_iter().chain([("metadata", metadata())]));
    let plain_spec = |spec| object(&["metadata", "spec"], [("metadata", metadata()), ("spec", spec)]);
    BTreeMap::from([
        (kinds::NAMESPACES, root(vec![("status", conditions())])),
        (kinds::CONFIG_MAPS, plain(vec![("data", map()), ("binaryData", map())])),
        (kinds::SECRETS, plain(vec![("data", map()), ("stringData", map())])),
        (kinds::SERVICES, root(vec![("spec", service()), ("status", service_status())])),
        (kinds::SERVICE_ACCOUNTS, plain(vec![("secrets", list(&["name"], open()))])),
        (kinds::ENDPOINTS, plain(vec![])),
        (kinds::PODS, root(vec![("spec", pod_spec()), ("status", pod_status())])),
        (kinds::CLAIMS, root(vec![("spec", claim()), ("status", claim_status())])),
        (kinds::EVENTS, event()),
        (kinds::ENDPOINT_SLICES, plain(vec![])),
        (kinds::STATEFUL_SETS, root(vec![("spec", stateful_set()), ("status", conditions())])),
        (kinds::CONTROLLER_REVISIONS, plain(vec![("data", Arc::new(Shape::Deduced))])),
        (kinds::JOBS, root(vec![("spec", job()), ("status", conditions_atomic())])),
        (kinds::LEASES, root(vec![])),
        (kinds::DISRUPTION_BUDGETS, root(vec![("spec", budget()), ("status", budget_status())])),
        (kinds::NETWORK_POLICIES, plain_spec(network_policy())),
        (kinds::DEFINITIONS, root(vec![("spec", object(&["names"], [])), ("status", conditions())])),
    ])
});

/// The shape of a built-in kind.
pub fn of(what: &GroupResource) -> Arc<Shape> {
    SHAPES.get(what).cloned().unwrap_or_else(open)
}

/// The shape of every object's metadata.
pub fn metadata() -> Arc<Shape> {
    METADATA.clone()
}

fn object(present: &'static [&'static str], fields: impl IntoIterator<Item = Field>) -> Arc<Shape> {
    let fields = fields.into_iter().map(|(name, shape)| (name.to_owned(), shape)).collect();
    Arc::new(Shape::Struct(Struct { fields, present, open: true }))
}

fn open() -> Arc<Shape> {
    object(&[], [])
}

fn atomic() -> Arc<Shape> {
    Arc::new(Shape::Atomic)
}

/// Strings by keys of the user's.
fn map() -> Arc<Shape> {
    Arc::new(Shape::Map(atomic()))
}

fn list(keys: &[&str], item: Arc<Shape>) -> Arc<Shape> {
    let keys = keys.iter().map(|key| ((*key).to_owned(), None)).collect();
    Arc::new(Shape::ListMap(ListMap { keys, item }))
}

/// Ports are known by number and protocol, and the protocol is TCP unless it says otherwise.
fn ports(number: &str) -> Arc<Shape> {
    let keys = vec![(number.to_owned(), None), ("protocol".to_owned(), Some("TCP".into()))];
    Arc::new(Shape::ListMap(ListMap { keys, item: open() }))
}

fn conditions() -> Arc<Shape> {
    object(&[], [("conditions", list(&["type"], open()))])
}

fn conditions_atomic() -> Arc<Shape> {
    object(&[], [("conditions", atomic())])
}

fn event() -> Arc<Shape> {
    let fields = [("metadata", metadata()), ("involvedObject", atomic()), ("related", atomic())];
    object(&["metadata", "involvedObject", "source"], fields)
}

fn service() -> Arc<Shape> {
    // `selector` is `x-kubernetes-map-type: atomic`; the address lists are atomic by the rule.
    object(&[], [("ports", ports("port")), ("selector", atomic())])
}

fn service_status() -> Arc<Shape> {
    let balancer = object(&[], []);
    object(&["loadBalancer"], [("conditions", list(&["type"], open())), ("loadBalancer", balancer)])
}

fn resources() -> Arc<Shape> {
    object(&[], [("limits", map()), ("requests", map()), ("claims", list(&["name"], open()))])
}

fn claim() -> Arc<Shape> {
    object(&["resources"], [("selector", atomic()), ("resources", resources()), ("dataSource", atomic())])
}

fn claim_status() -> Arc<Shape> {
    object(
        &[],
        [
            ("conditions", list(&["type"], open())),
            ("capacity", map()),
            ("allocatedResources", map()),
            ("allocatedResourceStatuses", map()),
        ],
    )
}

fn stateful_set() -> Arc<Shape> {
    object(
        &["template", "updateStrategy"],
        [("selector", atomic()), ("template", template()), ("volumeClaimTemplates", atomic())],
    )
}

fn job() -> Arc<Shape> {
    object(&["template"], [("selector", atomic()), ("template", template())])
}

fn budget() -> Arc<Shape> {
    object(&[], [("selector", atomic())])
}

fn budget_status() -> Arc<Shape> {
    object(&[], [("conditions", list(&["type"], open())), ("disruptedPods", map())])
}

fn network_policy() -> Arc<Shape> {
    object(&["podSelector"], [("podSelector", atomic())])
}

fn template() -> Arc<Shape> {
    object(&["metadata", "spec"], [("metadata", metadata()), ("spec", pod_spec())])
}

fn pod_spec() -> Arc<Shape> {
    object(
        &["containers"],
        [
            ("containers", list(&["name"], container())),
            ("initContainers", list(&["name"], container())),
            ("ephemeralContainers", list(&["name"], container())),
            ("volumes", list(&["name"], volume())),
            ("imagePullSecrets", list(&["name"], atomic())),
            ("hostAliases", list(&["ip"], open())),
            ("nodeSelector", atomic()),
            ("affinity", affinity()),
            ("overhead", map()),
            ("schedulingGates", list(&["name"], open())),
            ("resourceClaims", list(&["name"], open())),
            ("resources", resources()),
            ("topologySpreadConstraints", spread()),
        ],
    )
}

fn spread() -> Arc<Shape> {
    list(&["topologyKey", "whenUnsatisfiable"], object(&[], [("labelSelector", atomic())]))
}

fn affinity() -> Arc<Shape> {
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    object(&[], [("nodeAffinity", object(&[], [(required, atomic())]))])
}

fn container() -> Arc<Shape> {
    let handler = || object(&[], [("httpGet", open())]);
    object(
        &["resources"],
        [
            ("ports", ports("containerPort")),
            ("env", list(&["name"], env())),
            ("volumeMounts", list(&["mountPath"], open())),
            ("volumeDevices", list(&["devicePath"], open())),
            ("resources", resources()),
            ("lifecycle", object(&[], [("postStart", handler()), ("preStop", handler())])),
        ],
    )
}

fn env() -> Arc<Shape> {
    let source = object(
        &[],
        [
            ("configMapKeyRef", atomic()),
            ("secretKeyRef", atomic()),
            ("fieldRef", atomic()),
            ("resourceFieldRef", atomic()),
            ("fileKeyRef", atomic()),
        ],
    );
    object(&[], [("valueFrom", source)])
}

fn volume() -> Arc<Shape> {
    let reference = || object(&[], [("secretRef", atomic())]);
    let ephemeral = object(&["metadata", "spec"], [("metadata", metadata()), ("spec", claim())]);
    object(
        &[],
        [
            ("ephemeral", object(&[], [("volumeClaimTemplate", ephemeral)])),
            ("csi", object(&[], [("volumeAttributes", map()), ("nodePublishSecretRef", atomic())])),
            ("flexVolume", object(&[], [("options", map()), ("secretRef", atomic())])),
            ("cephfs", reference()),
            ("rbd", reference()),
            ("iscsi", reference()),
            ("scaleIO", reference()),
            ("storageos", reference()),
        ],
    )
}

fn pod_status() -> Arc<Shape> {
    object(
        &[],
        [
            ("conditions", list(&["type"], open())),
            ("podIPs", list(&["ip"], open())),
            ("hostIPs", atomic()),
            ("resourceClaimStatuses", list(&["name"], open())),
        ],
    )
}
