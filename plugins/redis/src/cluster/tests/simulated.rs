//! The plugin against its own simulation: forming, scaling, healing, and being interrupted everywhere.

use senren_plugin::wit::{ExecCall, SimulationGuest};
use senren_plugin::{Value, json};

use super::host::{Backend, Host, Lose, Pod, Ran};
use crate::Plugin;

/// The simulation, through the contract.
#[derive(Default)]
pub(super) struct Simulated {
    state: Option<String>,
}

impl Simulated {
    fn call(&mut self, pod: &Pod, command: &[String], pods: &[Pod], now_ms: u64) -> Ran {
        let result = Plugin::exec(ExecCall {
            resource_type: "redis-cluster".into(),
            pod: pod.object().to_string(),
            container: "redis".into(),
            command: command.to_vec(),
            pods: pods.iter().map(|pod| pod.object().to_string()).collect(),
            now_ms,
            state: self.state.take(),
        });
        self.state = Some(result.state);
        (result.exit_code, result.stdout, result.stderr)
    }
}

impl Backend for Simulated {
    fn start(&mut self, _: &Pod, _: &Value) {}

    fn stop(&mut self, _: &Pod) {}

    fn exec(&mut self, calls: &[(Pod, Vec<String>)], pods: &[Pod], now_ms: u64) -> Vec<Ran> {
        calls.iter().map(|(pod, command)| self.call(pod, command, pods, now_ms)).collect()
    }

    fn ready(&mut self, pod: &Pod, pods: &[Pod], now_ms: u64) -> bool {
        let look = ["sh", "/etc/redis/node.sh", "look"].map(str::to_owned);
        self.call(pod, &look, pods, now_ms).1.contains("cluster_state:ok")
    }

    fn pass(&mut self) -> u64 {
        100
    }
}

pub(super) fn cluster(spec: Value) -> Host<Simulated> {
    Host::new(Simulated::default(), &spec, "10.0.0")
}

fn ready(spec: Value) -> Host<Simulated> {
    let mut host = cluster(spec);
    host.until_ready(60);
    host
}

/// Each shard's slots.
fn slots(host: &Host<Simulated>) -> Vec<String> {
    let details = host.details();
    let shards = details["shards"].as_array().unwrap();
    shards.iter().map(|shard| shard["slots"].as_str().unwrap().to_owned()).collect()
}

/// It stays as it is: no object changes, nothing is done.
#[track_caller]
fn is_at_rest(host: &mut Host<Simulated>) {
    let (before, acts) = (host.last.clone().unwrap(), host.acts.len());
    for _ in 0..50 {
        host.step();
        let now = host.last.as_ref().unwrap();
        assert_eq!((&now.children, &now.status), (&before.children, &before.status));
    }
    assert_eq!(host.acts.len(), acts, "{:?}", &host.acts[acts..]);
}

#[test]
fn three_shards_are_formed_in_one_round_of_acts() {
    let mut host = ready(json!({}));
    assert_eq!(slots(&host), ["0-5461", "5462-10922", "10923-16383"]);
    assert!(host.acts.len() <= 6, "each pod is told once: {:#?}", host.acts);
    is_at_rest(&mut host);
}

#[test]
fn a_cluster_without_replicas_and_volumes_is_one_too() {
    let mut host = ready(json!({"replicas": 0, "persistence": {"enabled": false}}));
    is_at_rest(&mut host);
}

#[test]
fn shards_come_and_go_with_their_slots() {
    let mut host = ready(json!({}));
    host.apply(&json!({"shards": 5, "memory_mb": 320}));
    host.until_ready(200);
    assert_eq!(host.pods.len(), 10);
    let owned = slots(&host);
    assert_eq!(owned.len(), 5);
    is_at_rest(&mut host);

    host.apply(&json!({}));
    host.until_ready(300);
    assert_eq!(host.pods.len(), 6);
    assert_eq!(host.claims().len(), 6, "volumes of shards that are gone are gone");
    is_at_rest(&mut host);
}

#[test]
fn replicas_come_and_go() {
    let mut host = ready(json!({}));
    host.apply(&json!({"replicas": 2}));
    host.until_ready(60);
    assert_eq!(host.pods.len(), 9);
    host.apply(&json!({"replicas": 0}));
    host.until_ready(100);
    assert_eq!(host.pods.len(), 3);
    is_at_rest(&mut host);
}

#[test]
fn the_last_pods_hand_over_before_they_go() {
    let mut host = ready(json!({}));
    // Its replica takes over, and stays primary when it is back.
    host.held.insert("features-shard-1-0".into());
    host.delete_pod("features-shard-1-0");
    host.until(120, "failed over", |host| host.details()["shards"][1]["primary"] == "features-shard-1-1");
    host.held.clear();
    host.until_ready(60);
    host.apply(&json!({"replicas": 0}));
    host.until_ready(100);
    let names: Vec<&String> = host.pods.keys().collect();
    assert_eq!(names, ["features-shard-0-0", "features-shard-1-0", "features-shard-2-0"]);
    assert_eq!(slots(&host), ["0-5461", "5462-10922", "10923-16383"]);
    is_at_rest(&mut host);
}

#[test]
fn a_changed_spec_replaces_pods_one_by_one_and_never_one_that_owns_slots() {
    let mut host = ready(json!({}));
    let before = host.pods.clone();
    host.apply(&json!({"config": {"hz": "20"}}));
    for n in 0.. {
        host.step();
        let serving = host.pods.values().filter(|pod| pod.ready).count();
        assert!(serving >= 5, "at most one pod is away");
        let condition = host.status().conditions.iter().find(|one| one.kind == "SlotsServed").unwrap();
        assert_eq!(condition.status, "True", "{condition:?}");
        if host.status().phase == "Ready" && n > 1 {
            break;
        }
        assert!(n < 300, "{:?}", host.status());
    }
    assert!(host.pods.iter().all(|(name, pod)| pod.uid != before[name].uid), "all are replaced");
    is_at_rest(&mut host);
}

#[test]
fn a_cluster_whose_pods_all_come_back_with_other_addresses_finds_itself() {
    let mut host = ready(json!({}));
    let before = slots(&host);
    let names: Vec<String> = host.pods.keys().cloned().collect();
    names.iter().for_each(|name| host.delete_pod(name));
    host.restart();
    host.until_ready(60);
    assert_eq!(slots(&host), before);
    is_at_rest(&mut host);
}

#[test]
fn a_lost_volume_costs_nothing_while_there_is_a_replica() {
    for pod in ["features-shard-1-0", "features-shard-1-1"] {
        let mut host = ready(json!({}));
        let before = slots(&host);
        host.lose_volume(pod);
        host.until_ready(100);
        assert_eq!(slots(&host), before);
        assert!(
            host.acts
                .iter()
                .flat_map(|(_, commands)| commands)
                .all(|act| !act.starts_with("own 5462") || host.calls < 100)
        );
        is_at_rest(&mut host);
    }
}

#[test]
fn a_shard_that_lost_everything_begins_anew_and_says_so() {
    let mut host = ready(json!({"replicas": 0}));
    let before = slots(&host);
    host.lose_volume("features-shard-2-0");
    let mut said = false;
    for _ in 0..60 {
        host.step();
        said |= host.last.as_ref().unwrap().events.iter().any(|event| event.reason == "DataLost");
    }
    assert!(said && host.status().phase == "Ready", "{:?}", host.status());
    assert_eq!(slots(&host), before);
    is_at_rest(&mut host);
}

#[test]
fn a_pod_that_nobody_can_ask_is_no_reason_for_anything() {
    let mut host = ready(json!({}));
    let acts = host.acts.len();
    host.unreachable.insert("features-shard-0-0".into());
    host.restart();
    for _ in 0..80 {
        host.step();
    }
    assert_eq!(host.acts.len(), acts, "{:?}", &host.acts[acts..]);
    assert!(host.status().ready && host.status().phase == "Degraded", "{:?}", host.status());
    host.unreachable.clear();
    host.until_ready(30);
}

#[test]
fn a_host_that_starts_anew_says_what_was_until_it_knows_better() {
    let mut host = ready(json!({}));
    host.step();
    let before = host.last.clone().unwrap().status;
    host.restart();
    host.step();
    assert_eq!(host.status(), &before);
    is_at_rest(&mut host);
}

#[test]
fn nothing_is_decided_on_what_half_of_the_pods_say() {
    let mut host = ready(json!({}));
    let acts = host.acts.len();
    let names: Vec<String> = host.pods.keys().cloned().collect();
    for name in names.iter().take(4) {
        host.held.insert(name.clone());
        host.delete_pod(name);
    }
    host.restart();
    for _ in 0..300 {
        host.step();
        assert!(!host.status().ready);
    }
    let dangerous =
        |command: &String| ["own", "forget", "reset", "usurp"].iter().any(|verb| command.starts_with(verb));
    assert!(
        !host.acts[acts..].iter().flat_map(|(_, commands)| commands).any(dangerous),
        "{:?}",
        &host.acts[acts..]
    );
    host.held.clear();
    host.until_ready(100);
    is_at_rest(&mut host);
}

/// Everything that is done, once not at all and once without an answer; each time the end is the same.
#[test]
fn whatever_gets_lost_the_end_is_the_same() {
    let run = |lose: Option<(usize, Lose)>| {
        let mut host = cluster(json!({}));
        host.lose = lose;
        host.until_ready(100);
        host.apply(&json!({"shards": 4, "memory_mb": 256}));
        host.until_ready(200);
        host.lose_volume("features-shard-1-0");
        host.until_ready(150);
        (host.acts.len(), slots(&host))
    };
    let (acts, end) = run(None);
    assert!(acts > 10, "{acts}");
    for n in 0..acts {
        let how = if n % 2 == 0 { Lose::Act } else { Lose::Answer };
        assert_eq!(run(Some((n, how))).1.len(), end.len(), "{how:?} of act {n}");
    }
}

/// Run by hand: `cargo test --release -p senren-plugin-redis what_a_call_costs -- --ignored --nocapture`
#[test]
#[ignore = "prints how long a call takes, and checks nothing"]
fn what_a_call_costs() {
    use senren_plugin::Plugin as _;
    for (shards, memory_mb) in [(3, 192), (12, 768)] {
        let mut host = ready(json!({"shards": shards, "memory_mb": memory_mb}));
        host.step();
        let input = host.input();
        let sizes: usize =
            input.observed.iter().chain(input.answers.iter().map(|one| &one.output)).map(String::len).sum();
        let began = std::time::Instant::now();
        let times = 20;
        (0..times).for_each(|_| drop(Plugin::reconcile(input.clone()).unwrap()));
        eprintln!("{shards} shards: {:?}, {} KB in", began.elapsed() / times, sizes / 1024);
    }
}
