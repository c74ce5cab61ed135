//! The life of the example: brought about from nothing, left alone for a while, and deleted. Most checks look at it, so
//! it is lived once.

use std::time::Duration;

use senren_reconcile::status::Status;
use serde_json::Value;

use super::{
    Recorded, Rest, Unrest, World,
    moment::{Cut, Moment},
    snapshot::{Snapshot, title},
};
use crate::{checks::alone, subject::Subject, time};

/// How often a resource at rest is reconciled again, by each of two planes.
const REPEATS: usize = 50;
/// How many steps of its making are looked at.
const MOST_STEPS: usize = 60;
/// Time between two of these.
const BETWEEN: Duration = Duration::from_secs(7);

/// See the module.
pub(crate) struct Life {
    /// Every call of `reconcile` until it was at rest.
    pub calls: Vec<Recorded>,
    /// Where the plane could have died until then.
    pub cuts: Vec<Cut>,
    /// How it was after each of the first steps; before the first, it was only declared.
    pub steps: Vec<Moment>,
    /// How it was in the end: up and at rest, if it ever was.
    pub settled: Moment,
    /// How it came to rest, or why it did not; then nothing of the rest was tried.
    pub rest: Result<Status, Unrest>,
    /// What was there then.
    pub end: Snapshot,
    /// The objects of it, whole.
    pub objects: Vec<Value>,
    /// Reconciling it again and again, by the plane that brought it about, and by one that knows nothing of it.
    pub repeated: Vec<Repeated>,
    /// How its deletion came to an end, and what it left behind.
    pub deletion: Result<Vec<String>, String>,
    /// The last call before that.
    pub last: Option<Recorded>,
}

/// Reconciling a resource that is at rest.
pub(crate) struct Repeated {
    /// What it was, in words: `50 further reconciles`.
    pub what: &'static str,
    /// What was written, though there was nothing left to do.
    pub needless: Vec<String>,
    /// The last call before, and every call since.
    pub calls: Vec<Recorded>,
}

/// Lives the life of the example.
pub(crate) fn live(subject: &Subject) -> anyhow::Result<Life> {
    alone(|| time::run(lived(subject))?)
}

async fn lived(subject: &Subject) -> anyhow::Result<Life> {
    let mut world = World::start(subject, vec![]).await?;
    world.declare(&subject.example).await?;
    let cuts = world.cut();
    let mut steps = vec![world.moment()];
    let mut step = || {
        if steps.len() < MOST_STEPS {
            steps.push(world.moment());
        }
    };
    let rest = match world.settle_with(&mut step).await {
        Ok(Rest::Still(status)) => Ok(*status),
        Ok(Rest::Gone) => anyhow::bail!("a resource that nobody deleted is gone"),
        Err(unrest) => Err(unrest),
    };
    let mut life = Life {
        calls: world.calls(),
        cuts: cuts.all()?,
        steps: steps.into_iter().collect::<anyhow::Result<_>>()?,
        settled: world.moment()?,
        rest,
        end: world.snapshot(),
        objects: world.objects().iter().map(|object| object.as_ref().clone()).collect(),
        repeated: vec![],
        deletion: Ok(vec![]),
        last: None,
    };
    if life.rest.is_err() {
        return Ok(life);
    }
    life.repeated.push(repeat(&world, "50 further reconciles").await);
    world.restart();
    life.repeated.push(repeat(&world, "50 further reconciles by a host that was restarted").await);
    life.deletion = deleted(&world).await?;
    life.last = world.last_call();
    Ok(life)
}

async fn repeat(world: &World<'_>, what: &'static str) -> Repeated {
    let (calls, writes) = (world.calls().len(), world.tap.writes().len());
    for _ in 0..REPEATS {
        // What fails now did not fail before, and writes why.
        let _ = world.step().await;
        world.pass(BETWEEN).await;
    }
    Repeated {
        what,
        needless: world.tap.writes().split_off(writes),
        calls: world.calls().split_off(calls.saturating_sub(1)),
    }
}

/// Deletes the resource. What it leaves behind, or why it doesn't go.
pub(crate) async fn deleted(world: &World<'_>) -> anyhow::Result<Result<Vec<String>, String>> {
    world.delete().await?;
    let end = world.settle().await;
    // Kubernetes collects what has lost its owner.
    world.pass(Duration::from_secs(60)).await;
    Ok(match end {
        Ok(Rest::Gone) => Ok(world.objects().iter().map(|object| title(object)).collect()),
        Ok(Rest::Still(status)) => Err(format!("it is still there: {} {}", status.reason, status.message)),
        Err(unrest) => Err(unrest.to_string()),
    })
}
