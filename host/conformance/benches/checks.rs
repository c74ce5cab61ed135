//! How long all checks of a shipped plugin take, which is how long its author waits.
//!
//! Prints one JSON object per plugin: {measure, unit, n, p50, p90, p99, max, goal}; and, for people, the time of each check
//! on standard error. Takes the names of the plugins; without any, those that come with senren.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;

use senren_conformance::check;
use senren_engine::{Engine, EngineConfig};
use serde_json::json;

fn main() {
    // Cargo adds `--bench`; a test run of all targets passes `--test`, and measures nothing.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--test") {
        return;
    }
    let named: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|name| !name.starts_with("--")).collect();
    let plugins = if named.is_empty() { vec!["redis", "aerospike", "template"] } else { named };
    for name in plugins {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins").join(name);
        let wasm = std::fs::read(senren_plugin_build::component(&source).unwrap()).unwrap();
        // As the command does it: with an engine that has nothing compiled yet.
        let engine = Engine::new(EngineConfig::default()).unwrap();
        let mut before = processor();
        let report = check(&engine, name, &wasm, &[], &mut |_, verdict| {
            let now = processor();
            let (check, spent) = (verdict.check.name, now - before);
            eprintln!("  {name}: {check:<18}{:6.2} s, {spent:6.2} s of processors", verdict.seconds);
            before = now;
        });
        let report = report.unwrap();
        assert!(report.passed(), "{name} keeps to the contract");
        let seconds = (report.seconds * 100.0).round() / 100.0;
        println!(
            "{}",
            json!({"measure": format!("plugin check, {name}"), "unit": "s", "n": 1, "p50": seconds,
                "p90": seconds, "p99": seconds, "max": seconds, "goal": {"max": 10}})
        );
    }
}

/// What this process has used of the processors, in seconds: tells more than the time on a machine that is busy.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // Behind the name of the program, which may have spaces: the 12th and 13th are user and system time in ticks.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().map(|field| field.parse::<f64>().unwrap()).sum();
    ticks / 100.0
}
