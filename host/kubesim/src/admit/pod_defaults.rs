//! Defaults of pods and pod templates.

use serde_json::{Value, json};

use super::defaults::{items, set};

/// The octal 0644 of files in volumes.
const FILE_MODE: i64 = 0o644;

/// A pod's own defaults, on top of those of every template.
pub fn pod(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    template(spec);
    set(spec, "enableServiceLinks", true);
    for list in ["initContainers", "containers"] {
        for container in items(spec, list) {
            requests_from_limits(&mut container["resources"]);
        }
    }
}

/// What the admission of a real cluster adds to a new pod, on nobody's behalf. It has no token: there is nobody to show
/// one to.
pub fn admitted(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    set(spec, "serviceAccountName", "default");
    let account = spec["serviceAccountName"].clone();
    set(spec, "serviceAccount", account);
    set(spec, "priority", 0);
    set(spec, "preemptionPolicy", "PreemptLowerPriority");
    set(spec, "tolerations", json!([]));
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = |toleration: &Value| {
            let of_key = toleration["key"].as_str().is_none_or(|own| own.is_empty() || own == key);
            let of_effect =
                toleration["effect"].as_str().is_none_or(|own| own.is_empty() || own == "NoExecute");
            of_key && of_effect
        };
        let Some(tolerations) = spec["tolerations"].as_array_mut() else { return };
        if !tolerations.iter().any(tolerated) {
            let toleration =
                json!({"effect": "NoExecute", "key": key, "operator": "Exists", "tolerationSeconds": 300});
            tolerations.push(toleration);
        }
    }
}

/// The defaults of a pod template's spec.
pub fn template(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    set(spec, "dnsPolicy", "ClusterFirst");
    set(spec, "restartPolicy", "Always");
    set(spec, "terminationGracePeriodSeconds", 30);
    set(spec, "securityContext", json!({}));
    set(spec, "schedulerName", "default-scheduler");
    if let Some(account) = spec.get("serviceAccountName").cloned() {
        set(spec, "serviceAccount", account);
    }
    let host_network = spec["hostNetwork"] == true;
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in items(spec, list) {
            self::container(container, host_network);
        }
    }
    for volume in items(spec, "volumes") {
        self::volume(volume);
    }
}

fn container(container: &mut Value, host_network: bool) {
    let image = container["image"].as_str().unwrap_or_default();
    let latest = is_latest(image);
    set(container, "imagePullPolicy", if latest { "Always" } else { "IfNotPresent" });
    set(container, "terminationMessagePath", "/dev/termination-log");
    set(container, "terminationMessagePolicy", "File");
    set(container, "resources", json!({}));
    for port in items(container, "ports") {
        set(port, "protocol", "TCP");
        if host_network {
            let number = port["containerPort"].clone();
            set(port, "hostPort", number);
        }
    }
    for variable in items(container, "env") {
        if let Some(reference) = variable.get_mut("valueFrom").and_then(|from| from.get_mut("fieldRef")) {
            set(reference, "apiVersion", "v1");
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(name) {
            self::probe(probe);
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(handler) = container.get_mut("lifecycle").and_then(|lifecycle| lifecycle.get_mut(hook)) {
            http_get(handler);
        }
    }
}

/// Whether an image reference has the tag `latest`, or neither tag nor digest.
fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or_default();
    last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn probe(probe: &mut Value) {
    set(probe, "timeoutSeconds", 1);
    set(probe, "periodSeconds", 10);
    set(probe, "successThreshold", 1);
    set(probe, "failureThreshold", 3);
    http_get(probe);
    if let Some(grpc) = probe.get_mut("grpc") {
        set(grpc, "service", "");
    }
}

fn http_get(handler: &mut Value) {
    if let Some(http) = handler.get_mut("httpGet") {
        set(http, "path", "/");
        set(http, "scheme", "HTTP");
    }
}

fn volume(volume: &mut Value) {
    let has_source = volume.as_object().is_some_and(|fields| fields.keys().any(|field| field != "name"));
    if !has_source {
        set(volume, "emptyDir", json!({}));
    }
    for source in ["secret", "configMap", "projected", "downwardAPI"] {
        if let Some(source) = volume.get_mut(source) {
            set(source, "defaultMode", FILE_MODE);
        }
    }
    if let Some(source) = volume.get_mut("downwardAPI") {
        downward(source);
    }
    if let Some(host) = volume.get_mut("hostPath") {
        set(host, "type", "");
    }
    if let Some(projected) = volume.get_mut("projected") {
        for source in items(projected, "sources") {
            if let Some(token) = source.get_mut("serviceAccountToken") {
                set(token, "expirationSeconds", 3600);
            }
            if let Some(source) = source.get_mut("downwardAPI") {
                downward(source);
            }
        }
    }
    if let Some(template) = volume.get_mut("ephemeral").and_then(|e| e.get_mut("volumeClaimTemplate")) {
        set(&mut template["spec"], "volumeMode", "Filesystem");
    }
}

fn downward(source: &mut Value) {
    for item in items(source, "items") {
        if let Some(reference) = item.get_mut("fieldRef") {
            set(reference, "apiVersion", "v1");
        }
    }
}

fn requests_from_limits(resources: &mut Value) {
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { return };
    set(resources, "requests", json!({}));
    for (name, limit) in limits {
        set(&mut resources["requests"], &name, limit);
    }
}
