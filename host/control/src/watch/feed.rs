//! One reader of a site, for all who watch it through this control plane.
//!
//! Signals say where to look; what is told is always read afresh. Whoever joins gets a reading that began after it came,
//! so what it sees is never older than its call. Silence is no event: the reader looks at the clock.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Weak},
    time::Duration,
};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use senren_api::{SiteName, v1::ResourceStatus};
use tokio::{
    sync::{
        broadcast,
        broadcast::error::{RecvError, TryRecvError},
        watch,
    },
    time::sleep,
};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use uuid::Uuid;

use crate::{
    api::database_status,
    hub::{Hub, Signal},
    sources::Sources,
    status,
    store::{
        Store, is_transient,
        resources::{self, Filter, Known},
        sites,
    },
};

/// Everything is read again at least this often: the safety net for a signal that was lost.
const REREAD: Duration = Duration::from_secs(60);
/// The shortest pause before looking whether a region has become silent.
const SHORTEST: Duration = Duration::from_millis(10);
const PAUSE: Duration = Duration::from_secs(1);
/// A watcher that falls behind by more compares all that there is.
const BACKLOG: usize = 256;

/// What has changed, at a revision of the site.
pub(super) struct Batch {
    pub revision: u64,
    pub changes: Vec<(Uuid, Change)>,
}

/// What has become of a resource.
#[derive(Clone)]
pub(super) enum Change {
    Is(Arc<ResourceStatus>),
    Gone,
}

/// An error ends the watches.
pub(super) type News = Result<Arc<Batch>, Status>;

/// What there is, and what comes after it.
pub(super) struct Snapshot {
    pub revision: u64,
    /// Ordered by (name, region, age).
    pub all: Vec<(Uuid, Arc<ResourceStatus>)>,
    pub news: broadcast::Receiver<News>,
}

/// All feeds, by site. One ends when nobody watches its site any more.
#[derive(Clone)]
pub(crate) struct Feeds {
    store: Store,
    sources: Sources,
    hub: Hub,
    by_site: Arc<Mutex<HashMap<SiteName, Weak<Feed>>>>,
}

impl Feeds {
    pub(crate) fn new(store: Store, sources: Sources, hub: Hub) -> Self {
        Self { store, sources, hub, by_site: Arc::default() }
    }

    /// The one of a site.
    pub(crate) fn of(&self, site: &SiteName) -> Arc<Feed> {
        let mut by_site = self.by_site.lock();
        if let Some(feed) = by_site.get(site).and_then(Weak::upgrade) {
            return feed;
        }
        by_site.retain(|_, feed| feed.strong_count() > 0);
        let feed = Arc::new(Feed::start(self, site.clone()));
        by_site.insert(site.clone(), Arc::downgrade(&feed));
        feed
    }
}

/// Of one site.
pub(crate) struct Feed {
    shared: Arc<Shared>,
    _reader: AbortOnDropHandle<()>,
}

struct Shared {
    view: Mutex<View>,
    news: broadcast::Sender<News>,
    /// How often somebody joined, and how many of them have their reading.
    joined: watch::Sender<u64>,
    served: watch::Sender<u64>,
}

/// What was read last.
#[derive(Default)]
struct View {
    revision: u64,
    all: HashMap<Uuid, Seen>,
    failed: Option<Status>,
}

struct Seen {
    status: Arc<ResourceStatus>,
    created_at: DateTime<Utc>,
    silent_from: Option<DateTime<Utc>>,
}

impl Feed {
    fn start(feeds: &Feeds, site: SiteName) -> Self {
        let shared = Arc::new(Shared {
            view: Mutex::default(),
            news: broadcast::Sender::new(BACKLOG),
            joined: watch::Sender::new(0),
            served: watch::Sender::new(0),
        });
        let Feeds { store, sources, hub, .. } = feeds.clone();
        // From now on: nothing that comes before the first reading may be missed.
        let (signals, joined) = (hub.subscribe(), shared.joined.subscribe());
        let reader = Reader { store, sources, site, signals, joined, shared: Arc::clone(&shared) };
        Self { shared, _reader: AbortOnDropHandle::new(tokio::spawn(reader.run())) }
    }

    /// A reading that begins now or later.
    pub(super) async fn join(&self) -> Result<Snapshot, Status> {
        let mut turn = 0;
        self.shared.joined.send_modify(|joined| {
            *joined += 1;
            turn = *joined;
        });
        let served = self.shared.served.subscribe().wait_for(|served| *served >= turn).await.map(drop);
        served.map_err(|_| Status::unavailable("this control plane is shutting down; watch again"))?;
        self.snapshot()
    }

    /// The last reading.
    pub(super) fn snapshot(&self) -> Result<Snapshot, Status> {
        let view = self.shared.view.lock();
        if let Some(failed) = &view.failed {
            return Err(failed.clone());
        }
        let mut all: Vec<(&Uuid, &Seen)> = view.all.iter().collect();
        all.sort_by_key(|(uid, seen)| {
            let status = &seen.status;
            (&status.name, &status.region, !status.deleting, seen.created_at, **uid)
        });
        let all = all.into_iter().map(|(uid, seen)| (*uid, Arc::clone(&seen.status))).collect();
        // With the view locked, nothing comes between it and the news.
        Ok(Snapshot { revision: view.revision, all, news: self.shared.news.subscribe() })
    }
}

/// Keeps the view up to date.
struct Reader {
    store: Store,
    sources: Sources,
    site: SiteName,
    signals: broadcast::Receiver<Signal>,
    joined: watch::Receiver<u64>,
    shared: Arc<Shared>,
}

/// What has to be read again.
#[derive(Debug, PartialEq, Eq)]
enum Stale {
    Some(HashSet<Uuid>),
    All,
}

impl Reader {
    async fn run(mut self) {
        loop {
            let silence = self.until_silence();
            let stale = tokio::select! {
                // Its sender is in `shared`, so this can't fail.
                _ = self.joined.changed() => Stale::All,
                stale = wait(&mut self.signals, &self.site, silence) => stale,
            };
            let turn = *self.joined.borrow_and_update();
            self.read(if *self.shared.served.borrow() < turn { Stale::All } else { stale }).await;
            self.shared.served.send_replace(turn);
        }
    }

    /// How long all regions stay as they are, as far as the clock is concerned.
    fn until_silence(&self) -> Duration {
        let now = self.sources.now();
        let view = self.shared.view.lock();
        let upcoming = view.all.values().filter_map(|seen| seen.silent_from).filter(|from| *from > now);
        let until = upcoming.min().and_then(|from| (from - now).to_std().ok());
        until.map_or(REREAD, |until| until.clamp(SHORTEST, REREAD))
    }

    /// Reads what is stale and says what has changed.
    async fn read(&self, mut stale: Stale) {
        loop {
            match self.fetch(&stale).await {
                Ok((revision, known)) => return self.tell(revision, known, &stale),
                Err(error) if is_transient(&error) => {
                    tracing::debug!(%error, site = %self.site, "watches wait for the database");
                    stale = Stale::All;
                }
                Err(error) => {
                    let status = database_status(&error);
                    let mut view = self.shared.view.lock();
                    *view = View { failed: Some(status.clone()), ..View::default() };
                    // An error means that nobody watches.
                    let _ = self.shared.news.send(Err(status));
                    return;
                }
            }
            sleep(PAUSE).await;
        }
    }

    async fn fetch(&self, stale: &Stale) -> sqlx::Result<(u64, Vec<Known>)> {
        metrics::counter!("senren_watch_reads_total").increment(1);
        let (mut connection, _turn) = self.store.acquire_to_watch().await?;
        // The revision first: what is told is then at least as new.
        let revision = sites::revision(&mut connection, &self.site).await?;
        let everything = Filter::default();
        let known = match stale {
            Stale::All => resources::known_of_site(&mut connection, &self.site, &everything).await?,
            Stale::Some(uids) => {
                let uids: Vec<Uuid> = uids.iter().copied().collect();
                resources::known_by_uid(&mut connection, &self.site, &uids, &everything).await?
            }
        };
        Ok((revision, known))
    }

    fn tell(&self, revision: u64, known: Vec<Known>, stale: &Stale) {
        let now = self.sources.now();
        let mut view = self.shared.view.lock();
        let found: HashSet<Uuid> = known.iter().map(|known| known.uid).collect();
        let gone = |uid: &Uuid| match stale {
            Stale::All => !found.contains(uid),
            Stale::Some(uids) => uids.contains(uid) && !found.contains(uid),
        };
        let gone: Vec<Uuid> = view.all.keys().copied().filter(gone).collect();
        let mut changes = Vec::new();
        for uid in gone {
            view.all.remove(&uid);
            changes.push((uid, Change::Gone));
        }
        for known in known {
            let status = Arc::new(status::present(&known, now));
            let silent_from = known.seen.as_ref().map(|seen| seen.silent_from());
            let seen = Seen { status: Arc::clone(&status), created_at: known.created_at, silent_from };
            let before = view.all.insert(known.uid, seen);
            if !before.is_some_and(|before| same(&before.status, &status)) {
                changes.push((known.uid, Change::Is(status)));
            }
        }
        (view.revision, view.failed) = (revision, None);
        if !changes.is_empty() {
            // An error means that nobody watches yet.
            let _ = self.shared.news.send(Ok(Arc::new(Batch { revision, changes })));
        }
    }
}

/// Until something may have changed.
async fn wait(signals: &mut broadcast::Receiver<Signal>, site: &SiteName, silence: Duration) -> Stale {
    let mut stale = Stale::Some(HashSet::new());
    let silent = sleep(silence);
    tokio::pin!(silent);
    while stale == Stale::Some(HashSet::new()) {
        tokio::select! {
            () = &mut silent => return Stale::All,
            signal = signals.recv() => match signal {
                Ok(signal) => add(&mut stale, signal, site),
                Err(RecvError::Lagged(_)) => stale = Stale::All,
                // The control plane is about to end.
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
    loop {
        match signals.try_recv() {
            Ok(signal) => add(&mut stale, signal, site),
            Err(TryRecvError::Lagged(_)) => stale = Stale::All,
            Err(TryRecvError::Empty | TryRecvError::Closed) => return stale,
        }
    }
}

fn add(stale: &mut Stale, signal: Signal, site: &SiteName) {
    match (signal, &mut *stale) {
        (Signal::Resources(of, _) | Signal::Site(of), _) if of != *site => {}
        (_, Stale::All) => {}
        (Signal::Resources(_, uids), Stale::Some(stale)) => stale.extend(uids.iter()),
        (Signal::Site(_) | Signal::Region(_) | Signal::Everything, _) => *stale = Stale::All,
    }
}

/// That a silent region is silent for a second more is no news.
pub(super) fn same(before: &ResourceStatus, after: &ResourceStatus) -> bool {
    if before.phase == "Unknown" && after.phase == "Unknown" {
        let before = ResourceStatus { message: after.message.clone(), ..before.clone() };
        return before == *after;
    }
    before == after
}
