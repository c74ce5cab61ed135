//! Every plugin that is shipped keeps to the contract.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use senren_conformance::{Outcome, check};
use senren_engine::{Engine, EngineConfig};

fn keeps_to_the_contract(plugin: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let component = senren_plugin_build::component(&root.join(plugin)).unwrap();
    let engine = Engine::new(EngineConfig::default()).unwrap();
    let report = check(&engine, plugin, &std::fs::read(component).unwrap(), &[]).unwrap();
    for verdict in &report.verdicts {
        let outcome = match &verdict.outcome {
            Outcome::Passed { cases } => format!("passed ({cases})"),
            Outcome::Failed(_) => "FAILED".to_owned(),
            Outcome::Skipped(why) => format!("skipped: {why}"),
        };
        println!("{:18} {:6.2} s  {outcome}", verdict.check.name, verdict.seconds);
    }
    println!("{plugin}: {:.1} s", report.seconds);
    let problems: Vec<String> =
        report.failures().map(|(check, problem)| format!("{}: {problem}", check.name)).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
}

#[test]
fn redis_keeps_to_the_contract() {
    keeps_to_the_contract("plugins/redis");
}

#[test]
fn template_keeps_to_the_contract() {
    keeps_to_the_contract("plugins/template");
}
