//! Which pods are behind a service: `Endpoints` and `EndpointSlice`s from selectors and readiness.
//!
//! One pass per service looks at everything and writes what follows; it is run when the service changes or
//! something about a pod that matters here. Writing what is there already changes nothing, so running it too
//! often is harmless.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::core::v1::{Pod, Service, ServicePort},
    apimachinery::pkg::util::intstr::IntOrString,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::labelled::{Labelled, Pair, pairs_of};
use crate::{
    kinds::{ENDPOINT_SLICES, ENDPOINTS, GroupResource, PODS, SERVICES},
    status::Result,
    store::{DeleteOptions, Key, Object, Part, Store, Write, key_of},
    workloads::{
        feed::{Change, Feed, get, typed},
        pod_state::{is_finished, is_ready},
    },
    write::CONTROLLERS,
};

/// Keeps endpoints up to date until stopped.
pub async fn run(store: Store, stop: CancellationToken) -> anyhow::Result<()> {
    let mut services = Feed::open(&store, &SERVICES)?;
    let mut pods = Feed::open(&store, &PODS)?;
    let mut controller = Controller { store, pods: Labelled::default(), services: Labelled::default() };
    let mut queue = BTreeSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Some(change) = services.next() => controller.service_changed(&change, &mut queue),
            Some(change) = pods.next() => controller.pod_changed(&change, &mut queue),
            else => return Ok(()),
        }
        while let Some(change) = services.try_next() {
            controller.service_changed(&change, &mut queue);
        }
        while let Some(change) = pods.try_next() {
            controller.pod_changed(&change, &mut queue);
        }
        while let Some(key) = queue.pop_first() {
            if let Err(status) = controller.reconcile(&key) {
                tracing::debug!(error = status.message, service = key.name, "endpoints were not written");
            }
        }
    }
}

struct Controller {
    store: Store,
    /// Pods by all their labels.
    pods: Labelled,
    /// Services by one pair of their selectors, the one that fewest others share.
    services: Labelled,
}

impl Controller {
    fn service_changed(&mut self, change: &Change, queue: &mut BTreeSet<Key>) {
        let key = key_of(&change.object);
        let selector = if change.gone { Vec::new() } else { pairs_of(&change.object["spec"]["selector"]) };
        self.services.set(&key, Vec::new());
        let rarest = self.services.rarest(&key.namespace, &selector).cloned();
        self.services.set(&key, rarest.into_iter().collect());
        queue.insert(key);
    }

    /// Adds the services that a change of a pod may matter to.
    fn pod_changed(&mut self, change: &Change, queue: &mut BTreeSet<Key>) {
        let key = key_of(&change.object);
        let now = if change.gone { Vec::new() } else { pairs_of(&change.object["metadata"]["labels"]) };
        let before = self.pods.set(&key, now.clone());
        let same = |previous: &Object| relevant(previous) == relevant(&change.object);
        if !change.gone && change.previous.as_ref().is_some_and(same) {
            return;
        }
        for pair in now.iter().chain(&before) {
            for name in self.services.with(&key.namespace, pair) {
                queue.insert(Key::new(key.namespace.clone(), name.clone()));
            }
        }
    }

    /// Brings the endpoints of one service up to date.
    fn reconcile(&self, key: &Key) -> Result<()> {
        let store = &self.store;
        let Some(service) = get::<Service>(store, &SERVICES, &key.namespace, &key.name) else {
            // The slices go with their owner; Endpoints have none and go by name.
            return gone_or(store.delete(&ENDPOINTS, &key.namespace, &key.name, &DeleteOptions::default()));
        };
        let spec = service.spec.clone().unwrap_or_default();
        let Some(selector) = spec.selector.as_ref().filter(|selector| !selector.is_empty()) else {
            // Endpoints of a service without a selector are somebody else's.
            return Ok(());
        };
        if service.metadata.deletion_timestamp.is_some() || spec.type_.as_deref() == Some("ExternalName") {
            return Ok(());
        }
        let tolerant = spec.publish_not_ready_addresses == Some(true);
        let mut groups = Groups::new();
        for pod in self.selected(key, selector).iter().filter_map(typed::<Pod>) {
            if let Some(endpoint) = Endpoint::of(&pod, &key.name, tolerant) {
                let ports = spec.ports.iter().flatten().filter_map(|port| Port::of(port, &pod)).collect();
                groups.entry(ports).or_default().push(endpoint);
            }
        }
        write_endpoints(store, key, &service, &groups)?;
        write_slices(store, key, &service, &groups)
    }

    fn selected(&self, service: &Key, selector: &BTreeMap<String, String>) -> Vec<Object> {
        let namespace = &service.namespace;
        let pairs: Vec<Pair> = selector.clone().into_iter().collect();
        let Some(rarest) = self.pods.rarest(namespace, &pairs) else { return Vec::new() };
        let candidates = self.pods.with(namespace, rarest);
        let there = candidates.filter_map(|name| self.store.get(&PODS, namespace, name).ok());
        there.filter(|pod| selects(selector, pod)).collect()
    }
}

/// What of a pod decides about its endpoints.
fn relevant(pod: &Object) -> (Option<&Value>, &Value, &Value, bool, Option<&Value>) {
    let conditions = pod["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ready = conditions
        .iter()
        .find(|condition| condition["type"] == "Ready")
        .map(|condition| &condition["status"]);
    let deleting = pod["metadata"].get("deletionTimestamp").is_some();
    (pod["metadata"].get("labels"), &pod["status"]["podIP"], &pod["status"]["phase"], deleting, ready)
}

fn selects(selector: &BTreeMap<String, String>, pod: &Object) -> bool {
    selector.iter().all(|(key, value)| pod["metadata"]["labels"][key].as_str() == Some(value))
}

/// A port of a service as one pod has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Port {
    name: Option<String>,
    port: i32,
    protocol: String,
}

impl Port {
    fn of(port: &ServicePort, pod: &Pod) -> Option<Self> {
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
        let number = match port.target_port.as_ref().unwrap_or(&IntOrString::Int(port.port)) {
            IntOrString::Int(number) => *number,
            IntOrString::String(name) => {
                let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
                let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
                ports.find(|port| port.name.as_ref() == Some(name))?.container_port
            }
        };
        Some(Self { name: port.name.clone(), port: number, protocol })
    }

    fn json(&self) -> Value {
        let mut port = json!({"port": self.port, "protocol": self.protocol});
        if let Some(name) = &self.name {
            port["name"] = json!(name);
        }
        port
    }
}

/// A pod behind a service.
#[derive(Clone, Debug)]
struct Endpoint {
    ip: String,
    ready: bool,
    serving: bool,
    terminating: bool,
    tolerant: bool,
    node: Option<String>,
    hostname: Option<String>,
    target: Value,
}

impl Endpoint {
    fn of(pod: &Pod, service: &str, tolerant: bool) -> Option<Self> {
        let ip = pod.status.as_ref()?.pod_ip.clone()?;
        if is_finished(pod) {
            return None;
        }
        let spec = pod.spec.clone().unwrap_or_default();
        let terminating = pod.metadata.deletion_timestamp.is_some();
        let serving = is_ready(pod);
        let hostname = spec.hostname.filter(|_| spec.subdomain.as_deref() == Some(service));
        let meta = &pod.metadata;
        let target = json!({"kind": "Pod", "namespace": meta.namespace, "name": meta.name, "uid": meta.uid});
        let ready = tolerant || (serving && !terminating);
        Some(Self { ip, ready, serving, terminating, tolerant, node: spec.node_name, hostname, target })
    }

    /// As an address in `Endpoints`.
    fn address(&self) -> Value {
        let mut address = json!({"ip": self.ip, "targetRef": self.target});
        if let Some(node) = &self.node {
            address["nodeName"] = json!(node);
        }
        if let Some(hostname) = &self.hostname {
            address["hostname"] = json!(hostname);
        }
        address
    }

    /// As an entry of an `EndpointSlice`.
    fn entry(&self) -> Value {
        let conditions =
            json!({"ready": self.ready, "serving": self.serving, "terminating": self.terminating});
        let mut entry = json!({"addresses": [self.ip], "conditions": conditions, "targetRef": self.target});
        if let Some(node) = &self.node {
            entry["nodeName"] = json!(node);
        }
        if let Some(hostname) = &self.hostname {
            entry["hostname"] = json!(hostname);
        }
        entry
    }
}

type Groups = BTreeMap<Vec<Port>, Vec<Endpoint>>;

fn write_endpoints(store: &Store, key: &Key, service: &Service, groups: &Groups) -> Result<()> {
    let subset = |(ports, endpoints): (&Vec<Port>, &Vec<Endpoint>)| {
        // Terminating pods leave Endpoints at once, unless not-ready addresses are wanted.
        let listed = || endpoints.iter().filter(|endpoint| endpoint.tolerant || !endpoint.terminating);
        let of =
            |ready: bool| listed().filter(|e| e.ready == ready).map(Endpoint::address).collect::<Vec<_>>();
        let mut subset = json!({});
        for (field, addresses) in [("addresses", of(true)), ("notReadyAddresses", of(false))] {
            if !addresses.is_empty() {
                subset[field] = json!(addresses);
            }
        }
        if subset.as_object().is_some_and(serde_json::Map::is_empty) {
            return None;
        }
        if !ports.is_empty() {
            subset["ports"] = ports.iter().map(Port::json).collect();
        }
        Some(subset)
    };
    let subsets: Vec<_> = groups.iter().filter_map(subset).collect();
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert("endpoints.kubernetes.io/managed-by".into(), "endpoint-controller".into());
    if headless(service) {
        labels.insert("service.kubernetes.io/headless".into(), String::new());
    }
    let wanted = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": key.name, "namespace": key.namespace, "labels": labels},
        "subsets": subsets,
    });
    put(store, &ENDPOINTS, wanted, &["subsets"])
}

fn write_slices(store: &Store, key: &Key, service: &Service, groups: &Groups) -> Result<()> {
    let mut names = BTreeSet::new();
    let empty = BTreeMap::from([(Vec::new(), Vec::new())]);
    for (ports, endpoints) in if groups.is_empty() { &empty } else { groups } {
        let name = slice_name(service, ports);
        let mut labels = service.metadata.labels.clone().unwrap_or_default();
        labels.insert("kubernetes.io/service-name".into(), key.name.clone());
        labels.insert(
            "endpointslice.kubernetes.io/managed-by".into(),
            "endpointslice-controller.k8s.io".into(),
        );
        if headless(service) {
            labels.insert("service.kubernetes.io/headless".into(), String::new());
        }
        let owner = json!({"apiVersion": "v1", "kind": "Service", "name": key.name, "uid": service.metadata.uid,
            "controller": true, "blockOwnerDeletion": true});
        let wanted = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": name, "namespace": key.namespace, "labels": labels, "ownerReferences": [owner]},
            "addressType": "IPv4",
            "endpoints": endpoints.iter().map(Endpoint::entry).collect::<Vec<_>>(),
            "ports": ports.iter().map(Port::json).collect::<Vec<_>>(),
        });
        put(store, &ENDPOINT_SLICES, wanted, &["endpoints", "ports"])?;
        names.insert(name);
    }
    let uid = service.metadata.uid.as_deref().unwrap_or_default();
    for place in store.inspect(|state| state.dependents_of(uid)) {
        let Key { namespace, name } = &place.key;
        if place.resource == ENDPOINT_SLICES && !names.contains(name) {
            gone_or(store.delete(&ENDPOINT_SLICES, namespace, name, &DeleteOptions::default()))?;
        }
    }
    Ok(())
}

/// Creates an object, or brings its labels and these fields up to date.
fn put(store: &Store, what: &GroupResource, wanted: Value, fields: &[&str]) -> Result<()> {
    let key = key_of(&wanted);
    let by = Write::by(CONTROLLERS);
    let changed = store.modify(what, Part::Main, &key.namespace, &key.name, &by, |object| {
        for field in fields {
            object[*field] = wanted[*field].clone();
        }
        object["metadata"]["labels"] = wanted["metadata"]["labels"].clone();
    });
    match changed {
        Err(status) if status.code == 404 => store.create(what, &key.namespace, wanted, &by).map(drop),
        other => other.map(drop),
    }
}

fn headless(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| spec.cluster_ip.as_deref() == Some("None"))
}

/// Stable for a service and a set of ports.
fn slice_name(service: &Service, ports: &[Port]) -> String {
    let text = format!("{:?}{ports:?}", service.metadata.uid);
    format!(
        "{}-{}",
        service.metadata.name.as_deref().unwrap_or_default(),
        crate::workloads::names::short_hash(&text, 5)
    )
}

fn gone_or<T>(result: Result<T>) -> Result<()> {
    match result {
        Err(status) if status.code == 404 => Ok(()),
        other => other.map(drop),
    }
}
