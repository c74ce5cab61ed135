//! Checks of single calls of `reconcile`, taken from the example's life and asked again under other circumstances.

use futures::executor::block_on;
use senren_engine::{Answer, Call, CallError, wit};
use serde_json::{Value, json};

use super::{
    Findings,
    spec::{admitted_specs, fails},
};
use crate::{
    readable,
    report::Problem,
    subject::Subject,
    world::{Recorded, snapshot::first_difference},
};

/// How many calls of a life are asked again, spread over it.
const MOST_CALLS: usize = 40;

/// Calls of the example's life, spread over all of it, the last included.
fn of_life(subject: &Subject) -> anyhow::Result<Vec<&Recorded>> {
    let calls = &subject.life()?.calls;
    let every = calls.len().div_ceil(MOST_CALLS).max(1);
    let spread = (0..calls.len()).filter(|index| index % every == 0 || index + 1 == calls.len());
    Ok(spread.filter_map(|index| calls.get(index)).collect())
}

pub(crate) fn deterministic(subject: &Subject, findings: &mut Findings) -> anyhow::Result<()> {
    let mut calls = vec![Call::Describe {}];
    for spec in admitted_specs(subject) {
        calls.extend([subject.admit_call(&spec), subject.diff_call(Some(&subject.example), Some(&spec))]);
    }
    let recorded = of_life(subject)?.into_iter().map(|(input, _)| Call::Reconcile(Box::new(input.clone())));
    calls.extend(recorded);
    let fresh: Vec<_> = calls.iter().map(|call| subject.call(call.clone())).collect();
    for (call, answer) in calls.iter().zip(&fresh) {
        findings.tried(varies(subject, call, answer));
        if findings.found_enough() {
            return Ok(());
        }
    }
    // In one instance, each call twice: neither what came before nor how often may matter.
    let twice: Vec<Call> = calls.iter().flat_map(|call| [call.clone(), call.clone()]).collect();
    let session = block_on(subject.plugin.session(twice.clone()))?;
    for ((call, used), index) in twice.iter().zip(&session.answers).zip(0..) {
        findings.cases += 1;
        let fresh = fresh.get(index / 2);
        if fresh.is_some_and(|fresh| !same(fresh, used)) {
            findings.tried(Some(remembers(subject, call, &twice[..index], used)));
            return Ok(());
        }
    }
    Ok(())
}

/// A trap is told with addresses that say nothing here.
fn same(a: &Result<Answer, CallError>, b: &Result<Answer, CallError>) -> bool {
    match (a, b) {
        (Err(a), Err(b)) => a.reason() == b.reason(),
        (a, b) => a == b,
    }
}

fn varies(subject: &Subject, call: &Call, answer: &Result<Answer, CallError>) -> Option<Problem> {
    let again = subject.call(call.clone());
    if same(answer, &again) {
        return None;
    }
    let message = "The same call, made twice, has two answers.";
    let fix = "Depend on nothing but the arguments; beware of hash maps, whose order may change, and of memory that is \
               not initialised.";
    let wanted = format!("the answer to the same call before: {}", readable::answer(answer));
    Some(subject.problem(message, fix).shown_by(call, readable::answer(&again), wanted))
}

/// An answer that depends on what the instance was used for before.
fn remembers(subject: &Subject, call: &Call, before: &[Call], used: &Result<Answer, CallError>) -> Problem {
    // Few calls before it are enough, as a rule: the same one, or the one just before it.
    let fresh = subject.call(call.clone());
    let after = |earlier: &[Call]| {
        let calls: Vec<Call> = earlier.iter().chain([call]).cloned().collect();
        let session = block_on(subject.plugin.session(calls)).ok()?;
        session.answers.into_iter().nth(earlier.len())
    };
    let short =
        [vec![call.clone()], before.last().cloned().into_iter().collect()].into_iter().find_map(|earlier| {
            after(&earlier).filter(|answer| !same(&fresh, answer)).map(|answer| (earlier, answer))
        });
    let (steps, answered) = match short {
        Some((earlier, answer)) => {
            (vec![format!("in one instance, first: {}", readable::of(&earlier))], readable::answer(&answer))
        }
        None => {
            (vec![format!("in one instance, first {} other calls", before.len())], readable::answer(used))
        }
    };
    let message = "An instance that was used before answers otherwise than a fresh one.";
    let fix =
        "Keep nothing between calls: no static, no cache, no counter. What is needed is in the arguments.";
    let wanted = format!("the answer of a fresh instance: {}", readable::answer(&fresh));
    subject.problem(message, fix).after(steps).shown_by(call, answered, wanted)
}

pub(crate) fn order(subject: &Subject, findings: &mut Findings) -> anyhow::Result<()> {
    let turned = |input: &wit::Input, turn: usize| {
        let mut input = input.clone();
        if turn == 0 {
            input.observed.reverse();
            input.answers.reverse();
            input.secrets.reverse();
        } else {
            let (objects, answers) = (input.observed.len(), input.answers.len());
            input.observed.rotate_left(turn % objects.max(1));
            input.answers.rotate_left(turn % answers.max(1));
        }
        input
    };
    for (input, _) in of_life(subject)? {
        if input.observed.len() + input.answers.len() + input.secrets.len() < 2 {
            continue;
        }
        for turn in 0..3 {
            let other = turned(input, turn);
            let fix = "Find objects by kind and name, answers by id and Secrets by name, never by their place; sort what \
                       is listed.";
            findings.tried(differs(
                subject,
                input,
                &other,
                "Another order of the same objects has another answer",
                fix,
            ));
        }
        if findings.found_enough() {
            break;
        }
    }
    Ok(())
}

pub(crate) fn unknown_fields(subject: &Subject, findings: &mut Findings) -> anyhow::Result<()> {
    for (input, _) in of_life(subject)? {
        if input.observed.is_empty() {
            continue;
        }
        let mut other = input.clone();
        for object in &mut other.observed {
            if let Ok(mut value) = serde_json::from_str::<Value>(object) {
                embellish(&mut value);
                *object = value.to_string();
            }
        }
        let fix = "Read the fields you need and ignore all others; compare single fields of what is observed, never whole \
                   objects.";
        let what = "Fields that it does not know, in what is observed, change the answer";
        findings.tried(differs(subject, input, &other, what, fix));
        // Contract: both sides ignore what they don't know.
        let mut other = input.clone();
        other.extras.push(("example.com/future".into(), "{\"x\":1}".into()));
        let fix = "Ignore keys of `extras` that you do not know.";
        findings.tried(differs(subject, input, &other, "An unknown key of `extras` changes the answer", fix));
        if findings.found_enough() {
            break;
        }
    }
    Ok(())
}

/// What a later Kubernetes, another operator or a cloud adds to an object.
fn embellish(object: &mut Value) {
    let metadata = &mut object["metadata"];
    metadata["annotations"]["example.com/touched-by"] = json!("someone-else");
    metadata["labels"]["example.com/team"] = json!("blue");
    metadata["fieldOfTheFuture"] = json!({"nested": [1, 2]});
    for part in ["spec", "status"] {
        if object[part].is_object() {
            object[part]["fieldOfTheFuture"] = json!({"enabled": true});
        }
    }
    for containers in ["/spec/containers", "/spec/template/spec/containers"] {
        for container in object.pointer_mut(containers).and_then(Value::as_array_mut).into_iter().flatten() {
            container["fieldOfTheFuture"] = json!("x");
        }
    }
    let conditions = object.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    if let Some(conditions) = conditions {
        conditions.insert(0, json!({"type": "example.com/Future", "status": "False"}));
    }
}

/// A problem where the plugin answers `other` otherwise than `input`.
fn differs(
    subject: &Subject,
    input: &wit::Input,
    other: &wit::Input,
    what: &str,
    fix: &str,
) -> Option<Problem> {
    let ask = |input: &wit::Input| subject.call(Call::Reconcile(Box::new(input.clone())));
    let (was, is) = (ask(input), ask(other));
    if same_meaning(&was, &is) {
        return None;
    }
    let call = Call::Reconcile(Box::new(other.clone()));
    if let Err(error) = &is {
        return Some(fails(subject, call, "reconcile", error));
    }
    let difference = first_difference(&meaning(&was), &meaning(&is));
    let message = format!("{what}: {difference}.");
    let wanted = format!("the answer to the plain input, {}", readable::answer(&was));
    Some(subject.problem(message, fix).shown_by(&call, readable::answer(&is), wanted))
}

fn same_meaning(a: &Result<Answer, CallError>, b: &Result<Answer, CallError>) -> bool {
    meaning(a) == meaning(b)
}

/// An answer without what means nothing: the order of keys.
fn meaning(answer: &Result<Answer, CallError>) -> Value {
    match answer {
        Ok(answer) => readable::of(answer),
        Err(error) => json!(error.reason()),
    }
}
