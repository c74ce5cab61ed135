//! The life of the example: brought about from nothing, left alone for a while, and deleted. Most checks look at it, so
//! it is lived once.

use std::time::Duration;

use senren_reconcile::status::Status;
use serde_json::Value;

use super::{
    Crash, Recorded, Rest, Setup, Unrest, World,
    snapshot::{Snapshot, title},
};
use crate::{checks::alone, subject::Subject, time};

/// How often a resource at rest is reconciled again: half by the plane that knows it, half by one that doesn't.
const REPEATS: usize = 100;
/// Time between two of these.
const BETWEEN: Duration = Duration::from_secs(7);

/// See the module.
pub(crate) struct Life {
    /// Every call of `reconcile` until it was at rest.
    pub calls: Vec<Recorded>,
    /// What was written until then.
    pub writes: Vec<String>,
    /// How it came to rest, or why it did not; then nothing of the rest was tried.
    pub rest: Result<Status, Unrest>,
    /// What was there then.
    pub end: Snapshot,
    /// The objects of it, whole.
    pub objects: Vec<Value>,
    /// What reconciling wrote after that, though there was nothing left to do.
    pub needless: Vec<String>,
    /// The calls that it was made of.
    pub later: Vec<Recorded>,
    /// How its deletion came to an end, and what it left behind.
    pub deletion: Result<Vec<String>, String>,
    /// The last call before that.
    pub last: Option<Recorded>,
}

/// Lives the life of the example.
pub(crate) fn live(subject: &Subject) -> anyhow::Result<Life> {
    alone(|| time::run(lived(subject))?)
}

async fn lived(subject: &Subject) -> anyhow::Result<Life> {
    let mut world = World::start(subject, Setup::default()).await?;
    world.declare(&subject.example).await?;
    let rest = match world.settle().await {
        Ok(Rest::Still(status)) => Ok(status),
        Ok(Rest::Gone) => anyhow::bail!("a resource that nobody deleted is gone"),
        Err(unrest) => Err(unrest),
    };
    let mut life = Life {
        calls: world.calls(),
        writes: world.tap.writes(),
        rest,
        end: world.snapshot(),
        objects: world.objects().iter().map(|object| object.as_ref().clone()).collect(),
        needless: vec![],
        later: vec![],
        deletion: Ok(vec![]),
        last: None,
    };
    if life.rest.is_err() {
        return Ok(life);
    }
    life.needless = repeat(&mut world, REPEATS / 2).await;
    world.restart(Crash::Never);
    life.needless.extend(repeat(&mut world, REPEATS / 2).await);
    life.later = world.calls().split_off(life.calls.len());
    life.deletion = deleted(&world).await?;
    life.last = world.last_call();
    Ok(life)
}

async fn repeat(world: &mut World<'_>, times: usize) -> Vec<String> {
    let before = world.tap.writes().len();
    for _ in 0..times {
        // What fails now did not fail before, and writes why.
        let _ = world.step().await;
        world.pass(BETWEEN).await;
    }
    world.tap.writes().split_off(before)
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
