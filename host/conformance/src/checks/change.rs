//! Checks of changes: of the spec, one at a time, and of the operator's settings; each there and back again.

use std::collections::BTreeMap;

use senren_engine::{CallError, wit};
use serde_json::Value;

use super::{Findings, life::shown_by_call, parallel, robust::astray};
use crate::{
    generate::{self, Variant},
    report::Problem,
    subject::Subject,
    time,
    world::{Recorded, Rest, Unrest, World, life::Life, snapshot::Snapshot},
};

/// What came of one change.
#[derive(Debug)]
pub(crate) struct Tried {
    /// The change.
    pub variant: Variant,
    /// What it took.
    pub writes: usize,
    /// It replaced or added pods.
    pub new_pods: bool,
    /// What it came to, where that is ready and the database is still the same one.
    pub end: Option<Snapshot>,
    converges: Option<Problem>,
    effects: Option<Problem>,
    rollback: Option<Problem>,
    /// `diff` refuses to go back.
    one_way: bool,
}

pub(crate) fn changes(subject: &Subject, findings: &mut Findings) -> anyhow::Result<()> {
    tell(subject, findings, |tried| Some(tried.converges.clone()))
}

pub(crate) fn effects(subject: &Subject, findings: &mut Findings) -> anyhow::Result<()> {
    tell(subject, findings, |tried| Some(tried.effects.clone()))
}

pub(crate) fn rollback(subject: &Subject, findings: &mut Findings) -> anyhow::Result<()> {
    tell(subject, findings, |tried| (!tried.one_way).then(|| tried.rollback.clone()))
}

fn tell(
    subject: &Subject,
    findings: &mut Findings,
    part: impl Fn(&Tried) -> Option<Option<Problem>>,
) -> anyhow::Result<()> {
    for found in subject.changes()?.iter().filter_map(part) {
        findings.tried(found);
    }
    Ok(())
}

/// Tries every change of the example that `diff` allows.
pub(crate) fn try_all(subject: &Subject) -> anyhow::Result<Vec<Tried>> {
    let mut changes: Vec<(Variant, wit::Change)> = vec![];
    for variant in generate::mutations(&subject.schema, &subject.example) {
        let Some(spec) = subject.admitted(&variant.spec) else { continue };
        let known = changes.iter().any(|(other, _)| other.spec == spec);
        if known || spec == subject.example {
            continue;
        }
        // What is refused is not tried; whether it may be is for `diff-effects` to say.
        if let Ok(change) = subject.diff(Some(&subject.example), Some(&spec)) {
            changes.push((Variant { spec, ..variant }, change));
        }
    }
    let life = subject.life()?;
    parallel::each(&changes, |(variant, change)| match change.action.as_str() {
        "replace" => made_anew(subject, variant),
        _ => there_and_back(subject, variant, change, life),
    })
}

/// A change that replaces the database is a new one.
fn made_anew(subject: &Subject, variant: &Variant) -> anyhow::Result<Tried> {
    let (rest, last) = time::run(async {
        let world = World::start(subject, vec![]).await?;
        world.declare(&variant.spec).await?;
        anyhow::Ok((world.settle().await, world.last_call()))
    })??;
    let converges = unready(&rest).map(|wrong| not_converging(subject, variant, &wrong, last.as_ref()));
    let variant = variant.clone();
    let (writes, new_pods, effects, rollback) = (0, true, None, None);
    Ok(Tried { variant, writes, new_pods, end: None, converges, effects, rollback, one_way: true })
}

/// What is seen on the way.
struct Journey {
    before: Objects,
    there: Result<Rest, Unrest>,
    at: Objects,
    writes: usize,
    end: Snapshot,
    at_call: Option<Recorded>,
    /// Nothing where it can't go back.
    back: Option<(Result<Rest, Unrest>, Snapshot, Option<Recorded>)>,
}

/// Identities of a kind's objects, by name.
#[derive(Debug, Default)]
struct Objects {
    pods: BTreeMap<String, String>,
    claims: BTreeMap<String, String>,
}

fn there_and_back(
    subject: &Subject,
    variant: &Variant,
    change: &wit::Change,
    life: &Life,
) -> anyhow::Result<Tried> {
    let one_way = matches!(
        subject.diff(Some(&variant.spec), Some(&subject.example)),
        Err(CallError::Fault(_)) | Ok(wit::Change { data_loss: true, .. })
    );
    let journey = time::run(async {
        let world = World::carry_on(subject, &life.settled).await?;
        let before = Objects::of(&world);
        world.declare(&variant.spec).await?;
        let there = world.settle().await;
        let (at, at_call) = (Objects::of(&world), world.last_call());
        let (writes, end) = (world.tap.writes().len(), world.snapshot());
        let back = match (&there, one_way) {
            (Ok(_), false) => {
                world.declare(&subject.example).await?;
                let rest = world.settle().await;
                Some((rest, world.snapshot(), world.last_call()))
            }
            _ => None,
        };
        anyhow::Ok(Journey { before, there, at, writes, end, at_call, back })
    })??;
    let converges = unready(&journey.there);
    let effects = match converges {
        None => unannounced(change, &journey.before, &journey.at),
        Some(_) => None,
    };
    let rollback = journey
        .back
        .as_ref()
        .filter(|_| converges.is_none())
        .and_then(|(rest, is, _)| astray(&life.end.children(), rest, &is.children()));
    let back_call = journey.back.as_ref().and_then(|(_, _, call)| call.as_ref());
    Ok(Tried {
        variant: variant.clone(),
        writes: journey.writes,
        new_pods: journey.at.pods.values().any(|uid| !journey.before.pods.values().any(|old| old == uid)),
        end: converges.is_none().then_some(journey.end),
        converges: converges.map(|wrong| not_converging(subject, variant, &wrong, journey.at_call.as_ref())),
        effects: effects.map(|wrong| {
            let message = format!("{wrong} by {}, and `diff` said {:?}.", variant.what, change.summary);
            let fix = "Let `diff` say so (`disruptive`, `data-loss`, the field's effect in the schema), or change nothing \
                       in the pod template that this field does not concern.";
            subject.problem(message, fix).after(steps(subject, variant, false))
        }),
        rollback: rollback.map(|wrong| {
            let message = format!("After {} was taken back, {wrong}.", variant.what);
            let fix = "What is wanted must follow from the spec alone, not from what the objects or the status were before.";
            let problem = subject.problem(message, fix).after(steps(subject, variant, true));
            shown_by_call(problem, back_call, "the objects of the example")
        }),
        one_way,
    })
}

fn steps(subject: &Subject, variant: &Variant, back: bool) -> Vec<String> {
    let mut steps = vec![
        format!("declare the example, {}", subject.example),
        "wait until it is ready".to_owned(),
        format!("declare {}, which is {}", variant.spec, variant.what),
    ];
    if back {
        steps.extend(["wait until it is ready".to_owned(), "declare the example again".to_owned()]);
    }
    steps
}

fn not_converging(subject: &Subject, variant: &Variant, wrong: &str, last: Option<&Recorded>) -> Problem {
    let message = format!("After {}, {wrong}.", variant.what);
    let fix = "Refuse the change in `admit` or `diff`, with what can be done instead, or make it work from every state.";
    let problem = subject.problem(message, fix).after(steps(subject, variant, false));
    shown_by_call(problem, last, "an outcome that leads to ready")
}

fn unready(rest: &Result<Rest, Unrest>) -> Option<String> {
    match rest {
        Ok(Rest::Still(status)) if status.ready && status.phase == "Ready" => None,
        Ok(Rest::Still(status)) => Some(format!(
            "it is not ready: phase {:?}, reason {:?} {}",
            status.phase, status.reason, status.message
        )),
        Ok(Rest::Gone) => Some("it is gone".to_owned()),
        Err(unrest) => Some(unrest.to_string()),
    }
}

/// What happened though nobody was told.
fn unannounced(change: &wit::Change, before: &Objects, after: &Objects) -> Option<String> {
    let other = |before: &BTreeMap<String, String>, after: &BTreeMap<String, String>| {
        let replaced = before.iter().find(|(name, uid)| after.get(*name).is_some_and(|now| now != *uid));
        replaced.map(|(name, _)| name.clone())
    };
    if !change.disruptive
        && let Some(pod) = other(&before.pods, &after.pods)
    {
        return Some(format!("Pod {pod} was replaced"));
    }
    if !change.data_loss {
        if let Some(claim) = other(&before.claims, &after.claims) {
            return Some(format!("PersistentVolumeClaim {claim}, with its data, was replaced"));
        }
        if !before.claims.is_empty() && !before.claims.keys().any(|name| after.claims.contains_key(name)) {
            return Some("Every PersistentVolumeClaim, with its data, was deleted".to_owned());
        }
    }
    None
}

impl Objects {
    fn of(world: &World<'_>) -> Self {
        let mut found = Self::default();
        for object in world.objects() {
            let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
            match object["kind"].as_str() {
                Some("Pod") => found.pods.insert(text("name"), text("uid")),
                Some("PersistentVolumeClaim") => found.claims.insert(text("name"), text("uid")),
                _ => None,
            };
        }
        found
    }
}

pub(crate) fn settings(subject: &Subject, findings: &mut Findings) -> anyhow::Result<()> {
    let schema: Value = serde_json::from_str(&subject.plugin.descriptor().config_schema)?;
    let Ok(defaults) = subject.plugin.configure(None) else { return Ok(()) };
    let mut variants: Vec<Variant> = generate::mutations(&schema, &defaults);
    variants.retain(|variant| subject.plugin.configure(Some(&variant.spec)).is_ok());
    let life = subject.life()?;
    let found = parallel::each(&variants, |variant| unsettled(subject, variant, life))?;
    found.into_iter().for_each(|found| findings.tried(found));
    Ok(())
}

fn unsettled(subject: &Subject, variant: &Variant, life: &Life) -> anyhow::Result<Option<Problem>> {
    let (there, at_call, back) = time::run(async {
        let world = World::carry_on(subject, &life.settled).await?;
        world.set(Some(&variant.spec))?;
        let (there, at_call) = (world.settle().await, world.last_call());
        world.set(None)?;
        let back = world.settle().await;
        anyhow::Ok((there, at_call, (back, world.snapshot(), world.last_call())))
    })??;
    let mut steps = vec![
        format!("declare the example, {}", subject.example),
        "wait until it is ready".to_owned(),
        format!("set {} for the plugin: {}", variant.spec, variant.what),
    ];
    if let Some(wrong) = unready(&there) {
        let message = format!("After the operator's setting {}, {wrong}.", variant.what);
        let fix =
            "Refuse the setting in the config schema, or make it work for databases that are there already.";
        let problem = subject.problem(message, fix).after(steps);
        return Ok(Some(shown_by_call(problem, at_call.as_ref(), "an outcome that leads to ready")));
    }
    let (rest, is, call) = back;
    Ok(astray(&life.end.children(), &rest, &is.children()).map(|wrong| {
        steps.push("take the setting back".to_owned());
        let message = format!("After the operator's setting {} was taken back, {wrong}.", variant.what);
        let fix =
            "What is wanted must follow from spec and settings alone, not from what the objects were before.";
        let problem = subject.problem(message, fix).after(steps);
        shown_by_call(problem, call.as_ref(), "the objects of the example")
    }))
}
