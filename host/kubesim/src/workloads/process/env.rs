//! A container's environment: values, references and `$(VAR)` expansion, as a kubelet resolves them.
//!
//! Pure: everything that is not in the pod comes from [`Sources`], so that a missing reference is an answer
//! (`CreateContainerConfigError`), not a guess.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, Pod, ResourceFieldSelector};

use super::quantity;

/// The data of the ConfigMaps and Secrets of the pod's namespace, decoded.
pub trait Sources {
    /// The ConfigMap's data.
    fn config_map(&self, name: &str) -> Option<BTreeMap<String, Vec<u8>>>;
    /// The Secret's data.
    fn secret(&self, name: &str) -> Option<BTreeMap<String, Vec<u8>>>;
}

/// Why an environment (or a volume) cannot be made yet.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Unresolved(pub String);

type Result<T> = std::result::Result<T, Unresolved>;

/// What the pod alone doesn't say about itself.
#[derive(Debug, Clone)]
pub struct Place {
    /// The pod's address.
    pub pod_ip: String,
    /// The machine's address.
    pub host_ip: String,
}

/// The complete environment of a container.
pub fn environment(
    pod: &Pod,
    container: &Container,
    place: &Place,
    sources: &dyn Sources,
) -> Result<Vec<(String, String)>> {
    let mut env = Environment::default();
    env.set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    env.set("HOSTNAME", pod.metadata.name.as_deref().unwrap_or_default());
    env.set("HOME", "/root");
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let (what, name, optional, data) = if let Some(reference) = &from.config_map_ref {
            ("configmap", &reference.name, reference.optional, sources.config_map(&reference.name))
        } else if let Some(reference) = &from.secret_ref {
            ("secret", &reference.name, reference.optional, sources.secret(&reference.name))
        } else {
            continue;
        };
        match data {
            Some(data) => data.iter().for_each(|(key, value)| {
                env.set(&format!("{prefix}{key}"), &String::from_utf8_lossy(value));
            }),
            None if optional == Some(true) => {}
            None => return Err(Unresolved(format!("{what} \"{name}\" not found"))),
        }
    }
    for var in container.env.iter().flatten() {
        if let Some(value) = value_of(var, pod, container, place, sources, &env)? {
            env.set(&var.name, &value);
        }
    }
    Ok(env.0)
}

/// Expands `$(VAR)` in a command or its arguments.
#[must_use]
pub fn expand_all(words: &[String], environment: &[(String, String)]) -> Vec<String> {
    let lookup = |name: &str| environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    words.iter().map(|word| expand(word, &lookup)).collect()
}

#[derive(Default)]
struct Environment(Vec<(String, String)>);

impl Environment {
    fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => *old = value.to_owned(),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }
}

fn value_of(
    var: &EnvVar,
    pod: &Pod,
    container: &Container,
    place: &Place,
    sources: &dyn Sources,
    env: &Environment,
) -> Result<Option<String>> {
    let Some(from) = &var.value_from else {
        let lookup = |name: &str| env.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        return Ok(Some(expand(var.value.as_deref().unwrap_or_default(), &lookup)));
    };
    referenced(from, pod, container, place, sources)
}

fn referenced(
    from: &EnvVarSource,
    pod: &Pod,
    container: &Container,
    place: &Place,
    sources: &dyn Sources,
) -> Result<Option<String>> {
    if let Some(field) = &from.field_ref {
        return pod_field(pod, &field.field_path, place).map(Some);
    }
    if let Some(resource) = &from.resource_field_ref {
        return resource_field(container, resource).map(Some);
    }
    let (what, name, key, optional, data) = if let Some(key) = &from.config_map_key_ref {
        ("configmap", &key.name, &key.key, key.optional, sources.config_map(&key.name))
    } else if let Some(key) = &from.secret_key_ref {
        ("secret", &key.name, &key.key, key.optional, sources.secret(&key.name))
    } else {
        return Err(Unresolved("invalid: no known source in valueFrom".into()));
    };
    match data.map(|mut data| data.remove(key)) {
        Some(Some(value)) => Ok(Some(String::from_utf8_lossy(&value).into_owned())),
        _ if optional == Some(true) => Ok(None),
        Some(None) => Err(Unresolved(format!("couldn't find key {key} in {what} {name}"))),
        None => Err(Unresolved(format!("{what} \"{name}\" not found"))),
    }
}

/// A field of the pod by its path, as the downward API allows.
pub fn pod_field(pod: &Pod, path: &str, place: &Place) -> Result<String> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    let text = |value: Option<&String>| value.cloned().unwrap_or_default();
    if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        let map = match map {
            "metadata.labels" => meta.labels.as_ref(),
            "metadata.annotations" => meta.annotations.as_ref(),
            _ => return Err(Unresolved(format!("unsupported fieldPath: {path}"))),
        };
        return Ok(text(map.and_then(|map| map.get(key))));
    }
    let lines = |map: Option<&BTreeMap<String, String>>| {
        let lines = map.into_iter().flatten().map(|(key, value)| format!("{key}={value:?}"));
        lines.collect::<Vec<_>>().join("\n")
    };
    Ok(match path {
        "metadata.name" => text(meta.name.as_ref()),
        "metadata.namespace" => text(meta.namespace.as_ref()),
        "metadata.uid" => text(meta.uid.as_ref()),
        "metadata.labels" => lines(meta.labels.as_ref()),
        "metadata.annotations" => lines(meta.annotations.as_ref()),
        "spec.nodeName" => text(spec.and_then(|spec| spec.node_name.as_ref())),
        "spec.serviceAccountName" => text(spec.and_then(|spec| spec.service_account_name.as_ref())),
        "status.podIP" | "status.podIPs" => place.pod_ip.clone(),
        "status.hostIP" | "status.hostIPs" => place.host_ip.clone(),
        _ => return Err(Unresolved(format!("unsupported fieldPath: {path}"))),
    })
}

/// A container's limit or request in units of the divisor, rounded up; without a limit, what the machine has.
pub fn resource_field(container: &Container, field: &ResourceFieldSelector) -> Result<String> {
    let unsupported = || Unresolved(format!("unsupported container resource: {}", field.resource));
    let (kind, resource) = field.resource.split_once('.').ok_or_else(unsupported)?;
    let resources = container.resources.as_ref();
    let limits = resources.and_then(|resources| resources.limits.as_ref());
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    let (stated, missing) = match (kind, resource) {
        ("limits", "cpu") => (limits, quantity::machine_millicores()),
        ("limits", "memory") => (limits, quantity::machine_memory().saturating_mul(1000)),
        ("limits" | "requests", "cpu" | "memory" | "ephemeral-storage") => {
            (if kind == "limits" { limits } else { requests }, 0)
        }
        _ => return Err(unsupported()),
    };
    let parse =
        |text: &str| quantity::milli(text).ok_or_else(|| Unresolved(format!("invalid quantity {text:?}")));
    let value = match stated.and_then(|list| list.get(resource)) {
        Some(quantity) => parse(&quantity.0)?,
        None => missing,
    };
    let divisor = match field.divisor.as_ref().map_or("0", |quantity| &quantity.0) {
        "" | "0" => 1000,
        text => parse(text)?.max(1),
    };
    Ok(((value + divisor - 1) / divisor).to_string())
}

/// `$(VAR)` becomes its value if there is one and stays as it is if not; `$$` is a `$`.
fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match lookup(name) {
                Some(value) => out.push_str(&value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::{Value, json};

    use super::*;

    struct Fixed;
    impl Sources for Fixed {
        fn config_map(&self, name: &str) -> Option<BTreeMap<String, Vec<u8>>> {
            (name == "settings").then(|| [("mode".to_owned(), b"fast".to_vec())].into())
        }
        fn secret(&self, name: &str) -> Option<BTreeMap<String, Vec<u8>>> {
            (name == "auth").then(|| [("password".to_owned(), b"s3cret".to_vec())].into())
        }
    }

    fn resolve(container: Value) -> Result<BTreeMap<String, String>> {
        let pod = serde_json::from_value(
            json!({"metadata": {"name": "db-0", "namespace": "ns", "labels": {"a/b": "c"}}}),
        );
        let mut container = container;
        container["name"] = json!("main");
        let place = Place { pod_ip: "127.1.64.1".into(), host_ip: "127.0.0.1".into() };
        let container = serde_json::from_value(container).unwrap();
        Ok(environment(&pod.unwrap(), &container, &place, &Fixed)?.into_iter().collect())
    }

    #[test]
    fn every_source_of_a_value_is_resolved() {
        let check = |source: Value, wanted: &str| {
            let env = resolve(json!({"env": [{"name": "X", "valueFrom": source}],
                "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}}}));
            assert_eq!(env.unwrap()["X"], wanted, "{source}");
        };
        check(json!({"fieldRef": {"fieldPath": "metadata.name"}}), "db-0");
        check(json!({"fieldRef": {"fieldPath": "status.podIP"}}), "127.1.64.1");
        check(json!({"fieldRef": {"fieldPath": "metadata.labels['a/b']"}}), "c");
        check(json!({"secretKeyRef": {"name": "auth", "key": "password"}}), "s3cret");
        check(json!({"configMapKeyRef": {"name": "settings", "key": "mode"}}), "fast");
        check(json!({"resourceFieldRef": {"resource": "limits.memory"}}), "67108864");
        check(json!({"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}), "64");
        check(json!({"resourceFieldRef": {"resource": "limits.cpu"}}), "2");
        check(json!({"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}), "1500");
    }

    #[test]
    fn variables_expand_from_what_was_defined_before_them() {
        let env = resolve(json!({"env": [
            {"name": "A", "value": "1"}, {"name": "B", "value": "$(A)$(C)$$(A)$"}, {"name": "C", "value": "3"}]}));
        assert_eq!(env.unwrap()["B"], "1$(C)$(A)$");
    }

    #[test]
    fn a_missing_reference_is_named_unless_it_is_optional() {
        let check = |source: Value, wanted: &str| {
            let env = resolve(json!({"env": [{"name": "X", "valueFrom": source}]}));
            assert_eq!(env.unwrap_err().to_string(), wanted);
        };
        check(json!({"secretKeyRef": {"name": "other", "key": "k"}}), "secret \"other\" not found");
        check(json!({"secretKeyRef": {"name": "auth", "key": "k"}}), "couldn't find key k in secret auth");
        let optional = json!({"secretKeyRef": {"name": "auth", "key": "k", "optional": true}});
        assert!(!resolve(json!({"env": [{"name": "X", "valueFrom": optional}]})).unwrap().contains_key("X"));
    }

    #[test]
    fn a_whole_map_becomes_variables_and_single_ones_win() {
        let env = resolve(json!({"envFrom": [{"prefix": "S_", "configMapRef": {"name": "settings"}}],
            "env": [{"name": "HOME", "value": "/data"}]}));
        let env = env.unwrap();
        assert_eq!((env["S_mode"].as_str(), env["HOME"].as_str()), ("fast", "/data"));
    }
}
