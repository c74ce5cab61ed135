//! What a pod of a plugin may be: nothing that reaches the node, the Kubernetes API, or another database's secrets.
//!
//! Fields are allowed by name. One that Kubernetes gains later is refused until somebody has read what it does. The
//! host also closes what Kubernetes leaves open by default: no service account token, no privilege escalation, the
//! runtime's seccomp profile.

use serde_json::{Map, Value, json};

use super::{Findings, Rules, content::check_claim_template, empty, only, template_metadata};

const POD: &[&str] = &[
    "activeDeadlineSeconds",
    "affinity",
    "automountServiceAccountToken",
    "containers",
    "dnsConfig",
    "dnsPolicy",
    "enableServiceLinks",
    "hostAliases",
    "hostUsers",
    "hostname",
    "imagePullSecrets",
    "initContainers",
    "nodeSelector",
    "os",
    "preemptionPolicy",
    "priorityClassName",
    "readinessGates",
    "resources",
    "restartPolicy",
    "runtimeClassName",
    "schedulerName",
    "schedulingGates",
    "securityContext",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "subdomain",
    "terminationGracePeriodSeconds",
    "tolerations",
    "topologySpreadConstraints",
    "volumes",
    "hostnameOverride",
];

const CONTAINER: &[&str] = &[
    "args",
    "command",
    "env",
    "envFrom",
    "image",
    "imagePullPolicy",
    "lifecycle",
    "livenessProbe",
    "name",
    "ports",
    "readinessProbe",
    "resizePolicy",
    "resources",
    "restartPolicy",
    "securityContext",
    "startupProbe",
    "stdin",
    "stdinOnce",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "volumeDevices",
    "volumeMounts",
    "workingDir",
];

const POD_SECURITY: &[&str] = &[
    "appArmorProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "seccompProfile",
    "supplementalGroups",
    "supplementalGroupsPolicy",
];

const CONTAINER_SECURITY: &[&str] = &[
    "allowPrivilegeEscalation",
    "appArmorProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "seccompProfile",
];

const VOLUME: &[&str] = &[
    "name",
    "configMap",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

const PROJECTED: &[&str] = &["configMap", "downwardAPI", "secret"];

/// Why a field that is not allowed isn't.
pub(super) fn why_not(key: &str) -> &'static str {
    match key {
        "hostNetwork" => "shares the node's network",
        "hostPID" => "shares the node's processes",
        "hostIPC" => "shares the node's memory segments",
        "hostPort" | "hostIP" => "takes a port of the node",
        "hostPath" => "mounts the node's file system",
        "nodeName" => "goes past the scheduler",
        "serviceAccountName" | "serviceAccount" | "serviceAccountToken" => {
            "gives access to the Kubernetes API"
        }
        "privileged" => "gives the pod the node",
        "procMount" | "sysctls" | "seLinuxOptions" | "windowsOptions" => "changes the node's protection",
        "ownerReferences" => "is the host's to set: leave it out",
        "finalizers" => "could hold up deletions",
        "generateName" => "gives the object another name each time",
        "volumeName" | "selector" => "picks a volume that may hold another's data",
        "dataSource" | "dataSourceRef" => "copies another volume",
        _ => "is not known to be safe",
    }
}

/// The pod template of a workload.
pub(super) fn check_template(
    template: Option<&mut Value>,
    path: &str,
    rules: &Rules,
    findings: &mut Findings<'_>,
) {
    let Some(Value::Object(template)) = template else {
        return findings.refuse(path, "is missing");
    };
    template_metadata(template, path, rules, findings);
    match template.get_mut("spec") {
        Some(spec) => check_pod(spec, &format!("{path}/spec"), rules, findings),
        None => findings.refuse(&format!("{path}/spec"), "is missing"),
    }
}

/// The spec of a pod.
pub(super) fn check_pod(spec: &mut Value, path: &str, rules: &Rules, findings: &mut Findings<'_>) {
    let Value::Object(spec) = spec else {
        return findings.refuse(path, "is no object");
    };
    only(spec, path, POD, findings);
    if spec.get("automountServiceAccountToken").is_some_and(|value| !empty(value)) {
        findings.refuse(&format!("{path}/automountServiceAccountToken"), why_not("serviceAccountToken"));
    }
    spec.insert("automountServiceAccountToken".into(), json!(false));
    let priority = spec.get("priorityClassName").and_then(Value::as_str).unwrap_or_default();
    if priority.starts_with("system-") {
        findings.refuse(&format!("{path}/priorityClassName"), "is for the cluster's own pods");
    }
    check_pod_security(spec, path, findings);
    for key in ["initContainers", "containers"] {
        each(spec.get_mut(key), &format!("{path}/{key}"), findings, |container, path, findings| {
            check_container(container, path, rules, findings);
        });
    }
    each(spec.get_mut("volumes"), &format!("{path}/volumes"), findings, |volume, path, findings| {
        check_volume(volume, path, rules, findings);
    });
}

fn check_pod_security(spec: &mut Map<String, Value>, path: &str, findings: &mut Findings<'_>) {
    let path = format!("{path}/securityContext");
    let mut context = take_object(spec, "securityContext");
    only(&mut context, &path, POD_SECURITY, findings);
    check_profiles(&context, &path, findings);
    context.entry("seccompProfile").or_insert_with(|| json!({"type": "RuntimeDefault"}));
    spec.insert("securityContext".into(), Value::Object(context));
}

fn check_container(
    container: &mut Map<String, Value>,
    path: &str,
    rules: &Rules,
    findings: &mut Findings<'_>,
) {
    only(container, path, CONTAINER, findings);
    check_container_security(container, &format!("{path}/securityContext"), findings);
    for (index, port) in items(container.get("ports")).enumerate() {
        for key in ["hostPort", "hostIP"] {
            if port.get(key).is_some_and(|value| !empty(value) && *value != json!(0)) {
                findings.refuse(&format!("{path}/ports/{index}/{key}"), why_not(key));
            }
        }
    }
    for (index, mount) in items(container.get("volumeMounts")).enumerate() {
        if mount.get("mountPropagation").and_then(Value::as_str) == Some("Bidirectional") {
            findings.refuse(&format!("{path}/volumeMounts/{index}/mountPropagation"), "mounts into the node");
        }
    }
    for key in ["livenessProbe", "readinessProbe", "startupProbe"] {
        check_handler(container.get(key), &format!("{path}/{key}"), findings);
    }
    for key in ["postStart", "preStop"] {
        let hook = container.get("lifecycle").and_then(|lifecycle| lifecycle.get(key));
        check_handler(hook, &format!("{path}/lifecycle/{key}"), findings);
    }
    for (index, variable) in items(container.get("env")).enumerate() {
        let name = variable.pointer("/valueFrom/secretKeyRef/name");
        check_secret(name, &format!("{path}/env/{index}/valueFrom/secretKeyRef/name"), rules, findings);
    }
    for (index, source) in items(container.get("envFrom")).enumerate() {
        let name = source.pointer("/secretRef/name");
        check_secret(name, &format!("{path}/envFrom/{index}/secretRef/name"), rules, findings);
    }
}

fn check_container_security(container: &mut Map<String, Value>, path: &str, findings: &mut Findings<'_>) {
    let mut context = take_object(container, "securityContext");
    if context.get("procMount").and_then(Value::as_str) == Some("Default") {
        context.remove("procMount");
    }
    only(&mut context, path, CONTAINER_SECURITY, findings);
    check_profiles(&context, path, findings);
    let escalation = context.entry("allowPrivilegeEscalation").or_insert(json!(false));
    if !empty(escalation) {
        findings.refuse(&format!("{path}/allowPrivilegeEscalation"), "lets the container gain privileges");
    }
    if context
        .get("capabilities")
        .and_then(|capabilities| capabilities.get("add"))
        .is_some_and(|add| !empty(add))
    {
        findings.refuse(&format!("{path}/capabilities/add"), "gives the container more than a pod has");
    }
    container.insert("securityContext".into(), Value::Object(context));
}

fn check_profiles(context: &Map<String, Value>, path: &str, findings: &mut Findings<'_>) {
    for key in ["seccompProfile", "appArmorProfile"] {
        let kind = context.get(key).and_then(|profile| profile.get("type")).and_then(Value::as_str);
        if kind.is_some_and(|kind| kind != "RuntimeDefault") {
            findings.refuse(&format!("{path}/{key}"), "must be RuntimeDefault");
        }
    }
}

/// A probe or hook may call the pod, not other addresses from the node.
fn check_handler(handler: Option<&Value>, path: &str, findings: &mut Findings<'_>) {
    for action in ["httpGet", "tcpSocket"] {
        let host = handler.and_then(|handler| handler.get(action)).and_then(|action| action.get("host"));
        if host.is_some_and(|host| !empty(host)) {
            findings.refuse(
                &format!("{path}/{action}/host"),
                "makes the node call another address than the pod's",
            );
        }
    }
}

fn check_volume(volume: &mut Map<String, Value>, path: &str, rules: &Rules, findings: &mut Findings<'_>) {
    only(volume, path, VOLUME, findings);
    let secret = volume.get("secret").and_then(|secret| secret.get("secretName"));
    check_secret(secret, &format!("{path}/secret/secretName"), rules, findings);
    if let Some(claim) = volume.get("persistentVolumeClaim").and_then(|claim| claim.get("claimName")) {
        // By its name alone it could be that of `cache-eu` where this is `cache`.
        let name = claim.as_str().unwrap_or_default();
        if !rules.claims.contains(name) {
            let problem = format!("{name:?} is not a claim of this resource");
            findings.refuse(&format!("{path}/persistentVolumeClaim/claimName"), problem);
        }
    }
    let sources = volume.get_mut("projected").and_then(|projected| projected.get_mut("sources"));
    each(sources, &format!("{path}/projected/sources"), findings, |source, path, findings| {
        only(source, path, PROJECTED, findings);
        let secret = source.get("secret").and_then(|secret| secret.get("name"));
        check_secret(secret, &format!("{path}/secret/name"), rules, findings);
    });
    if let Some(claim) = volume.get_mut("ephemeral").and_then(|claim| claim.get_mut("volumeClaimTemplate")) {
        check_claim_template(claim, &format!("{path}/ephemeral/volumeClaimTemplate"), rules, findings);
    }
}

/// A secret that a pod gets must be one that this resource asked for: another's in the namespace has another's keys.
fn check_secret(name: Option<&Value>, path: &str, rules: &Rules, findings: &mut Findings<'_>) {
    if let Some(name) = name.map(|name| name.as_str().unwrap_or_default())
        && !rules.secrets.contains(name)
    {
        findings.refuse(path, format!("secret {name:?} was not asked for by this resource"));
    }
}

fn each(
    list: Option<&mut Value>,
    path: &str,
    findings: &mut Findings<'_>,
    check: impl Fn(&mut Map<String, Value>, &str, &mut Findings<'_>),
) {
    let Some(Value::Array(list)) = list else { return };
    for (index, item) in list.iter_mut().enumerate() {
        let path = format!("{path}/{index}");
        match item {
            Value::Object(item) => check(item, &path, findings),
            _ => findings.refuse(&path, "is no object"),
        }
    }
}

fn items(list: Option<&Value>) -> impl Iterator<Item = &Value> {
    list.and_then(Value::as_array).into_iter().flatten()
}

/// Takes the object at `key` out of `parent`; an empty one where there is none.
fn take_object(parent: &mut Map<String, Value>, key: &str) -> Map<String, Value> {
    match parent.remove(key) {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    }
}
