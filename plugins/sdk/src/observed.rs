//! What belongs to a resource, as last read from Kubernetes.
//!
//! Reading JSON is most of what a call costs, so an object is scanned once, for its name and the places of its
//! parts; a part is read when someone asks for it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

/// The observed objects of one resource.
pub struct Observed<'a>(Vec<Object<'a>>);

/// One observed object.
#[derive(Deserialize)]
pub struct Object<'a> {
    /// `StatefulSet`, …
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
    /// Name, uid, generation, ….
    #[serde(borrow)]
    pub metadata: Metadata<'a>,
    #[serde(borrow, default)]
    spec: Option<&'a RawValue>,
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
}

/// What plugins read of an object's metadata.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata<'a> {
    /// Name of the object.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// Another one whenever an object of that name is made anew.
    #[serde(borrow, default)]
    pub uid: Cow<'a, str>,
    /// Counts the changes of its spec.
    #[serde(default)]
    pub generation: i64,
    /// Set while it is being deleted.
    #[serde(borrow, default)]
    pub deletion_timestamp: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    labels: Option<&'a RawValue>,
    #[serde(borrow, default)]
    annotations: Option<&'a RawValue>,
}

impl<'a> Observed<'a> {
    pub(crate) fn read(objects: &'a [String]) -> Self {
        Self(objects.iter().filter_map(|text| serde_json::from_str(text).ok()).collect())
    }

    /// The object of that kind and name.
    pub fn find(&self, kind: &str, name: &str) -> Option<&Object<'a>> {
        self.0.iter().find(|object| object.kind == kind && object.metadata.name == name)
    }

    /// All objects of a kind.
    pub fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Object<'a>> {
        self.0.iter().filter(move |object| object.kind == kind)
    }

    /// A pod.
    pub fn pod(&self, name: &str) -> Option<Pod> {
        self.find("Pod", name).and_then(Pod::read)
    }

    /// How far Kubernetes is with a StatefulSet.
    pub fn stateful_set(&self, name: &str) -> Option<StatefulSetStatus> {
        StatefulSetStatus::read(self.find("StatefulSet", name)?)
    }

    /// The address of a Service, once it has one; headless ones never do.
    pub fn service_ip(&self, name: &str) -> Option<String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Spec {
            #[serde(default, rename = "clusterIP")]
            cluster_ip: String,
        }
        let spec: Spec = self.find("Service", name)?.spec()?;
        Some(spec.cluster_ip).filter(|ip| !ip.is_empty() && ip != "None")
    }
}

impl<'a> Object<'a> {
    /// Reads its spec as `T`, which names only what is needed.
    pub fn spec<T: Deserialize<'a>>(&self) -> Option<T> {
        serde_json::from_str(self.spec?.get()).ok()
    }

    /// Reads its status as `T`, which names only what is needed.
    pub fn status<T: Deserialize<'a>>(&self) -> Option<T> {
        serde_json::from_str(self.status?.get()).ok()
    }

    /// A label.
    pub fn label(&self, name: &str) -> Option<Cow<'a, str>> {
        entry(self.metadata.labels?, name)
    }

    /// An annotation.
    pub fn annotation(&self, name: &str) -> Option<Cow<'a, str>> {
        entry(self.metadata.annotations?, name)
    }
}

fn entry<'a>(map: &'a RawValue, name: &str) -> Option<Cow<'a, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    let mut map: BTreeMap<Cow<'a, str>, Text<'a>> = serde_json::from_str(map.get()).ok()?;
    map.remove(name).map(|text| text.0)
}

/// How far Kubernetes is with a StatefulSet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatefulSetStatus {
    observed_generation: i64,
    /// Pods that exist.
    pub replicas: u32,
    /// Pods that are ready.
    pub ready_replicas: u32,
    /// Pods made from the current template.
    pub updated_replicas: u32,
    /// Revision of the current template: pods made from it have it in their label `controller-revision-hash`.
    pub update_revision: String,
    /// Kubernetes has seen the latest spec, so that all this is about it.
    #[serde(skip)]
    pub current: bool,
}

impl StatefulSetStatus {
    fn read(object: &Object<'_>) -> Option<Self> {
        let mut status: Self = object.status().unwrap_or_default();
        status.current = status.observed_generation >= object.metadata.generation;
        Some(status)
    }
}

/// A pod.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Another one for each pod of that name.
    pub uid: String,
    /// Its label `controller-revision-hash`: from which revision of its StatefulSet's template it was made.
    pub revision: String,
    /// It is on its way out.
    pub deleting: bool,
    status: PodStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    phase: String,
    reason: String,
    message: String,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    conditions: Vec<PodCondition>,
    init_container_statuses: Vec<Container>,
    container_statuses: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PodCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: String,
    message: String,
}

/// How a container of a pod is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// Name of the container.
    pub name: String,
    /// Its readiness probe succeeds.
    pub ready: bool,
    /// How often it was started again.
    pub restart_count: u32,
    state: State,
    last_state: State,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct State {
    waiting: Option<Waiting>,
    terminated: Option<Terminated>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Waiting {
    reason: String,
    message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Terminated {
    reason: String,
    message: String,
    exit_code: i32,
}

/// What keeps a pod from running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// As Kubernetes calls it: `CrashLoopBackOff`, `ImagePullBackOff`, `Unschedulable`.
    pub reason: String,
    /// What Kubernetes says, and which pod it is about.
    pub message: String,
    /// It may pass without anyone doing anything, as when a cluster gets another node.
    pub may_pass: bool,
}

impl Pod {
    fn read(object: &Object<'_>) -> Option<Self> {
        Some(Self {
            uid: object.metadata.uid.to_string(),
            revision: object.label("controller-revision-hash").unwrap_or_default().into_owned(),
            deleting: object.metadata.deletion_timestamp.is_some(),
            status: object.status().unwrap_or_default(),
        })
    }

    /// It serves: every readiness probe succeeds, and it is not on its way out.
    pub fn ready(&self) -> bool {
        let ready = |condition: &PodCondition| condition.kind == "Ready" && condition.status == "True";
        !self.deleting && self.status.conditions.iter().any(ready)
    }

    /// All of its containers run, ready or not: a command can be executed in them.
    pub fn running(&self) -> bool {
        let containers = &self.status.container_statuses;
        let running =
            |container: &Container| container.state.waiting.is_none() && container.state.terminated.is_none();
        !self.deleting && self.status.phase == "Running" && containers.iter().all(running)
    }

    /// Its address, once it has one.
    pub fn ip(&self) -> Option<&str> {
        self.status.pod_ip.as_deref()
    }

    /// Its containers, as far as they were started.
    pub fn containers(&self) -> &[Container] {
        &self.status.container_statuses
    }

    /// What keeps it from running, if anything does that waiting will hardly mend. `name` is for the message.
    pub fn trouble(&self, name: &str) -> Option<Trouble> {
        let status = &self.status;
        let unschedulable = |condition: &&PodCondition| {
            condition.kind == "PodScheduled"
                && condition.status == "False"
                && condition.reason == "Unschedulable"
        };
        if let Some(condition) = status.conditions.iter().find(unschedulable) {
            return Some(Trouble::of(&condition.reason, name, &condition.message, true));
        }
        if status.phase == "Failed" {
            let reason = if status.reason.is_empty() { "PodFailed" } else { &status.reason };
            return Some(Trouble::of(reason, name, &status.message, false));
        }
        let mut containers = status.init_container_statuses.iter().chain(&status.container_statuses);
        containers.find_map(|container| container.trouble(name))
    }
}

impl Container {
    fn trouble(&self, pod: &str) -> Option<Trouble> {
        const STUCK: [&str; 7] = [
            "CrashLoopBackOff",
            "ImagePullBackOff",
            "ErrImagePull",
            "InvalidImageName",
            "CreateContainerConfigError",
            "CreateContainerError",
            "RunContainerError",
        ];
        let waiting =
            self.state.waiting.as_ref().filter(|waiting| STUCK.contains(&waiting.reason.as_str()))?;
        let mut message = waiting.message.clone();
        if let Some(last) = &self.last_state.terminated {
            let separator = if message.is_empty() { "" } else { "; " };
            message.push_str(&format!("{separator}it last ended with exit status {}", last.exit_code));
            if !last.reason.is_empty() && last.reason != "Error" {
                message.push_str(&format!(", {}", last.reason));
            }
            if let Some(words) = last_words(&last.message) {
                message.push_str(&format!(": {words}"));
            }
        }
        Some(Trouble::of(&waiting.reason, pod, &message, false))
    }
}

/// What a container said at last, often the end of its log: the last few lines as one.
fn last_words(message: &str) -> Option<String> {
    const LINES: usize = 4;
    let lines: Vec<&str> = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    let words: String = last.join("; ").chars().take(400).collect();
    (!words.is_empty()).then_some(words)
}

impl Trouble {
    fn of(reason: &str, pod: &str, message: &str, may_pass: bool) -> Self {
        Self { reason: reason.to_owned(), message: format!("pod {pod}: {message}"), may_pass }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: Value) -> Pod {
        let text = [json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "x-0", "labels": {"a/b": "c", "controller-revision-hash": "x-1"}},
            "spec": {"containers": [{"name": "x", "env": [null, 1.5, "\u{e9}\n"]}]},
            "status": status,
        })
        .to_string()];
        Observed::read(&text).pod("x-0").unwrap()
    }

    #[test]
    fn a_pod_is_ready_when_its_condition_says_so() {
        for (status, ready) in [
            (json!({"conditions": [{"type": "Ready", "status": "True"}]}), true),
            (json!({"conditions": [{"type": "Ready", "status": "False"}]}), false),
            (json!({"conditions": [{"type": "Initialized", "status": "True"}]}), false),
            (json!({}), false),
        ] {
            assert_eq!(pod(status.clone()).ready(), ready, "{status}");
        }
        assert_eq!(pod(json!({})).revision, "x-1");
    }

    #[test]
    fn trouble_says_what_kubernetes_says() {
        let crash = json!({"containerStatuses": [{
            "name": "redis", "restartCount": 3,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
            "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
        }]});
        let unschedulable = json!({"phase": "Pending", "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes",
        }]});
        let starting =
            json!({"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]});
        let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "disk pressure"});
        let fatal = json!({"containerStatuses": [{
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
            "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "message": "a\nb\n\n'hz x'\nno integer\n bye\n"}},
        }]});
        for (status, reason, message) in [
            (
                fatal,
                "CrashLoopBackOff",
                "pod x-0: back-off; it last ended with exit status 1: b; 'hz x'; no integer; bye",
            ),
            (
                crash,
                "CrashLoopBackOff",
                "pod x-0: back-off 40s; it last ended with exit status 137, OOMKilled",
            ),
            (unschedulable, "Unschedulable", "pod x-0: 0/3 nodes"),
            (evicted, "Evicted", "pod x-0: disk pressure"),
        ] {
            let trouble = pod(status).trouble("x-0").unwrap();
            assert_eq!((trouble.reason.as_str(), trouble.message.as_str()), (reason, message));
        }
        assert_eq!(pod(starting).trouble("x-0"), None);
    }

    #[test]
    fn a_status_of_an_older_spec_is_told_apart() {
        for (generation, observed, current) in [(2, 2, true), (2, 1, false), (1, 0, false)] {
            let text = [json!({
                "kind": "StatefulSet", "metadata": {"name": "x", "generation": generation},
                "status": {"observedGeneration": observed, "readyReplicas": 1},
            })
            .to_string()];
            let status = Observed::read(&text).stateful_set("x").unwrap();
            assert_eq!((status.current, status.ready_replicas), (current, 1));
        }
    }

    #[test]
    fn a_service_has_an_address_unless_it_is_headless() {
        let service = |ip: &str| {
            let text = json!({"kind": "Service", "metadata": {"name": "x"}, "spec": {"clusterIP": ip}});
            Observed::read(&[text.to_string()]).service_ip("x")
        };
        assert_eq!(service("10.0.0.1").as_deref(), Some("10.0.0.1"));
        assert_eq!(service("None"), None);
        assert_eq!(service(""), None);
    }
}
