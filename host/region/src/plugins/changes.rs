//! Notices that something changed in the plugin directory.
//!
//! The kernel says so, mostly; where it doesn't (a network file system, a directory that was exchanged as a whole), a
//! look every few seconds finds it. A burst of changes, as copying a file is, counts as one.

use std::{path::Path, sync::Arc, time::Duration};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode},
};
use tokio::sync::Notify;

use super::directory;

/// A burst is over after so long without a change.
const QUIET: Duration = Duration::from_millis(100);

/// However long a burst goes on, there is a look at least this often.
const LONGEST_BURST: Duration = Duration::from_secs(1);

/// What watches a directory.
#[derive(Default)]
pub(crate) struct Changes {
    rung: Arc<Notify>,
    watcher: Option<(RecommendedWatcher, (u64, u64))>,
}

impl Changes {
    /// Watches the directory that is at `dir` now, unless it does already.
    pub fn watch(&mut self, dir: &Path) {
        let identity = directory::identity(dir);
        if self.watcher.as_ref().map(|(_, watched)| *watched) == identity {
            return;
        }
        self.watcher = identity.and_then(|identity| {
            let rung = Arc::clone(&self.rung);
            let started = notify::recommended_watcher(move |event: notify::Result<Event>| {
                // An error may have cost an event.
                if event.map_or(true, |event| is_change(&event)) {
                    rung.notify_one();
                }
            });
            let watching = started.and_then(|mut watcher| {
                watcher.watch(dir, RecursiveMode::NonRecursive)?;
                Ok(watcher)
            });
            let watcher = watching.inspect_err(|error| {
                tracing::debug!(%error, dir = %dir.display(), "changes are only found by looking");
            });
            Some((watcher.ok()?, identity))
        });
    }

    /// Waits for a change. Nothing is missed where this is dropped.
    pub async fn next(&self) {
        self.rung.notified().await;
    }

    /// Waits until a burst of changes is over.
    pub async fn settle(&self) {
        let burst = async { while tokio::time::timeout(QUIET, self.rung.notified()).await.is_ok() {} };
        if tokio::time::timeout(LONGEST_BURST, burst).await.is_err() {
            // It goes on, and will be looked at again.
            self.rung.notify_one();
        }
    }
}

/// Whatever may have changed a file; not that somebody, such as ourselves, read one.
fn is_change(event: &Event) -> bool {
    !matches!(event.kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}
