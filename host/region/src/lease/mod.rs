//! Which of several replicas works: the holder of Lease `senren-plane` in the plane's own namespace.
//!
//! No clock is compared with another machine's. A candidate takes the Lease over once it has not changed for its whole
//! duration by the candidate's own clock; the holder's [`Tenure`] ends by the holder's own clock at two thirds of that,
//! counted from before its last renewal was *sent*. So whoever can't renew has stopped before anybody else begins, and
//! one that was frozen finds its tenure over the moment it thaws. Every write of the Lease carries the resourceVersion
//! that was read: of two who are as fast, one is refused.
//!
//! A holder that let go, or whose process is known to have ended (see [`identity`]), is not waited for.
//!
//! (The crates that offer this judge by the wall clock, or go on leading while they can't renew.)

mod identity;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Context as _;
use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease as Object, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, ResourceExt as _,
    api::{ObjectMeta, PostParams},
    runtime::{WatchStreamExt as _, watcher::watch_object},
};
use parking_lot::Mutex;
use senren_reconcile::{names, within};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::{
    cluster::{Cluster, is_code},
    retry::backoff,
};
use identity::Identity;

/// A stop waits no longer for the API server to hear of it.
const FAREWELL: Duration = Duration::from_secs(3);

/// How often is looked whether the holder's process is still there, where that can be seen.
const GLANCE: Duration = Duration::from_millis(500);

/// The Lease, as one replica uses it.
pub(crate) struct Lease {
    api: Api<Object>,
    identity: Identity,
    labels: BTreeMap<String, String>,
    duration: Duration,
    /// As we wrote it last.
    written: Mutex<Option<Object>>,
}

/// The right to write, while it lasts. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Tenure {
    until: Arc<Mutex<Instant>>,
    /// By whoever had the Lease before, nothing was said later than this by *its* clock, which may be ahead of ours.
    /// Microseconds since the epoch; 0: nobody had it.
    pub said_before: u64,
}

impl Tenure {
    pub(crate) fn until(at: Instant) -> Self {
        Self { until: Arc::new(Mutex::new(at)), said_before: 0 }
    }

    /// True while nobody else can have the Lease.
    pub fn lasts(&self) -> bool {
        Instant::now() < self.ends()
    }

    /// It is over, for good.
    pub fn end(&self) {
        *self.until.lock() = Instant::now();
    }

    fn ends(&self) -> Instant {
        *self.until.lock()
    }

    /// Makes it longer. False: it is over already.
    fn extend(&self, at: Instant) -> bool {
        let mut until = self.until.lock();
        let lasts = Instant::now() < *until;
        if lasts {
            *until = at;
        }
        lasts
    }
}

/// What somebody who wants the Lease finds.
enum Look {
    Taken(Tenure),
    /// Somebody else has it. It may be taken from them then, unless they renew it.
    Held {
        by: String,
        lapses: Instant,
    },
    /// Somebody was faster.
    Changed,
}

/// A Lease that may lapse: as it was when it was first seen so, and when that was.
#[derive(Default)]
struct Seen(Option<(String, Instant)>);

impl Seen {
    fn since(&mut self, version: String) -> Instant {
        match &self.0 {
            Some((seen, since)) if *seen == version => *since,
            _ => self.0.insert((version, Instant::now())).1,
        }
    }
}

impl Lease {
    /// The Lease of the plane of `cluster`, whose namespace exists. It lasts for `duration` after each renewal.
    pub fn new(cluster: &Cluster, duration: Duration) -> Self {
        Self {
            api: Api::namespaced(cluster.client.clone(), &names::system_namespace(&cluster.prefix)),
            identity: Identity::new(),
            labels: names::plane_labels(&cluster.region),
            duration,
            written: Mutex::new(None),
        }
    }

    /// Waits until it is ours. `held_by` is told who has it instead, whenever that is another; `failed` why it can't be
    /// had.
    pub async fn win(&self, held_by: impl Fn(&str), failed: impl Fn(&anyhow::Error)) -> Tenure {
        let mut changes = std::pin::pin!(watch_object(self.api.clone(), names::LEASE).default_backoff());
        let (mut seen, mut holder, mut failures) = (Seen::default(), String::new(), 0);
        loop {
            match self.look(&mut seen).await {
                Ok(Look::Taken(tenure)) => return tenure,
                Ok(Look::Changed) => {}
                Ok(Look::Held { by, lapses }) => {
                    failures = 0;
                    if by != holder {
                        held_by(&by);
                        holder = by;
                    }
                    tokio::select! {
                        () = sleep_until(lapses) => {}
                        () = self.end_of(&holder) => {}
                        _ = changes.next() => {}
                    }
                }
                Err(error) => {
                    failed(&error);
                    // Whoever has it is told again.
                    holder.clear();
                    sleep(backoff(failures).min(self.duration)).await;
                    failures += 1;
                }
            }
        }
    }

    /// Reads it, and takes it where nobody has it.
    async fn look(&self, seen: &mut Seen) -> anyhow::Result<Look> {
        let found = self.read().await?;
        let mut said_before = 0;
        if let Some(lease) = &found {
            let spec = lease.spec.clone().unwrap_or_default();
            said_before = end_of_renewal(&spec);
            let by = spec.holder_identity.unwrap_or_default();
            let free = by.is_empty() || self.identity.is(&by) || self.identity.has_ended(&by);
            let duration = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
            let duration = duration.map_or(self.duration, Duration::from_secs);
            let lapses = seen.since(lease.resource_version().unwrap_or_default()) + duration;
            if !free && Instant::now() < lapses {
                return Ok(Look::Held { by, lapses });
            }
        }
        let sent = Instant::now();
        let taken = self.write(found).await.context("take the Lease")?;
        Ok(match taken {
            true => Look::Taken(Tenure { said_before, ..Tenure::until(self.usable(sent)) }),
            false => Look::Changed,
        })
    }

    /// Waits until it is known that this holder is no more, which may be never.
    async fn end_of(&self, holder: &str) {
        while !self.identity.has_ended(holder) {
            sleep(GLANCE).await;
        }
    }

    /// Renews it for as long as that succeeds in time. Returns why it is lost.
    pub async fn keep(&self, tenure: &Tenure) -> String {
        let mut failures = 0;
        let mut problem = String::new();
        loop {
            let pause =
                if failures == 0 { self.duration / 5 } else { backoff(failures).min(self.duration / 15) };
            sleep_until(tenure.ends().min(Instant::now() + pause)).await;
            let renewed = match tenure.lasts() {
                true => timeout_at(tenure.ends(), self.renew()).await.ok(),
                false => None,
            };
            match renewed {
                Some(Ok(Ok(ends))) if tenure.extend(ends) => failures = 0,
                Some(Ok(Err(holder))) => return format!("{holder} has it now"),
                Some(Err(error)) => {
                    failures += 1;
                    problem = format!(": {error:#}");
                    tracing::debug!(failures, "the Lease is not renewed yet{problem}");
                }
                _ => return format!("it was not renewed in time{problem}"),
            }
        }
    }

    /// Returns when it may be used no longer, or who has it now.
    async fn renew(&self) -> anyhow::Result<Result<Instant, String>> {
        let mut before = self.written.lock().clone();
        loop {
            let sent = Instant::now();
            if self.write(before).await.context("renew the Lease")? {
                return Ok(Ok(self.usable(sent)));
            }
            // Somebody else wrote it, who need not have taken it.
            before = self.read().await?;
            let holder = before.as_ref().and_then(|lease| lease.spec.as_ref()?.holder_identity.clone());
            if let Some(holder) = holder.filter(|holder| !self.identity.is(holder)) {
                return Ok(Err(holder));
            }
        }
    }

    /// Lets go of it, where it is ours.
    pub async fn release(&self) {
        let release = async {
            let Some(mut lease) = self.read().await? else { return Ok(()) };
            let Some(spec) = lease.spec.as_mut() else { return Ok(()) };
            if spec.holder_identity.as_deref().is_some_and(|holder| self.identity.is(holder)) {
                spec.holder_identity = None;
                spec.renew_time = Some(MicroTime(Timestamp::now()));
                within(self.api.replace(names::LEASE, &params(), &lease)).await?;
            }
            anyhow::Ok(())
        };
        match timeout(FAREWELL, release).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("the Lease is not released, and lapses: {error:#}"),
            Err(_) => tracing::warn!("the Lease is not released within {FAREWELL:?}, and lapses"),
        }
    }

    /// When it may be used no longer, if it was asked for at `sent`.
    fn usable(&self, sent: Instant) -> Instant {
        sent + self.duration * 2 / 3
    }

    async fn read(&self) -> anyhow::Result<Option<Object>> {
        within(self.api.get_opt(names::LEASE)).await.context("read the Lease")
    }

    /// Makes it ours, where it still is as it was read. False: it isn't.
    async fn write(&self, before: Option<Object>) -> Result<bool, kube::Error> {
        let lease = self.ours(before.as_ref());
        let write = async {
            match before {
                Some(_) => self.api.replace(names::LEASE, &params(), &lease).await,
                None => self.api.create(&params(), &lease).await,
            }
        };
        match within(write).await {
            Ok(lease) => {
                *self.written.lock() = Some(lease);
                Ok(true)
            }
            Err(error) if is_code(&error, 409) || is_code(&error, 404) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn ours(&self, before: Option<&Object>) -> Object {
        let now = MicroTime(Timestamp::now());
        let known = before.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let same = known.holder_identity.as_deref().is_some_and(|holder| self.identity.is(holder));
        let transitions = known.lease_transitions.unwrap_or_default();
        let duration = self.duration.as_secs() + u64::from(self.duration.subsec_nanos() > 0);
        let spec = LeaseSpec {
            holder_identity: Some(self.identity.to_string()),
            lease_duration_seconds: Some(i32::try_from(duration).unwrap_or(i32::MAX)),
            acquire_time: known.acquire_time.filter(|_| same).or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions.saturating_add(i32::from(!same))),
            ..known
        };
        let metadata = before.map_or_else(
            || ObjectMeta {
                name: Some(names::LEASE.into()),
                labels: Some(self.labels.clone()),
                ..ObjectMeta::default()
            },
            |lease| lease.metadata.clone(),
        );
        Object { metadata, spec: Some(spec) }
    }
}

/// When the last renewal ran out, by the clock of whoever wrote it.
fn end_of_renewal(spec: &LeaseSpec) -> u64 {
    let renewed = spec.renew_time.as_ref().map_or(0, |time| time.0.as_microsecond());
    let seconds = i64::from(spec.lease_duration_seconds.unwrap_or_default());
    u64::try_from(renewed.saturating_add(seconds.saturating_mul(1_000_000))).unwrap_or_default()
}

fn params() -> PostParams {
    PostParams { field_manager: Some(names::MANAGER.into()), ..PostParams::default() }
}
