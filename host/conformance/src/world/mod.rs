//! A region in miniature: an embedded Kubernetes with simulated pods, one resource, and the production reconciler,
//! which here takes its steps one at a time ([`drive`]). A world goes on from any moment of another ([`moment`]).
//!
//! All of it lives in a scenario's own time ([`crate::time`]).

mod drive;
pub(crate) mod life;
pub(crate) mod moment;
pub(crate) mod snapshot;
mod tap;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::Context as _;
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams},
};
use parking_lot::Mutex;
use senren_engine::{CallError, PluginSet, Plugins, wit};
use senren_kubesim::workloads::Failure;
use senren_reconcile::{
    Reconciler, Recorder, Settings, Surroundings, names,
    resource::{Key, api_resource},
    status::Status,
};
use serde_json::{Value, json};

use crate::subject::Subject;

pub(crate) use self::drive::{Rest, Unrest};
use self::{
    moment::{Cuts, Moment, Scene},
    snapshot::Snapshot,
    tap::Tap,
};

/// Name of the resource.
pub(crate) const NAME: &str = "check";
/// Its namespace.
pub(crate) const NAMESPACE: &str = "senren-default";

/// Steps after which a plane that has just begun knows what its predecessor knew: one that asks, and one that hears.
const ACQUAINTANCE: usize = 2;

/// See the module.
pub(crate) struct World<'a> {
    subject: &'a Subject,
    scene: Arc<Scene>,
    plugins: Plugins,
    settings: Settings,
    key: Key,
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

/// The plugin of `subject`, with what the operator sets for it.
fn serving(subject: &Subject, settings: Option<&Value>) -> anyhow::Result<PluginSet> {
    let plugin = subject.plugin.tuned(subject.limits.clone(), settings);
    let (set, problems) = PluginSet::of(vec![plugin]);
    anyhow::ensure!(problems.is_empty(), "{problems:?}");
    Ok(set)
}

impl<'a> World<'a> {
    /// A world without the resource, in whose pods this goes wrong.
    pub(crate) async fn start(subject: &'a Subject, failures: Vec<Failure>) -> anyhow::Result<World<'a>> {
        let plugins = Plugins::new(serving(subject, None)?);
        let scene = Scene::begin(&plugins, failures).await?;
        let namespaces: Api<DynamicObject> =
            Api::all_with(scene.sim.client(), &senren_reconcile::ApiKind::new("v1", "Namespace").resource());
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        namespaces.create(&Default::default(), &serde_json::from_value(namespace)?).await?;
        senren_reconcile::crd::install(scene.sim.client(), &plugins.current()).await?;
        Self::with(subject, plugins, scene)
    }

    /// A world that goes on from a moment of another, with a plane that knows nothing of what was before.
    pub(crate) async fn resume(subject: &'a Subject, from: &Moment) -> anyhow::Result<World<'a>> {
        let plugins = Plugins::new(serving(subject, None)?);
        let scene = Scene::go_on(&plugins, from).await?;
        let world = Self::with(subject, plugins, scene)?;
        // Whatever takes no time has happened then: containers that run can be asked.
        world.pass(drive::FIRST_LOOK).await;
        Ok(world)
    }

    /// As [`Self::resume`], with a plane that knows the resource, which is at rest.
    pub(crate) async fn carry_on(subject: &'a Subject, from: &Moment) -> anyhow::Result<World<'a>> {
        let world = Self::resume(subject, from).await?;
        for _ in 0..ACQUAINTANCE {
            // Where it fails now, it will fail again.
            let _ = world.step().await;
        }
        Ok(world)
    }

    fn with(subject: &'a Subject, plugins: Plugins, scene: Scene) -> anyhow::Result<World<'a>> {
        let mut settings = Settings::new("check:region".parse().context("the region")?);
        // What a region allows is its operator's business.
        settings.allowed_kinds.extend(subject.ty.wit.owns.iter().map(Into::into));
        let key =
            Key { type_name: subject.name().to_owned(), namespace: NAMESPACE.into(), name: NAME.into() };
        let (scene, calls, tap) = (Arc::new(scene), Arc::new(Calls::default()), Tap::default());
        let reconciler = plane(&scene, &plugins, &settings, &calls, &tap);
        Ok(Self { subject, scene, plugins, settings, key, reconciler, tap, calls })
    }

    /// Another plane takes over, which knows nothing of what the one before it knew.
    pub(crate) fn restart(&mut self) {
        self.tap = Tap::default();
        self.reconciler = plane(&self.scene, &self.plugins, &self.settings, &self.calls, &self.tap);
    }

    /// From now on every moment is taken in which the plane could die.
    pub(crate) fn cut(&self) -> Cuts {
        let cuts = Cuts::default();
        self.tap.cut_into(self.scene.clone(), cuts.clone());
        cuts
    }

    /// The operator sets something else.
    pub(crate) fn set(&self, settings: Option<&Value>) -> anyhow::Result<()> {
        self.plugins.swap(serving(self.subject, settings)?);
        Ok(())
    }

    /// All there is but the plane, to go on from.
    pub(crate) fn moment(&self) -> anyhow::Result<Moment> {
        self.scene.moment()
    }

    fn client(&self) -> Client {
        self.scene.sim.client()
    }

    fn resources(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client(), NAMESPACE, &api_resource(&self.subject.ty.wit))
    }

    /// Writes the custom resource, as intake does, with an admitted spec.
    pub(crate) async fn declare(&self, spec: &Value) -> anyhow::Result<()> {
        let generation = self.scene.generation.fetch_add(1, Ordering::Relaxed) + 1;
        let resource = api_resource(&self.subject.ty.wit);
        let object = json!({
            "apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": {
                "name": NAME, "namespace": NAMESPACE,
                "labels": names::plane_labels(&self.settings.region),
                "annotations": {names::UID: "check-uid", names::GENERATION: generation.to_string()},
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

    /// Lets time pass.
    pub(crate) async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// What is there now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot::take(self.scene.sim.store(), NAMESPACE)
    }

    /// The objects of the resource, whole.
    pub(crate) fn objects(&self) -> Vec<Arc<Value>> {
        snapshot::objects(self.scene.sim.store(), NAMESPACE)
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

/// A plane that has just begun.
fn plane(scene: &Scene, plugins: &Plugins, settings: &Settings, calls: &Arc<Calls>, tap: &Tap) -> Reconciler {
    let surroundings = Surroundings { clock: scene.clock.clone(), recorder: Some(calls.clone()) };
    let client = scene.sim.client_with(tap.clone());
    Reconciler::within(surroundings, client, plugins.clone(), settings.clone())
}
