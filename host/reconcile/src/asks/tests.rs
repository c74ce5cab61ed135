#![allow(clippy::unwrap_used, clippy::panic)]
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use serde_json::json;

use super::*;

/// A clock that stands until it is moved.
#[derive(Default)]
struct Moved(AtomicU64);

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.0.load(Ordering::SeqCst).try_into().unwrap()).unwrap()
    }
}

struct Table {
    clock: Arc<Moved>,
    asks: Asks,
}

impl Table {
    fn new(limits: AskLimits) -> Self {
        let clock = Arc::new(Moved(AtomicU64::new(1_000)));
        Self { asks: Asks::new(limits, clock.clone()), clock }
    }

    fn wait(&self, ms: u64) {
        self.clock.0.fetch_add(ms, Ordering::SeqCst);
    }

    fn stand(&self, name: &str, asks: &[wit::Ask]) -> Vec<wit::Answer> {
        self.asks.stand(&resource(name, name), asks, &Observed::default()).unwrap().0
    }

    /// Ids of everything that can be done now, which is then under way.
    fn jobs(&self) -> Vec<Job> {
        std::iter::from_fn(|| self.asks.take(None).ok()).collect()
    }

    fn ids(&self) -> Vec<String> {
        self.jobs().iter().map(|job| job.id.clone()).collect()
    }

    fn job(&self) -> Job {
        let mut jobs = self.jobs();
        assert_eq!(jobs.len(), 1);
        jobs.remove(0)
    }
}

fn resource(name: &str, uid: &str) -> CustomResource {
    let object = json!({
        "apiVersion": "senren.io/v1", "kind": "RedisDatabase",
        "metadata": {"name": name, "namespace": "senren-default", "uid": uid, "resourceVersion": "1"},
    });
    let redis = wit::ResourceType {
        name: "redis".into(),
        kind: "RedisDatabase".into(),
        plural: "redisdatabases".into(),
        short_names: vec![],
        spec_schema: "{}".into(),
        printer_columns: "[]".into(),
        example: "{}".into(),
        owns: vec![],
        observes: vec![],
        extras: vec![],
    };
    CustomResource::parse(&redis, "senren", serde_json::from_value(object).unwrap()).unwrap()
}

fn ask(id: &str) -> wit::Ask {
    ask_for(id, "PING")
}

fn ask_for(id: &str, command: &str) -> wit::Ask {
    let params = json!({"pod": "a-0", "command": ["redis-cli", command], "max-age-ms": 5_000}).to_string();
    wit::Ask { id: id.into(), kind: "exec".into(), params }
}

fn output(answers: &[wit::Answer]) -> Vec<(&str, &str, u64)> {
    answers.iter().map(|answer| (answer.id.as_str(), answer.output.as_str(), answer.observed_at_ms)).collect()
}

#[test]
fn an_answer_stands_until_it_is_too_old_and_is_then_made_anew() {
    let table = Table::new(AskLimits::default());
    assert_eq!(table.stand("a", &[ask("ping")]), []);
    let mut job = table.job();
    table.wait(10);
    assert!(job.finish(Ok(json!("PONG"))).is_some(), "the resource is to be woken");
    assert_eq!(output(&table.stand("a", &[ask("ping")])), [("ping", "\"PONG\"", 1_010)]);

    table.wait(4_999);
    assert_eq!(table.ids(), Vec::<String>::new());
    assert_eq!(table.asks.next_due(&resource("a", "a").key), Some(6_010));
    table.wait(1);
    let mut job = table.job();
    let old = table.stand("a", &[ask("ping")]);
    assert_eq!(output(&old), [("ping", "\"PONG\"", 1_010)], "the old one stands meanwhile");
    job.finish(Ok(json!("again")));
    assert_eq!(output(&table.asks.answers(&resource("a", "a"))), [("ping", "\"again\"", 6_010)]);
}

#[test]
fn how_old_an_answer_may_be_can_change_and_the_answer_stays() {
    let table = Table::new(AskLimits::default());
    let ask = |max_age: u64| {
        let params = json!({"pod": "a-0", "command": ["redis-cli"], "max-age-ms": max_age}).to_string();
        wit::Ask { id: "x".into(), kind: "exec".into(), params }
    };
    table.stand("a", &[ask(5_000)]);
    table.job().finish(Ok(json!("old")));
    table.wait(300);
    assert_eq!(output(&table.stand("a", &[ask(5_001)])), [("x", "\"old\"", 1_000)]);
    assert_eq!(table.ids(), Vec::<String>::new());
    assert_eq!(output(&table.stand("a", &[ask(200)])), [("x", "\"old\"", 1_000)]);
    let mut job = table.job();
    assert_eq!(output(&table.stand("a", &[ask(60_000)])), [("x", "\"old\"", 1_000)]);
    job.finish(Ok(json!("new")));
    assert_eq!(table.asks.next_due(&resource("a", "a").key), Some(61_300));
}

#[test]
fn what_can_never_be_done_is_answered_at_once_and_stays_answered() {
    let table = Table::new(AskLimits::default());
    let http = wit::Ask { id: "slots".into(), kind: "http".into(), params: "{}".into() };
    let empty = wit::Ask { id: "empty".into(), kind: "exec".into(), params: "{}".into() };
    let first = table.stand("a", &[http.clone(), empty.clone()]);
    assert_eq!(first.len(), 2);
    assert!(first.iter().all(|answer| !answer.ok));
    assert!(first[1].output.contains("are not known to this host"), "{first:?}");
    assert_eq!(table.ids(), Vec::<String>::new());
    table.wait(60_000);
    assert_eq!(table.stand("a", &[http, empty]), first);
}

#[test]
fn one_id_is_never_under_way_twice() {
    let table = Table::new(AskLimits::default());
    table.stand("a", &[ask_for("x", "one")]);
    let mut one = table.job();
    // Dropped, asked again, and for something else: the first must end before.
    table.stand("a", &[]);
    table.stand("a", &[ask_for("x", "one")]);
    table.stand("a", &[ask_for("x", "two")]);
    assert_eq!(table.ids(), Vec::<String>::new());
    assert_eq!(one.finish(Ok(json!("one"))), None, "nobody asks for that any more");
    assert_eq!(table.asks.answers(&resource("a", "a")), []);
    let mut two = table.job();
    assert_eq!(two.work.command, ["redis-cli", "two"]);
    assert!(two.finish(Ok(json!("two"))).is_some());
}

#[test]
fn what_is_no_longer_asked_for_is_not_done_and_not_kept() {
    let table = Table::new(AskLimits::default());
    table.stand("a", &[ask("x"), ask("y")]);
    table.stand("a", &[ask("y")]);
    let mut y = table.job();
    assert_eq!(y.id, "y");
    y.finish(Ok(json!("Y")));
    assert_eq!(table.stand("a", &[]), []);
    assert_eq!(table.stand("a", &[ask("y")]), [], "an ask that was dropped is a new one when it comes back");
}

#[test]
fn nothing_outlives_its_resource() {
    let table = Table::new(AskLimits::default());
    let asks =
        |uid: &str| table.asks.stand(&resource("a", uid), &[ask("x")], &Observed::default()).unwrap().0;
    asks("u1");
    let mut job = table.job();
    assert_eq!(asks("u2"), [], "a successor inherits nothing");
    assert_eq!(job.finish(Ok(json!("of u1"))), None);
    assert_eq!(table.asks.answers(&resource("a", "u2")), []);
    assert_eq!(table.asks.answers(&resource("a", "u1")), []);
    table.asks.forget(&resource("a", "u2").key);
    assert_eq!(table.ids(), Vec::<String>::new());
    let state = table.asks.0.state.lock();
    assert!(state.resources.is_empty() && state.due.is_empty() && state.running.is_empty());
}

#[test]
fn a_job_that_is_given_up_is_done_again() {
    let table = Table::new(AskLimits::default());
    table.stand("a", &[ask("x")]);
    drop(table.job());
    assert_eq!(table.ids(), ["x"]);
}

#[test]
fn what_fails_is_tried_again_ever_more_slowly() {
    let table = Table::new(AskLimits::default());
    table.stand("a", &[ask("x")]);
    for pause in [100, 200, 400] {
        let mut job = table.job();
        assert!(job.finish(Err("no such pod".into())).is_some());
        table.wait(pause - 1);
        assert_eq!(table.ids(), Vec::<String>::new());
        table.wait(1);
    }
    let answers = table.stand("a", &[ask("x")]);
    assert_eq!(output(&answers)[0].1, r#"{"error":"no such pod"}"#);
    table.job().finish(Ok(json!(1)));
    table.wait(4_999);
    assert_eq!(table.ids(), Vec::<String>::new(), "after a success the age counts again");
}

#[test]
fn a_resource_has_its_share_and_its_pace() {
    let limits = AskLimits { per_resource: 2, rate: 10.0, burst: 3, ..AskLimits::default() };
    let table = Table::new(limits);
    let many: Vec<wit::Ask> = ["1", "2", "3", "4"].map(ask).into();
    table.stand("a", &many);
    table.stand("b", &[ask("1")]);
    let mut jobs = table.jobs();
    let names: Vec<_> = jobs.iter().map(|job| (job.key.name.as_str(), job.id.as_str())).collect();
    assert_eq!(names, [("a", "1"), ("a", "2"), ("b", "1")], "two of a, and its neighbour's");
    jobs.iter_mut().for_each(|job| drop(job.finish(Ok(json!(1)))));
    let mut third = table.job();
    third.finish(Ok(json!(1)));
    assert_eq!(table.asks.take(None).err(), Some(Some(1_100)), "the burst is used up");
    table.wait(100);
    assert_eq!(table.job().id, "4");
}

#[test]
fn asks_that_leave_it_open_which_is_which_break_the_contract() {
    let table = Table::new(AskLimits::default());
    let refuse =
        |asks: &[wit::Ask]| table.asks.stand(&resource("a", "a"), asks, &Observed::default()).unwrap_err();
    assert_eq!(refuse(&[ask("x"), ask_for("x", "other")]), "two asks have the id \"x\"");
    assert!(refuse(&[ask(&"x".repeat(300))]).contains("longer than 253 bytes"));
    let many: Vec<wit::Ask> = (0..300).map(|n| ask(&n.to_string())).collect();
    assert_eq!(refuse(&many), "300 asks, at most 256 are allowed");
}

#[tokio::test]
async fn whoever_waits_for_work_gets_it_when_it_is_there() {
    let asks = Asks::new(AskLimits::default(), Arc::new(crate::clock::SystemClock::default()));
    let waiting = {
        let asks = asks.clone();
        tokio::spawn(async move { asks.next().await })
    };
    tokio::task::yield_now().await;
    asks.stand(&resource("a", "a"), &[ask("x")], &Observed::default()).unwrap();
    let mut job = tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
    assert_eq!(job.id, "x");
    job.finish(Err("not there yet".into()));
    let again = tokio::time::timeout(Duration::from_secs(5), asks.next()).await.unwrap();
    assert_eq!(again.id, "x");
}
