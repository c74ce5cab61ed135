//! Checks of `admit`: what it takes, and what it must not.

use senren_engine::{Answer, Call, CallError, wit};
use serde_json::Value;

use super::{Findings, parallel};
use crate::{
    generate::{self, Variant},
    readable,
    report::Problem,
    shrink::shrink,
    subject::{SHRINK_BUDGET, Subject},
    time,
    world::{Unrest, World, snapshot::first_difference},
};

/// Steps after which what can be made is made.
const STEPS: usize = 12;

/// Every spec that is worth trying and that `admit` takes, as it answered it.
pub(crate) fn admitted_specs(subject: &Subject) -> Vec<Value> {
    let variants = generate::mutations(&subject.schema, &subject.example);
    let admitted = variants.iter().filter_map(|variant| subject.admitted(&variant.spec));
    let mut specs = vec![subject.example.clone()];
    for spec in admitted {
        if !specs.contains(&spec) {
            specs.push(spec);
        }
    }
    specs
}

pub(crate) fn admit_idempotent(subject: &Subject, findings: &mut Findings) -> anyhow::Result<()> {
    for spec in admitted_specs(subject) {
        findings.tried(drifts(subject, &spec));
        if findings.found_enough() {
            break;
        }
    }
    Ok(())
}

/// `spec` is what `admit` answered.
fn drifts(subject: &Subject, spec: &Value) -> Option<Problem> {
    match subject.admit(spec) {
        Ok(Ok(again)) if again == *spec => None,
        Ok(Ok(again)) => {
            let (spec, again) = smallest_drift(subject, spec).unwrap_or_else(|| (spec.clone(), again));
            let difference = first_difference(&spec, &again);
            let message = format!("`admit` changes what it answered before: {difference}.");
            let fix = "Let `admit` recognise a spec that it has normalised already, and return it unchanged.";
            let call = subject.admit_call(&spec);
            Some(subject.problem(message, fix).shown_by(&call, again, "the spec as it is"))
        }
        Ok(Err(violations)) => {
            let first = violations.first().map(told).unwrap_or_default();
            let message = format!("`admit` refuses what it answered before: {first}.");
            let fix = "Whatever `admit` answers must be a spec that it accepts, and answers again.";
            let call = subject.admit_call(spec);
            let answered = readable::answer(&subject.call(call.clone()));
            Some(subject.problem(message, fix).shown_by(&call, answered, "the spec as it is"))
        }
        Err(error) => Some(fails(subject, subject.admit_call(spec), "admit", &error)),
    }
}

/// The smallest answer of `admit` that it answers otherwise, with that other answer.
fn smallest_drift(subject: &Subject, spec: &Value) -> Option<(Value, Value)> {
    let drift = |spec: &Value| {
        let once = subject.admitted(spec)?;
        let twice = subject.admitted(&once)?;
        (once != twice).then_some((once, twice))
    };
    drift(&shrink(spec, SHRINK_BUDGET, &|_| false, |smaller| drift(smaller).is_some()))
}

fn told(violation: &wit::Violation) -> String {
    format!("{} {}", violation.path, violation.message)
}

/// A call that has no answer at all.
pub(crate) fn fails(subject: &Subject, call: Call, function: &str, error: &CallError) -> Problem {
    let reason = error.reason().to_owned();
    let same = |_: &Call, answer: &Result<Answer, CallError>| {
        answer.as_ref().err().is_some_and(|error| error.reason() == reason)
    };
    let (call, answered) = match same(&call, &subject.call(call.clone())) {
        true => subject.smallest(&call, &|pointer| pointer.ends_with("resource_type"), same),
        false => (call.clone(), readable::answer(&subject.call(call))),
    };
    let fix = match error {
        CallError::Trap { .. } => {
            "Look for what panics: an index, a division, an unwrap. Every input must have an answer."
        }
        CallError::Timeout { .. } => "Look for a loop that does not end, or takes far too long.",
        CallError::Limit { .. } => {
            "It may use 64 MiB of memory and answer 4 MiB: refuse what would take more."
        }
        _ => "Answer what the contract (wit/plugin.wit) says for this function.",
    };
    let message = format!("`{function}` has no answer: {error}.");
    subject.problem(message, fix).shown_by(&call, answered, "an answer as the contract has it")
}

pub(crate) fn misuse(subject: &Subject, findings: &mut Findings) -> anyhow::Result<()> {
    for mistake in generate::misuse(&subject.schema, &subject.example) {
        findings.tried(taken(subject, &mistake));
    }
    // What only `admit` can refuse, and so has to point at by itself.
    let variants = generate::mutations(&subject.schema, &subject.example)
        .into_iter()
        .chain(generate::extremes(&subject.schema, &subject.example));
    for variant in variants {
        if findings.found_enough() {
            break;
        }
        match subject.admit(&variant.spec) {
            Ok(Err(violations)) => findings.tried(lost(subject, &variant.spec, &violations)),
            Ok(Ok(_)) => {}
            Err(error) => {
                let call = subject.admit_call(&variant.spec);
                findings.tried(Some(fails(subject, call, "admit", &error)));
            }
        }
    }
    Ok(())
}

/// A mistake that is taken for a spec.
fn taken(subject: &Subject, mistake: &Variant) -> Option<Problem> {
    match subject.admit(&mistake.spec) {
        Ok(Err(violations)) => lost(subject, &mistake.spec, &violations),
        Ok(Ok(admitted)) => {
            let message = format!("A spec is accepted although {}.", mistake.what);
            let fix = if mistake.what.ends_with("unknown field") {
                "Declare every field in the schema, and drop x-kubernetes-preserve-unknown-fields: with it a typo goes \
                 unnoticed."
            } else {
                "Say in the schema what the field may be, or refuse it in `admit`."
            };
            let call = subject.admit_call(&mistake.spec);
            let wanted = format!("a violation at {:?}", mistake.path);
            Some(subject.problem(message, fix).shown_by(&call, admitted, wanted))
        }
        Err(error) => Some(fails(subject, subject.admit_call(&mistake.spec), "admit", &error)),
    }
}

/// Violations that don't lead to what is wrong.
fn lost(subject: &Subject, spec: &Value, violations: &[wit::Violation]) -> Option<Problem> {
    let wrong = violations.iter().find_map(|violation| astray(spec, violation))?;
    let message = format!("A spec is refused, but {wrong}.");
    let fix = "Give each violation the JSON Pointer of the value that is wrong, such as /persistence/size; of a field \
               that is missing, its own. Give it a code in lower case with dashes, and a message.";
    let shows = |call: &Call, answer: &Result<Answer, CallError>| match (call, answer) {
        (Call::Admit { spec, .. }, Ok(Answer::Admit(Err(violations)))) => {
            let spec: Value = serde_json::from_str(spec).unwrap_or_default();
            violations.iter().any(|violation| astray(&spec, violation).is_some())
        }
        _ => false,
    };
    let mut complete = spec.clone();
    subject.parsed_schema().apply_defaults(&mut complete);
    let (call, answered) = subject.smallest(
        &subject.admit_call(&complete),
        &|pointer| pointer.ends_with("resource_type"),
        shows,
    );
    Some(subject.problem(message, fix).shown_by(&call, answered, "a violation that leads to the value"))
}

/// What is wrong with how a violation is told.
fn astray(spec: &Value, violation: &wit::Violation) -> Option<String> {
    let wit::Violation { path, code, message } = violation;
    if !path.is_empty() && !path.starts_with('/') {
        return Some(format!("its path {path:?} is no JSON Pointer"));
    }
    // A missing field is pointed at in the object that lacks it.
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    if spec.pointer(path).is_none() && spec.pointer(parent).is_none() {
        return Some(format!("its path {path:?} leads nowhere in the spec"));
    }
    let of_code = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if code.is_empty() || !code.chars().all(of_code) {
        return Some(format!("its code {code:?} is not in lower case with dashes"));
    }
    message.trim().is_empty().then(|| format!("the violation at {path:?} has no message"))
}

pub(crate) fn extremes(subject: &Subject, findings: &mut Findings) -> anyhow::Result<()> {
    let mut specs: Vec<(Variant, Value)> = vec![];
    for variant in generate::extremes(&subject.schema, &subject.example) {
        match subject.admit(&variant.spec) {
            // Refused, or nothing but another way to write the example.
            Ok(Ok(admitted)) if admitted != subject.example => specs.push((variant, admitted)),
            Ok(_) => findings.cases += 1,
            // Told by `misuse`.
            Err(_) => {}
        }
    }
    for found in parallel::each(&specs, |(variant, spec)| unmakeable(subject, variant, spec))? {
        findings.tried(found);
    }
    Ok(())
}

/// A spec that was admitted, and that Kubernetes or the host refuses to make.
fn unmakeable(subject: &Subject, variant: &Variant, spec: &Value) -> anyhow::Result<Option<Problem>> {
    let (unrest, last) = time::run(async {
        let world = World::start(subject, vec![]).await?;
        world.declare(spec).await?;
        let unrest = world.steps(STEPS).await.err();
        anyhow::Ok((unrest, world.last_call()))
    })??;
    let Some(unrest @ Unrest::Fails(_)) = unrest else { return Ok(None) };
    let message = format!("`admit` accepts a spec where {}, but it can't be made: {unrest}.", variant.what);
    let fix = format!(
        "Limit {} in the schema (maximum, maxLength, maxItems, pattern), or refuse what does not work in `admit`.",
        generate::dotted(&variant.path)
    );
    let mut problem = subject.problem(message, fix);
    if let Some((input, answer)) = last {
        let call = Call::Reconcile(Box::new(input));
        let answered = readable::answer(&answer.map(|outcome| Answer::Reconcile(Box::new(Ok(outcome)))));
        problem = problem.shown_by(&call, answered, "objects that Kubernetes accepts");
    }
    Ok(Some(problem))
}
