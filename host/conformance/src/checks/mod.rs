//! The checks themselves: each is a function that tries something with one type of a plugin, and tells what it found.

mod calls;
pub(crate) mod change;
mod diff;
mod host;
mod life;
mod parallel;
pub(crate) use parallel::one as alone;
mod robust;
mod spec;

use std::{collections::BTreeMap, time::Instant};

use senren_engine::{Limits, Plugin};

use crate::{
    catalogue::{CHECKS, Check},
    report::{Outcome, Problem, Verdict},
    subject::Subject,
};

/// More problems of one check than this are the same one.
const MOST_PROBLEMS: usize = 5;

/// What a check finds.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    cases: usize,
    problems: Vec<Problem>,
}

impl Findings {
    /// Something was tried; `found` is what came of it.
    fn tried(&mut self, found: Option<Problem>) {
        self.cases += 1;
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.extend(found);
        }
    }

    fn found_enough(&self) -> bool {
        self.problems.len() >= MOST_PROBLEMS
    }
}

type Run = fn(&Subject, &mut Findings) -> anyhow::Result<()>;

/// The checks that need more than loading.
const RUNS: [(&str, Run); 20] = [
    ("deterministic", calls::deterministic),
    ("admit-idempotent", spec::admit_idempotent),
    ("misuse", spec::misuse),
    ("diff-none", diff::none),
    ("diff-effects", diff::effects),
    ("objects", life::objects),
    ("converges", life::converges),
    ("extremes", spec::extremes),
    ("quiet", life::quiet),
    ("order", calls::order),
    ("unknown-fields", calls::unknown_fields),
    ("honest", robust::honest),
    ("heals", robust::heals),
    ("changes", change::changes),
    ("effects", change::effects),
    ("rollback", change::rollback),
    ("settings", change::settings),
    ("deletes", life::deletes),
    ("stale", host::stale),
    ("crash", host::crash),
];

/// Runs the checks that are wanted, and those that they build on, and adds their verdicts to those of loading.
pub(crate) fn run(
    plugin: &Plugin,
    limits: &Limits,
    wanted: &dyn Fn(&Check) -> bool,
    verdicts: &mut Vec<Verdict>,
    tell: &mut dyn FnMut(&Verdict),
) -> anyhow::Result<()> {
    let subjects: Vec<Subject> =
        plugin.types().iter().map(|ty| Subject::new(plugin, ty, limits)).collect::<anyhow::Result<_>>()?;
    let needed = |check: &Check| {
        wanted(check) || CHECKS.iter().any(|other| wanted(other) && other.needs.contains(&check.name))
    };
    for (name, run) in RUNS {
        let Some(check) = Check::named(name).filter(|check| needed(check)) else { continue };
        let started = Instant::now();
        let outcome = match blocked(check, verdicts) {
            Some(why) => Outcome::Skipped(why),
            None => judge(run, &subjects)?,
        };
        let verdict = Verdict::new(check, outcome, started.elapsed().as_secs_f64());
        tell(&verdict);
        verdicts.push(verdict);
    }
    sort(verdicts);
    Ok(())
}

/// The verdicts of everything that was not tried at all.
pub(crate) fn skip_all(why: &str, verdicts: &mut Vec<Verdict>, tell: &mut dyn FnMut(&Verdict)) {
    for check in RUNS.iter().filter_map(|(name, _)| Check::named(name)) {
        let verdict = Verdict::new(check, Outcome::Skipped(why.to_owned()), 0.0);
        tell(&verdict);
        verdicts.push(verdict);
    }
    sort(verdicts);
}

fn sort(verdicts: &mut [Verdict]) {
    let places: BTreeMap<&str, usize> = (0..).zip(CHECKS).map(|(place, check)| (check.name, place)).collect();
    verdicts.sort_by_key(|verdict| places.get(verdict.check.name).copied());
}

/// Why a check is not worth running.
fn blocked(check: &Check, verdicts: &[Verdict]) -> Option<String> {
    let blocking = |verdict: &&Verdict| {
        check.needs.contains(&verdict.check.name) && !matches!(verdict.outcome, Outcome::Passed { .. })
    };
    let verdict = verdicts.iter().find(blocking)?;
    let what = if verdict.failed() { "failed" } else { "was skipped" };
    Some(format!("it builds on {}, which {what}", verdict.check.name))
}

fn judge(run: Run, subjects: &[Subject]) -> anyhow::Result<Outcome> {
    let found = parallel::each(subjects, |subject| {
        let mut findings = Findings::default();
        run(subject, &mut findings)?;
        for problem in &mut findings.problems {
            problem.resource_type = Some(subject.name().to_owned());
        }
        Ok(findings)
    })?;
    let cases = found.iter().map(|findings| findings.cases).sum();
    let problems: Vec<Problem> = found.into_iter().flat_map(|findings| findings.problems).collect();
    Ok(match cases {
        _ if !problems.is_empty() => Outcome::Failed(problems),
        0 => Outcome::Skipped("this plugin has nothing to try it with".into()),
        cases => Outcome::Passed { cases },
    })
}
