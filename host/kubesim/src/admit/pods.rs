//! Rules of pods and pod templates.

use serde_json::{Value, json};

use super::{names, quantities, require};
use crate::status::Cause;

/// What is wrong with a pod.
pub fn check(old: Option<&Value>, pod: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    check_spec(&mut causes, &pod["spec"], "spec", &["Always", "OnFailure", "Never"]);
    if let Some(old) = old
        && frozen(&old["spec"]) != frozen(&pod["spec"])
    {
        let detail = "pod updates may not change fields other than `spec.containers[*].image`, \
                      `spec.initContainers[*].image`, `spec.activeDeadlineSeconds`, `spec.tolerations` (only additions \
                      to existing tolerations), `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
                      previously negative)";
        causes.push(Cause::forbidden("spec", detail));
    }
    causes
}

/// What a pod asks for that nothing here would do.
pub fn unsupported(spec: &Value) -> Option<String> {
    let given = |field: &str| match spec.get(field) {
        None | Some(Value::Null) => false,
        Some(Value::Array(items)) => !items.is_empty(),
        Some(_) => true,
    };
    let fields = ["activeDeadlineSeconds", "readinessGates", "schedulingGates", "ephemeralContainers"];
    if let Some(field) = fields.into_iter().find(|field| given(field)) {
        return Some(format!("{field} of pods"));
    }
    let init = spec["initContainers"].as_array().into_iter().flatten();
    let sidecar = init.into_iter().find(|container| container["restartPolicy"].is_string());
    sidecar.map(|container| format!("init containers with a restartPolicy ({})", container["name"]))
}

/// The part of a pod's spec that can't change. `nodeName` may be set once, by who schedules.
fn frozen(spec: &Value) -> Value {
    let mut frozen = spec.clone();
    if let Some(fields) = frozen.as_object_mut() {
        for field in
            ["activeDeadlineSeconds", "tolerations", "nodeName", "ephemeralContainers", "schedulingGates"]
        {
            fields.remove(field);
        }
    }
    for list in ["containers", "initContainers"] {
        for container in frozen.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            container["image"] = Value::Null;
        }
    }
    frozen
}

/// What is wrong with a pod template of a controller.
pub fn check_template(causes: &mut Vec<Cause>, template: &Value, path: &str, restart: &[&str]) {
    super::check_labels(causes, &template["metadata"]["labels"], &format!("{path}.metadata.labels"));
    check_spec(causes, &template["spec"], &format!("{path}.spec"), restart);
}

fn check_spec(causes: &mut Vec<Cause>, spec: &Value, path: &str, restart: &[&str]) {
    let policy = &spec["restartPolicy"];
    if let Some(text) = policy.as_str()
        && !restart.contains(&text)
    {
        causes.push(Cause::not_supported(format!("{path}.restartPolicy"), policy, restart));
    }
    let volumes = check_volumes(causes, &spec["volumes"], path);
    let containers = spec["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    if containers.is_empty() {
        causes.push(Cause::required(format!("{path}.containers"), ""));
    }
    let mut seen = Vec::new();
    for list in ["initContainers", "containers"] {
        for (at, container) in spec[list].as_array().into_iter().flatten().enumerate() {
            let path = format!("{path}.{list}[{at}]");
            if seen.contains(&&container["name"]) {
                causes.push(Cause::duplicate(format!("{path}.name"), &container["name"]));
            }
            seen.push(&container["name"]);
            check_container(causes, container, &path, &volumes);
        }
    }
}

fn check_volumes(causes: &mut Vec<Cause>, volumes: &Value, path: &str) -> Vec<String> {
    let mut known = Vec::new();
    for (at, volume) in volumes.as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}.volumes[{at}]");
        let name = volume["name"].as_str().unwrap_or_default();
        check_label(causes, name, &format!("{path}.name"));
        if known.iter().any(|other| other == name) {
            causes.push(Cause::duplicate(format!("{path}.name"), &volume["name"]));
        }
        if volume.as_object().is_some_and(|fields| fields.len() > 2) {
            causes.push(Cause::forbidden(path, "may not specify more than 1 volume type"));
        }
        known.push(name.to_owned());
    }
    known
}

fn check_container(causes: &mut Vec<Cause>, container: &Value, path: &str, volumes: &[String]) {
    check_label(causes, container["name"].as_str().unwrap_or_default(), &format!("{path}.name"));
    let mut missing = Vec::new();
    require(&mut missing, container, "image");
    causes.extend(missing.into_iter().map(|cause| Cause { field: format!("{path}.image"), ..cause }));
    for (at, port) in container["ports"].as_array().into_iter().flatten().enumerate() {
        check_port(causes, &port["containerPort"], &format!("{path}.ports[{at}].containerPort"));
    }
    for (at, variable) in container["env"].as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}.env[{at}]");
        if variable["name"].as_str().is_none_or(str::is_empty) {
            causes.push(Cause::required(format!("{path}.name"), ""));
        }
        if variable.get("valueFrom").is_some() && variable["value"].as_str().is_some_and(|v| !v.is_empty()) {
            let detail = "may not be specified when `value` is not empty";
            causes.push(Cause::invalid(format!("{path}.valueFrom"), &json!(""), detail));
        }
    }
    let mut paths = Vec::new();
    for (at, mount) in container["volumeMounts"].as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}.volumeMounts[{at}]");
        let name = mount["name"].as_str().unwrap_or_default();
        if !volumes.iter().any(|known| known == name) {
            causes.push(Cause {
                reason: "FieldValueNotFound",
                field: format!("{path}.name"),
                message: format!("Not found: {name:?}"),
            });
        }
        if mount["mountPath"].as_str().is_none_or(str::is_empty) {
            causes.push(Cause::required(format!("{path}.mountPath"), ""));
        } else if paths.contains(&&mount["mountPath"]) {
            causes.push(Cause::invalid(format!("{path}.mountPath"), &mount["mountPath"], "must be unique"));
        }
        paths.push(&mount["mountPath"]);
    }
    let resources = &container["resources"];
    for (name, requested) in resources["requests"].as_object().into_iter().flatten() {
        let limit = resources["limits"][name].as_str().unwrap_or_default();
        if requested.as_str().is_some_and(|requested| quantities::exceeds(requested, limit)) {
            let detail = format!("must be less than or equal to {name} limit of {limit}");
            causes.push(Cause::invalid(format!("{path}.resources.requests"), requested, &detail));
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe_value) = container.get(probe) {
            check_probe(causes, probe_value, &format!("{path}.{probe}"));
        }
    }
}

fn check_probe(causes: &mut Vec<Cause>, probe: &Value, path: &str) {
    let handlers =
        ["exec", "httpGet", "tcpSocket", "grpc"].iter().filter(|h| probe.get(**h).is_some()).count();
    if handlers == 0 {
        causes.push(Cause::required(path, "must specify a handler type"));
    } else if handlers > 1 {
        causes.push(Cause::forbidden(path, "may not specify more than 1 handler type"));
    }
}

/// A port number from 1 to 65535.
pub fn check_port(causes: &mut Vec<Cause>, port: &Value, path: &str) {
    if port.as_i64().is_none_or(|number| !(1..=65535).contains(&number)) {
        causes.push(Cause::invalid(path, port, "must be between 1 and 65535, inclusive"));
    }
}

fn check_label(causes: &mut Vec<Cause>, name: &str, path: &str) {
    if name.is_empty() {
        causes.push(Cause::required(path, ""));
    } else if let Some(problem) = names::label(name) {
        causes.push(Cause::invalid(path, &Value::from(name), &problem));
    }
}

/// The quality of service that follows from requests and limits.
pub fn qos_class(spec: &Value) -> &'static str {
    let containers: Vec<&Value> = ["initContainers", "containers"]
        .iter()
        .flat_map(|list| spec[*list].as_array().map(Vec::as_slice).unwrap_or_default())
        .collect();
    let any = containers.iter().any(|c| {
        ["limits", "requests"]
            .iter()
            .any(|side| ["cpu", "memory"].iter().any(|what| c["resources"][*side].get(*what).is_some()))
    });
    if !any {
        return "BestEffort";
    }
    let guaranteed = containers.iter().all(|c| {
        ["cpu", "memory"].iter().all(|what| {
            let limit = c["resources"]["limits"].get(*what);
            limit.is_some() && limit == c["resources"]["requests"].get(*what)
        })
    });
    if guaranteed { "Guaranteed" } else { "Burstable" }
}
