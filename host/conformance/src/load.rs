//! The checks that decide whether a component can be loaded at all. The engine makes them, as in a region; here each of
//! its refusals becomes the verdict of the check that it is about.

use std::time::Instant;

use futures::executor::block_on;
use senren_engine::{Engine, Plugin, Refusal};

use crate::{
    catalogue::{CHECKS, Check},
    report::{Outcome, Problem, Verdict},
};

/// Those checks, in order.
const LOADING: [&str; 5] = ["imports", "world", "descriptor", "schema", "example"];

/// Loads the component. `None` where it can't be; the verdicts of the loading checks say why.
pub(crate) fn load(engine: &Engine, origin: &str, wasm: &[u8]) -> (Option<Plugin>, Vec<Verdict>) {
    let started = Instant::now();
    let (plugin, mut found) = match engine.load(origin, wasm) {
        Ok(plugin) => {
            let examples = examples(&plugin);
            (Some(plugin), vec![("example", examples)])
        }
        Err(error) => (None, refused(error.refusal)),
    };
    found.retain(|(_, problems)| !problems.is_empty());
    let seconds = started.elapsed().as_secs_f64();
    let types = plugin.as_ref().map_or(1, |plugin| plugin.types().len());
    let loading = CHECKS.iter().filter(|check| LOADING.contains(&check.name));
    let verdicts: Vec<Verdict> = loading
        .map(|check| {
            let outcome = judge(check, &mut found, types);
            Verdict::new(check, outcome, if check.name == "imports" { seconds } else { 0.0 })
        })
        .collect();
    let usable = verdicts.iter().all(|verdict| matches!(verdict.outcome, Outcome::Passed { .. }));
    (plugin.filter(|_| usable), verdicts)
}

type Found = Vec<(&'static str, Vec<Problem>)>;

fn judge(check: &Check, found: &mut Found, types: usize) -> Outcome {
    if let Some(at) = found.iter().position(|(name, _)| *name == check.name) {
        return Outcome::Failed(std::mem::take(&mut found[at].1));
    }
    match found.iter().find(|(name, _)| check.needs.contains(name)) {
        Some((name, _)) => Outcome::Skipped(format!("it builds on {name}, which failed")),
        None if matches!(check.name, "schema" | "example") => Outcome::Passed { cases: types },
        None => Outcome::Passed { cases: 1 },
    }
}

fn refused(refusal: Refusal) -> Found {
    let message = sentence(&refusal.to_string());
    match refusal {
        Refusal::Imports(_) => {
            let fix = "Remove what needs them: a clock, randomness, files, the network, or a library that uses these. \
                       Build for wasm32-unknown-unknown: every other target brings imports of its own.";
            vec![("imports", vec![Problem::new(message, fix)])]
        }
        Refusal::NotAComponent(_) | Refusal::Invalid(_) | Refusal::Contract(_) => {
            let fix = "Build it with `senren plugin build`, or make a component of world senren:plugin/plugin@1.0.0 \
                       from wit/plugin.wit with the tools of your language.";
            vec![("world", vec![Problem::new(message, fix)])]
        }
        Refusal::TooSlow(_) | Refusal::Busy => {
            let fix = "Make it smaller: build it with optimisation, and leave out what it does not need.";
            vec![("world", vec![Problem::new(message, fix)])]
        }
        Refusal::Undescribed(_) => {
            let fix = "`describe` must answer a constant: it has no arguments, and nothing to depend on.";
            vec![("descriptor", vec![Problem::new(message, fix)])]
        }
        Refusal::Requires(_) => {
            let fix =
                "Name in `requires` only what the contract defines: ask-exec, secret-random, secret-tls.";
            vec![("descriptor", vec![Problem::new(message, fix)])]
        }
        Refusal::Description(problems) => described_wrongly(&problems),
    }
}

/// Each problem of a description begins with its place: `type "redis", spec-schema: …`.
fn described_wrongly(problems: &[String]) -> Found {
    let mut found: Found =
        ["descriptor", "schema", "example"].map(|check| (check, vec![])).into_iter().collect();
    for problem in problems {
        let place = problem.split_once(": ").map_or("", |(place, _)| place);
        let (check, fix) = if place.ends_with("spec-schema") || place == "config-schema" {
            (
                1,
                "Every property has one `type`; no `$ref`, no `additionalProperties` beside `properties`; \
                 x-senren-effect is one of in-place, rolling-restart, rebalance, recreate, forbidden.",
            )
        } else if place.ends_with("example") {
            (2, "Make the example a spec that the schema accepts: complete, and with values that work.")
        } else {
            (
                0,
                "The comments of `descriptor` and `resource-type` in wit/plugin.wit say what each field may be.",
            )
        };
        found[check].1.push(Problem::new(sentence(problem), fix));
    }
    found
}

/// Whether `admit` takes the examples.
fn examples(plugin: &Plugin) -> Vec<Problem> {
    let problem = |ty: &senren_engine::ResourceType| {
        let wit = &ty.wit;
        let (message, fix) = match block_on(plugin.admit(&wit.name, &wit.example)) {
            Ok(Ok(_)) => return None,
            Ok(Err(violations)) => {
                let first = violations.first()?;
                let message = format!("`admit` refuses the example: {} {}", first.path, first.message);
                (message, "Change the example, or what `admit` refuses.")
            }
            Err(error) => (
                format!("`admit` fails on the example: {error}"),
                "Whatever `admit` answers must be a spec that satisfies the schema, or violations.",
            ),
        };
        let call = senren_engine::Call::Admit { resource_type: wit.name.clone(), spec: wit.example.clone() };
        let answered = crate::readable::answer(&block_on(plugin.answer(call.clone())));
        let wanted = "the example, with defaults filled in, valid under the schema";
        let mut problem = Problem::new(message, fix).shown_by(&call, answered, wanted);
        problem.resource_type = Some(wit.name.clone());
        Some(problem)
    };
    plugin.types().iter().filter_map(problem).collect()
}

/// With a capital, and a full stop.
pub(crate) fn sentence(text: &str) -> String {
    let mut characters = text.trim().chars();
    let first: String = characters.next().into_iter().flat_map(char::to_uppercase).collect();
    let stop = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{stop}", characters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_of_a_description_goes_to_its_check() {
        let problems = [
            "name: \"X\" must be lower case",
            "type \"x\", spec-schema: at \"/properties\": no",
            "config-schema: must accept {}",
            "type \"x\", example: is not valid under spec-schema: /a is required",
            "type \"x\", printer-columns: must be a list",
        ];
        let found = described_wrongly(&problems.map(str::to_owned));
        let counts: Vec<_> = found.iter().map(|(name, problems)| (*name, problems.len())).collect();
        assert_eq!(counts, [("descriptor", 2), ("schema", 2), ("example", 1)]);
    }
}
