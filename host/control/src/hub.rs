//! Tells the parts of this control plane, and those of every other one on the same database, that something has
//! changed.
//!
//! A signal is a hint, never data: whoever gets one reads the database. So signals may come late, twice or (until the
//! next safety poll) not at all. Our own parts hear of a change directly, right after its commit; other control planes
//! by NOTIFY, which PostgreSQL sends with the commit.

use std::{sync::Arc, time::Duration};

use senren_api::{RegionId, SiteName};
use sqlx::{PgConnection, postgres::PgListener};
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Of NOTIFY.
pub(crate) const CHANNEL: &str = "senren";
/// A watcher that falls behind by more reads everything again; see `watch`.
const BACKLOG: usize = 1024;
/// Resources that a NOTIFY has room for.
const FEW: usize = 200;

/// What may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// These resources of a site, desired or observed.
    Resources(SiteName, Arc<[Uuid]>),
    /// Anything in a site.
    Site(SiteName),
    /// Whether a region is there, or what it serves.
    Region(RegionId),
    /// Signals may have been lost.
    Everything,
}

/// Where signals go through.
#[derive(Clone)]
pub struct Hub {
    signals: broadcast::Sender<Signal>,
    relay: Arc<Notify>,
    database: Arc<Notify>,
    /// Marks our own NOTIFYs, which we needn't hear again.
    origin: Uuid,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            signals: broadcast::Sender::new(BACKLOG),
            relay: Arc::default(),
            database: Arc::default(),
            origin: Uuid::new_v4(),
        }
    }
}

impl Hub {
    /// Signals from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Signal> {
        self.signals.subscribe()
    }

    /// Tells the watchers of this process.
    pub fn send(&self, signal: Signal) {
        // An error means that nobody watches.
        let _ = self.signals.send(signal);
    }

    /// Wakes one relay worker of this process; it will wake the next one if it finds work.
    pub fn wake_relay(&self) {
        self.relay.notify_one();
    }

    /// Until somebody wakes this worker.
    pub(crate) async fn relay_woken(&self) {
        self.relay.notified().await;
    }

    /// Until the database was away and is back: perhaps another server, that has less.
    pub(crate) async fn database_returned(&self) {
        self.database.notified().await;
    }

    /// Makes `transaction` tell the other control planes when it commits. `relay`: there is something to publish.
    pub(crate) async fn notify(
        &self,
        transaction: &mut PgConnection,
        signals: impl IntoIterator<Item = &Signal>,
        relay: bool,
    ) -> sqlx::Result<()> {
        let payloads = self.payloads(signals, relay);
        if payloads.is_empty() {
            return Ok(());
        }
        let query = sqlx::query("SELECT pg_notify($1, payload) FROM UNNEST($2::text[]) AS payload");
        query.bind(CHANNEL).bind(payloads).execute(transaction).await?;
        Ok(())
    }

    /// What `notify` sends.
    pub(crate) fn payloads<'a>(
        &self,
        signals: impl IntoIterator<Item = &'a Signal>,
        relay: bool,
    ) -> Vec<String> {
        let mut payloads: Vec<String> = signals.into_iter().map(|signal| self.payload(signal)).collect();
        if relay {
            payloads.push(format!("{} relay", self.origin));
        }
        payloads.sort();
        payloads.dedup();
        payloads
    }

    /// A payload has at most 8,000 bytes, so resources are listed only if they are few.
    fn payload(&self, signal: &Signal) -> String {
        match signal {
            Signal::Resources(site, uids) if uids.len() <= FEW => {
                let uids: Vec<String> = uids.iter().map(|uid| uid.simple().to_string()).collect();
                format!("{} site {site} {}", self.origin, uids.join(","))
            }
            Signal::Resources(site, _) | Signal::Site(site) => format!("{} site {site}", self.origin),
            Signal::Region(region) => format!("{} region {region}", self.origin),
            Signal::Everything => format!("{} everything", self.origin),
        }
    }

    /// Passes on what another control plane has notified.
    fn receive(&self, payload: &str) {
        let mut words = payload.split(' ');
        if words.next() == Some(self.origin.to_string().as_str()) {
            return;
        }
        match (words.next(), words.next().map(str::to_owned)) {
            (Some("relay"), None) => self.wake_relay(),
            (Some("site"), Some(site)) => match (SiteName::try_from(site), words.next().and_then(uids)) {
                (Ok(site), Some(uids)) => self.send(Signal::Resources(site, uids)),
                (Ok(site), None) => self.send(Signal::Site(site)),
                (Err(_), _) => self.send(Signal::Everything),
            },
            (Some("region"), Some(region)) => match RegionId::try_from(region) {
                Ok(region) => self.send(Signal::Region(region)),
                Err(_) => self.send(Signal::Everything),
            },
            // From a newer control plane, perhaps.
            _ => self.send(Signal::Everything),
        }
    }

    /// Listens to the other control planes until `shutdown`.
    pub(crate) async fn listen(self, mut listener: PgListener, shutdown: CancellationToken) {
        loop {
            let received = tokio::select! {
                () = shutdown.cancelled() => return,
                received = listener.try_recv() => received,
            };
            match received {
                Ok(Some(notification)) => self.receive(notification.payload()),
                Ok(None) => {
                    tracing::warn!("lost the connection for notifications, and got it back");
                    self.send(Signal::Everything);
                    self.wake_relay();
                    self.database.notify_one();
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot listen to notifications; polling goes on");
                    self.send(Signal::Everything);
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        () = tokio::time::sleep(Duration::from_secs(1)) => {}
                    }
                }
            }
        }
    }
}

/// `None`: not what we write.
fn uids(list: &str) -> Option<Arc<[Uuid]>> {
    list.split(',').map(|uid| Uuid::parse_str(uid).ok()).collect()
}

/// A connection that listens.
pub(crate) async fn listener(database_url: &str) -> sqlx::Result<PgListener> {
    let mut listener = PgListener::connect(database_url).await?;
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn what_another_control_plane_says_is_heard_and_our_own_is_not() {
        let (here, there) = (Hub::default(), Hub::default());
        let mut signals = here.subscribe();
        let site = Signal::Site(SiteName::default());
        let region = Signal::Region("aws:r".parse().unwrap());
        let resources = |count| {
            let uids = (0..count).map(Uuid::from_u128).collect();
            Signal::Resources(SiteName::default(), uids)
        };
        here.receive(&here.payload(&site));
        here.receive(&there.payload(&site));
        here.receive(&there.payload(&region));
        let few = there.payload(&resources(FEW as u128));
        assert!(few.len() < 8000, "PostgreSQL would refuse it");
        here.receive(&few);
        here.receive(&there.payload(&resources(FEW as u128 + 1)));
        here.receive("x a new kind of message");
        for expected in [site.clone(), region, resources(FEW as u128), site, Signal::Everything] {
            assert_eq!(signals.recv().await.unwrap(), expected);
        }
        assert!(signals.try_recv().is_err());
    }
}
