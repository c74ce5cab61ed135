//! Checks of bad days: pods that do not start, objects that vanish.

use std::time::Duration;

use senren_kubesim::workloads::{Failure, FailureKind};
use serde_json::Value;

use super::{Findings, life::shown_by_call, parallel};
use crate::{
    report::Problem,
    subject::Subject,
    time,
    world::{
        Rest, Unrest, World,
        life::Life,
        snapshot::{Snapshot, title},
    },
};

/// Kinds that nobody can bring back: claims, with their data.
const NOT_ITS_OWN: [&str; 1] = ["PersistentVolumeClaim"];

pub(crate) fn honest(subject: &Subject, findings: &mut Findings) -> anyhow::Result<()> {
    let pods = subject.life()?.objects.iter().filter(|object| object["kind"] == "Pod").count();
    if pods == 0 {
        return Ok(());
    }
    let crash = FailureKind::CrashLoop { after: Duration::from_millis(50), code: 1 };
    let troubles = [
        (FailureKind::NeverReady, "whose pods run and are never ready", false),
        (FailureKind::ImagePull, "whose image can't be pulled", true),
        (FailureKind::Unschedulable, "whose pods find no node", true),
        (crash, "whose pods crash", true),
    ];
    let found = parallel::each(&troubles, |(kind, what, reason)| dishonest(subject, *kind, what, *reason))?;
    found.into_iter().for_each(|found| findings.tried(found));
    Ok(())
}

fn dishonest(
    subject: &Subject,
    kind: FailureKind,
    what: &str,
    reason: bool,
) -> anyhow::Result<Option<Problem>> {
    let failure = Failure { image: "*".into(), pod: "*".into(), kind };
    let (status, last) = time::run(async {
        let world = World::start(subject, vec![failure]).await?;
        world.declare(&subject.example).await?;
        // Pods that crash never come to rest.
        let _ = world.steps(80).await;
        anyhow::Ok((world.status().await?, world.last_call()))
    })??;
    let (message, fix) = if status.ready {
        (
            format!("A database {what} says that it is ready."),
            "Say ready only when the pods that a client would reach are Ready in `observed`.",
        )
    } else if reason && status.message.trim().is_empty() {
        (
            format!("A database {what} gives no reason: {:?} without a message.", status.reason),
            "Say in `message` what Kubernetes says of the pod that can't start, and what people can do.",
        )
    } else {
        return Ok(None);
    };
    let steps = [format!("declare the example, {}, {what}", subject.example)];
    let problem = subject.problem(message, fix).after(steps);
    Ok(Some(shown_by_call(problem, last.as_ref(), "a status as honest as what is observed")))
}

pub(crate) fn heals(subject: &Subject, findings: &mut Findings) -> anyhow::Result<()> {
    let life = subject.life()?;
    let own = |object: &&Value| !NOT_ITS_OWN.iter().any(|kind| object["kind"] == *kind);
    let mut losses: Vec<Option<&Value>> = life.objects.iter().filter(own).map(Some).collect();
    losses.push(None);
    let found = parallel::each(&losses, |loss| unhealed(subject, life, *loss))?;
    found.into_iter().for_each(|found| findings.tried(found));
    Ok(())
}

/// Loses an object, or the status, and looks whether everything comes back.
fn unhealed(subject: &Subject, life: &Life, loss: Option<&Value>) -> anyhow::Result<Option<Problem>> {
    let what = loss.map_or_else(|| "the status".to_owned(), title);
    let (wrong, last) = time::run(async {
        let world = World::carry_on(subject, &life.settled).await?;
        match loss {
            Some(object) => world.remove(object).await?,
            None => world.lose_status().await?,
        }
        let wrong = astray(&life.end, &world.settle().await, &world.snapshot());
        anyhow::Ok((wrong, world.last_call()))
    })??;
    Ok(wrong.map(|wrong| {
        let message = format!("After {what} was lost, {wrong}.");
        let fix = "Answer everything that shall be there at every call, whatever is observed and whatever `last-status` \
                   says: it is a hint that may be missing.";
        let steps = [
            format!("declare the example, {}", subject.example),
            "wait until it is ready".to_owned(),
            format!("delete {what}"),
        ];
        shown_by_call(subject.problem(message, fix).after(steps), last.as_ref(), "the same objects as before")
    }))
}

/// How an end differs from what it should be.
pub(crate) fn astray(wanted: &Snapshot, end: &Result<Rest, Unrest>, is: &Snapshot) -> Option<String> {
    match end {
        Err(unrest) => Some(unrest.to_string()),
        Ok(Rest::Gone) => Some("it is gone".to_owned()),
        Ok(Rest::Still(status)) if !status.ready || status.phase != "Ready" => Some(format!(
            "it is not ready again: phase {:?}, reason {:?} {}",
            status.phase, status.reason, status.message
        )),
        Ok(Rest::Still(_)) => wanted.difference(is),
    }
}
