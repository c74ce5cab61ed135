//! Moments of a world, to go on from as often as wanted: what happens to a database that is up is tried without bringing
//! one up for each try, and a plane can die at any of its writes without living up to there again.
//!
//! A moment is all there is but the plane, whose memory dies with it. Invariant: what goes on from a moment changes
//! nothing of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use parking_lot::Mutex;
use senren_engine::Plugins;
use senren_kubesim::{
    Config, Frozen, KubeSim, Workloads,
    workloads::{Failure, Simulated},
};
use senren_reconcile::Clock as _;

use crate::{
    simulate::{Remembered, Simulator},
    time::{ScenarioClock, millis},
};

/// What a world is made of, apart from its plane.
pub(crate) struct Scene {
    pub sim: KubeSim,
    pub simulator: Arc<Simulator>,
    pub clock: Arc<ScenarioClock>,
    /// Of the spec that was declared last.
    pub generation: AtomicU64,
}

/// See the module. Belongs to no thread.
pub(crate) struct Moment {
    pub cluster: Frozen,
    pub databases: Remembered,
    /// Since the world began.
    pub elapsed: Duration,
    pub generation: u64,
}

impl Scene {
    /// An empty cluster, in whose pods this goes wrong.
    pub(crate) async fn begin(plugins: &Plugins, failures: Vec<Failure>) -> anyhow::Result<Self> {
        let clock = Arc::new(ScenarioClock::after(Duration::ZERO));
        let (simulator, pods) = pods(plugins, &clock, Remembered::default());
        let workloads = Workloads::Simulated(Simulated { failures, ..pods });
        let sim = KubeSim::start(Config { workloads, ..Config::default() }).await;
        let sim = sim.context("the embedded Kubernetes can't be started")?;
        Ok(Self { sim, simulator, clock, generation: AtomicU64::new(0) })
    }

    /// Goes on from a moment, in which no pod was to fail.
    pub(crate) async fn go_on(plugins: &Plugins, from: &Moment) -> anyhow::Result<Self> {
        let clock = Arc::new(ScenarioClock::after(from.elapsed));
        let (simulator, pods) = pods(plugins, &clock, from.databases.clone());
        let sim = KubeSim::resume(&from.cluster, pods).await;
        let sim = sim.context("the embedded Kubernetes can't go on")?;
        Ok(Self { sim, simulator, clock, generation: AtomicU64::new(from.generation) })
    }

    /// How it is now.
    pub(crate) fn moment(&self) -> anyhow::Result<Moment> {
        Ok(Moment {
            cluster: self.sim.freeze()?,
            databases: self.simulator.remembered(),
            elapsed: self.clock.elapsed(),
            generation: self.generation.load(Ordering::Relaxed),
        })
    }
}

/// Pods that answer commands as the plugin says, and who sees to that.
fn pods(
    plugins: &Plugins,
    clock: &Arc<ScenarioClock>,
    remembered: Remembered,
) -> (Arc<Simulator>, Simulated) {
    let clock = clock.clone();
    let now = Arc::new(move || millis(clock.now()));
    let simulator = Arc::new(Simulator::new(plugins.clone(), now, remembered));
    let pods = Simulated { exec: Some(simulator.clone()), ..Simulated::default() };
    (simulator, pods)
}

/// A moment in which a plane may die.
pub(crate) struct Cut {
    /// `after its write 3, PATCH configmaps/check, before the answer`
    pub when: String,
    pub at: Moment,
}

/// Every such moment of a plane's work: before each write, and between each and its answer. One that is the same as the
/// one before it is left out: between two writes that follow each other, nothing happens that a dead plane would miss.
#[derive(Clone, Default)]
pub(crate) struct Cuts(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    cuts: Vec<anyhow::Result<Cut>>,
    /// What told the last one from others: revision, time, and what the databases remembered.
    last: Option<(u64, Duration, Remembered)>,
}

impl Cuts {
    /// Now would be one.
    pub(crate) fn take(&self, scene: &Scene, when: impl FnOnce() -> String) {
        let mut taken = self.0.lock();
        let now = (scene.sim.store().revision(), scene.clock.elapsed(), scene.simulator.remembered());
        if taken.last.as_ref() != Some(&now) {
            taken.last = Some(now);
            taken.cuts.push(scene.moment().map(|at| Cut { when: when(), at }));
        }
    }

    /// All that were taken; none is left here.
    pub(crate) fn all(&self) -> anyhow::Result<Vec<Cut>> {
        std::mem::take(&mut self.0.lock().cuts).into_iter().collect()
    }
}
