//! A region in miniature: an embedded Kubernetes with simulated pods, one resource, and the production reconciler,
//! which here takes its steps one at a time, and can be stopped between any two writes.
//!
//! All of it lives in a scenario's own time ([`crate::time`]).

pub(crate) mod life;
pub(crate) mod snapshot;
mod tap;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams},
};
use parking_lot::Mutex;
use senren_engine::{CallError, PluginSet, Plugins, wit};
use senren_kubesim::{
    Config, KubeSim, Workloads,
    workloads::{Failure, Simulated},
};
use senren_reconcile::{
    Clock, ReconcileError, Reconciler, Recorder, Retry, Settings, Surroundings, names,
    resource::{Key, api_resource},
    status::Status,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{simulate::simulated_exec_at, subject::Subject, time};

use self::snapshot::Snapshot;
pub(crate) use self::tap::{Crash, Tap};

/// Name of the resource.
pub(crate) const NAME: &str = "check";
/// Its namespace.
pub(crate) const NAMESPACE: &str = "senren-default";

/// A resource has come to rest when nothing has changed for so long, whatever its plugin asks or waits for.
const REST: Duration = Duration::from_secs(30);
/// Longest and first pause between two looks.
const LOOK: Duration = Duration::from_secs(5);
const FIRST_LOOK: Duration = Duration::from_millis(1);
/// A plugin that has not come to rest after so many steps never will.
const MOST_STEPS: usize = 600;
/// Nor one that fails so often in a row.
const MOST_FAILURES: u32 = 8;

/// How a world is set up.
#[derive(Default)]
pub(crate) struct Setup {
    /// What the operator sets for the plugin.
    pub settings: Option<Value>,
    /// What goes wrong with its pods.
    pub failures: Vec<Failure>,
}

/// See the module.
pub(crate) struct World<'a> {
    subject: &'a Subject,
    sim: KubeSim,
    plugins: Plugins,
    settings: Settings,
    clock: Arc<dyn Clock>,
    key: Key,
    generation: u64,
    reconciler: Reconciler,
    /// Of the plane that runs now.
    pub tap: Tap,
    calls: Arc<Calls>,
}

/// Every call of `reconcile`, with its answer.
#[derive(Default)]
pub(crate) struct Calls(Mutex<Vec<Recorded>>);

/// One call of `reconcile`, with its answer.
pub(crate) type Recorded = (wit::Input, Result<wit::Outcome, CallError>);

impl Recorder for Calls {
    fn record(&self, input: &wit::Input, answer: &Result<wit::Outcome, CallError>) {
        self.0.lock().push((input.clone(), answer.clone()));
    }
}

/// How a resource came to rest.
#[derive(Debug)]
pub(crate) enum Rest {
    /// It is there, and nothing changes any more.
    Still(Box<Status>),
    /// It is gone.
    Gone,
}

/// Why a resource did not come to rest.
#[derive(Debug)]
pub(crate) enum Unrest {
    /// Its steps fail, again and again; the last failure.
    Fails(ReconcileError),
    /// Its steps go on changing something; what the last ones wrote.
    Restless(Vec<String>),
    /// The plane died, as it was told to.
    Crashed,
}

impl<'a> World<'a> {
    /// A world without the resource.
    pub(crate) async fn start(subject: &'a Subject, setup: Setup) -> anyhow::Result<World<'a>> {
        let clock: Arc<dyn Clock> = Arc::new(time::ScenarioClock::start());
        let mut settings = Settings::new("check:region".parse().context("the region")?);
        // What a region allows is its operator's business.
        settings.allowed_kinds.extend(subject.ty.wit.owns.iter().map(Into::into));
        let plugin = subject.plugin.tuned(subject.limits.clone(), setup.settings.as_ref());
        let (set, problems) = PluginSet::of(vec![plugin]);
        anyhow::ensure!(problems.is_empty(), "{problems:?}");
        let plugins = Plugins::new(set);

        let now = {
            let clock = clock.clone();
            move || millis(clock.now())
        };
        let exec = simulated_exec_at(plugins.clone(), Arc::new(now));
        let simulated = Simulated { failures: setup.failures, exec: Some(exec), ..Simulated::default() };
        let sim = KubeSim::start(Config { workloads: Workloads::Simulated(simulated), ..Config::default() });
        let sim = sim.await.context("the embedded Kubernetes can't be started")?;
        let namespaces: Api<DynamicObject> =
            Api::all_with(sim.client(), &senren_reconcile::ApiKind::new("v1", "Namespace").resource());
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        namespaces.create(&Default::default(), &serde_json::from_value(namespace)?).await?;
        senren_reconcile::crd::install(sim.client(), &plugins.current()).await?;

        let key =
            Key { type_name: subject.name().to_owned(), namespace: NAMESPACE.into(), name: NAME.into() };
        let (tap, calls) = (Tap::new(Crash::Never), Arc::new(Calls::default()));
        let surroundings = Surroundings { clock: clock.clone(), recorder: Some(calls.clone()) };
        let client = sim.client_with(tap.clone());
        let reconciler = Reconciler::within(surroundings, client, plugins.clone(), settings.clone());
        Ok(Self { subject, sim, plugins, settings, clock, key, generation: 0, reconciler, tap, calls })
    }

    /// Another plane takes over, which knows nothing of what the one before it knew.
    pub(crate) fn restart(&mut self, crash: Crash) {
        self.tap = Tap::new(crash);
        let surroundings = Surroundings { clock: self.clock.clone(), recorder: Some(self.calls.clone()) };
        let client = self.sim.client_with(self.tap.clone());
        self.reconciler =
            Reconciler::within(surroundings, client, self.plugins.clone(), self.settings.clone());
    }

    /// The operator sets something else.
    pub(crate) fn set(&mut self, settings: Option<&Value>) -> anyhow::Result<()> {
        let plugin = self.subject.plugin.tuned(self.subject.limits.clone(), settings);
        let (set, problems) = PluginSet::of(vec![plugin]);
        anyhow::ensure!(problems.is_empty(), "{problems:?}");
        self.plugins.swap(set);
        Ok(())
    }

    fn client(&self) -> Client {
        self.sim.client()
    }

    fn resources(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client(), NAMESPACE, &api_resource(&self.subject.ty.wit))
    }

    /// Writes the custom resource, as intake does, with an admitted spec.
    pub(crate) async fn declare(&mut self, spec: &Value) -> anyhow::Result<()> {
        self.generation += 1;
        let resource = api_resource(&self.subject.ty.wit);
        let object = json!({
            "apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": {
                "name": NAME, "namespace": NAMESPACE,
                "labels": names::plane_labels(&self.settings.region),
                "annotations": {names::UID: "check-uid", names::GENERATION: self.generation.to_string()},
            },
            "spec": spec,
        });
        let params = PatchParams::apply(names::INTAKE_MANAGER).force();
        let declared = self.resources().patch(NAME, &params, &Patch::Apply(&object)).await;
        declared.context("the custom resource can't be written")?;
        Ok(())
    }

    /// Asks for the deletion of the resource.
    pub(crate) async fn delete(&self) -> anyhow::Result<()> {
        self.resources()
            .delete(NAME, &DeleteParams::default())
            .await
            .context("the custom resource can't be deleted")?;
        Ok(())
    }

    /// Takes away what the status knows, as when a custom resource is restored from a backup.
    pub(crate) async fn lose_status(&self) -> anyhow::Result<()> {
        let mut object = self.resources().get(NAME).await?;
        let inventory = object.data["status"]["inventory"].clone();
        object.metadata.managed_fields = None;
        object.data["status"] = json!({"inventory": inventory});
        self.resources().replace_status(NAME, &Default::default(), &object).await?;
        Ok(())
    }

    /// The status of the resource.
    pub(crate) async fn status(&self) -> anyhow::Result<Status> {
        let object = self.resources().get(NAME).await?;
        Ok(serde_json::from_value(object.data["status"].clone()).unwrap_or_default())
    }

    /// One step of the plane, and what its plugin asks for.
    pub(crate) async fn step(&self) -> Result<Option<Option<Duration>>, ReconcileError> {
        let _still = time::hold();
        let result = self.reconciler.reconcile_now(&self.key).await;
        self.reconciler.answer_due(&self.key).await;
        result
    }

    /// Steps until nothing changes any more.
    pub(crate) async fn settle(&self) -> Result<Rest, Unrest> {
        self.drive(None).await
    }

    /// As [`Self::settle`], but not more than `most` steps.
    pub(crate) async fn steps(&self, most: usize) -> Result<Rest, Unrest> {
        self.drive(Some(most)).await
    }

    async fn drive(&self, most: Option<usize>) -> Result<Rest, Unrest> {
        let (mut failures, mut pause, mut moved) = (0, FIRST_LOOK, Instant::now());
        let mut seen = (self.sim.store().revision(), self.told());
        for _ in 0..most.unwrap_or(MOST_STEPS) {
            let result = self.step().await;
            if self.tap.crashed() {
                return Err(Unrest::Crashed);
            }
            let sees = (self.sim.store().revision(), self.told());
            if sees != seen {
                (seen, pause, moved) = (sees, FIRST_LOOK, Instant::now());
            }
            let next = match result {
                Ok(None) => return Ok(Rest::Gone),
                Ok(Some(next)) => {
                    failures = 0;
                    next
                }
                Err(failure) => {
                    failures += u32::from(failure.retry() != Retry::AtOnce);
                    if failures >= MOST_FAILURES || (failures > 1 && failure.retry() == Retry::OnChange) {
                        return Err(Unrest::Fails(failure));
                    }
                    Some(pause)
                }
            };
            if next == Some(Duration::ZERO) {
                continue;
            }
            if moved.elapsed() >= REST {
                break;
            }
            pause = (pause * 2).min(LOOK);
            self.wait([next, self.due()].into_iter().flatten().min().unwrap_or(REST)).await;
        }
        if most.is_none() && moved.elapsed() < REST {
            return Err(Unrest::Restless(self.tap.latest()));
        }
        Ok(Rest::Still(Box::new(self.status().await.unwrap_or_default())))
    }

    /// When something that the plugin asked for is to be done.
    fn due(&self) -> Option<Duration> {
        let due = self.reconciler.next_due(&self.key)?;
        Some(Duration::from_millis(due.saturating_sub(millis(self.clock.now()))).max(FIRST_LOOK))
    }

    /// What the plugin was last told by its asks.
    fn told(&self) -> Vec<wit::Answer> {
        let calls = self.calls.0.lock();
        let timeless = |answer: &wit::Answer| wit::Answer { observed_at_ms: 0, ..answer.clone() };
        calls.last().map(|(input, _)| input.answers.iter().map(timeless).collect()).unwrap_or_default()
    }

    /// Lets so much time pass, or less where something changes.
    async fn wait(&self, longest: Duration) {
        let (before, until) = (self.sim.store().revision(), Instant::now() + longest.min(REST));
        let mut nap = FIRST_LOOK;
        while self.sim.store().revision() == before && Instant::now() < until {
            tokio::time::sleep(nap.min(until - Instant::now())).await;
            nap = (nap * 2).min(LOOK);
        }
    }

    /// Lets time pass.
    pub(crate) async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// What is there now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot::take(self.sim.store(), NAMESPACE)
    }

    /// The objects of the resource, whole.
    pub(crate) fn objects(&self) -> Vec<Arc<Value>> {
        snapshot::objects(self.sim.store(), NAMESPACE)
    }

    /// Somebody deletes an object.
    pub(crate) async fn remove(&self, object: &Value) -> anyhow::Result<()> {
        let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
        let kind = senren_reconcile::ApiKind::new(text(&object["apiVersion"]), text(&object["kind"]));
        let api: Api<DynamicObject> = Api::namespaced_with(self.client(), NAMESPACE, &kind.resource());
        api.delete(&text(&object["metadata"]["name"]), &DeleteParams::default()).await?;
        Ok(())
    }

    /// The calls of `reconcile` so far.
    pub(crate) fn calls(&self) -> Vec<Recorded> {
        self.calls.0.lock().clone()
    }

    /// The last call of `reconcile`.
    pub(crate) fn last_call(&self) -> Option<Recorded> {
        self.calls.0.lock().last().cloned()
    }
}

fn millis(time: Timestamp) -> u64 {
    u64::try_from(time.as_millisecond()).unwrap_or_default()
}

impl std::fmt::Display for Unrest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unrest::Fails(failure) => write!(f, "it fails for good: {} ({failure})", failure.reason()),
            Unrest::Restless(writes) => {
                write!(f, "it never comes to rest; it goes on writing {}", writes.join(", "))
            }
            Unrest::Crashed => f.write_str("the host crashed"),
        }
    }
}
