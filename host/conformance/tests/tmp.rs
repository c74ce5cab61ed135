use senren_conformance::{Outcome, Check, check};
use senren_engine::{Engine, EngineConfig};
#[test]
fn tmp() {
    let file = std::env::var("CHECK_WASM").unwrap_or_default();
    if file.is_empty() { return; }
    let engine = Engine::new(EngineConfig::default()).unwrap();
    let only = std::env::var("ONLY").unwrap_or_default();
    let only: Vec<&Check> = only.split(',').filter_map(|n| Check::named(n)).collect();
    let report = check(&engine, &file, &std::fs::read(&file).unwrap(), &only).unwrap();
    for verdict in &report.verdicts {
        let outcome = match &verdict.outcome {
            Outcome::Passed { cases } => format!("passed ({cases})"),
            Outcome::Failed(_) => "FAILED".to_owned(),
            Outcome::Skipped(why) => format!("skipped: {why}"),
        };
        println!("{:18} {:6.2} s  {outcome}", verdict.check.name, verdict.seconds);
    }
    println!("{:.1} s", report.seconds);
    for (check, problem) in report.failures() { println!("\n== {}\n{problem}", check.name); }
}
