//! What remains to be published: every change of what this region says of a resource, in the order of the changes.
//!
//! With a database of the region's own (`REGIONAL_DATABASE_URL`) a report is committed there before it is published, and
//! leaves only when that is acknowledged; and no status takes the place of another before that is committed (see
//! [`senren_reconcile::Journal`]). So whenever the process dies, what was said and not yet heard is in the database or
//! in the custom resource, and nothing of it is lost. Publishing again is harmless: a report keeps its sequence.
//!
//! Without one, and while it is away, only the latest report of each resource is kept, in memory: what a restart needs
//! is the status of the custom resource, which is said again until it is acknowledged.

mod database;

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    time::Duration,
};

use parking_lot::Mutex;
use prost::Message as _;
use senren_api::{
    ResourceKey,
    v1::{ResourceReport, StatusReport, status_report::Body},
};
use tokio::sync::Notify;

use database::Database;

/// Reports of so many names are kept at once; those of one name one after the other.
const TURNS: usize = 64;
/// Acknowledged reports are deleted together, so long after the first.
const GATHER: Duration = Duration::from_millis(200);

/// See the module.
#[derive(Default)]
pub(crate) struct Outbox {
    database: Option<Database>,
    turns: Vec<tokio::sync::Mutex<()>>,
    state: Mutex<State>,
    /// Rung when there is something to sweep, or the database has failed.
    untidy: Notify,
}

#[derive(Default)]
struct State {
    waiting: HashMap<ResourceKey, VecDeque<Waiting>>,
    /// By uid, what was last committed, without the time of observation. Empty without a database.
    committed: HashMap<String, ResourceReport>,
    /// Rows that are to be deleted.
    done: Vec<i64>,
    /// Rows that are there.
    rows: usize,
}

/// A report that is to be published.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Waiting {
    /// Its row; `None`: it is in memory only.
    row: Option<i64>,
    pub message: StatusReport,
}

impl Waiting {
    /// What it says, without the time of observation.
    pub fn report(&self) -> Option<ResourceReport> {
        report_of(&self.message)
    }

    fn is_about(&self, uid: &str) -> bool {
        matches!(&self.message.body, Some(Body::Resource(report)) if report.uid == uid)
    }
}

impl Outbox {
    /// With the database of `url`, where there is one.
    pub fn new(url: Option<&str>, region: &str) -> anyhow::Result<Self> {
        let database = url.map(|url| Database::new(url, region)).transpose()?;
        metrics::gauge!("senren_region_outbox_reports").set(0);
        let turns = std::iter::repeat_with(tokio::sync::Mutex::default).take(TURNS).collect();
        Ok(Self { database, turns, ..Self::default() })
    }

    /// True where reports outlive the process.
    pub fn lasts(&self) -> bool {
        self.database.is_some()
    }

    /// Takes up what an earlier process left. Returns the names that there is something to say about.
    pub async fn open(&self) -> Result<Vec<ResourceKey>, String> {
        let Some(database) = &self.database else { return Ok(Vec::new()) };
        let left = database.open().await?;
        let mut keys = Vec::new();
        let mut state = self.state.lock();
        for (row, bytes) in left {
            let message = StatusReport::decode(bytes.as_slice()).ok();
            let known = message.and_then(|message| Some((key_of(&message)?, report_of(&message)?, message)));
            let Some((key, report, message)) = known else {
                tracing::error!(row, "a report that was kept can't be read, and is dropped");
                state.done.push(row);
                continue;
            };
            state.committed.insert(report.uid.clone(), report);
            // Where the database comes late, something newer may wait already.
            let waiting = state.waiting.entry(key.clone()).or_default();
            let at = waiting.partition_point(|other| other.message.sequence < message.sequence);
            waiting.insert(at, Waiting { row: Some(row), message });
            state.rows += 1;
            keys.push(key);
        }
        Ok(keys)
    }

    /// Makes what `read` returns the last thing that waits to be said about a name, unless it is already. `stamp` gives
    /// it its time and sequence; `again`: what was committed before is published once more. Nothing is added about that name between the two, so that of two who read, the one who
    /// has read less comes first. Says why it could not be committed; it waits to be published all the same.
    pub async fn add(
        &self,
        key: &ResourceKey,
        read: impl FnOnce() -> Option<ResourceReport>,
        again: bool,
        stamp: impl FnOnce(ResourceReport) -> StatusReport,
    ) -> Result<(), String> {
        let turn = BuildHasherDefault::<DefaultHasher>::default().hash_one(key) as usize % TURNS;
        let _turn = match self.turns.get(turn) {
            Some(turn) => Some(turn.lock().await),
            None => None,
        };
        let Some(report) = read() else { return Ok(()) };
        let uid = report.uid.clone();
        let repeated = {
            let state = self.state.lock();
            let last = state.waiting.get(key).and_then(|all| all.iter().rfind(|other| other.is_about(&uid)));
            if last.and_then(Waiting::report).as_ref() == Some(&report) {
                return Ok(());
            }
            last.is_none() && state.committed.get(&uid) == Some(&report)
        };
        if repeated && !again {
            return Ok(());
        }
        let message = stamp(report.clone());
        let row = match &self.database {
            Some(database) if !repeated => Some(database.insert(&message.encode_to_vec()).await),
            _ => None,
        };
        let mut state = self.state.lock();
        let waiting = state.waiting.entry(key.clone()).or_default();
        // Of what is in memory only, the latest will do.
        waiting.retain(|other| other.row.is_some() || !other.is_about(&uid));
        waiting.push_back(Waiting { row: row.as_ref().and_then(|row| row.as_ref().ok()).copied(), message });
        match row {
            Some(Ok(_)) => {
                state.rows += 1;
                state.committed.insert(uid, report);
                gauge(&state);
                Ok(())
            }
            Some(Err(why)) => {
                state.committed.remove(&uid);
                metrics::counter!("senren_region_outbox_bypassed_total").increment(1);
                self.untidy.notify_one();
                Err(why)
            }
            None => Ok(()),
        }
    }

    /// What is to be published first about a name.
    pub fn next(&self, key: &ResourceKey) -> Option<Waiting> {
        self.state.lock().waiting.get(key)?.front().cloned()
    }

    /// It is acknowledged.
    pub fn acknowledged(&self, key: &ResourceKey, published: &Waiting) {
        let mut state = self.state.lock();
        if let Some(waiting) = state.waiting.get_mut(key) {
            waiting.retain(|other| other.message.sequence != published.message.sequence);
            if waiting.is_empty() {
                state.waiting.remove(key);
            }
        }
        if let Some(report) = published.report().filter(|report| report.deleted) {
            state.committed.remove(&report.uid);
        }
        if let Some(row) = published.row {
            state.done.push(row);
            state.rows = state.rows.saturating_sub(1);
            gauge(&state);
            self.untidy.notify_one();
        }
    }

    /// Deletes what is acknowledged by now. Where that is nothing, finds out whether the database is there.
    pub async fn sweep(&self) -> Result<(), String> {
        let Some(database) = &self.database else { return Ok(()) };
        let rows = self.state.lock().done.clone();
        database.delete(&rows).await?;
        self.state.lock().done.retain(|row| !rows.contains(row));
        Ok(())
    }

    /// Waits until there is something to sweep.
    pub async fn unswept(&self) {
        self.untidy.notified().await;
        tokio::time::sleep(GATHER).await;
    }
}

#[allow(clippy::cast_precision_loss)] // exact up to 2^53
fn gauge(state: &State) {
    metrics::gauge!("senren_region_outbox_reports").set(state.rows as f64);
}

fn report_of(message: &StatusReport) -> Option<ResourceReport> {
    match &message.body {
        Some(Body::Resource(report)) => Some(ResourceReport { observed_at: None, ..report.clone() }),
        _ => None,
    }
}

fn key_of(message: &StatusReport) -> Option<ResourceKey> {
    let Some(Body::Resource(report)) = &message.body else { return None };
    Some(ResourceKey { site: report.site.parse().ok()?, name: report.name.parse().ok()? })
}
