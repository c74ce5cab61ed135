//! The regional plane as one value: what its steps share. The steps are in [`crate::intake`], [`crate::report`] and
//! [`crate::heartbeat`]; what runs them is in [`crate::run`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use anyhow::Context as _;
use futures::future::join_all;
use kube::api::ApiResource;
use parking_lot::Mutex;
use senren_api::{RegionId, ResourceKey};
use senren_bus::Bus;
use senren_engine::{Plugin, PluginSet, Plugins};
use senren_reconcile::{crd, resource};
use tokio::sync::Notify;

use crate::{
    RegionConfig,
    board::Board,
    claim::claim,
    cluster::Cluster,
    cr::Cr,
    crs::{self, Crs, Seen},
    desired::{DesiredSet, Marks},
    gauges::Gauges,
    intake::{Trouble, Verdicts, Work},
    memory::{Known, Memory, Snapshot},
    outbox::Outbox,
    problems::Problems,
    report::Said,
    retry::Retries,
    roll::Roll,
    traces::Traces,
    watches::Watches,
};

/// The plane of one region.
pub struct Plane {
    pub(crate) region: RegionId,
    pub(crate) prefix: String,
    pub(crate) config: RegionConfig,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) plugins: Plugins,
    pub(crate) cluster: Cluster,
    pub(crate) cluster_uid: String,
    pub(crate) crs: Crs,
    pub(crate) watches: Watches,
    pub(crate) desired: Mutex<DesiredSet>,
    /// What was taken in wholly.
    pub(crate) applied: Mutex<Marks>,
    pub(crate) memory: Memory,
    pub(crate) roll: Roll,
    pub(crate) verdicts: Verdicts,
    pub(crate) troubles: Mutex<HashMap<ResourceKey, Trouble>>,
    pub(crate) retries: Retries,
    pub(crate) work: Work,
    /// Resources that intake has to look at again, because their custom resource changed or went.
    pub(crate) pokes: Mutex<BTreeSet<ResourceKey>>,
    pub(crate) poked: Notify,
    pub(crate) board: Board,
    pub(crate) said: Said,
    pub(crate) outbox: Outbox,
    pub(crate) problems: Problems,
    /// What is not as it should be about a type that is served.
    pub(crate) notices: Mutex<BTreeMap<String, String>>,
    pub(crate) traces: Traces,
    pub(crate) gauges: Gauges,
    /// Rung when the heartbeat has something new to say.
    pub(crate) news: Notify,
    sequence: AtomicU64,
    complete: AtomicBool,
}

/// Why a plane can't start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The cluster is another plane's. Trying again is useless.
    #[error("{0}")]
    Refused(String),
    /// The Kubernetes API isn't there yet, or refuses something.
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

impl Plane {
    /// Claims the cluster, installs the plugins' definitions and recalls what an earlier process knew.
    pub async fn open(
        config: RegionConfig,
        client: kube::Client,
        bus: Arc<dyn Bus>,
        plugins: Plugins,
    ) -> Result<Arc<Self>, OpenError> {
        let (region, prefix) = (config.region_id.clone(), config.namespace_prefix.clone());
        let outbox = Outbox::new(config.regional_database_url.as_deref(), region.as_str())
            .map_err(|error| OpenError::Refused(format!("{error:#}")))?;
        let cluster = Cluster::new(client, region.clone(), prefix.clone());
        let cluster_uid = claim(&cluster).await?;
        let problems = Problems::default();
        install(&cluster, &plugins, &problems).await?;
        for (type_name, served) in plugins.current().iter() {
            cluster.set_address(type_name, &resource::api_resource(&served.resource_type.wit));
        }
        let (memory, snapshot) = Memory::load(&cluster).await.context("read what was taken in before")?;
        let roll = Roll::default();
        snapshot.unvouched.into_iter().for_each(|known| roll.learn(known));
        Ok(Arc::new(Self {
            region,
            prefix,
            config,
            bus,
            plugins,
            cluster,
            cluster_uid,
            crs: Crs::default(),
            watches: Watches::default(),
            desired: Mutex::new(DesiredSet::resume(snapshot.applied.clone())),
            applied: Mutex::new(snapshot.applied),
            memory,
            roll,
            verdicts: Verdicts::default(),
            troubles: Mutex::default(),
            retries: Retries::default(),
            work: Work::default(),
            pokes: Mutex::default(),
            poked: Notify::new(),
            board: Board::default(),
            said: Said::default(),
            outbox,
            problems,
            notices: Mutex::default(),
            traces: Traces::default(),
            gauges: Gauges::default(),
            news: Notify::new(),
            sequence: AtomicU64::new(0),
            complete: AtomicBool::new(false),
        }))
    }

    /// Keeps the custom resources of all types known, until [`Plane::stop`]. Returns when those that are there are.
    pub async fn watch(self: &Arc<Self>) {
        let served = self.plugins.current();
        let known = served.iter().map(|(type_name, served)| {
            self.follow(type_name, &resource::api_resource(&served.resource_type.wit))
        });
        join_all(known).await;
        self.resync();
        self.complete.store(true, Ordering::SeqCst);
    }

    /// Has a type's custom resources kept known. Completes when those that are there are.
    pub(crate) fn follow(
        self: &Arc<Self>,
        type_name: &str,
        resource: &ApiResource,
    ) -> impl Future<Output = ()> + use<> {
        self.cluster.set_address(type_name, resource);
        self.watches.start(self, type_name, resource)
    }

    /// A type is no longer served, and nothing of it is left.
    pub(crate) fn unfollow(&self, type_name: &str) {
        self.watches.stop(type_name);
        self.problems.clear(&crs::subject(type_name));
    }

    /// Ends the watches.
    pub async fn stop(&self) {
        self.watches.stop_all().await;
    }

    /// True where there are resources of a type, or should be.
    pub(crate) fn has_any(&self, type_name: &str) -> bool {
        self.crs.any_of(type_name) || self.desired.lock().keys_of(type_name).next().is_some()
    }

    /// Intake has to look again at everything of these types.
    pub(crate) fn look_at_types(&self, types: &BTreeSet<String>) {
        let there =
            self.crs.all().into_iter().filter(|cr| types.contains(&cr.type_name)).map(|cr| cr.key.clone());
        let mut keys: BTreeSet<ResourceKey> = there.collect();
        let desired = self.desired.lock();
        keys.extend(types.iter().flat_map(|type_name| desired.keys_of(type_name)).cloned());
        drop(desired);
        self.poke(keys);
    }

    /// True once every custom resource that was there at start is known and due to be reported.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete.load(Ordering::SeqCst)
    }

    /// A custom resource was read by a watch.
    pub(crate) fn see(&self, cr: Cr) {
        let key = cr.key.clone();
        match self.note(cr) {
            Seen::Nothing | Seen::Status => {}
            Seen::Content => self.poke([key]),
        }
    }

    /// A custom resource was read, or written by intake.
    pub(crate) fn note(&self, cr: Cr) -> Seen {
        let key = cr.key.clone();
        if !cr.uid.is_empty() {
            let (uid, type_name) = (cr.uid.clone(), cr.type_name.clone());
            self.roll.learn(Known { uid, type_name, key: key.clone() });
        }
        let seen = self.crs.put(cr);
        if seen != Seen::Nothing {
            self.board.mark([key]);
        }
        seen
    }

    /// A custom resource is gone.
    pub(crate) fn see_gone(&self, cr: &Cr) {
        if self.crs.remove(cr) {
            self.poke([cr.key.clone()]);
        }
    }

    /// Intake has to look at these again.
    pub(crate) fn poke(&self, keys: impl IntoIterator<Item = ResourceKey>) {
        self.pokes.lock().extend(keys);
        self.poked.notify_one();
    }

    /// True where a custom resource carries this uid.
    pub(crate) fn has_cr(&self, known: &Known) -> bool {
        self.crs.has(known)
    }

    /// `None`: it isn't known yet whether this uid is desired.
    pub(crate) fn is_desired(&self, known: &Known) -> Option<bool> {
        self.desired.lock().wants(known)
    }

    /// True where all that is here is desired: nothing is on its way out, or remains to be reported as gone.
    pub(crate) fn is_settled(&self) -> bool {
        let desired = self.desired.lock();
        self.roll.all(|known| desired.wants(known) != Some(true)).is_empty()
    }

    /// Notes a problem of a resource, or that it has none, and has it reported if that is news.
    pub(crate) fn set_trouble(&self, key: &ResourceKey, trouble: Option<Trouble>) {
        let mut troubles = self.troubles.lock();
        let before = match &trouble {
            Some(trouble) => troubles.insert(key.clone(), trouble.clone()),
            None => troubles.remove(key),
        };
        if before != trouble {
            if let Some(trouble) = &trouble {
                tracing::warn!(resource = %key, reason = trouble.reason, "{}", trouble.message);
            }
            self.board.mark([key.clone()]);
        }
    }

    /// Writes down what a restarted plane has to know.
    pub(crate) async fn remember(&self) -> Result<(), kube::Error> {
        self.memory.store(&self.cluster, || self.snapshot()).await
    }

    fn snapshot(&self) -> Snapshot {
        let desired = self.desired.lock();
        let vouched = |known: &Known| self.has_cr(known) && desired.wants(known) != Some(false);
        let unvouched = self.roll.all(|known| !vouched(known)).into_iter().collect();
        Snapshot { applied: self.applied.lock().clone(), unvouched }
    }

    /// The version that was taken in, and its content hash; 0 and empty: none yet.
    pub fn applied(&self) -> (u64, String) {
        let applied = self.applied.lock();
        let (version, content_hash) = applied.latest();
        (version, content_hash.to_owned())
    }

    /// Everything is looked at and reported again.
    pub fn resync(&self) {
        self.said.forget();
        let keys: BTreeSet<ResourceKey> = self.crs.keys().into_iter().chain(self.roll.keys()).collect();
        self.board.mark(keys.clone());
        self.poke(keys);
    }

    /// Whatever is said from now on comes after `sequence`, whatever our clock says: that of an earlier plane may have been
    /// ahead of it, and what comes before something known is dropped.
    pub(crate) fn speak_after(&self, sequence: u64) {
        self.sequence.fetch_max(sequence, Ordering::SeqCst);
    }

    /// Orders the reports: microseconds since the epoch, or the last one plus 1.
    pub(crate) fn next_sequence(&self) -> u64 {
        let now = u64::try_from(jiff::Timestamp::now().as_microsecond()).unwrap_or_default();
        let next = |last: u64| now.max(last + 1);
        let last = self.sequence.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |last| Some(next(last)));
        next(last.unwrap_or_default())
    }
}

/// Installs the definitions of the plugins' types. A plugin whose types the cluster refuses is put aside; the others
/// go on.
async fn install(cluster: &Cluster, plugins: &Plugins, problems: &Problems) -> anyhow::Result<()> {
    let all: Vec<Plugin> = plugins.current().plugins().cloned().collect();
    let mut usable = Vec::new();
    for plugin in &all {
        let (alone, _) = PluginSet::of(vec![plugin.clone()]);
        match crd::install(cluster.client.clone(), &alone).await {
            Ok(()) => usable.push(plugin.clone()),
            Err(error) => {
                let status = error.chain().find_map(|cause| match cause.downcast_ref::<kube::Error>() {
                    Some(kube::Error::Api(status)) => Some(status.code),
                    _ => None,
                });
                if !matches!(status, Some(400 | 409 | 422)) {
                    return Err(error);
                }
                let message = format!("plugin {} can't be used: {error:#}", plugin.descriptor().name);
                tracing::error!("{message}");
                problems.set(&format!("definitions of {}", plugin.descriptor().name), message);
            }
        }
    }
    if usable.len() < all.len() {
        plugins.swap(PluginSet::of(usable).0);
    }
    Ok(())
}
