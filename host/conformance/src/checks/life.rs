//! Checks of the example's life: it comes about, it rests, it goes.

use std::collections::BTreeSet;

use senren_engine::{Answer, Call};
use senren_reconcile::ReconcileError;
use serde_json::Value;

use super::{Findings, parallel};
use crate::{
    readable,
    report::Problem,
    subject::Subject,
    time,
    world::{
        Recorded, Unrest, World,
        life::{Repeated, deleted},
    },
};

/// A call of `reconcile` and its answer as a reproduction of `problem`.
pub(crate) fn shown_by_call(problem: Problem, recorded: Option<&Recorded>, wanted: &str) -> Problem {
    let Some((input, answer)) = recorded else { return problem };
    let answer = answer.clone().map(|outcome| Answer::Reconcile(Box::new(Ok(outcome))));
    problem.shown_by(&Call::Reconcile(Box::new(input.clone())), readable::answer(&answer), wanted)
}

fn first_step(subject: &Subject) -> String {
    format!("declare the example, {}", subject.example)
}

pub(crate) fn objects(subject: &Subject, findings: &mut Findings) -> anyhow::Result<()> {
    let life = subject.life()?;
    findings.cases += life.calls.len();
    if let Err(Unrest::Fails(failure @ ReconcileError::GuardRefused(_))) = &life.rest {
        let message = format!("The host refuses the objects: {failure}.");
        let fix = "Declare objects of the kinds in `owns`, called as the resource or `<name>-…`, without what belongs to \
                   the host: namespace, owner, its labels, Secrets, rights, the node.";
        let problem = subject.problem(message, fix).after([first_step(subject)]);
        findings.tried(Some(shown_by_call(problem, life.calls.last(), "objects that the host may apply")));
    }
    Ok(())
}

pub(crate) fn converges(subject: &Subject, findings: &mut Findings) -> anyhow::Result<()> {
    let life = subject.life()?;
    let wrong = match &life.rest {
        Ok(status) if status.ready && status.phase == "Ready" => None,
        Ok(status) => Some((
            format!(
                "The example comes to rest without being ready: phase {:?}, ready {}, reason {:?}{}.",
                status.phase,
                status.ready,
                status.reason,
                if status.message.is_empty() { String::new() } else { format!(", {}", status.message) }
            ),
            "Answer phase `Ready`, ready and an endpoint as soon as `observed` shows that a client can use it.",
        )),
        Err(unrest @ Unrest::Restless(_)) => Some((
            format!("The example does not come to rest: {unrest}."),
            "The same input must have the same answer: no times or counters in objects, status or asks.",
        )),
        Err(unrest) => Some((
            format!("The example does not become ready: {unrest}."),
            "See what the last call answered, and what the host or Kubernetes says to it.",
        )),
    };
    findings.tried(wrong.map(|(message, fix)| {
        let problem = subject.problem(message, fix).after([first_step(subject)]);
        shown_by_call(problem, life.calls.last(), "an outcome that leads to ready")
    }));
    Ok(())
}

pub(crate) fn quiet(subject: &Subject, findings: &mut Findings) -> anyhow::Result<()> {
    for repeated in &subject.life()?.repeated {
        findings.cases += repeated.calls.len();
        findings.tried(restless(subject, repeated));
    }
    Ok(())
}

fn restless(subject: &Subject, repeated: &Repeated) -> Option<Problem> {
    if repeated.needless.is_empty() {
        return None;
    }
    let writes: BTreeSet<&str> = repeated.needless.iter().map(String::as_str).collect();
    let writes: Vec<&str> = writes.into_iter().collect();
    let message = format!(
        "When it was ready, {} wrote {} times: {}.",
        repeated.what,
        repeated.needless.len(),
        writes.join(", ")
    );
    let fix = "An outcome may depend on `now-ms` only where time itself matters, and never on how often it was called. Keep \
               `status.details` still. While an ask has no answer yet, as after a restart, go on saying what `last-status` \
               said.";
    let steps = [first_step(subject), "wait until it is ready".to_owned(), repeated.what.to_owned()];
    let problem = subject.problem(message, fix).after(steps);
    Some(match unlike(repeated) {
        Some((recorded, difference)) => {
            let wanted = format!("the same as the call before it; but {difference}");
            shown_by_call(problem, Some(recorded), &wanted)
        }
        None => problem,
    })
}

/// The first call of a resource at rest that wants, or says, something else than the one before it.
fn unlike(repeated: &Repeated) -> Option<(&Recorded, String)> {
    let written = |recorded: &Recorded| match &recorded.1 {
        Ok(outcome) => {
            let senren_engine::wit::Outcome { children, secrets, status, events, .. } = outcome.clone();
            readable::of(&serde_json::json!({
                "children": children, "secrets": secrets, "status": status, "events": events,
            }))
        }
        Err(error) => Value::from(error.to_string()),
    };
    repeated.calls.windows(2).find_map(|pair| {
        let (before, after) = (written(&pair[0]), written(&pair[1]));
        (before != after).then(|| (&pair[1], crate::world::snapshot::first_difference(&before, &after)))
    })
}

pub(crate) fn deletes(subject: &Subject, findings: &mut Findings) -> anyhow::Result<()> {
    let life = subject.life()?;
    findings.tried(stays(subject, &life.deletion, "wait until it is ready", life.last.as_ref()));
    // While it is being made, it goes, too.
    let ends = parallel::each(&life.steps, |after| {
        time::run(async {
            let world = World::resume(subject, after).await?;
            anyhow::Ok((deleted(&world).await?, world.last_call()))
        })?
    })?;
    for (steps, (end, last)) in ends.into_iter().enumerate() {
        findings.tried(stays(subject, &end, &format!("reconcile it {steps} times"), last.as_ref()));
    }
    Ok(())
}

fn stays(
    subject: &Subject,
    end: &Result<Vec<String>, String>,
    before: &str,
    last: Option<&Recorded>,
) -> Option<Problem> {
    let (message, fix) = match end {
        Ok(left) if left.is_empty() => return None,
        Ok(left) => (
            format!("Its deletion leaves {} behind.", left.join(", ")),
            "What a plugin keeps while `deleting` it has to let go later: answer no children in the end.",
        ),
        Err(why) => (
            format!("Its deletion does not finish: {why}."),
            "While `deleting`, answer only what must still be there, and nothing in the end; never a fault for good.",
        ),
    };
    let steps = [first_step(subject), before.to_owned(), "delete it".to_owned()];
    Some(shown_by_call(subject.problem(message, fix).after(steps), last, "in the end, no children"))
}
