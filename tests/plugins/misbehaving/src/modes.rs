//! What can go wrong, one mode each.

use senren_plugin::objects::{self, StatefulSet};
use senren_plugin::wit::{Ask, Child, Fault, Input, Outcome, SecretRequest, Status};
use senren_plugin::{Value, json};

use crate::variant;

/// Every mode, and what it does. An unknown one behaves.
pub const MODES: &[(&str, &str)] = &[
    ("ok", "one ConfigMap, ready"),
    ("not-ready", "one ConfigMap, never ready"),
    ("ask", "one pod, in which `spec.ask` is to be done; shows the answer"),
    ("secrets", "asks for `spec.secrets`; shows their versions"),
    // Calls that do not come back, in any function.
    ("trap", "reaches `unreachable`"),
    ("loop", "computes for ever"),
    ("memory", "allocates for ever"),
    ("stack", "recurses for ever"),
    // Answers that break the contract.
    ("huge-output", "answers more than any limit allows"),
    ("bad-json", "a child that is not JSON"),
    ("empty-outcome", "no children, although nothing is being deleted"),
    ("unknown-mode", "a child to be applied in an unknown way; in `diff`, an unknown action"),
    ("ready-without-endpoint", "says ready, and not where"),
    ("duplicate-child", "two children of the same kind and name"),
    ("unknown-secret", "asks for a secret of an unknown kind"),
    ("not-deterministic", "another ConfigMap whenever the time is another"),
    // Faults, as a plugin may answer them.
    ("fault", "a permanent fault; in `admit`, a violation"),
    ("fault-retryable", "a fault that may pass"),
    // Changes that a host must think about.
    ("replace", "in `diff`: the database has to be made anew, and keeps its data"),
    ("replace-empty", "in `diff`: the database has to be made anew, and loses its data"),
    // Children that the host must refuse.
    ("other-namespace", "a ConfigMap for kube-system"),
    ("other-owner", "a ConfigMap that names another owner"),
    ("other-kind", "a Deployment, which it does not own"),
    ("other-name", "a ConfigMap not named after the resource"),
    ("other-labels", "a ConfigMap with labels that belong to senren, and to another resource"),
    ("cluster-role", "a ClusterRoleBinding to cluster-admin"),
    ("secret-child", "a Secret with content of its choice"),
    ("other-secret", "asks for a secret not named after the resource"),
    ("privileged-pod", "a StatefulSet of privileged pods"),
    ("host-path", "a StatefulSet that mounts the node's files"),
    ("host-network", "a StatefulSet in the node's network"),
    ("service-account", "a StatefulSet that runs as another account, with its token"),
];

/// Modes that are the same in every function.
pub fn go_wrong(mode: &str) {
    match mode {
        "trap" => trap(),
        "loop" => compute_for_ever(),
        "memory" => allocate_for_ever(),
        "stack" => {
            std::hint::black_box(recurse(0));
        }
        _ => {}
    }
}

/// More than any host's limit on answers.
pub fn huge() -> String {
    "x".repeat(8 << 20)
}

/// `reconcile` in this mode.
pub fn reconcile(mode: &str, input: &Input) -> Result<Outcome, Fault> {
    go_wrong(mode);
    let name = input.name.as_str();
    let good = || Outcome::new(ready(input)).child(config_map(input));
    let also = |object: Value| Ok(good().child(object));
    match mode {
        "fault" => Err(Fault::permanent("OnRequest", "failed on request")),
        "fault-retryable" => Err(Fault::transient("OnRequest", "failed on request, for now")),
        "not-ready" => {
            Ok(Outcome::new(Status::creating("OnRequest", "never ready, on request"))
                .child(config_map(input)))
        }
        "ask" => Ok(asking(input)),
        "secrets" => Ok(with_secrets(input)),
        "empty-outcome" => Ok(Outcome::new(ready(input))),
        "huge-output" => also(objects::config_map(&format!("{name}-huge"), [("x", huge())])),
        "bad-json" => Ok(with_child(good(), "{\"apiVersion\":", "apply")),
        "unknown-mode" => Ok(with_child(good(), &config_map(input).to_string(), "transmogrify")),
        "ready-without-endpoint" => {
            let status = Status { endpoints: Vec::new(), ..ready(input) };
            Ok(Outcome::new(status).child(config_map(input)))
        }
        "duplicate-child" => also(config_map(input)),
        "unknown-secret" => {
            let mut outcome = good().random_secret(format!("{name}-auth"), ["password"]);
            outcome.secrets[0].kind = "horoscope".to_owned();
            Ok(outcome)
        }
        "other-secret" => Ok(good().random_secret("someone-elses", ["password"])),
        "not-deterministic" => {
            also(objects::config_map(&format!("{name}-now"), [("now", input.now_ms.to_string())]))
        }
        "other-namespace" => also(with_metadata(name, json!({"namespace": "kube-system"}))),
        "other-owner" => also(with_metadata(
            name,
            json!({"ownerReferences": [{
                "apiVersion": "v1", "kind": "ConfigMap", "name": "someone-else", "controller": true,
                "uid": "00000000-0000-4000-8000-000000000000",
            }]}),
        )),
        "other-labels" => also(with_metadata(
            name,
            json!({"labels": {"senren.io/name": "someone-else", "app.kubernetes.io/managed-by": "someone-else"}}),
        )),
        "other-name" => also(objects::config_map("someone-elses", [("x", "y".to_owned())])),
        "other-kind" => also(deployment(name)),
        "cluster-role" => also(cluster_role_binding(name)),
        "secret-child" => also(json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": format!("{name}-secret")}, "stringData": {"password": "chosen"},
        })),
        "privileged-pod" => {
            also(stateful_set(name, json!({}), json!({"securityContext": {"privileged": true}})))
        }
        "host-path" => also(stateful_set(
            name,
            json!({"volumes": [{"name": "node", "hostPath": {"path": "/"}}]}),
            json!({"volumeMounts": [{"name": "node", "mountPath": "/node"}]}),
        )),
        "host-network" => also(stateful_set(name, json!({"hostNetwork": true}), json!({}))),
        "service-account" => also(stateful_set(
            name,
            json!({"serviceAccountName": "senren", "automountServiceAccountToken": true}),
            json!({}),
        )),
        _ => Ok(good()),
    }
}

fn ready(input: &Input) -> Status {
    let reason = if variant::is("newer") { "Newer" } else { "OnRequest" };
    Status::ready(reason).endpoint("primary", format!("{}.{}.svc", input.name, input.namespace), 4711)
}

/// Whatever the spec says is asked for, under the ids that are its keys; the answers become `status.details`.
fn asking(input: &Input) -> Outcome {
    let spec: Value = serde_json::from_str(&input.spec).unwrap_or_default();
    let answers = input.answers.iter().map(|answer| {
        let output: Value = serde_json::from_str(&answer.output).unwrap_or_default();
        (
            answer.id.clone(),
            json!({"ok": answer.ok, "output": output, "at": answer.observed_at_ms.to_string()}),
        )
    });
    let details = Value::Object(answers.collect()).to_string();
    let mut outcome = Outcome::new(Status { details, ..ready(input) })
        .child(config_map(input))
        .child(stateful_set(&input.name, json!({}), json!({})));
    outcome.asks = spec["ask"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(id, params)| Ask { id: id.clone(), kind: "exec".into(), params: params.to_string() })
        .collect();
    outcome
}

/// Whatever the spec says is asked for, under names that end with its keys; the versions become `status.details`.
fn with_secrets(input: &Input) -> Outcome {
    let spec: Value = serde_json::from_str(&input.spec).unwrap_or_default();
    let versions =
        input.secrets.iter().map(|secret| (secret.name.clone(), Value::from(secret.version.clone())));
    let details = Value::Object(versions.collect()).to_string();
    let mut outcome = Outcome::new(Status { details, ..ready(input) }).child(config_map(input));
    let asked = spec["secrets"].as_object().into_iter().flatten();
    let request = |(suffix, asked): (&String, &Value)| SecretRequest {
        name: format!("{}-{suffix}", input.name),
        kind: asked["kind"].as_str().unwrap_or_default().to_owned(),
        params: asked["params"].to_string(),
    };
    outcome.secrets = asked.map(request).collect();
    outcome
}

/// Its data follows the spec, so that a change of the spec changes the child.
fn config_map(input: &Input) -> Value {
    objects::config_map(&input.name, [("spec", input.spec.clone())])
}

fn with_metadata(name: &str, metadata: Value) -> Value {
    let mut object = objects::config_map(&format!("{name}-other"), [("x", "y".to_owned())]);
    if let (Value::Object(into), Value::Object(from)) = (&mut object["metadata"], metadata) {
        into.extend(from);
    }
    object
}

fn with_child(mut outcome: Outcome, object: &str, mode: &str) -> Outcome {
    outcome.children.push(Child { object: object.to_owned(), mode: mode.to_owned() });
    outcome
}

fn deployment(name: &str) -> Value {
    let labels = json!({"app": name});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "x", "image": "redis:7.2"}]},
            },
        },
    })
}

fn cluster_role_binding(name: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
    })
}

fn stateful_set(name: &str, pod: Value, container: Value) -> Value {
    let mut spec = json!({"containers": [{"name": "x", "image": "redis:7.2"}]});
    for (into, from) in [("", pod), ("/containers/0", container)] {
        if let (Some(Value::Object(into)), Value::Object(from)) = (spec.pointer_mut(into), from) {
            into.extend(from);
        }
    }
    StatefulSet { pod: spec, ..StatefulSet::new(name, json!({"app": name})) }.into()
}

fn trap() {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort();
}

fn compute_for_ever() {
    let mut number = 1_u64;
    loop {
        number = std::hint::black_box(number.wrapping_mul(6_364_136_223_846_793_005));
    }
}

fn allocate_for_ever() {
    let mut kept = Vec::new();
    loop {
        kept.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}

#[allow(unconditional_recursion, reason = "it is what is asked for")]
fn recurse(depth: u64) -> u64 {
    std::hint::black_box(recurse(std::hint::black_box(depth + 1)) + 1)
}
