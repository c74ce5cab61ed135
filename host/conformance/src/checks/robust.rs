//! Checks of bad days: pods that do not start, objects that vanish, a host that crashes.

use std::time::Duration;

use senren_kubesim::workloads::{Failure, FailureKind};
use serde_json::Value;

use super::{Findings, life::shown_by_call, parallel};
use crate::{
    report::Problem,
    subject::Subject,
    time,
    world::{
        Crash, Rest, Setup, Unrest, World,
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
    let setup = Setup { failures: vec![failure], ..Setup::default() };
    let (status, last) = time::run(async {
        let mut world = World::start(subject, setup).await?;
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
    let found = parallel::each(&losses, |loss| unhealed(subject, &life.end, *loss))?;
    found.into_iter().for_each(|found| findings.tried(found));
    Ok(())
}

/// Loses an object, or the status, and looks whether everything comes back.
fn unhealed(subject: &Subject, end: &Snapshot, loss: Option<&Value>) -> anyhow::Result<Option<Problem>> {
    let what = loss.map_or_else(|| "the status".to_owned(), title);
    let (wrong, last) = time::run(async {
        let mut world = World::start(subject, Setup::default()).await?;
        world.declare(&subject.example).await?;
        // It did so before.
        let _ = world.settle().await;
        match loss {
            Some(object) => world.remove(object).await?,
            None => world.lose_status().await?,
        }
        let wrong = astray(end, &world.settle().await, &world.snapshot());
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

pub(crate) fn crash(subject: &Subject, findings: &mut Findings) -> anyhow::Result<()> {
    let life = subject.life()?;
    let deletion = deletion_writes(subject)?;
    let making =
        (0..life.writes.len()).flat_map(|at| [(false, Crash::Before(at)), (false, Crash::After(at))]);
    let ending = (0..deletion).flat_map(|at| [(true, Crash::Before(at)), (true, Crash::After(at))]);
    let crashes: Vec<(bool, Crash)> = making.chain(ending).collect();
    let found = parallel::each(&crashes, |(deleting, crash)| match deleting {
        false => lost_in_making(subject, &life.end, &life.writes, *crash),
        true => lost_in_ending(subject, *crash),
    })?;
    found.into_iter().for_each(|found| findings.tried(found));
    Ok(())
}

/// How many writes a deletion takes.
fn deletion_writes(subject: &Subject) -> anyhow::Result<usize> {
    parallel::one(|| {
        time::run(async {
            let mut world = World::start(subject, Setup::default()).await?;
            world.declare(&subject.example).await?;
            let _ = world.settle().await;
            world.restart(Crash::Never);
            world.delete().await?;
            let _ = world.settle().await;
            anyhow::Ok(world.tap.writes().len())
        })?
    })
}

fn told(crash: Crash, writes: &[String]) -> String {
    let name = |at: usize| writes.get(at).map_or_else(String::new, |write| format!(", {write}"));
    match crash {
        Crash::Before(at) => format!("crash the host before its write {}{}", at + 1, name(at)),
        Crash::After(at) => {
            format!("crash the host after its write {}{}, before the answer", at + 1, name(at))
        }
        Crash::Never => "let the host be".to_owned(),
    }
}

const FIX: &str = "Depend on nothing that an earlier call may have answered: not on `last-status`, not on an object that \
                   an earlier outcome had. The input says what is; the outcome says all that shall be.";

fn lost_in_making(
    subject: &Subject,
    wanted: &Snapshot,
    writes: &[String],
    crash: Crash,
) -> anyhow::Result<Option<Problem>> {
    let (wrong, last) = time::run(async {
        let mut world = World::start(subject, Setup::default()).await?;
        world.restart(crash);
        world.declare(&subject.example).await?;
        let first = world.settle().await;
        if !matches!(first, Err(Unrest::Crashed)) {
            // This time it took fewer writes.
            return anyhow::Ok((astray(wanted, &first, &world.snapshot()), world.last_call()));
        }
        world.restart(Crash::Never);
        let wrong = astray(wanted, &world.settle().await, &world.snapshot());
        Ok((wrong, world.last_call()))
    })??;
    Ok(wrong.map(|wrong| {
        let steps = [
            format!("declare the example, {}", subject.example),
            told(crash, writes),
            "start it again".to_owned(),
        ];
        let problem = subject.problem(format!("After a crash of the host, {wrong}."), FIX).after(steps);
        shown_by_call(problem, last.as_ref(), "the same end as without the crash")
    }))
}

fn lost_in_ending(subject: &Subject, crash: Crash) -> anyhow::Result<Option<Problem>> {
    let (end, left) = time::run(async {
        let mut world = World::start(subject, Setup::default()).await?;
        world.declare(&subject.example).await?;
        let _ = world.settle().await;
        world.restart(crash);
        world.delete().await?;
        let mut end = world.settle().await;
        if matches!(end, Err(Unrest::Crashed)) {
            world.restart(Crash::Never);
            end = world.settle().await;
        }
        world.pass(Duration::from_secs(60)).await;
        anyhow::Ok((end, world.snapshot()))
    })??;
    let wrong = match end {
        Ok(Rest::Gone) if left.is_empty() => return Ok(None),
        Ok(Rest::Gone) => format!("{} is left behind", left.titles()),
        Ok(Rest::Still(status)) => format!("it is still there: {} {}", status.reason, status.message),
        Err(unrest) => unrest.to_string(),
    };
    let steps = [
        format!("declare the example, {}", subject.example),
        "wait until it is ready, and delete it".to_owned(),
        told(crash, &[]),
        "start it again".to_owned(),
    ];
    let message = format!("After a crash of the host during its deletion, {wrong}.");
    Ok(Some(subject.problem(message, FIX).after(steps)))
}
