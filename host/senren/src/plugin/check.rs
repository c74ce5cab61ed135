//! `senren plugin check`: runs the conformance checks, and reports for people, programs and CI systems.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use senren_conformance::{CHECKS, Check, Facts, Outcome, Report, Verdict, check, closest};
use serde_json::json;

use super::{Given, engine, size};
use crate::{
    exit::{Exit, Failure},
    output::{Stream, colour, print},
    paint::Paint,
};

/// Settings of `senren plugin check`.
///
/// Exit status: 0 every check passed or had nothing to try; 1 one failed; 2 wrong usage, or a file that can't be read.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 nothing is wrong; 1 a check failed; 2 wrong usage, or a file that can't be read."
)]
pub struct CheckArgs {
    /// A .wasm component, or the directory of a plugin crate, which is built first.
    #[arg(required_unless_present = "list", value_name = "FILE.wasm")]
    pub files: Vec<PathBuf>,
    /// Only this check and what it builds on; may be repeated.
    #[arg(long, value_name = "CHECK", value_parser = named)]
    pub only: Vec<&'static Check>,
    /// Shows the checks: what each demands, and why.
    #[arg(long)]
    pub list: bool,
    /// Writes the results as JUnit XML, too; with several files, one suite for each.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Writes the smallest call that shows each failure into this directory, for `senren plugin call`.
    #[arg(long, value_name = "DIR")]
    pub reproductions: Option<PathBuf>,
    /// How the results are printed.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: CheckOutput,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum CheckOutput {
    /// For people.
    #[default]
    Text,
    /// For programs: a list with one report for each file.
    Json,
}

fn named(name: &str) -> Result<&'static Check, String> {
    Check::named(name).ok_or_else(|| match closest(name) {
        Some(meant) => format!("there is no such check; did you mean {meant}?"),
        None => "there is no such check; --list shows them".to_owned(),
    })
}

/// Checks each file, and fails if any check of any failed.
pub fn run(args: &CheckArgs) -> Result<(), Failure> {
    if args.list {
        return list(args.output);
    }
    let given = args.files.iter().map(|file| Given::read(file)).collect::<Result<Vec<_>, _>>()?;
    let engine = engine()?;
    let (mut reports, colour) = (vec![], colour(Stream::Out));
    for given in &given {
        let mut told = false;
        let mut progress = |facts: &Facts, verdict: &Verdict| {
            if args.output == CheckOutput::Text {
                // Whoever stopped reading is noticed at the end.
                let _ = if told { Ok(()) } else { print(&head(facts)) };
                let _ = print(&line(verdict, colour));
                told = true;
            }
        };
        let report = check(&engine, &given.origin(), &given.wasm, &args.only, &mut progress)?;
        if args.output == CheckOutput::Text {
            print(&explained(&report, colour))?;
        }
        reports.push(report);
    }
    if args.output == CheckOutput::Json {
        print(&serde_json::to_string_pretty(&reports).context("JSON")?)?;
    }
    if let Some(path) = &args.junit {
        fs::write(path, senren_conformance::to_junit(&reports)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(dir) = &args.reproductions {
        reproduce(&reports, dir)?;
    }
    // What failed has been told.
    if reports.iter().all(Report::passed) { Ok(()) } else { Err(Failure::new(Exit::Failed, "")) }
}

fn list(output: CheckOutput) -> Result<(), Failure> {
    if output == CheckOutput::Json {
        let checks = CHECKS
            .iter()
            .map(|check| json!({"name": check.name, "demands": check.demands, "why": check.why, "needs": check.needs}));
        return print(&serde_json::to_string_pretty(&checks.collect::<Vec<_>>()).context("JSON")?);
    }
    let texts = CHECKS.iter().map(|check| format!("{}\n  {}\n  {}", check.name, check.demands, check.why));
    print(&texts.collect::<Vec<_>>().join("\n"))
}

fn head(facts: &Facts) -> String {
    match (&facts.name, &facts.version) {
        (Some(name), Some(version)) => format!("{name} {version}, {}", size(facts.bytes)),
        _ => format!("{}, {}", facts.origin, size(facts.bytes)),
    }
}

/// What is wrong, for people, and the sum of it all.
fn explained(report: &Report, colour: bool) -> String {
    let mut text = String::new();
    for (check, problem) in report.failures() {
        let head = Paint::Bad.on(check.name, colour);
        // Writing to a String can't fail.
        let _ = write!(text, "\n{head}: {}\n  why:      {}\n  {problem}\n\n", check.demands, check.why);
    }
    let (passed, failed, skipped) = report.counts();
    let _ = write!(text, "{passed} passed, {failed} failed, {skipped} skipped in {:.1} s", report.seconds);
    text
}

fn line(verdict: &Verdict, colour: bool) -> String {
    let (mark, paint, told) = match &verdict.outcome {
        Outcome::Passed { cases } => ("ok", Paint::Good, format!("{cases:>5} tried")),
        Outcome::Failed(_) => ("FAILED", Paint::Bad, String::new()),
        Outcome::Skipped(why) => ("-", Paint::Moving, why.clone()),
    };
    let mark = paint.on(&format!("{mark:<6}"), colour);
    format!("  {mark} {:<17} {told}", verdict.check.name).trim_end().to_owned()
}

/// Writes `<check>-<number>.json` for every failure that a call shows; of several plugins, all are counted together.
fn reproduce(reports: &[Report], dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let failures = reports
        .iter()
        .flat_map(|report| report.failures().map(|(check, problem)| (&report.facts.origin, check, problem)));
    for (number, (origin, check, problem)) in (1..).zip(failures) {
        let Some(shown) = &problem.reproduction else { continue };
        let path = dir.join(format!("{}-{number}.json", check.name));
        let content = json!({
            "plugin": origin, "check": check.name, "message": problem.message, "steps": problem.steps, "fix": problem.fix,
            "call": shown.call, "answered": shown.answered, "wanted": shown.wanted,
        });
        fs::write(&path, serde_json::to_string_pretty(&content)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
