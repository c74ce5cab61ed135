//! The entry: reconciling one resource, once, with what was read of it. The step itself is in [`crate::step`].
//!
//! A [`Reconciler`] may work on many resources at once, never on one twice at once; its driver sees to that.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use jiff::Timestamp;
use kube::{Api, Client, api::DynamicObject};
use parking_lot::{Mutex, RwLock};
use senren_engine::{CallError, Plugins, Served, wit};
use tracing::Instrument as _;

use crate::{
    Settings,
    api::{Kube, api_failure},
    asks::{Asks, Job},
    cache::Cache,
    claims,
    clock::{Clock, SystemClock},
    failure::Failure,
    kind::{ApiKind, ObjectId},
    names,
    observe::{Observed, kinds_of},
    resource::{CustomResource, Key, NotOurs, api_resource},
    rest, secrets,
    status::Status,
    step::{Memo, Step},
};

/// Sees every call of a plugin's `reconcile`, with all that its answer depends on: what a replay needs.
pub trait Recorder: Send + Sync {
    /// `input` was answered so. Called on the path of the step: it must not wait.
    fn record(&self, input: &wit::Input, answer: &Result<wit::Outcome, CallError>);
}

/// Is told what the status of a resource says before another takes its place.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Returns when `resource`, of that type, need no longer be read to know it. Must not fail, and not wait for ever.
    async fn keep(&self, type_name: &str, resource: &DynamicObject);
}

/// What a reconciler takes from its surroundings besides the Kubernetes API; a test or a replay brings its own.
#[derive(Clone)]
pub struct Surroundings {
    /// What time it is, for plugins, statuses and asks.
    pub clock: Arc<dyn Clock>,
    /// Who sees the calls of plugins.
    pub recorder: Option<Arc<dyn Recorder>>,
}

impl Default for Surroundings {
    /// The machine's clock, and nobody else.
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock::default()), recorder: None }
    }
}

/// Reconciles one resource at a time; see the crate.
pub struct Reconciler {
    settings: Settings,
    plugins: Plugins,
    surroundings: Surroundings,
    journal: Option<Arc<dyn Journal>>,
    kube: Kube,
    cache: Arc<Cache>,
    asks: Asks,
    plane_labels: BTreeMap<String, String>,
    /// Types that were ever served here: their resources exist whether or not a plugin does. Replaced whole, so that
    /// nobody reads them under a lock: a second read inside a first would wait for a writer that waits for the first.
    types: RwLock<Arc<Types>>,
    memos: Mutex<HashMap<Key, Memo>>,
}

type Types = HashMap<String, Arc<wit::ResourceType>>;

/// Kinds whose objects the host itself has to see.
pub(crate) fn host_kinds() -> [ApiKind; 3] {
    [secrets::kind(), claims::kind(), ApiKind::new("v1", "Pod")]
}

/// The kind of the custom resources of a type.
fn kind_of(resource_type: &wit::ResourceType) -> ApiKind {
    let api = api_resource(resource_type);
    ApiKind::new(api.api_version, api.kind)
}

impl Reconciler {
    /// A reconciler of everything that `plugins` serve.
    pub fn new(client: Client, plugins: Plugins, settings: Settings) -> Self {
        Self::within(Surroundings::default(), client, plugins, settings)
    }

    /// As [`Self::new`], with another clock, or a recorder.
    pub fn within(surroundings: Surroundings, client: Client, plugins: Plugins, settings: Settings) -> Self {
        let cache = Arc::new(Cache::default());
        let plane_labels = names::plane_labels(&settings.region);
        Self {
            asks: Asks::new(settings.asks.clone(), surroundings.clock.clone()),
            settings,
            plugins,
            surroundings,
            journal: None,
            kube: Kube::new(client, cache.clone()),
            cache,
            plane_labels,
            types: RwLock::default(),
            memos: Mutex::default(),
        }
    }

    /// With somebody who keeps what statuses said.
    #[must_use]
    pub fn with_journal(self, journal: Arc<dyn Journal>) -> Self {
        Self { journal: Some(journal), ..self }
    }

    /// What the operator decided.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn plugins(&self) -> &Plugins {
        &self.plugins
    }

    pub(crate) fn kube(&self) -> &Kube {
        &self.kube
    }

    pub(crate) fn plane_labels(&self) -> &BTreeMap<String, String> {
        &self.plane_labels
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    pub(crate) fn client(&self) -> Client {
        self.kube.client()
    }

    pub(crate) fn asks(&self) -> &Asks {
        &self.asks
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.surroundings.clock.now()
    }

    /// Replaces the status of `resource`, once the one before is kept.
    pub(crate) async fn write_status(
        &self,
        resource: &mut CustomResource,
        status: &Status,
    ) -> Result<(), Failure> {
        if let Some(journal) = &self.journal {
            journal.keep(&resource.key.type_name, &resource.object).await;
        }
        self.kube.write_status(resource, status).await
    }

    /// Calls the plugin's `reconcile`, and has it recorded.
    pub(crate) async fn call(&self, served: &Served, input: wit::Input) -> Result<wit::Outcome, CallError> {
        let Some(recorder) = &self.surroundings.recorder else {
            return served.plugin.reconcile(input).await;
        };
        let answer = served.plugin.reconcile(input.clone()).await;
        recorder.record(&input, &answer);
        answer
    }

    pub(crate) fn add_type(&self, resource_type: &wit::ResourceType) {
        let mut types = self.types.write();
        Arc::make_mut(&mut types).insert(resource_type.name.clone(), Arc::new(resource_type.clone()));
    }

    fn types(&self) -> Arc<Types> {
        self.types.read().clone()
    }

    pub(crate) fn type_names(&self) -> Vec<String> {
        self.types().keys().cloned().collect()
    }

    /// Every resource of a type that the watches have delivered.
    pub(crate) fn keys(&self, type_name: &str) -> Vec<Key> {
        let Some(kind) = self.types().get(type_name).map(|wit| kind_of(wit)) else { return vec![] };
        let key = |object: &Arc<DynamicObject>| {
            let (namespace, name) = (object.metadata.namespace.clone()?, object.metadata.name.clone()?);
            Some(Key { type_name: type_name.to_owned(), namespace, name })
        };
        self.cache.all(&kind).iter().filter_map(key).collect()
    }

    /// The resources of that name, whatever their types.
    pub(crate) fn keys_named(&self, namespace: &str, name: &str) -> Vec<Key> {
        let key = |type_name: &String| Key {
            type_name: type_name.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        self.types()
            .keys()
            .map(key)
            .filter(|key| self.cached(key).is_some() || self.memos.lock().contains_key(key))
            .collect()
    }

    /// True where there is such a resource.
    pub(crate) fn knows(&self, key: &Key) -> bool {
        self.cached(key).is_some()
    }

    /// What the watches have delivered of a resource.
    fn cached(&self, key: &Key) -> Option<Arc<DynamicObject>> {
        let kind = self.types().get(&key.type_name).map(|wit| kind_of(wit))?;
        self.cache.get(&key.namespace, &key.name, &ObjectId::new(kind, &key.name))
    }

    /// Brings one resource a step nearer to what is wanted. `observed` may be stale. Returns when to come back, besides
    /// every change: zero where this step changed something that the plugin has yet to see.
    pub async fn reconcile(
        &self,
        resource: CustomResource,
        observed: &Observed,
    ) -> Result<Option<Duration>, Failure> {
        self.step(resource, observed, None).await
    }

    /// `objects` names what was seen, where it may be remembered that nothing came of it.
    async fn step(
        &self,
        resource: CustomResource,
        observed: &Observed,
        objects: Option<u64>,
    ) -> Result<Option<Duration>, Failure> {
        let span = resource.span();
        self.take_step(resource, observed, objects).instrument(span).await
    }

    async fn take_step(
        &self,
        resource: CustomResource,
        observed: &Observed,
        objects: Option<u64>,
    ) -> Result<Option<Duration>, Failure> {
        let started = Instant::now();
        let key = resource.key.clone();
        let memo = self.memos.lock().remove(&key).unwrap_or_default();
        let mut step = Step::new(self, resource, observed, memo);
        let result = step.run().await;
        let result = step.conclude(result).await;
        if let Some(objects) = objects {
            step.rest(objects, &result);
        }
        match step.remember() {
            Some(memo) => drop(self.memos.lock().insert(key.clone(), memo)),
            None => self.asks.forget(&key),
        }
        let outcome =
            result.as_ref().map_or_else(|failure| failure.outcome().to_owned(), |_| "ok".to_owned());
        metrics::counter!("senren_reconciles_total", "type" => key.type_name.clone(), "outcome" => outcome)
            .increment(1);
        metrics::histogram!("senren_reconcile_seconds", "type" => key.type_name).record(started.elapsed());
        result
    }

    /// As [`Self::reconcile`], with everything read from the API server: for callers without watches. `None` where there
    /// is no such resource.
    pub async fn reconcile_now(&self, key: &Key) -> Result<Option<Option<Duration>>, Failure> {
        let current = self.plugins.current();
        let Some(served) = current.get(&key.type_name) else {
            return Err(Failure::NoPlugin(key.type_name.clone()));
        };
        let wit = &served.resource_type.wit;
        let api: Api<DynamicObject> = Api::namespaced_with(self.client(), &key.namespace, &api_resource(wit));
        let read = api.get_opt(&key.name).await.map_err(|source| api_failure("it can't be read", source))?;
        let Some(object) = read else {
            self.forget(key);
            return Ok(None);
        };
        let Some(resource) = self.parse(wit, object) else { return Ok(None) };
        let kinds: BTreeSet<ApiKind> = kinds_of(wit).into_iter().chain(host_kinds()).collect();
        let kinds: Vec<ApiKind> = kinds.into_iter().collect();
        let observed = Observed::list(&self.client(), &kinds, &resource)
            .await
            .map_err(|source| api_failure("its objects can't be read", source))?;
        self.reconcile(resource, &observed).await.map(Some)
    }

    /// As [`Self::reconcile`], with what the watches have delivered.
    pub(crate) async fn reconcile_cached(&self, key: &Key) -> Result<Option<Duration>, Failure> {
        let Some(resource_type) = self.types().get(&key.type_name).cloned() else { return Ok(None) };
        let kind = kind_of(&resource_type);
        let kinds = self.watched_kinds(&resource_type);
        // The first complete list brings everything up again.
        if !self.cache.synced(kinds.iter().chain([&kind])) {
            return Ok(None);
        }
        let Some(object) = self.cached(key) else {
            self.forget(key);
            return Ok(None);
        };
        let group = self.cache.group(&key.namespace, &key.name);
        let objects = rest::versions(&group);
        if let Some(again) = self.resting(key, objects) {
            return Ok(again);
        }
        let Some(resource) = self.parse(&resource_type, object.as_ref().clone()) else { return Ok(None) };
        let observed = Observed::sort(group, &resource);
        self.step(resource, &observed, Some(objects)).await
    }

    /// When to come back, where another step would come to nothing as the last one did.
    fn resting(&self, key: &Key, objects: u64) -> Option<Option<Duration>> {
        let plugins = self.plugins.current();
        let served = plugins.get(&key.type_name)?;
        let now = self.now();
        let memos = self.memos.lock();
        let rest = memos.get(key)?.rest.as_ref()?;
        let again =
            rest.lasts(&served.plugin, (objects, self.asks.count(key)), now).then(|| rest.again(now))?;
        metrics::counter!("senren_reconciles_total", "type" => key.type_name.clone(), "outcome" => "unchanged")
            .increment(1);
        Some(again)
    }

    /// Does what the resource's plugin asked for and is due, one after the other, and returns how much that was: for
    /// callers without the driver, which does so by itself. The answers are there for the next step.
    pub async fn answer_due(&self, key: &Key) -> usize {
        let mut answered = 0;
        while let Ok(job) = self.asks.take(Some(key)) {
            self.answer(job).await;
            answered += 1;
        }
        answered
    }

    /// When something that the resource's plugin asked for will next be due: milliseconds since 1970.
    pub fn next_due(&self, key: &Key) -> Option<u64> {
        self.asks.next_due(key)
    }

    /// Does what a plugin asked for. Returns the resource to wake.
    pub(crate) async fn answer(&self, job: Job) -> Option<Key> {
        job.run(&self.kube).await
    }

    /// Nothing of a resource outlives it.
    fn forget(&self, key: &Key) {
        self.memos.lock().remove(key);
        self.asks.forget(key);
    }

    /// The kinds that are watched for a type: what its plugin may own or see, and what the host must.
    pub(crate) fn watched_kinds(&self, resource_type: &wit::ResourceType) -> BTreeSet<ApiKind> {
        let seen_only = |kind: &ApiKind| {
            matches!(
                (kind.api_version.as_str(), kind.kind.as_str()),
                ("discovery.k8s.io/v1", "EndpointSlice") | ("apps/v1", "ControllerRevision" | "ReplicaSet")
            )
        };
        let allowed = |kind: &ApiKind| self.settings.allowed_kinds.contains(kind) || seen_only(kind);
        kinds_of(resource_type).into_iter().filter(allowed).chain(host_kinds()).collect()
    }

    fn parse(&self, resource_type: &wit::ResourceType, object: DynamicObject) -> Option<CustomResource> {
        let name = object.metadata.name.clone();
        match CustomResource::parse(resource_type, &self.settings.namespace_prefix, object) {
            Ok(resource) => Some(resource),
            // Of a plane with another prefix, most likely.
            Err(NotOurs::Namespace(_)) => None,
            Err(error) => {
                tracing::warn!(r#type = resource_type.name, ?name, %error, "a resource is ignored");
                None
            }
        }
    }
}
