//! A host for tests: calls the plugin again and again, keeps its objects, makes pods of its StatefulSets as Kubernetes
//! does, and does what it asks. What pods are is the [`Backend`]'s business.

use std::collections::{BTreeMap, BTreeSet};

use senren_plugin::objects::checksum;
use senren_plugin::wit::{Answer, Ask, Condition, Endpoint, Input, Outcome, Status};
use senren_plugin::{Plugin as _, Value, json, testing};

use crate::Plugin;

/// What a command left: exit status, standard output, standard error.
pub(super) type Ran = (i32, String, String);

/// What pods are.
pub(super) trait Backend {
    /// A pod was made.
    fn start(&mut self, pod: &Pod, config: &Value);
    /// It is gone.
    fn stop(&mut self, pod: &Pod);
    /// Runs commands in pods, all at once, and says what each left.
    fn exec(&mut self, calls: &[(Pod, Vec<String>)], pods: &[Pod], now_ms: u64) -> Vec<Ran>;
    /// Its readiness probe succeeds.
    fn ready(&mut self, pod: &Pod, pods: &[Pod], now_ms: u64) -> bool;
    /// Lets some time pass, and says how much, in milliseconds.
    fn pass(&mut self) -> u64;
}

/// A pod.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pod {
    pub name: String,
    pub uid: String,
    pub ip: String,
    /// Its claim, which outlives it; by another volume under that name the number differs.
    pub claim: Option<(String, u32)>,
    revision: String,
    annotations: Value,
    pub ready: bool,
    /// Not running, as if there were no machine for it.
    pub held: bool,
}

struct Asked {
    kind: String,
    /// Without max-age-ms.
    params: Value,
    max_age: u64,
    answer: Option<Answer>,
}

/// See the module.
pub(super) struct Host<B> {
    pub backend: B,
    pub spec: Value,
    pub now_ms: u64,
    pub pods: BTreeMap<String, Pod>,
    /// Pods that are not to run, by name.
    pub held: BTreeSet<String>,
    /// Pods that nobody can ask.
    pub unreachable: BTreeSet<String>,
    pub last: Option<Outcome>,
    /// Every act that was carried out: pod and commands.
    pub acts: Vec<(String, Vec<String>)>,
    /// How often the plugin was called.
    pub calls: u32,
    /// Does not carry out the n-th act from now on, or carries it out and loses its answer.
    pub lose: Option<(usize, Lose)>,
    objects: BTreeMap<(String, String), Value>,
    volumes: BTreeMap<String, u32>,
    asks: BTreeMap<String, Asked>,
    status: Option<Value>,
    made: u32,
    network: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Lose {
    Act,
    Answer,
}

impl<B: Backend> Host<B> {
    /// `network`: the first three bytes of pods' addresses.
    pub(super) fn new(backend: B, spec: &Value, network: &str) -> Self {
        Self {
            backend,
            spec: Value::Null,
            now_ms: 1_750_000_000_000,
            pods: BTreeMap::new(),
            held: BTreeSet::new(),
            unreachable: BTreeSet::new(),
            last: None,
            acts: Vec::new(),
            calls: 0,
            lose: None,
            objects: BTreeMap::new(),
            volumes: BTreeMap::new(),
            asks: BTreeMap::new(),
            status: None,
            made: 0,
            network: network.to_owned(),
        }
        .with_spec(spec)
    }

    fn with_spec(mut self, spec: &Value) -> Self {
        self.apply(spec);
        self
    }

    /// A new spec.
    pub(super) fn apply(&mut self, spec: &Value) {
        let admitted = Plugin::admit("redis-cluster".into(), spec.to_string()).unwrap();
        self.spec = serde_json::from_str(&admitted).unwrap();
    }

    pub(super) fn status(&self) -> &Status {
        &self.last.as_ref().unwrap().status
    }

    pub(super) fn details(&self) -> Value {
        serde_json::from_str(&self.status().details).unwrap()
    }

    /// One turn: call the plugin, apply what it wants, let pods come and go, do what it asks.
    pub(super) fn step(&mut self) {
        self.now_ms += self.backend.pass();
        for pod in self.pods.clone().into_values() {
            let all: Vec<Pod> = self.running();
            let ready = !pod.held && self.backend.ready(&pod, &all, self.now_ms);
            self.pods.get_mut(&pod.name).unwrap().ready = ready;
        }
        let outcome = Plugin::reconcile(self.input()).unwrap();
        self.calls += 1;
        self.status = Some(hint(&outcome.status));
        self.stand(&outcome.asks);
        self.keep(&outcome);
        self.last = Some(outcome);
        self.run_sets();
        self.answer();
    }

    /// Steps until `done`, at most `most` times.
    #[track_caller]
    pub(super) fn until(&mut self, most: u32, what: &str, done: impl Fn(&Self) -> bool) -> u32 {
        for n in 1..=most {
            self.step();
            if done(self) {
                return n;
            }
        }
        let pods: Vec<_> = self.pods.values().map(|pod| (&pod.name, &pod.ip, pod.ready)).collect();
        let recent = &self.acts[self.acts.len().saturating_sub(12)..];
        panic!("never {what}: {:#?}\n{pods:?}\nlast acts: {recent:#?}", self.status());
    }

    #[track_caller]
    pub(super) fn until_ready(&mut self, most: u32) -> u32 {
        // The first look may still be from before what was just done.
        self.step();
        self.until(most, "ready", |host| host.status().phase == "Ready")
    }

    pub(super) fn input(&self) -> Input {
        let mut input = testing::input("redis-cluster", "features", &self.spec)
            .with_config(&json!({"endpoint": "dns"}))
            .with_secret("features-auth", "v1");
        input.now_ms = self.now_ms;
        input.last_status = self.status.as_ref().map(Value::to_string);
        let objects = self.objects.values().map(|object| self.as_observed(object));
        let pods = self.pods.values().map(Pod::object);
        input.observed = objects.chain(pods).map(|object| object.to_string()).collect();
        input.answers = self.asks.values().filter_map(|asked| asked.answer.clone()).collect();
        input
    }

    /// Commits suicide of a host: what it remembers of answers is gone.
    pub(super) fn restart(&mut self) {
        self.asks.clear();
    }

    /// A pod goes, and Kubernetes makes another.
    pub(super) fn delete_pod(&mut self, name: &str) {
        let pod = self.pods.remove(name).unwrap();
        self.backend.stop(&pod);
    }

    /// What is on a pod's volume is gone, and the pod with it.
    pub(super) fn lose_volume(&mut self, name: &str) {
        if let Some((claim, _)) = self.pods[name].claim.clone() {
            *self.volumes.get_mut(&claim).unwrap() += 1;
        }
        self.delete_pod(name);
    }

    pub(super) fn claims(&self) -> Vec<&String> {
        self.volumes.keys().collect()
    }

    fn running(&self) -> Vec<Pod> {
        self.pods.values().filter(|pod| !pod.held).cloned().collect()
    }

    fn as_observed(&self, object: &Value) -> Value {
        let mut object = object.clone();
        if object["kind"] == "StatefulSet" {
            let name = object["metadata"]["name"].as_str().unwrap();
            let pods = || self.pods.values().filter(|pod| set_of(&pod.name) == name);
            let update = revision(&object);
            object["status"] = json!({
                "observedGeneration": object["metadata"]["generation"],
                "replicas": pods().count(),
                "readyReplicas": pods().filter(|pod| pod.ready).count(),
                "updatedReplicas": pods().filter(|pod| pod.revision == update).count(),
                "updateRevision": update,
            });
        }
        object
    }

    /// Takes over what is wanted, and drops what is not.
    fn keep(&mut self, outcome: &Outcome) {
        let mut wanted = BTreeMap::new();
        for mut object in outcome.objects() {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let key = (text(&object["kind"]), text(&object["metadata"]["name"]));
            let before = self.objects.get(&key);
            let generation = before.map_or(0, |before| before["metadata"]["generation"].as_u64().unwrap());
            let same = before.is_some_and(|before| before["spec"] == object["spec"]);
            object["metadata"]["generation"] = json!(if same { generation } else { generation + 1 });
            wanted.insert(key, object);
        }
        self.objects = wanted;
    }

    /// What the StatefulSet controller does.
    fn run_sets(&mut self) {
        let sets: Vec<Value> =
            self.objects.values().filter(|object| object["kind"] == "StatefulSet").cloned().collect();
        let names: BTreeSet<&str> =
            sets.iter().map(|set| set["metadata"]["name"].as_str().unwrap()).collect();
        let gone: Vec<String> =
            self.pods.keys().filter(|pod| !names.contains(set_of(pod))).cloned().collect();
        gone.iter().for_each(|pod| self.delete_pod(pod));
        let config = self.objects.get(&("ConfigMap".to_owned(), "features-config".to_owned())).cloned();
        for set in &sets {
            self.run_set(set, config.as_ref().unwrap());
        }
    }

    fn run_set(&mut self, set: &Value, config: &Value) {
        let name = set["metadata"]["name"].as_str().unwrap();
        let replicas = set["spec"]["replicas"].as_u64().unwrap();
        let partition = set["spec"]["updateStrategy"]["rollingUpdate"]["partition"].as_u64().unwrap();
        let claims_go = set["spec"]["persistentVolumeClaimRetentionPolicy"]["whenScaled"] == "Delete";
        let too_many: Vec<String> = self
            .pods
            .keys()
            .filter(|pod| set_of(pod) == name && ordinal_of(pod) >= replicas)
            .cloned()
            .collect();
        for pod in too_many {
            self.delete_pod(&pod);
            if claims_go {
                self.volumes.remove(&format!("data-{pod}"));
            }
        }
        let wanted = revision(set);
        for ordinal in (partition..replicas).rev() {
            let Some(pod) = self.pods.get(&format!("{name}-{ordinal}")).cloned() else { break };
            if pod.revision != wanted {
                self.delete_pod(&pod.name);
                return;
            }
            if !pod.ready {
                break;
            }
        }
        for ordinal in 0..replicas {
            let pod_name = format!("{name}-{ordinal}");
            let of_old = ordinal < partition && self.pods.keys().any(|pod| set_of(pod) == name);
            let old =
                || self.pods.values().find(|pod| set_of(&pod.name) == name).map(|pod| pod.revision.clone());
            let revision = if of_old { old().unwrap() } else { wanted.clone() };
            if !self.pods.contains_key(&pod_name) {
                self.create(set, pod_name, revision, config);
            } else if self.pods[&pod_name].held != self.held.contains(&pod_name) {
                self.delete_pod(&pod_name);
            }
        }
    }

    fn create(&mut self, set: &Value, name: String, revision: String, config: &Value) {
        self.made += 1;
        let persistent = set["spec"].get("volumeClaimTemplates").is_some();
        let claim = format!("data-{name}");
        let pod = Pod {
            uid: format!("uid-{}", self.made),
            ip: format!("{}.{}", self.network, self.made % 250 + 1),
            claim: persistent.then(|| (claim.clone(), *self.volumes.entry(claim).or_insert(0))),
            revision,
            annotations: set["spec"]["template"]["metadata"]["annotations"].clone(),
            ready: false,
            held: self.held.contains(&name),
            name,
        };
        if !pod.held {
            self.backend.start(&pod, config);
        }
        self.pods.insert(pod.name.clone(), pod);
    }

    /// Takes these for all that is asked.
    fn stand(&mut self, asks: &[Ask]) {
        let mut before = std::mem::take(&mut self.asks);
        for ask in asks {
            let mut params: Value = serde_json::from_str(&ask.params).unwrap();
            let max_age = params["max-age-ms"].take().as_u64().unwrap();
            let same =
                before.remove(&ask.id).filter(|asked| asked.kind == ask.kind && asked.params == params);
            let answer = same.and_then(|asked| asked.answer);
            let asked = Asked { kind: ask.kind.clone(), params, max_age, answer };
            assert!(self.asks.insert(ask.id.clone(), asked).is_none(), "{} is asked twice", ask.id);
        }
    }

    /// Does what is due.
    fn answer(&mut self) {
        let now = self.now_ms;
        let due =
            |asked: &Asked| asked.answer.as_ref().is_none_or(|one| one.observed_at_ms + asked.max_age <= now);
        let ids: Vec<String> =
            self.asks.iter().filter(|(_, asked)| due(asked)).map(|(id, _)| id.clone()).collect();
        let (mut calls, mut called) = (Vec::new(), Vec::new());
        for id in ids {
            let params = self.asks[&id].params.clone();
            let command: Vec<String> = serde_json::from_value(params["command"].clone()).unwrap();
            let name = params["pod"].as_str().unwrap();
            let reachable = !self.unreachable.contains(name);
            let pod = self.pods.get(name).filter(|pod| reachable && !pod.held).cloned();
            let Some(pod) = pod else {
                self.file(&id, false, json!({"error": format!("pod {name}: it cannot be reached")}));
                continue;
            };
            let mut lost = None;
            if command[2] == "do" {
                lost = match &mut self.lose {
                    Some((0, how)) => Some(*how),
                    Some((left, _)) => {
                        *left -= 1;
                        None
                    }
                    None => None,
                };
                if lost.is_some() {
                    self.lose = None;
                }
                if lost == Some(Lose::Act) {
                    self.file(&id, false, json!({"error": "the connection broke"}));
                    continue;
                }
                self.acts.push((name.to_owned(), command[3..].to_vec()));
            }
            calls.push((pod, command));
            called.push((id, lost.is_some()));
        }
        let pods = self.running();
        let results = self.backend.exec(&calls, &pods, now);
        for ((id, lost), (code, stdout, stderr)) in called.into_iter().zip(results) {
            match lost {
                true => self.file(&id, false, json!({"error": "the connection broke"})),
                false => {
                    let output =
                        json!({"exit-code": code, "stdout": stdout, "stderr": stderr, "truncated": false});
                    self.file(&id, true, output);
                }
            }
        }
    }

    fn file(&mut self, id: &str, ok: bool, output: Value) {
        let answer =
            Answer { id: id.to_owned(), ok, output: output.to_string(), observed_at_ms: self.now_ms };
        self.asks.get_mut(id).unwrap().answer = Some(answer);
    }
}

impl Pod {
    pub(super) fn object(&self) -> Value {
        let running =
            json!([{"name": "redis", "ready": self.ready, "restartCount": 0, "state": {"running": {}}}]);
        let volumes = self.claim.iter().map(|(claim, number)| {
            // A simulation cannot look at a volume, so another one has another name.
            let name = if *number == 0 { claim.clone() } else { format!("{claim}.{number}") };
            json!({"name": "data", "persistentVolumeClaim": {"claimName": name}})
        });
        let status = match self.held {
            true => json!({"phase": "Pending"}),
            false => json!({
                "phase": "Running", "podIP": self.ip, "containerStatuses": running,
                "conditions": [{"type": "Ready", "status": if self.ready { "True" } else { "False" }}],
            }),
        };
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": self.name, "uid": self.uid, "annotations": self.annotations,
                "labels": {"controller-revision-hash": self.revision},
            },
            "spec": {"volumes": volumes.collect::<Vec<_>>()},
            "status": status,
        })
    }
}

/// As a host gives it to the next call.
fn hint(status: &Status) -> Value {
    let endpoint = |one: &Endpoint| json!({"name": one.name, "host": one.host, "port": one.port});
    let condition = |one: &Condition| json!({"kind": one.kind, "status": one.status, "reason": one.reason, "message": one.message});
    json!({
        "phase": status.phase, "ready": status.ready, "reason": status.reason, "message": status.message,
        "endpoints": status.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        "conditions": status.conditions.iter().map(condition).collect::<Vec<_>>(),
        "details": serde_json::from_str::<Value>(&status.details).unwrap(),
    })
}

fn set_of(pod: &str) -> &str {
    pod.rsplit_once('-').unwrap().0
}

fn ordinal_of(pod: &str) -> u64 {
    pod.rsplit_once('-').unwrap().1.parse().unwrap()
}

fn revision(set: &Value) -> String {
    checksum(&[&set["spec"]["template"].to_string()])
}
