//! A region in miniature for the tests of this crate: an embedded Kubernetes API, compiled plugins, the driver, and a
//! tap on everything it writes.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use http::{Method, Request};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
    client::Body,
    core::GroupVersionKind,
};
use parking_lot::Mutex;
use senren_engine::{Engine, EngineConfig, Plugin, PluginSet, Plugins};
use senren_kubesim::{ApiResponse, Config, KubeSim, Workloads, faults::Faults, workloads::Simulated};
use senren_reconcile::{Reconciler, Settings, names, status::Status};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::{BoxError, Layer, Service};

pub const NAMESPACE: &str = "senren-default";

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new(EngineConfig::default()).unwrap())
}

/// A plugin, after `change` of its bytes.
pub fn load_changed(source: &str, change: impl Fn(Vec<u8>) -> Vec<u8>) -> Plugin {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let component = senren_plugin_build::component(&root.join(source)).unwrap();
    engine().load(source, &change(std::fs::read(component).unwrap())).unwrap()
}

/// The shipped plugin, built and compiled once per test process.
pub fn redis() -> Plugin {
    static REDIS: OnceLock<Plugin> = OnceLock::new();
    REDIS.get_or_init(|| load_changed("plugins/redis", |wasm| wasm)).clone()
}

/// The fixture that does what it is told.
pub fn misbehaving() -> Plugin {
    static MISBEHAVING: OnceLock<Plugin> = OnceLock::new();
    MISBEHAVING.get_or_init(|| load_changed("tests/plugins/misbehaving", |wasm| wasm)).clone()
}

/// A set of them.
pub fn plugins_of(plugins: Vec<Plugin>) -> Plugins {
    let (set, problems) = PluginSet::of(plugins);
    assert!(problems.is_empty(), "{problems:?}");
    Plugins::new(set)
}

/// A set of them all.
pub fn plugins() -> Plugins {
    plugins_of(vec![redis(), misbehaving()])
}

/// What goes wrong with the writes of a plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    Never,
    /// Just before the write with this number reaches the API server: nothing does from then on.
    Before(usize),
    /// Just after: it happens, and nothing is heard of it.
    After(usize),
}

/// Counts writes, and lets the plane die at one.
#[derive(Clone)]
pub struct Tap {
    writes: Arc<AtomicUsize>,
    log: Arc<Mutex<Vec<String>>>,
    crash: Crash,
    dead: Arc<AtomicU8>,
}

impl Tap {
    pub fn new(crash: Crash) -> Self {
        Self { writes: Arc::default(), log: Arc::default(), crash, dead: Arc::default() }
    }

    pub fn writes(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }

    pub fn dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst) > 0
    }

    pub fn log(&self) -> Vec<String> {
        self.log.lock().clone()
    }
}

impl<S> Layer<S> for Tap {
    type Service = Tapped<S>;

    fn layer(&self, inner: S) -> Tapped<S> {
        Tapped { inner, tap: self.clone() }
    }
}

#[derive(Clone)]
pub struct Tapped<S> {
    inner: S,
    tap: Tap,
}

impl<S> Service<Request<Body>> for Tapped<S>
where
    S: Service<Request<Body>, Response = ApiResponse> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    type Response = ApiResponse;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<ApiResponse, BoxError>>;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if self.tap.dead() {
            return Box::pin(async { Err("the plane is dead".into()) });
        }
        let is_write = *request.method() != Method::GET;
        let mut lost = false;
        if is_write {
            let number = self.tap.writes.fetch_add(1, Ordering::SeqCst);
            self.tap.log.lock().push(format!("{} {}", request.method(), request.uri().path()));
            if self.tap.crash == Crash::Before(number) {
                self.tap.dead.store(1, Ordering::SeqCst);
                return Box::pin(async { Err("the plane is dead".into()) });
            }
            if self.tap.crash == Crash::After(number) {
                self.tap.dead.store(1, Ordering::SeqCst);
                lost = true;
            }
        }
        let call = self.inner.call(request);
        Box::pin(async move {
            let response = call.await.map_err(Into::into)?;
            if lost { Err("the plane is dead".into()) } else { Ok(response) }
        })
    }
}

/// A cluster, and a user's view of it.
pub struct Cluster {
    pub sim: KubeSim,
    pub client: Client,
    pub plugins: Plugins,
}

/// A running plane.
pub struct Plane {
    pub tap: Tap,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Plane {
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

impl Cluster {
    pub async fn start() -> Self {
        Self::with(Simulated::default(), plugins()).await
    }

    /// With the fixture alone.
    pub async fn of_misbehaving() -> Self {
        Self::with(Simulated::default(), plugins_of(vec![misbehaving()])).await
    }

    /// With pods that behave so, and these plugins.
    pub async fn with(simulated: Simulated, plugins: Plugins) -> Self {
        // RUST_LOG shows what happens.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        static NETWORKS: AtomicU8 = AtomicU8::new(100);
        let network = [127, NETWORKS.fetch_add(1, Ordering::SeqCst), 0, 0].into();
        let config = Config { workloads: Workloads::Simulated(simulated), network, ..Config::default() };
        let sim = KubeSim::start(config).await.unwrap();
        let client = sim.client();
        let namespace: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        namespace.create(&Default::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        senren_reconcile::crd::install(client.clone(), &plugins.current()).await.unwrap();
        Self { sim, client, plugins }
    }

    pub fn settings() -> Settings {
        Settings::new("aws:us-east-1".parse().unwrap())
    }

    pub fn plane(&self) -> Plane {
        self.plane_with(Crash::Never, self.plugins.clone())
    }

    pub fn plane_with(&self, crash: Crash, plugins: Plugins) -> Plane {
        let tap = Tap::new(crash);
        self.run(self.sim.client_with(tap.clone()), tap, plugins)
    }

    /// A plane between which and the API server things go wrong.
    pub fn plane_in_trouble(&self, faults: Faults) -> Plane {
        let tap = Tap::new(Crash::Never);
        let layers = tower::layer::util::Stack::new(faults, tap.clone());
        self.run(self.sim.client_with(layers), tap, plugins())
    }

    fn run(&self, client: Client, tap: Tap, plugins: Plugins) -> Plane {
        let stop = CancellationToken::new();
        let reconciler = Arc::new(Reconciler::new(client, plugins, Self::settings()));
        Plane { tap, task: tokio::spawn(senren_reconcile::run(reconciler, stop.clone())), stop }
    }

    pub fn api(&self, kind: &str) -> Api<DynamicObject> {
        let resource = match kind {
            "redis" => custom("RedisDatabase", "redisdatabases"),
            "misbehaving" => custom("MisbehavingDatabase", "misbehavingdatabases"),
            "StatefulSet" => ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", kind)),
            _ => ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", kind)),
        };
        Api::namespaced_with(self.client.clone(), NAMESPACE, &resource)
    }

    /// Writes a custom resource as intake does.
    pub async fn declare(&self, kind: &str, name: &str, generation: u64, spec: Value) {
        let annotations =
            json!({names::UID: format!("uid-{name}"), names::GENERATION: generation.to_string()});
        self.apply(kind, name, annotations, spec).await;
    }

    async fn apply(&self, kind: &str, name: &str, annotations: Value, spec: Value) {
        let resource = if kind == "redis" { "RedisDatabase" } else { "MisbehavingDatabase" };
        let object = json!({
            "apiVersion": "senren.io/v1", "kind": resource,
            "metadata": {
                "name": name, "namespace": NAMESPACE, "annotations": annotations,
                "labels": names::plane_labels(&Self::settings().region),
            },
            "spec": spec,
        });
        let params = PatchParams::apply(names::INTAKE_MANAGER).force();
        self.api(kind).patch(name, &params, &Patch::Apply(&object)).await.unwrap();
    }

    /// Writes a custom resource as somebody with kubectl does.
    pub async fn declare_by_hand(&self, kind: &str, name: &str, spec: Value) {
        self.apply(kind, name, json!({}), spec).await;
    }

    pub async fn annotate(&self, kind: &str, name: &str, key: &str, value: Value) {
        let patch = json!({"metadata": {"annotations": {key: value}}});
        self.api(kind).patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    /// Creates an object as somebody with kubectl does.
    pub async fn create(&self, object: Value) {
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let kind = object.types.as_ref().unwrap().kind.clone();
        self.api(&kind).create(&Default::default(), &object).await.unwrap();
    }

    pub async fn until_pod_ready(&self, name: &str) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let pod = self.get("Pod", name).await;
            let conditions = pod.iter().flat_map(|pod| pod.data["status"]["conditions"].as_array().cloned());
            if conditions.flatten().any(|c| c["type"] == "Ready" && c["status"] == "True") {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "pod {name} is not ready: {pod:#?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub async fn delete(&self, kind: &str, name: &str) {
        self.api(kind).delete(name, &DeleteParams::default()).await.unwrap();
    }

    pub async fn get(&self, kind: &str, name: &str) -> Option<DynamicObject> {
        self.api(kind).get_opt(name).await.unwrap()
    }

    pub async fn status(&self, kind: &str, name: &str) -> Status {
        let object = self.get(kind, name).await;
        let status = object.and_then(|object| object.data.get("status").cloned());
        status.map(|status| serde_json::from_value(status).unwrap()).unwrap_or_default()
    }

    /// Names of the objects of a kind that belong to senren.
    pub async fn names(&self, kind: &str) -> Vec<String> {
        let params = ListParams::default().labels(&format!("{}={}", names::MANAGED_BY, names::MANAGER));
        let mut names: Vec<String> =
            self.api(kind).list(&params).await.unwrap().iter().map(|object| object.name_any()).collect();
        names.sort();
        names
    }

    /// Waits until the status of a resource is as wanted.
    pub async fn until(
        &self,
        kind: &str,
        name: &str,
        what: &str,
        wanted: impl Fn(&Status) -> bool,
    ) -> Status {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let status = self.status(kind, name).await;
            if wanted(&status) {
                return status;
            }
            if tokio::time::Instant::now() >= deadline {
                let pods = self.api("Pod").list(&ListParams::default()).await.unwrap();
                let pods: Vec<_> =
                    pods.iter().map(|pod| (pod.name_any(), pod.data["status"].to_string())).collect();
                panic!(
                    "{kind} {name} is not {what}: {}\npods: {pods:#?}",
                    serde_json::to_string_pretty(&status).unwrap()
                );
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub async fn until_ready(&self, kind: &str, name: &str, generation: u64) -> Status {
        let ready = |status: &Status| status.phase == "Ready" && status.senren_generation == generation;
        self.until(kind, name, "ready", ready).await
    }

    pub async fn until_gone(&self, kind: &str, name: &str) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while let Some(object) = self.get(kind, name).await {
            assert!(tokio::time::Instant::now() < deadline, "{kind} {name} is still there: {object:#?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Everything of senren's in the namespace.
    pub async fn leftovers(&self) -> Vec<String> {
        let mut all = vec![];
        for kind in ["ConfigMap", "Service", "StatefulSet", "Pod", "PersistentVolumeClaim", "Secret"] {
            all.extend(self.names(kind).await.into_iter().map(|name| format!("{kind} {name}")));
        }
        all
    }
}

fn custom(kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("senren.io", "v1", kind), plural)
}

/// Waits until the plane writes nothing any more.
pub async fn until_quiet(tap: &Tap) {
    loop {
        let before = tap.writes();
        tokio::time::sleep(Duration::from_millis(50)).await;
        if tap.writes() == before {
            return;
        }
    }
}
