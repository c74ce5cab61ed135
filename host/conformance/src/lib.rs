//! What every plugin must keep to, as checks that run on any `.wasm`, whatever language it was written in.
//!
//! The contract promises a host that plugins are pure, idempotent and level-triggered, and nothing in a compiler sees
//! to it. These checks do: they call a plugin with generated arguments, and let the very [`senren_reconcile::Reconciler`]
//! that regions run bring its databases about in an embedded Kubernetes, through scaling, upgrades, deletion, and a
//! crash at every write.
//!
//! Invariants:
//! - No check can pass without having tried something: one that finds nothing to try says so.
//! - A failure explains itself: what was done, what came of it, what was wanted, how to put it right; with the smallest
//!   call that shows it, where a call does.
//! - Scenarios run in a time of their own ([`time`]), which passes only while nothing else can happen. So a minute of
//!   waiting costs nothing, and a run does not depend on the machine's speed.
//! - A check that builds on what another found broken is not run, so that one mistake is told once.
//!
//! What it must never do: need a cluster, a network or a clock; judge by anything but the contract.

mod catalogue;
mod checks;
mod generate;
mod junit;
mod load;
mod readable;
mod report;
mod shrink;
mod simulate;
mod subject;
mod time;
mod world;

pub use catalogue::{CHECKS, Check, closest};
pub use junit::to_junit;
pub use readable::Replayed;
pub use report::{Facts, Outcome, Problem, Report, Reproduction, Verdict};
pub use simulate::simulated_exec;

use std::time::Instant;

use senren_engine::{Call, Engine, Plugin};

/// Runs the checks on the component in `wasm`; `origin` is where it is from, for messages. Only those that `only` names,
/// where it names any, with what they build on. Blocks, and uses every processor. Fails only where the machine does, never
/// because of the plugin.
///
/// `progress` is told of each check when it is done.
pub fn check(
    engine: &Engine,
    origin: &str,
    wasm: &[u8],
    only: &[&Check],
    progress: &mut dyn FnMut(&Facts, &Verdict),
) -> anyhow::Result<Report> {
    let started = Instant::now();
    let (plugin, mut verdicts) = load::load(engine, origin, wasm);
    let facts = Facts::of(origin, wasm, plugin.as_ref());
    let wanted = |check: &Check| only.is_empty() || only.iter().any(|one| one.name == check.name);
    let mut tell = |verdict: &Verdict| {
        if wanted(verdict.check) {
            progress(&facts, verdict);
        }
    };
    verdicts.iter().for_each(&mut tell);
    match plugin {
        Some(plugin) => checks::run(&plugin, engine.limits(), &wanted, &mut verdicts, &mut tell)?,
        None => checks::skip_all("the plugin can't be loaded", &mut verdicts, &mut tell),
    }
    verdicts.retain(|verdict| wanted(verdict.check));
    Ok(Report { facts, verdicts, seconds: started.elapsed().as_secs_f64() })
}

/// A call as regions make it, for measuring.
#[derive(Debug, Clone)]
pub struct TypicalCall {
    /// Of which type.
    pub resource_type: String,
    /// What it is: `reconcile, at rest`.
    pub name: &'static str,
    /// The call.
    pub call: Call,
}

/// What regions call a plugin with, for each of its types: taken from the life of its example. Blocks.
pub fn typical_calls(engine: &Engine, plugin: &Plugin) -> anyhow::Result<Vec<TypicalCall>> {
    let mut found = vec![];
    for ty in plugin.types() {
        let subject = subject::Subject::new(plugin, ty, engine.limits())?;
        let calls = &subject.life()?.calls;
        let reconcile = |recorded: Option<&world::Recorded>| {
            recorded.map(|(input, _)| Call::Reconcile(Box::new(input.clone())))
        };
        let example = &subject.example;
        let typical = [
            ("admit", Some(subject.admit_call(example))),
            ("diff", Some(subject.diff_call(Some(example), Some(example)))),
            ("reconcile, nothing there", reconcile(calls.first())),
            ("reconcile, at rest", reconcile(calls.last())),
        ];
        let resource_type = ty.wit.name.clone();
        found.extend(typical.into_iter().filter_map(|(name, call)| {
            Some(TypicalCall { resource_type: resource_type.clone(), name, call: call? })
        }));
    }
    Ok(found)
}
