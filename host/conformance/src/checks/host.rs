//! Checks of what happens to hosts: they die at any write, and they see late what has changed.

use std::time::Duration;

use super::{Findings, change::Tried, life::shown_by_call, parallel, robust::astray};
use crate::{
    report::Problem,
    subject::Subject,
    time,
    world::{Rest, Unrest, World, life::Life, moment::Cut, moment::Moment, snapshot::Snapshot},
};

/// Steps of a plane that sees everything late.
const LATE: usize = 24;
/// In so many moments of a change a plane dies, at most: spread over all of it.
const MOST_CUTS: usize = 24;
/// In which Kubernetes collects what has lost its owner.
const COLLECTED: Duration = Duration::from_secs(60);

/// A stretch of a database's life, and how it ends where nothing goes wrong.
struct Stretch<'a> {
    /// How it was before.
    from: &'a Moment,
    /// What begins it.
    begin: Begin<'a>,
    /// What it comes to; nothing where it is deleted.
    end: Option<&'a Snapshot>,
}

#[derive(Clone, Copy)]
enum Begin<'a> {
    /// It was declared just now.
    Declared,
    Change(&'a Tried),
    Delete,
}

/// The making of the example, a change of it that replaces pods, and its end.
fn stretches<'a>(subject: &'a Subject, life: &'a Life) -> anyhow::Result<Vec<Stretch<'a>>> {
    let declared = life.steps.first();
    let made = declared.map(|from| Stretch { from, begin: Begin::Declared, end: Some(&life.end) });
    let change = subject.lively_change()?.map(|tried| Stretch {
        from: &life.settled,
        begin: Begin::Change(tried),
        end: tried.end.as_ref(),
    });
    let deleted = Stretch { from: &life.settled, begin: Begin::Delete, end: None };
    Ok([made, change, Some(deleted)].into_iter().flatten().collect())
}

impl Stretch<'_> {
    /// A world in which it has just begun.
    async fn begun<'s>(&self, subject: &'s Subject) -> anyhow::Result<World<'s>> {
        match self.begin {
            Begin::Declared => World::resume(subject, self.from).await,
            Begin::Change(tried) => {
                let world = World::carry_on(subject, self.from).await?;
                world.declare(&tried.variant.spec).await?;
                Ok(world)
            }
            Begin::Delete => {
                let world = World::carry_on(subject, self.from).await?;
                world.delete().await?;
                Ok(world)
            }
        }
    }

    /// What is wrong with how it ended.
    async fn wrong(&self, world: &World<'_>, rest: Result<Rest, Unrest>) -> Option<String> {
        let Some(wanted) = self.end else {
            world.pass(COLLECTED).await;
            return remains(&rest, &world.snapshot());
        };
        astray(wanted, &rest, &world.snapshot())
    }

    fn steps(&self, subject: &Subject) -> Vec<String> {
        let mut steps = vec![format!("declare the example, {}", subject.example)];
        match self.begin {
            Begin::Declared => {}
            Begin::Change(tried) => {
                let (spec, what) = (&tried.variant.spec, &tried.variant.what);
                steps.extend(["wait until it is ready".into(), format!("declare {spec}, which is {what}")]);
            }
            Begin::Delete => steps.push("wait until it is ready, and delete it".into()),
        }
        steps
    }

    /// In which part of a life this was: ` during its deletion`
    fn when(&self) -> String {
        match self.begin {
            Begin::Declared => String::new(),
            Begin::Change(tried) => format!(" during {}", tried.variant.what),
            Begin::Delete => " during its deletion".to_owned(),
        }
    }
}

/// What is left of a database that should be gone.
fn remains(rest: &Result<Rest, Unrest>, left: &Snapshot) -> Option<String> {
    match rest {
        Ok(Rest::Gone) if left.is_empty() => None,
        Ok(Rest::Gone) => Some(format!("{} is left behind", left.titles())),
        Ok(Rest::Still(status)) => Some(format!("it is still there: {} {}", status.reason, status.message)),
        Err(unrest) => Some(unrest.to_string()),
    }
}

pub(crate) fn crash(subject: &Subject, findings: &mut Findings) -> anyhow::Result<()> {
    let life = subject.life()?;
    for stretch in stretches(subject, life)? {
        let found = match stretch.begin {
            Begin::Declared => parallel::each(&life.cuts, |cut| lost(subject, &stretch, cut))?,
            Begin::Delete => parallel::each(&cuts(subject, &stretch)?, |cut| lost(subject, &stretch, cut))?,
            Begin::Change(_) => {
                let cuts = cuts(subject, &stretch)?;
                let spread: Vec<&Cut> = cuts.iter().step_by(cuts.len().div_ceil(MOST_CUTS).max(1)).collect();
                parallel::each(&spread, |cut| lost(subject, &stretch, cut))?
            }
        };
        found.into_iter().for_each(|found| findings.tried(found));
    }
    Ok(())
}

/// Where the plane can die meanwhile.
fn cuts(subject: &Subject, stretch: &Stretch<'_>) -> anyhow::Result<Vec<Cut>> {
    parallel::one(|| {
        time::run(async {
            let world = stretch.begun(subject).await?;
            let cuts = world.cut();
            let _ = world.settle().await;
            cuts.all()
        })?
    })
}

/// A plane dies, and another one takes over.
fn lost(subject: &Subject, stretch: &Stretch<'_>, cut: &Cut) -> anyhow::Result<Option<Problem>> {
    let (wrong, last) = time::run(async {
        let world = World::resume(subject, &cut.at).await?;
        let rest = world.settle().await;
        anyhow::Ok((stretch.wrong(&world, rest).await, world.last_call()))
    })??;
    Ok(wrong.map(|wrong| {
        let fix = "Depend on nothing that an earlier call may have answered: not on `last-status`, not on an object that \
                   an earlier outcome had. The input says what is; the outcome says all that shall be.";
        let mut steps = stretch.steps(subject);
        steps.extend([format!("crash the host {}", cut.when), "start it again".to_owned()]);
        let message = format!("After a crash of the host{}, {wrong}.", stretch.when());
        let problem = subject.problem(message, fix).after(steps);
        shown_by_call(problem, last.as_ref(), "the same end as without the crash")
    }))
}

pub(crate) fn stale(subject: &Subject, findings: &mut Findings) -> anyhow::Result<()> {
    let stretches = stretches(subject, subject.life()?)?;
    for found in parallel::each(&stretches, |stretch| misled(subject, stretch))? {
        findings.tried(found);
    }
    Ok(())
}

/// A plane is shown for a while what was a moment ago, of each kind another moment, and then what is.
fn misled(subject: &Subject, stretch: &Stretch<'_>) -> anyhow::Result<Option<Problem>> {
    let (wrong, last) = time::run(async {
        let world = stretch.begun(subject).await?;
        world.tap.see_late(true);
        // Whatever comes of that.
        let _ = world.steps(LATE).await;
        world.tap.see_late(false);
        let rest = world.settle().await;
        anyhow::Ok((stretch.wrong(&world, rest).await, world.last_call()))
    })??;
    Ok(wrong.map(|wrong| {
        let fix = "Draw no conclusion for good from what is observed: an object may be missing that is there, be there \
                   though it is gone, or be as it was some changes ago. What a later call sees must put it right.";
        let mut steps = stretch.steps(subject);
        steps.push("show the plugin older views of its objects for a while, then the newest".to_owned());
        let message = format!("After older views of its objects{}, {wrong}.", stretch.when());
        let problem = subject.problem(message, fix).after(steps);
        shown_by_call(problem, last.as_ref(), "the same end as with views of now")
    }))
}
