//! Every check catches its bug, and only it: one plugin for each, which is right but for that.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use senren_conformance::{CHECKS, Outcome, Report, check};
use senren_engine::{Engine, EngineConfig};
use senren_plugin_wrong::bugs;

/// Two dozen components are compiled with it, however busy the machine.
static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let compile_limit = std::time::Duration::from_secs(900);
    Engine::new(EngineConfig { compile_limit, ..EngineConfig::default() }).unwrap()
});

static COMPONENT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/plugins/wrong");
    std::fs::read(senren_plugin_build::component(&root).unwrap()).unwrap()
});

/// Bug, the check that catches it, and what the failure says.
const CAUGHT: [(&str, &str, &str); 26] = [
    ("plural", "descriptor", "Wrong Databases"),
    ("effect", "schema", "x-senren-effect"),
    ("example", "example", "/size"),
    ("refused-example", "example", "is not to my liking"),
    ("counts", "deterministic", "used before"),
    ("appends", "admit-idempotent", "note"),
    ("any-field", "misuse", "unknown field"),
    ("no-pointer", "misuse", "\"size\" is no JSON Pointer"),
    ("any-label", "extremes", "note"),
    ("update-of-nothing", "diff-none", "\"update\""),
    ("light", "diff-effects", "recreate"),
    ("other-name", "objects", "someone-elses"),
    ("never-ready", "converges", "PodsNotReady"),
    ("restless", "converges", "never comes to rest"),
    ("minutes", "quiet", "minute"),
    ("first", "order", "first"),
    ("labels", "unknown-fields", "labels"),
    ("always-ready", "honest", "says that it is ready"),
    ("gives-up", "heals", "StatefulSet check"),
    ("no-scaling", "changes", "size 2 → 3"),
    ("restarts", "effects", "was replaced by note"),
    ("high-water", "rollback", "data.most"),
    ("setting", "settings", "registry"),
    ("stays", "deletes", "does not finish"),
    ("went-back", "stale", "Restored"),
    (bugs::HALF_MADE, "crash", "HalfMade"),
];

fn report(bug: &str) -> Report {
    check(&ENGINE, bug, &bugs::with(&COMPONENT, bug).unwrap(), &[], &mut |_, _| {}).unwrap()
}

fn failed(report: &Report) -> BTreeSet<&str> {
    report.verdicts.iter().filter(|verdict| verdict.failed()).map(|verdict| verdict.check.name).collect()
}

fn texts(report: &Report) -> Vec<String> {
    report.failures().map(|(check, problem)| format!("{}: {problem}", check.name)).collect()
}

/// What is not as it should be with one bug.
fn missed((bug, check, says): (&str, &str, &str)) -> Option<String> {
    let report = report(bug);
    let texts = texts(&report);
    let only = failed(&report) == BTreeSet::from([check]);
    let said = texts.iter().any(|text| text.contains(says));
    let explained = texts.iter().all(|text| text.contains("fix:"));
    (!(only && said && explained)).then(|| {
        let skipped = report.verdicts.iter().filter_map(|verdict| match &verdict.outcome {
            Outcome::Skipped(why) => Some(format!("{}: {why}", verdict.check.name)),
            _ => None,
        });
        let skipped: Vec<_> = skipped.collect();
        format!("{bug}: {check} should fail and say {says:?}:\n{}\nskipped: {skipped:?}", texts.join("\n"))
    })
}

#[test]
fn each_check_catches_its_bug_and_only_it() {
    let (next, missed_ones) = (AtomicUsize::new(0), parking_lot::Mutex::new(vec![]));
    let only = std::env::var("BUG").ok();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(case) = CAUGHT.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if only.as_ref().is_none_or(|only| only == case.0) {
                        missed_ones.lock().extend(missed(*case));
                    }
                }
            });
        }
    });
    let missed = missed_ones.into_inner();
    assert!(missed.is_empty(), "{}", missed.join("\n\n"));
}

#[test]
fn without_a_bug_nothing_is_wrong_and_everything_is_tried() {
    let report = report("none");
    assert_eq!(texts(&report), Vec::<String>::new());
    let untried: Vec<_> = report
        .verdicts
        .iter()
        .filter(|verdict| !matches!(verdict.outcome, Outcome::Passed { cases: 1.. }))
        .map(|verdict| verdict.check.name)
        .collect();
    assert_eq!(untried, Vec::<&str>::new());
}

#[test]
fn every_check_has_a_bug_and_every_bug_a_check() {
    let caught: BTreeSet<&str> = CAUGHT.iter().map(|(_, check, _)| *check).collect();
    let elsewhere = BTreeSet::from(["imports", "world"]);
    let all: BTreeSet<&str> = CHECKS.iter().map(|check| check.name).collect();
    assert_eq!(&caught | &elsewhere, all);
    let tried: BTreeSet<&str> = CAUGHT.iter().map(|(bug, ..)| *bug).collect();
    let known: BTreeSet<&str> = bugs::BUGS.iter().map(|(bug, _)| *bug).chain([bugs::HALF_MADE]).collect();
    assert_eq!(tried, known);
}

#[test]
fn what_is_no_plugin_is_told_by_what_it_is() {
    for (wat, caught, says) in [
        (r#"(component (import "wasi:clocks/wall-clock" (func)))"#, "imports", "wasi:clocks/wall-clock"),
        ("(component)", "world", "exports nothing"),
        ("(module)", "world", "core module"),
    ] {
        let report = check(&ENGINE, "test", &wat::parse_str(wat).unwrap(), &[], &mut |_, _| {}).unwrap();
        assert_eq!(failed(&report), BTreeSet::from([caught]), "{wat}");
        assert!(texts(&report).iter().any(|text| text.contains(says)), "{wat}: {:?}", texts(&report));
        let rest = report.verdicts.iter().filter(|verdict| verdict.check.name != caught);
        let passed = rest.filter(|verdict| matches!(verdict.outcome, Outcome::Passed { .. })).count();
        assert!(passed <= 1, "only what was looked at before has passed");
    }
    let report = check(&ENGINE, "test", b"#!/bin/sh", &[], &mut |_, _| {}).unwrap();
    assert_eq!(failed(&report), BTreeSet::from(["world"]));
}
