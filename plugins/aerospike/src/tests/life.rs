//! Whole lives of a cluster, on a little world: a StatefulSet controller and nodes with data, as the simulation has
//! them. At every moment it watches over what the plugin is there for: no data is lost.

use senren_plugin::wit::{self, ExecCall, Outcome, SimulationGuest as _};
use senren_plugin::{Plugin as _, Value, json};

use super::input;
use crate::Plugin;

/// One turn of the world, in milliseconds.
const TURN: u64 = 50;
/// A pod that was deleted is gone, and a new one serves, after so many turns.
const TURNS_TO_GO: u32 = 2;
const TURNS_TO_START: u32 = 3;

#[derive(Clone, Debug)]
struct FakePod {
    uid: u64,
    made_from: Value,
    starts_in: u32,
    /// Turns until it is gone.
    goes_in: Option<u32>,
    broken: bool,
}

struct World {
    spec: Value,
    now: u64,
    next_uid: u64,
    set: Option<Value>,
    others: Vec<Value>,
    /// The template of pods below the partition: the last one that all pods had.
    before: Option<Value>,
    pods: Vec<Option<FakePod>>,
    state: Option<String>,
    asks: Vec<wit::Ask>,
    answers: Vec<wit::Answer>,
    status: Option<wit::Status>,
    /// What pods made from this template never do is serve.
    broken_image: Option<String>,
    /// Live pods that were stopped while partitions moved.
    violations: Vec<String>,
    /// How many ran at the least, since the cluster was whole.
    fewest: usize,
    seen: Vec<String>,
}

impl World {
    fn new(spec: Value) -> Self {
        Self {
            spec,
            now: 1_750_000_000_000,
            next_uid: 1,
            set: None,
            others: Vec::new(),
            before: None,
            pods: Vec::new(),
            state: None,
            asks: Vec::new(),
            answers: Vec::new(),
            status: None,
            broken_image: None,
            violations: Vec::new(),
            fewest: usize::MAX,
            seen: Vec::new(),
        }
    }

    fn live(&self) -> usize {
        self.pods.iter().flatten().filter(|pod| pod.serves()).count()
    }

    fn observed(&self) -> Vec<Value> {
        let pods = (0..).zip(&self.pods).filter_map(|(n, pod)| Some(pod.as_ref()?.object(n)));
        self.set.iter().chain(&self.others).cloned().chain(pods).collect()
    }

    fn turn(&mut self) {
        self.now += TURN;
        self.reconcile();
        self.kubernetes();
        self.exec();
        self.fewest = self.fewest.min(self.live());
    }

    fn reconcile(&mut self) {
        let mut call = self.observed().iter().fold(input(&self.spec), wit::Input::observing);
        call.now_ms = self.now;
        call.answers = self.answers.clone();
        call.last_status = self.status.as_ref().map(|status| {
            json!({"phase": status.phase, "ready": status.ready, "reason": status.reason}).to_string()
        });
        let outcome: Outcome = Plugin::reconcile(call).unwrap();
        let set = outcome.object("StatefulSet", "profiles").unwrap();
        self.others =
            outcome.objects().into_iter().filter(|object| object["kind"] != "StatefulSet").collect();
        self.set = Some(set);
        self.answers.retain(|answer| outcome.asks.iter().any(|ask| ask.id == answer.id));
        let seen = format!("{} {} {}", outcome.status.phase, outcome.status.ready, outcome.status.reason);
        if self.seen.last() != Some(&seen) {
            self.seen.push(seen);
        }
        self.asks = outcome.asks;
        self.status = Some(outcome.status);
    }

    /// What the StatefulSet controller and the kubelets do in a turn.
    fn kubernetes(&mut self) {
        let set = self.set.clone().unwrap();
        let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
        let replicas = number(&set["spec"]["replicas"]);
        let partition = number(&set["spec"]["updateStrategy"]["rollingUpdate"]["partition"]);
        let template = &set["spec"]["template"];
        for pod in &mut self.pods {
            if let Some(there) = pod {
                there.starts_in = there.starts_in.saturating_sub(1);
                match &mut there.goes_in {
                    Some(0) => *pod = None,
                    Some(left) => *left -= 1,
                    None => {}
                }
            }
        }
        while self.pods.len() > replicas && self.pods.last().is_some_and(Option::is_none) {
            self.pods.pop();
        }
        self.pods.resize(self.pods.len().max(replicas), None);
        for n in 0..replicas {
            if self.pods[n].is_none() {
                let template =
                    if n < partition { self.before.as_ref().unwrap_or(template) } else { template };
                let image = template["spec"]["containers"][0]["image"].as_str().map(str::to_owned);
                self.pods[n] = Some(FakePod {
                    uid: self.next_uid,
                    made_from: template["metadata"]["annotations"].clone(),
                    starts_in: TURNS_TO_START,
                    goes_in: None,
                    broken: image.is_some() && image == self.broken_image,
                });
                self.next_uid += 1;
            }
        }
        for n in (replicas..self.pods.len()).rev() {
            self.stop(n);
        }
        if partition == 0 && self.rolled_out() {
            self.before = Some(template.clone());
        }
        // One at a time, from the last, and only once those above serve.
        for n in (partition..replicas).rev() {
            let pod = self.pods[n].as_ref().unwrap();
            if pod.made_from != template["metadata"]["annotations"] {
                self.stop(n);
                break;
            }
            if !pod.serves() {
                break;
            }
        }
    }

    /// All pods are of the StatefulSet's template, and serve.
    fn rolled_out(&self) -> bool {
        let template = &self.set.as_ref().unwrap()["spec"]["template"]["metadata"]["annotations"];
        self.pods.iter().all(|pod| pod.as_ref().is_some_and(|pod| pod.serves() && pod.made_from == *template))
    }

    fn stop(&mut self, n: usize) {
        let remaining = self.partitions_remaining();
        let redundant = self.spec["replication_factor"] != 1;
        let live = self.live();
        let Some(pod) = &mut self.pods[n] else { return };
        if pod.goes_in.is_some() {
            return;
        }
        if pod.serves() && redundant && (remaining != Some(0) || live < 2) {
            self.violations
                .push(format!("pod {n} stopped with {live} live, {remaining:?} partitions to move"));
        }
        pod.goes_in = Some(TURNS_TO_GO);
    }

    /// What the cluster would say right now.
    fn partitions_remaining(&mut self) -> Option<u64> {
        let n = self.pods.iter().position(|pod| pod.as_ref().is_some_and(FakePod::serves))?;
        let said = self.command(n, &["sh", "-c", crate::nodes::COMMAND])?;
        said.lines().find_map(|line| line.strip_prefix("migrate_partitions_remaining=")?.parse().ok())
    }

    fn command(&mut self, n: usize, command: &[&str]) -> Option<String> {
        let pods: Vec<_> = (0..)
            .zip(&self.pods)
            .filter_map(|(n, pod)| Some(pod.as_ref().filter(|pod| pod.starts_in == 0)?.object(n).to_string()))
            .collect();
        let result = Plugin::exec(ExecCall {
            resource_type: "aerospike".into(),
            pod: self.pods[n].as_ref()?.object(u32::try_from(n).unwrap()).to_string(),
            container: "aerospike".into(),
            command: command.iter().map(|&word| word.to_owned()).collect(),
            pods,
            now_ms: self.now,
            state: self.state.clone(),
        });
        self.state = Some(result.state);
        (result.exit_code == 0).then_some(result.stdout)
    }

    /// What is asked is done when its answer is too old.
    fn exec(&mut self) {
        for ask in self.asks.clone() {
            let params: Value = ask.params.parse().unwrap();
            let max_age = params["max-age-ms"].as_u64().unwrap();
            let known = self.answers.iter().find(|answer| answer.id == ask.id);
            if known.is_some_and(|answer| self.now < answer.observed_at_ms + max_age) {
                continue;
            }
            self.answers.retain(|answer| answer.id != ask.id);
            let pod = params["pod"].as_str().unwrap().rsplit('-').next().unwrap().parse().unwrap();
            let command: Vec<_> = params["command"]
                .as_array()
                .unwrap()
                .iter()
                .map(|word| word.as_str().unwrap().to_owned())
                .collect();
            let command: Vec<_> = command.iter().map(String::as_str).collect();
            let (ok, output) = match self.command(pod, &command) {
                Some(stdout) => {
                    (true, json!({"exit-code": 0, "stdout": stdout, "stderr": "", "truncated": false}))
                }
                None => (false, json!({"error": "no such pod"})),
            };
            let answer = wit::Answer { id: ask.id, ok, output: output.to_string(), observed_at_ms: self.now };
            self.answers.push(answer);
        }
    }

    /// Until it is ready, with that many nodes.
    #[track_caller]
    fn until_ready(&mut self, nodes: usize) {
        for _ in 0..2_000 {
            self.turn();
            let ready = self.status.as_ref().is_some_and(|status| status.phase == "Ready");
            if ready && self.live() == nodes && self.pods.len() == nodes {
                assert_eq!(self.violations, Vec::<String>::new());
                return;
            }
        }
        panic!("not ready: {:?}\n{:#?}\n{:#?}", self.seen, self.pods, self.status);
    }

    #[track_caller]
    fn ready(spec: Value, nodes: usize) -> Self {
        let mut world = Self::new(spec);
        world.until_ready(nodes);
        world.fewest = usize::MAX;
        world.seen.clear();
        world
    }
}

impl FakePod {
    fn serves(&self) -> bool {
        self.starts_in == 0 && self.goes_in.is_none() && !self.broken
    }

    fn object(&self, n: u32) -> Value {
        let mut object = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("profiles-{n}"), "uid": self.uid.to_string(), "annotations": self.made_from},
            "status": {
                "phase": if self.broken || self.starts_in > 0 { "Pending" } else { "Running" },
                "conditions": [{"type": "Ready", "status": if self.serves() { "True" } else { "False" }}],
            },
        });
        if self.goes_in.is_some() {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        object
    }
}

#[test]
fn a_cluster_is_made_and_rests() {
    let mut world = World::ready(json!({"nodes": 3}), 3);
    let before = (world.set.clone(), world.others.clone());
    for _ in 0..2_000 {
        world.turn();
    }
    assert_eq!((world.set, world.others), before);
    assert_eq!(world.seen, ["Ready true AllReady"]);
    assert!(world.asks.iter().all(|ask| ask.params.contains(r#""max-age-ms":30000"#)), "{:?}", world.asks);
}

#[test]
fn a_host_that_has_forgotten_all_answers_changes_nothing() {
    let mut world = World::ready(json!({"nodes": 3}), 3);
    let before = (world.set.clone(), world.status.clone());
    for _ in 0..20 {
        world.answers.clear();
        world.reconcile();
        assert_eq!((world.set.clone(), world.status.clone()), before);
        world.turn();
    }
}

#[test]
fn it_grows_and_shrinks_without_losing_a_record() {
    let mut world = World::ready(json!({"nodes": 3}), 3);
    world.spec = json!({"nodes": 8});
    world.until_ready(8);
    world.spec = json!({"nodes": 2});
    world.until_ready(2);
    assert!(
        world.seen.iter().all(|seen| seen.contains(" true ")),
        "it serves all the while: {:?}",
        world.seen
    );
    assert!(world.seen.iter().any(|seen| seen.contains("Migrating")), "{:?}", world.seen);
}

#[test]
fn another_version_takes_one_node_after_the_other() {
    let mut world = World::ready(json!({"nodes": 4}), 4);
    world.spec = json!({"nodes": 4, "version": "8.1.1.0"});
    world.until_ready(4);
    assert_eq!(world.fewest, 3);
    assert!(world.pods.iter().flatten().all(|pod| pod.uid > 4), "all were replaced");
}

#[test]
fn a_smaller_cluster_of_another_version_first_shrinks() {
    let mut world = World::ready(json!({"nodes": 5}), 5);
    world.spec = json!({"nodes": 3, "version": "8.1.1.0"});
    world.until_ready(3);
    assert_eq!(world.next_uid, 5 + 1 + 3, "those that went were not replaced before");
}

#[test]
fn a_change_of_mind_half_way_is_followed() {
    let mut world = World::ready(json!({"nodes": 4}), 4);
    world.spec = json!({"nodes": 4, "version": "8.1.1.0"});
    while world.pods.iter().flatten().filter(|pod| pod.uid > 4).count() < 2 {
        world.turn();
    }
    world.spec = json!({"nodes": 4});
    world.until_ready(4);
    assert!(world.pods.iter().flatten().take(2).all(|pod| pod.uid <= 4), "those that were right stayed");
}

#[test]
fn a_version_that_does_not_start_stops_at_the_first_node_and_is_mended() {
    let mut world = World::ready(json!({"nodes": 3}), 3);
    world.broken_image = Some("aerospike/aerospike-server:8.9.9.9".into());
    world.spec = json!({"nodes": 3, "version": "8.9.9.9"});
    for _ in 0..500 {
        world.turn();
    }
    assert_eq!(world.live(), 2, "two nodes still serve");
    world.spec = json!({"nodes": 3});
    world.until_ready(3);
}

#[test]
fn a_first_version_that_does_not_start_is_mended() {
    let mut world = World::new(json!({"nodes": 3, "version": "8.9.9.9"}));
    world.broken_image = Some("aerospike/aerospike-server:8.9.9.9".into());
    for _ in 0..100 {
        world.turn();
    }
    assert_eq!(world.live(), 0);
    world.spec = json!({"nodes": 3});
    world.until_ready(3);
}

#[test]
fn without_copies_nothing_is_waited_for_but_one_goes_at_a_time() {
    let mut world = World::ready(json!({"nodes": 1, "replication_factor": 1}), 1);
    world.spec = json!({"nodes": 1, "replication_factor": 1, "version": "8.1.1.0"});
    world.until_ready(1);
    let mut world = World::ready(json!({"nodes": 3, "replication_factor": 1}), 3);
    world.spec = json!({"nodes": 3, "replication_factor": 1, "version": "8.1.1.0"});
    world.until_ready(3);
    assert_eq!(world.fewest, 2);
}

#[test]
fn a_node_that_comes_back_gets_its_copies_again() {
    let mut world = World::ready(json!({"nodes": 3}), 3);
    world.pods[1] = None;
    world.until_ready(3);
    assert!(world.seen.iter().any(|seen| seen.starts_with("Degraded true")), "{:?}", world.seen);
    assert!(!world.seen.iter().any(|seen| seen.contains("Updating")), "{:?}", world.seen);
}

#[test]
fn a_node_that_dies_while_others_are_replaced_is_waited_for() {
    let mut world = World::ready(json!({"nodes": 4}), 4);
    world.spec = json!({"nodes": 4, "version": "8.1.1.0"});
    while world.pods.iter().flatten().all(|pod| pod.uid <= 4) {
        world.turn();
    }
    world.pods[0] = None;
    world.until_ready(4);
}

#[test]
fn a_stateful_set_taken_away_from_under_its_pods_comes_back_around_them() {
    let mut world = World::ready(json!({"nodes": 3}), 3);
    world.set = None;
    world.until_ready(3);
    assert_eq!(world.next_uid, 4, "no pod was made again");
}
