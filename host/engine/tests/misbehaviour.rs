//! Whatever a plugin does wrong is an error of that call, which says what it was, and of no other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{input, limits, misbehaving};
use futures::future::join_all;
use senren_engine::{CallError, Limits, wit};
use std::time::{Duration, Instant};

/// Both the reason and a part of the message, for each function that can be asked to go wrong.
#[track_caller]
fn is(error: &CallError, reason: &str, message: &str) {
    assert_eq!(error.reason(), reason, "{error}");
    assert!(error.to_string().contains(message), "{error}");
}

#[tokio::test]
async fn each_misbehaviour_is_told_apart() {
    let plugin = misbehaving(limits());
    for (mode, reason, message) in [
        ("trap", "PluginTrap", "`unreachable`"),
        ("loop", "PluginTimeout", "within 400ms"),
        ("memory", "PluginLimit", "bytes of memory"),
        ("huge-output", "PluginLimit", "the answer takes more than 4194304 bytes"),
        ("empty-outcome", "PluginBadAnswer", "no children"),
        ("ready-without-endpoint", "PluginBadAnswer", "no endpoint"),
        ("fault", "OnRequest", "failed on request"),
    ] {
        let error = plugin.reconcile(input(&format!(r#"{{"mode":"{mode}"}}"#))).await.expect_err(mode);
        is(&error, reason, message);
        assert_eq!(error.retryable(), mode != "fault", "{mode}");
        let outcome = plugin.reconcile(input("{}")).await.unwrap();
        assert!(outcome.status.ready, "the next call goes well after {mode}");
    }
}

#[tokio::test]
async fn endless_recursion_ends() {
    let error = misbehaving(limits()).reconcile(input(r#"{"mode":"stack"}"#)).await.unwrap_err();
    assert!(matches!(error, CallError::Limit { .. } | CallError::Trap { .. }), "{error}");
}

#[tokio::test]
async fn the_other_functions_are_guarded_as_well() {
    let plugin = misbehaving(limits());
    for (mode, reason) in [("trap", "PluginTrap"), ("loop", "PluginTimeout"), ("memory", "PluginLimit")] {
        for function in ["admit", "diff"] {
            let spec = format!(r#"{{"mode":"{mode}","in":"{function}"}}"#);
            let error = match function {
                "admit" => plugin.admit("misbehaving", &spec).await.map(|_| ()).unwrap_err(),
                _ => plugin.diff("misbehaving", None, Some(&spec)).await.map(|_| ()).unwrap_err(),
            };
            assert_eq!(error.reason(), reason, "{function}: {error}");
        }
    }
    let transmogrify = r#"{"mode":"unknown-mode","in":"diff"}"#;
    let error = plugin.diff("misbehaving", Some("{}"), Some(transmogrify)).await.unwrap_err();
    is(&error, "PluginBadAnswer", "`transmogrify`, where only `none`, `update`, `replace` can be");
    for (mode, message) in [("bad-json", "not JSON"), ("empty-outcome", "names no violation")] {
        let spec = format!(r#"{{"mode":"{mode}","in":"admit"}}"#);
        is(&plugin.admit("misbehaving", &spec).await.unwrap_err(), "PluginBadAnswer", message);
    }
}

#[tokio::test]
async fn a_plugin_only_sees_specs_that_its_schema_allows() {
    let plugin = misbehaving(limits());
    let admitted = plugin.admit("misbehaving", r#"{"size":3}"#).await.unwrap().unwrap();
    let admitted: serde_json::Value = serde_json::from_str(&admitted).unwrap();
    assert_eq!(admitted, serde_json::json!({"in": "reconcile", "mode": "ok", "size": 3}));

    let check = async |ty: &str, spec: &str, path: &str, code: &str| {
        let violations = plugin.admit(ty, spec).await.unwrap().unwrap_err();
        let found: Vec<_> = violations.iter().map(|v| (v.path.as_str(), v.code.as_str())).collect();
        assert_eq!(found, [(path, code)], "{spec}");
    };
    check("misbehaving", r#"{"size":"3"}"#, "/size", "type").await;
    check("misbehaving", r#"{"sise":3}"#, "/sise", "unknown-field").await;
    check("misbehaving", "{", "", "json").await;
    check("other", "{}", "", "unknown-type").await;
    check("misbehaving", r#"{"mode":"fault","in":"admit"}"#, "/mode", "on-request").await;
}

#[tokio::test]
async fn a_change_has_the_action_that_its_specs_imply() {
    let plugin = misbehaving(limits());
    let spec = Some(r#"{"mode":"ok"}"#);
    for (current, desired, action) in
        [(None, spec, "create"), (spec, None, "delete"), (spec, spec, "none"), (spec, Some("{}"), "update")]
    {
        assert_eq!(plugin.diff("misbehaving", current, desired).await.unwrap().action, action);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neighbours_go_on_while_a_plugin_loops() {
    let engine = common::engine(Limits { deadline: Duration::from_millis(600), ..limits() });
    let looping = engine.load("a.wasm", common::misbehaving_wasm()).unwrap();
    let neighbour = engine.load("b.wasm", common::misbehaving_wasm()).unwrap();
    let loops: Vec<_> = (0..6)
        .map(|_| {
            let looping = looping.clone();
            tokio::spawn(async move { looping.reconcile(input(r#"{"mode":"loop"}"#)).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(50)).await;

    let mut slowest = Duration::ZERO;
    let until = Instant::now() + Duration::from_millis(800);
    while Instant::now() < until {
        let started = Instant::now();
        assert!(neighbour.reconcile(input("{}")).await.unwrap().status.ready);
        slowest = slowest.max(started.elapsed());
    }
    // More loops wait than there are threads. Without turns, a call would wait until one of them is over.
    assert!(slowest < Duration::from_millis(400), "a neighbour's call took {slowest:?}");
    assert!(loops.iter().any(|task| !task.is_finished()), "the loops are still going on");
    for task in loops {
        is(&task.await.unwrap().unwrap_err(), "PluginTimeout", "");
    }
}

#[tokio::test]
async fn a_full_queue_refuses_further_calls_of_that_plugin_only() {
    let engine = common::engine(Limits { queue: 2, ..limits() });
    let looping = engine.load("a.wasm", common::misbehaving_wasm()).unwrap();
    let neighbour = engine.load("b.wasm", common::misbehaving_wasm()).unwrap();
    let calls = join_all((0..8).map(|_| looping.reconcile(input(r#"{"mode":"loop"}"#))));
    let (answers, ready) = tokio::join!(calls, neighbour.reconcile(input("{}")));
    let reasons: Vec<_> = answers.iter().map(|answer| answer.as_ref().unwrap_err().reason()).collect();
    let overloaded = reasons.iter().filter(|reason| **reason == "PluginOverloaded").count();
    assert!((4..=6).contains(&overloaded), "{reasons:?}");
    assert!(reasons.contains(&"PluginTimeout"), "{reasons:?}");
    assert!(ready.unwrap().status.ready);
}

#[tokio::test]
async fn a_simulated_database_answers_and_goes_wrong_as_any_call() {
    let plugin = misbehaving(limits());
    assert!(plugin.simulates());
    let exec = async |word: &str, state: Option<&str>| {
        let call = wit::ExecCall {
            resource_type: "misbehaving".into(),
            pod: "{}".into(),
            container: "x".into(),
            command: vec![word.into()],
            pods: vec!["{}".into()],
            now_ms: 0,
            state: state.map(str::to_owned),
        };
        plugin.simulate(call).await
    };
    let first = exec("hello", None).await.unwrap();
    assert_eq!((first.stdout.as_str(), first.state.as_str()), ("hello", "1"));
    assert_eq!(exec("again", Some(&first.state)).await.unwrap().state, "2");
    is(
        &exec("bad-json", None).await.unwrap_err(),
        "PluginBadAnswer",
        "the state that `exec` answers is not JSON",
    );
    is(&exec("trap", None).await.unwrap_err(), "PluginTrap", "unreachable");
    is(&exec("loop", None).await.unwrap_err(), "PluginTimeout", "");
}

#[tokio::test]
async fn limits_and_settings_are_those_of_the_plugin_that_was_tuned() {
    let plugin = misbehaving(limits());
    let little = Limits { memory_bytes: 1 << 16, ..limits() };
    let tuned = plugin.tuned(little, None);
    is(&tuned.reconcile(input("{}")).await.unwrap_err(), "PluginLimit", "and may have 65536");
    assert!(plugin.reconcile(input("{}")).await.unwrap().status.ready, "the other is as it was");
    assert!(!tuned.same_as(&plugin));
    assert!(plugin.tuned(limits(), None).same_as(&plugin));
    let set = plugin.tuned(limits(), Some(&serde_json::json!({"unheard": "of"})));
    assert!(!set.same_as(&plugin));
    let violations: Vec<_> =
        set.config().unwrap_err().iter().map(|violation| violation.path.clone()).collect();
    assert_eq!(violations, ["/unheard"]);
    assert_eq!(plugin.config(), Ok("{}"));
}

#[tokio::test]
async fn calls_share_nothing() {
    let plugin = misbehaving(limits());
    let answers = join_all((0..64).map(|_| plugin.reconcile(input(r#"{"size":1}"#)))).await;
    let first = answers[0].as_ref().unwrap();
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap() == first));
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_any_more_costs_nothing_further() {
    let plugin = misbehaving(limits());
    for _ in 0..4 {
        let call = plugin.reconcile(input(r#"{"mode":"loop"}"#));
        let _ = tokio::time::timeout(Duration::from_millis(1), call).await;
    }
    let abandoned = plugin.reconcile(input(r#"{"mode":"loop"}"#));
    let _ = tokio::time::timeout(Duration::from_millis(1), abandoned).await;
    assert!(plugin.reconcile(input("{}")).await.unwrap().status.ready);
}
