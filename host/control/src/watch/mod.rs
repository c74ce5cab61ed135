//! A client's view of a site's resources, kept up to date.
//!
//! Those who watch the same site share one reader of it, the [`feed`]: however many they are, a change is read once. While
//! a client is slow, what happens piles up and then is one event for each resource, so that it gets the latest state of
//! each and not each state.

mod feed;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use futures::{Stream, stream};
use senren_api::v1::{ResourceStatus, WatchStatusResponse, watch_status_response::Kind};
use tokio::sync::broadcast::{
    Receiver,
    error::{RecvError, TryRecvError},
};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use uuid::Uuid;

pub(crate) use feed::Feeds;

use crate::store::resources::Filter;
use feed::{Change, Feed, News, Snapshot, same};

/// One watch.
pub(crate) struct Watch {
    feed: Arc<Feed>,
    filter: Filter,
    /// From when on is known what was sent.
    news: Option<Receiver<News>>,
    sent: HashMap<Uuid, Arc<ResourceStatus>>,
    queue: VecDeque<WatchStatusResponse>,
}

impl Watch {
    pub(crate) fn new(feed: Arc<Feed>, filter: Filter) -> Self {
        metrics::gauge!("senren_watches").increment(1);
        Self { feed, filter, news: None, sent: HashMap::new(), queue: VecDeque::new() }
    }

    /// The events, until `shutdown` or an error.
    pub(crate) fn run(
        self,
        shutdown: CancellationToken,
    ) -> impl Stream<Item = Result<WatchStatusResponse, Status>> + Send {
        stream::unfold(Some(self), move |watch| {
            let shutdown = shutdown.clone();
            async move {
                let mut watch = watch?;
                let event = tokio::select! {
                    () = shutdown.cancelled() => {
                        Err(Status::unavailable("this control plane is shutting down; watch again"))
                    }
                    next = watch.next() => next,
                };
                let goes_on = event.is_ok().then_some(watch);
                Some((event, goes_on))
            }
        })
    }

    async fn next(&mut self) -> Result<WatchStatusResponse, Status> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                metrics::counter!("senren_watch_events_total").increment(1);
                return Ok(event);
            }
            match &mut self.news {
                None => {
                    let snapshot = self.feed.join().await?;
                    let revision = snapshot.revision;
                    self.catch_up(snapshot);
                    self.queue.push_back(event(Kind::Synced, None, revision));
                }
                Some(news) => match gather(news).await {
                    Some(gathered) => self.pass_on(gathered?),
                    None => {
                        let snapshot = self.feed.snapshot()?;
                        self.catch_up(snapshot);
                    }
                },
            }
        }
    }

    /// Everything that is different now, whatever happened meanwhile.
    fn catch_up(&mut self, snapshot: Snapshot) {
        self.news = Some(snapshot.news);
        let there: HashMap<Uuid, Arc<ResourceStatus>> =
            snapshot.all.iter().map(|status| (status.0, Arc::clone(&status.1))).collect();
        let gone: Vec<Uuid> = self.sent.keys().copied().filter(|uid| !there.contains_key(uid)).collect();
        for uid in gone {
            if let Some(status) = self.sent.remove(&uid) {
                self.queue.push_back(event(Kind::Removed, Some(&status), snapshot.revision));
            }
        }
        for (uid, status) in snapshot.all {
            self.tell(uid, status, snapshot.revision);
        }
    }

    fn pass_on(&mut self, gathered: BTreeMap<Uuid, (Change, u64)>) {
        for (uid, (change, revision)) in gathered {
            match change {
                Change::Is(status) => self.tell(uid, status, revision),
                Change::Gone => {
                    if let Some(status) = self.sent.remove(&uid) {
                        self.queue.push_back(event(Kind::Removed, Some(&status), revision));
                    }
                }
            }
        }
    }

    fn tell(&mut self, uid: Uuid, status: Arc<ResourceStatus>, revision: u64) {
        if !self.filter.admits(&status.region, &status.name) {
            return;
        }
        if !self.sent.get(&uid).is_some_and(|sent| same(sent, &status)) {
            self.queue.push_back(event(Kind::Changed, Some(&status), revision));
        }
        self.sent.insert(uid, status);
    }
}

/// Waits for news, and takes along those that are already there: the latest of each resource. `None`: some were missed.
async fn gather(news: &mut Receiver<News>) -> Option<Result<BTreeMap<Uuid, (Change, u64)>, Status>> {
    let mut gathered = BTreeMap::new();
    let mut next = match news.recv().await {
        Ok(first) => first,
        Err(RecvError::Lagged(_)) => return None,
        // The control plane is about to end; the shutdown token says so.
        Err(RecvError::Closed) => std::future::pending().await,
    };
    loop {
        match next {
            Ok(batch) => {
                let changes =
                    batch.changes.iter().map(|(uid, change)| (*uid, (change.clone(), batch.revision)));
                gathered.extend(changes);
            }
            Err(error) => return Some(Err(error)),
        }
        next = match news.try_recv() {
            Ok(next) => next,
            Err(TryRecvError::Lagged(_)) => return None,
            Err(TryRecvError::Empty | TryRecvError::Closed) => return Some(Ok(gathered)),
        };
    }
}

fn event(kind: Kind, resource: Option<&Arc<ResourceStatus>>, revision: u64) -> WatchStatusResponse {
    WatchStatusResponse { kind: kind.into(), resource: resource.map(|status| (**status).clone()), revision }
}

impl Drop for Watch {
    fn drop(&mut self) {
        metrics::gauge!("senren_watches").decrement(1);
    }
}
