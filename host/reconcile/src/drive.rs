//! Drives the step: watches everything that concerns a resource, and reconciles it when something does.
//!
//! One watch per kind feeds the cache; what is news there goes by key into the queue of its type; workers take keys
//! from it. Nothing waits for anything else: a type whose definition can't be installed, a kind that can't be watched,
//! a plugin that hangs, a resource that fails each hold up themselves alone.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::StreamExt as _;
use kube::{
    Api,
    api::{ApiResource, DynamicObject},
    runtime::{WatchStreamExt as _, watcher},
};
use parking_lot::Mutex;
use rand::Rng as _;
use senren_engine::{PluginSet, ResourceType, wit};
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

use crate::{
    Reconciler,
    cache::Touched,
    crd,
    failure::{Failure, Retry},
    kind::ApiKind,
    names,
    queue::{Lane, Lease, Queue},
    resource::{Key, api_resource},
};

/// First pause after a failure that may pass; doubled each time.
const BACK_OFF: Duration = Duration::from_millis(200);
/// Longest pause after a failure.
const MAX_BACK_OFF: Duration = Duration::from_secs(60);
/// First pause where what was read was out of date.
const STALE: Duration = Duration::from_millis(5);
/// A resource whose steps change something every time is slowed down after so many in a row.
const RESTLESS: u32 = 8;
/// How long to wait at shutdown for steps that have begun.
const GRACE: Duration = Duration::from_secs(10);

/// Reconciles everything that the plugins serve until `shutdown`, and then lets the steps that have begun come to their
/// end. Whoever drops it instead of waiting stops all but those.
pub async fn run(reconciler: Arc<Reconciler>, shutdown: CancellationToken) {
    let shutdown = shutdown.child_token();
    let _stop = shutdown.clone().drop_guard();
    let driver = Arc::new(Driver {
        queues: Mutex::default(),
        watched: Mutex::default(),
        setups: Mutex::default(),
        pace: Mutex::default(),
        tasks: TaskTracker::new(),
        shutdown: shutdown.clone(),
        reconciler,
    });
    driver.spawn(driver.clone().follow_plugins());
    driver.spawn(driver.clone().follow_asks());
    shutdown.cancelled().await;
    driver.tasks.close();
    let _ = tokio::time::timeout(GRACE, driver.tasks.wait()).await;
}

struct Driver {
    reconciler: Arc<Reconciler>,
    /// What there is to do, by type: resources whose plugin is slow take no worker away from another type's.
    queues: Mutex<HashMap<String, Queue<Key>>>,
    /// Kinds that have a watch.
    watched: Mutex<HashSet<ApiKind>>,
    /// Who sets up each type.
    setups: Mutex<HashMap<String, Arc<Setup>>>,
    pace: Mutex<HashMap<Key, Pace>>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

/// Sets up a type, again whenever its definition changes.
#[derive(Default)]
struct Setup {
    /// Counts the definitions that came.
    turns: AtomicU64,
    /// Rung when one comes.
    newer: Notify,
    /// Held by the one that is being installed.
    lock: tokio::sync::Mutex<()>,
}

/// How a resource's last steps went.
#[derive(Debug, Default)]
struct Pace {
    failures: u32,
    /// Steps in a row that changed something.
    changes: u32,
    /// The failure last logged.
    logged: Option<String>,
}

impl Driver {
    /// Runs `task` until shutdown.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        let task = async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = task => {}
            }
        };
        self.tasks.spawn(task.in_current_span());
    }

    /// Sets up every type that the plugins serve, and reconciles what another plugin now serves: at once, and whenever
    /// they are exchanged.
    async fn follow_plugins(self: Arc<Self>) {
        let mut exchanged = self.reconciler.plugins().subscribe();
        let mut before = Arc::new(PluginSet::default());
        loop {
            let current = exchanged.borrow_and_update().clone();
            for (type_name, served) in current.iter() {
                match before.get(type_name) {
                    Some(before) if before.plugin.same_as(&served.plugin) => {}
                    Some(before) if same_definition(&before.resource_type, &served.resource_type) => {
                        self.push_all_of(type_name);
                    }
                    _ => self.spawn(self.clone().serve(served.resource_type.clone())),
                }
            }
            // What nobody serves any more says so.
            before.iter().filter(|(gone, _)| current.get(gone).is_none()).for_each(|(gone, _)| {
                self.push_all_of(gone);
            });
            before = current;
            if exchanged.changed().await.is_err() {
                return;
            }
        }
    }

    /// Installs the definition of a type and watches its resources and their objects.
    async fn serve(self: Arc<Self>, resource_type: ResourceType) {
        let wit = &resource_type.wit;
        // One at a time, and the latest last: an older definition must not replace a newer one.
        let setup = self.setups.lock().entry(wit.name.clone()).or_default().clone();
        let turn = setup.turns.fetch_add(1, Ordering::SeqCst) + 1;
        setup.newer.notify_waiters();
        let _turn = setup.lock.lock().await;
        let mut pause = BACK_OFF;
        let mut newer = std::pin::pin!(setup.newer.notified());
        newer.as_mut().enable();
        while setup.turns.load(Ordering::SeqCst) == turn {
            let Err(error) = crd::install_type(self.reconciler.client(), &resource_type).await else {
                self.add(wit);
                return;
            };
            tracing::error!(r#type = wit.name, "{error:#}; trying again in {pause:?}");
            if pause == BACK_OFF {
                // An earlier definition may do, and what is there must not wait.
                self.push_all_of(&wit.name);
            }
            let _ = tokio::time::timeout(pause, newer.as_mut()).await;
            pause = (pause * 2).min(MAX_BACK_OFF);
        }
    }

    /// Watches the resources of a type and their objects.
    fn add(self: &Arc<Self>, resource_type: &wit::ResourceType) {
        self.reconciler.add_type(resource_type);
        for kind in self.reconciler.watched_kinds(resource_type) {
            self.watch(kind.clone(), kind.resource());
        }
        let api = api_resource(resource_type);
        self.watch(ApiKind::new(&api.api_version, &api.kind), api);
        self.push_all_of(&resource_type.name);
    }

    /// Watches a kind, unless it is watched already.
    fn watch(self: &Arc<Self>, kind: ApiKind, resource: ApiResource) {
        if self.watched.lock().insert(kind.clone()) {
            self.spawn(self.clone().follow(kind, resource));
        }
    }

    /// Takes in what the watch of a kind delivers.
    async fn follow(self: Arc<Self>, kind: ApiKind, resource: ApiResource) {
        let api: Api<DynamicObject> = Api::all_with(self.reconciler.client(), &resource);
        let config =
            watcher::Config::default().labels(&names::plane_selector(&self.reconciler.settings().region));
        let mut stream = std::pin::pin!(watcher(api, config).default_backoff());
        let cache = self.reconciler.cache();
        let (mut began, mut listed) = (Instant::now(), vec![]);
        while let Some(event) = stream.next().await {
            match event {
                Ok(watcher::Event::Init) => {
                    began = Instant::now();
                    listed.clear();
                }
                Ok(watcher::Event::InitApply(object)) => listed.push(object),
                Ok(watcher::Event::InitDone) => {
                    let first = !cache.synced([&kind].into_iter());
                    for touched in cache.replace(&kind, std::mem::take(&mut listed), began) {
                        self.push(&touched, Lane::Routine);
                    }
                    if first {
                        self.push_all();
                    }
                }
                Ok(watcher::Event::Apply(object)) => {
                    for touched in cache.upsert(&kind, object) {
                        self.push(&touched, Lane::Urgent);
                    }
                }
                Ok(watcher::Event::Delete(object)) => {
                    if let Some(touched) = cache.remove(&kind, &object) {
                        self.push(&touched, Lane::Urgent);
                    }
                }
                Err(error) => tracing::warn!(%kind, %error, "a watch failed; it is resumed"),
            }
        }
    }

    /// Whatever its type: while one resource makes way for another of its name, what concerns one concerns both.
    fn push(self: &Arc<Self>, touched: &Touched, lane: Lane) {
        for key in self.reconciler.keys_named(&touched.namespace, &touched.name) {
            self.queue(&key.type_name).push(key, lane);
        }
    }

    /// The queue of a type, which has workers from the first time that something is to be put into it.
    fn queue(self: &Arc<Self>, type_name: &str) -> Queue<Key> {
        let mut queues = self.queues.lock();
        if let Some(queue) = queues.get(type_name) {
            return queue.clone();
        }
        let queue = Queue::new();
        queues.insert(type_name.to_owned(), queue.clone());
        self.spawn(self.clone().dispatch(queue.clone()));
        queue
    }

    fn push_all(self: &Arc<Self>) {
        for type_name in self.reconciler.type_names() {
            self.push_all_of(&type_name);
        }
    }

    fn push_all_of(self: &Arc<Self>, type_name: &str) {
        let queue = self.queue(type_name);
        for key in self.reconciler.keys(type_name) {
            queue.push(key, Lane::Routine);
        }
    }

    /// Takes keys from the queue of a type, as many at once as the operator allows.
    async fn dispatch(self: Arc<Self>, queue: Queue<Key>) {
        let workers = Arc::new(Semaphore::new(self.reconciler.settings().concurrency.max(1)));
        while let Ok(permit) = workers.clone().acquire_owned().await {
            let lease = queue.pop().await;
            let (driver, queue) = (self.clone(), queue.clone());
            // Not stopped at shutdown: a step that has begun comes to its end.
            let step = async move {
                driver.work(&queue, lease).await;
                drop(permit);
            };
            self.tasks.spawn(step.in_current_span());
        }
    }

    /// Does what plugins ask for, beside the steps, and wakes the resource that waits for it.
    async fn follow_asks(self: Arc<Self>) {
        let asks = self.reconciler.asks();
        let slots = Arc::new(Semaphore::new(asks.limits().concurrency.max(1)));
        while let Ok(slot) = slots.clone().acquire_owned().await {
            let job = asks.next().await;
            let driver = self.clone();
            self.spawn(async move {
                if let Some(key) = driver.reconciler.answer(job).await {
                    driver.queue(&key.type_name).push(key, Lane::Urgent);
                }
                drop(slot);
            });
        }
    }

    async fn work(&self, queue: &Queue<Key>, lease: Lease<Key>) {
        let key = lease.key();
        let result = self.reconciler.reconcile_cached(key).await;
        if !self.reconciler.knows(key) {
            self.pace.lock().remove(key);
            queue.forget(key);
            return;
        }
        self.come_back(queue, key, &result);
    }

    /// Decides when a resource comes up again, besides every change.
    fn come_back(&self, queue: &Queue<Key>, key: &Key, result: &Result<Option<Duration>, Failure>) {
        let resync = jitter(self.reconciler.settings().resync);
        let mut paces = self.pace.lock();
        let pace = paces.entry(key.clone()).or_default();
        log(key, result, &mut pace.logged);
        let changed = matches!(result, Ok(Some(Duration::ZERO)));
        pace.changes = if changed { pace.changes.saturating_add(1) } else { 0 };
        pace.failures = if result.is_err() { pace.failures.saturating_add(1) } else { 0 };
        let now = Instant::now();
        match result.as_ref().map_err(Failure::retry) {
            // A plugin that wants something else each time would keep the API server busy for nothing.
            Ok(_) if changed && pace.changes > RESTLESS => {
                queue.hold(key.clone(), now + doubled(BACK_OFF, pace.changes - RESTLESS));
            }
            Ok(_) if changed => queue.push(key.clone(), Lane::Urgent),
            Ok(after) => queue.push_at(key.clone(), now + after.unwrap_or(resync).min(resync)),
            Err(Retry::AtOnce) => queue.push_at(key.clone(), now + doubled(STALE, pace.failures)),
            Err(Retry::BackOff) => queue.push_at(key.clone(), now + jitter(doubled(BACK_OFF, pace.failures))),
            Err(Retry::OnChange) => queue.push_at(key.clone(), now + resync),
        }
    }
}

/// True where neither the custom resource nor what is watched for it differs.
fn same_definition(a: &ResourceType, b: &ResourceType) -> bool {
    let watched = |ty: &ResourceType| ty.wit.owns.iter().chain(&ty.wit.observes).map(ApiKind::from).collect();
    let (of_a, of_b): (HashSet<ApiKind>, HashSet<ApiKind>) = (watched(a), watched(b));
    of_a == of_b && matches!((crd::definition(a), crd::definition(b)), (Ok(a), Ok(b)) if a == b)
}

/// Logs a failure once, however often it is repeated, and its end.
fn log(key: &Key, result: &Result<Option<Duration>, Failure>, logged: &mut Option<String>) {
    match result {
        Ok(_) if logged.take().is_some() => tracing::info!(resource = %key, "reconciled again"),
        Ok(_) => {}
        Err(failure) if failure.retry() == Retry::AtOnce => tracing::debug!(resource = %key, "{failure}"),
        Err(failure) => {
            let text = failure.to_string();
            if logged.as_ref() != Some(&text) {
                tracing::warn!(resource = %key, reason = failure.reason(), "{text}");
                *logged = Some(text);
            }
        }
    }
}

/// `first`, doubled with every further one of `times`.
fn doubled(first: Duration, times: u32) -> Duration {
    let factor = 2u32.saturating_pow(times.saturating_sub(1).min(16));
    first.saturating_mul(factor).min(MAX_BACK_OFF)
}

/// `duration`, give or take a tenth, so that what happened together does not for ever happen together.
fn jitter(duration: Duration) -> Duration {
    duration.mul_f64(rand::rng().random_range(0.9..1.1))
}
