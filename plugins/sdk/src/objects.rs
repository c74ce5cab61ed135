//! Kubernetes objects as plugins make them: typed where a mistake is likely, JSON otherwise. Light on purpose; the
//! Kubernetes API as Rust types would be most of a plugin's wasm.

use serde_json::{Map, Value, json};

/// `v1 ConfigMap`
pub const CONFIG_MAP: (&str, &str) = ("v1", "ConfigMap");
/// `v1 Service`
pub const SERVICE: (&str, &str) = ("v1", "Service");
/// `apps/v1 StatefulSet`
pub const STATEFUL_SET: (&str, &str) = ("apps/v1", "StatefulSet");
/// `v1 Pod`
pub const POD: (&str, &str) = ("v1", "Pod");
/// `v1 PersistentVolumeClaim`
pub const CLAIM: (&str, &str) = ("v1", "PersistentVolumeClaim");

/// The beginning of any object.
pub fn object((api_version, kind): (&str, &str), name: &str) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}})
}

/// A ConfigMap with these entries.
pub fn config_map<'a>(name: &str, data: impl IntoIterator<Item = (&'a str, String)>) -> Value {
    let mut object = object(CONFIG_MAP, name);
    let data: Map<_, _> = data.into_iter().map(|(key, text)| (key.to_owned(), Value::String(text))).collect();
    object["data"] = Value::Object(data);
    object
}

/// A Service with an address of its own, in front of the ready ones among the pods with these labels. Each port
/// leads to the container port of the same name.
pub fn service(name: &str, selector: Value, ports: &[(&str, u16)]) -> Value {
    let mut object = object(SERVICE, name);
    object["spec"] = json!({"selector": selector, "ports": service_ports(ports)});
    object
}

/// A headless Service: a DNS name for each pod of a StatefulSet, ready or not, since pods that are not ready yet
/// must find each other to become so.
pub fn headless_service(name: &str, selector: Value, ports: &[(&str, u16)]) -> Value {
    let mut object = service(name, selector, ports);
    object["spec"]["clusterIP"] = Value::from("None");
    object["spec"]["publishNotReadyAddresses"] = Value::from(true);
    object
}

fn service_ports(ports: &[(&str, u16)]) -> Value {
    ports.iter().map(|(name, port)| json!({"name": name, "port": port, "targetPort": name})).collect()
}

/// A StatefulSet. Pods start all at once; when the template changes, they are replaced one by one from the last,
/// each once the one before is ready.
pub struct StatefulSet<'a> {
    /// Name; pods are called `<name>-0`, ….
    pub name: &'a str,
    /// Name of the headless Service that gives pods their DNS names.
    pub service: &'a str,
    /// Number of pods.
    pub replicas: u32,
    /// What the selector looks for; never changes for as long as the set lives.
    pub labels: Value,
    /// Annotations of the set itself. A change of these restarts nothing.
    pub annotations: Value,
    /// Annotations of the pods. A change of these replaces them all.
    pub pod_annotations: Value,
    /// Spec of the pods.
    pub pod: Value,
    /// `volumeClaimTemplates`; see [`claim`].
    pub claims: Vec<Value>,
}

impl<'a> StatefulSet<'a> {
    /// One pod, still without a spec, and no claims.
    pub fn new(name: &'a str, labels: Value) -> Self {
        Self {
            name,
            service: name,
            replicas: 1,
            labels,
            annotations: Value::Null,
            pod_annotations: Value::Null,
            pod: Value::Null,
            claims: Vec::new(),
        }
    }
}

impl From<StatefulSet<'_>> for Value {
    fn from(set: StatefulSet<'_>) -> Value {
        let mut object = object(STATEFUL_SET, set.name);
        let mut template = json!({"metadata": {"labels": set.labels.clone()}, "spec": set.pod});
        if !set.pod_annotations.is_null() {
            template["metadata"]["annotations"] = set.pod_annotations;
        }
        if !set.annotations.is_null() {
            object["metadata"]["annotations"] = set.annotations;
        }
        object["spec"] = json!({
            "serviceName": set.service,
            "replicas": set.replicas,
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": set.labels},
            "template": template,
        });
        if !set.claims.is_empty() {
            object["spec"]["volumeClaimTemplates"] = Value::Array(set.claims);
        }
        object
    }
}

/// A claim template for a StatefulSet: a volume of `size` for each pod, of the cluster's default storage class if
/// none is named.
pub fn claim(name: &str, size: &str, storage_class: Option<&str>) -> Value {
    let mut object = object(CLAIM, name);
    object["spec"] = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": size}},
    });
    if let Some(class) = storage_class {
        object["spec"]["storageClassName"] = Value::from(class);
    }
    object
}

/// A short text that differs where any of the parts does: for annotations that tell one content from another. Not
/// meant to withstand an attacker.
pub fn checksum(parts: &[&str]) -> String {
    // FNV-1a, 64 bits. 0xff is in no UTF-8 text, so ["a", "b"] is not ["ab"].
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0xff]));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_tells_where_one_part_ends() {
        assert_eq!(checksum(&["a", "b"]), checksum(&["a", "b"]));
        assert_ne!(checksum(&["a", "b"]), checksum(&["ab"]));
        assert_ne!(checksum(&["a", "b"]), checksum(&["b", "a"]));
    }

    #[test]
    fn a_stateful_set_selects_its_own_pods() {
        let labels = json!({"app.kubernetes.io/instance": "x"});
        let set = Value::from(StatefulSet { replicas: 3, ..StatefulSet::new("x", labels.clone()) });
        assert_eq!(set["spec"]["selector"]["matchLabels"], labels);
        assert_eq!(set["spec"]["template"]["metadata"]["labels"], labels);
        assert!(set["spec"].get("volumeClaimTemplates").is_none());
    }
}
