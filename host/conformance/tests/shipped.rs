//! Every plugin that is shipped keeps to the contract. Which these are, the Makefile says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

use senren_conformance::{Outcome, Report, check};
use senren_engine::{Engine, EngineConfig};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn shipped() -> Vec<String> {
    let makefile = std::fs::read_to_string(root().join("Makefile")).unwrap();
    let line = makefile.lines().find_map(|line| line.strip_prefix("PLUGINS := ")).unwrap();
    line.split_whitespace().map(str::to_owned).collect()
}

/// What was found, as a table: where the time goes is of interest, too.
fn table(plugin: &str, report: &Report) -> String {
    let lines = report.verdicts.iter().map(|verdict| {
        let outcome = match &verdict.outcome {
            Outcome::Passed { cases } => format!("passed, {cases} tried"),
            Outcome::Failed(_) => "FAILED".to_owned(),
            Outcome::Skipped(why) => format!("skipped: {why}"),
        };
        format!("  {:18}{:6.2} s  {outcome}\n", verdict.check.name, verdict.seconds)
    });
    format!("{plugin}: {:.1} s\n{}", report.seconds, lines.collect::<String>())
}

#[test]
fn every_shipped_plugin_keeps_to_the_contract() {
    let engine = Engine::new(EngineConfig::default()).unwrap();
    let mut problems = vec![];
    for plugin in shipped() {
        let component = senren_plugin_build::component(&root().join(&plugin)).unwrap();
        let report =
            check(&engine, &plugin, &std::fs::read(component).unwrap(), &[], &mut |_, _| {}).unwrap();
        println!("{}", table(&plugin, &report));
        problems
            .extend(report.failures().map(|(check, problem)| format!("{plugin}, {}: {problem}", check.name)));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
}
