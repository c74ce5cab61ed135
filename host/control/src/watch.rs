//! A client's view of a site's resources, kept up to date.
//!
//! Signals say where to look; what is sent is always read afresh. While a client is slow, signals pile up and then
//! make one read, so that it gets the latest state of each resource and not each state. Silence is no event: whoever
//! waits for it looks at the clock.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use chrono::{DateTime, Utc};
use futures::{Stream, stream};
use senren_api::{
    SiteName,
    v1::{ResourceStatus, WatchStatusResponse, watch_status_response::Kind},
};
use tokio::sync::broadcast::{
    Receiver,
    error::{RecvError, TryRecvError},
};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use uuid::Uuid;

use crate::{
    api::database_status,
    hub::Signal,
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

/// One watch.
pub(crate) struct Watch {
    store: Store,
    sources: Sources,
    site: SiteName,
    filter: Filter,
    sent: HashMap<Uuid, Sent>,
    synced: bool,
}

struct Sent {
    status: ResourceStatus,
    silent_from: Option<DateTime<Utc>>,
}

/// What has to be read again.
#[derive(Debug, PartialEq, Eq)]
enum Stale {
    Some(HashSet<Uuid>),
    All,
}

impl Watch {
    pub(crate) fn new(store: Store, sources: Sources, site: SiteName, filter: Filter) -> Self {
        metrics::gauge!("senren_watches").increment(1);
        Self { store, sources, site, filter, sent: HashMap::new(), synced: false }
    }

    /// The events, until `shutdown` or an error. `signals` must have been subscribed to before this is called.
    pub(crate) fn run(
        self,
        signals: Receiver<Signal>,
        shutdown: CancellationToken,
    ) -> impl Stream<Item = Result<WatchStatusResponse, Status>> + Send {
        let state = (self, signals, VecDeque::new(), false);
        stream::unfold(state, move |(mut watch, mut signals, mut queue, ended)| {
            let shutdown = shutdown.clone();
            async move {
                if ended {
                    return None;
                }
                let next = async {
                    while queue.is_empty() {
                        let stale = if watch.synced { watch.wait(&mut signals).await } else { Stale::All };
                        queue.extend(watch.read(stale).await?);
                    }
                    Ok(queue.pop_front())
                };
                let event = tokio::select! {
                    () = shutdown.cancelled() => {
                        Err(Status::unavailable("this control plane is shutting down; watch again"))
                    }
                    next = next => next,
                };
                let ended = event.is_err();
                Some((event.transpose()?, (watch, signals, queue, ended)))
            }
        })
    }

    /// Until something may have changed.
    async fn wait(&self, signals: &mut Receiver<Signal>) -> Stale {
        let mut stale = Stale::Some(HashSet::new());
        let sleep = tokio::time::sleep(self.until_silence());
        tokio::pin!(sleep);
        while stale == Stale::Some(HashSet::new()) {
            tokio::select! {
                () = &mut sleep => return Stale::All,
                signal = signals.recv() => match signal {
                    Ok(signal) => self.add(&mut stale, signal),
                    Err(RecvError::Lagged(_)) => stale = Stale::All,
                    // The control plane is about to end; the shutdown token says so.
                    Err(RecvError::Closed) => std::future::pending().await,
                }
            }
        }
        loop {
            match signals.try_recv() {
                Ok(signal) => self.add(&mut stale, signal),
                Err(TryRecvError::Lagged(_)) => stale = Stale::All,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return stale,
            }
        }
    }

    fn add(&self, stale: &mut Stale, signal: Signal) {
        match (signal, &mut *stale) {
            (Signal::Resources(site, _) | Signal::Site(site), _) if site != self.site => {}
            (_, Stale::All) => {}
            (Signal::Resources(_, uids), Stale::Some(stale)) => stale.extend(uids.iter()),
            (Signal::Site(_) | Signal::Region(_) | Signal::Everything, _) => *stale = Stale::All,
        }
    }

    /// How long all regions stay as they are, as far as the clock is concerned.
    fn until_silence(&self) -> Duration {
        let now = self.sources.now();
        let upcoming = self.sent.values().filter_map(|sent| sent.silent_from).filter(|from| *from > now);
        let until = upcoming.min().and_then(|from| (from - now).to_std().ok());
        until.map_or(REREAD, |until| until.clamp(SHORTEST, REREAD))
    }

    /// Reads what is stale and says what has changed.
    async fn read(&mut self, mut stale: Stale) -> Result<Vec<WatchStatusResponse>, Status> {
        let (revision, known) = loop {
            match self.fetch(&stale).await {
                Ok(read) => break read,
                Err(error) if is_transient(&error) => {
                    tracing::debug!(%error, "a watch waits for the database");
                    tokio::time::sleep(PAUSE).await;
                    stale = Stale::All;
                }
                Err(error) => return Err(database_status(&error)),
            }
        };
        let mut events = self.changes(known, &stale);
        if !self.synced {
            self.synced = true;
            events.push((Kind::Synced, None));
        }
        metrics::counter!("senren_watch_events_total").increment(events.len() as u64);
        let event =
            |(kind, resource): (Kind, _)| WatchStatusResponse { kind: kind.into(), resource, revision };
        Ok(events.into_iter().map(event).collect())
    }

    async fn fetch(&self, stale: &Stale) -> sqlx::Result<(u64, Vec<Known>)> {
        let (mut connection, _turn) = self.store.acquire_to_watch().await?;
        let revision = sites::revision(&mut connection, &self.site).await?;
        let known = match stale {
            Stale::All => resources::known_of_site(&mut connection, &self.site, &self.filter).await?,
            Stale::Some(uids) => {
                let uids: Vec<Uuid> = uids.iter().copied().collect();
                resources::known_by_uid(&mut connection, &self.site, &uids, &self.filter).await?
            }
        };
        Ok((revision, known))
    }

    fn changes(&mut self, known: Vec<Known>, stale: &Stale) -> Vec<(Kind, Option<ResourceStatus>)> {
        let now = self.sources.now();
        let found: HashSet<Uuid> = known.iter().map(|known| known.uid).collect();
        let gone = |uid: &Uuid| match stale {
            Stale::All => !found.contains(uid),
            Stale::Some(uids) => uids.contains(uid) && !found.contains(uid),
        };
        let gone: Vec<Uuid> = self.sent.keys().copied().filter(gone).collect();
        let gone = gone.iter().filter_map(|uid| self.sent.remove(uid));
        let mut events: Vec<_> = gone.map(|sent| (Kind::Removed, Some(sent.status))).collect();
        for known in known {
            let status = status::present(&known, now);
            let silent_from = known.seen.as_ref().map(|seen| seen.silent_from());
            let unchanged = self.sent.get(&known.uid).is_some_and(|sent| same(&sent.status, &status));
            if !unchanged {
                events.push((Kind::Changed, Some(status.clone())));
            }
            self.sent.insert(known.uid, Sent { status, silent_from });
        }
        events
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        metrics::gauge!("senren_watches").decrement(1);
    }
}

/// That a silent region is silent for a second more is no news.
fn same(before: &ResourceStatus, after: &ResourceStatus) -> bool {
    if before.phase == "Unknown" && after.phase == "Unknown" {
        let before = ResourceStatus { message: after.message.clone(), ..before.clone() };
        return before == *after;
    }
    before == after
}
