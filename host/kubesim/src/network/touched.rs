//! Which services to look at again: those that changed, or whose endpoints did.

use std::collections::BTreeSet;

use tokio_util::sync::CancellationToken;

use crate::{
    kinds::{ENDPOINTS, SERVICES},
    store::{Key, Store, key_of},
    workloads::feed::Feed,
};

/// Follows services and their endpoints.
pub struct Touched {
    services: Feed,
    endpoints: Feed,
}

impl Touched {
    /// Begins with all that are there.
    pub fn open(store: &Store) -> anyhow::Result<Self> {
        Ok(Self { services: Feed::open(store, &SERVICES)?, endpoints: Feed::open(store, &ENDPOINTS)? })
    }

    /// Waits for changes and takes all that have come, each service once. `None`: stopped.
    pub async fn next(&mut self, stop: &CancellationToken) -> Option<BTreeSet<Key>> {
        let first = tokio::select! {
            () = stop.cancelled() => return None,
            Some(change) = self.services.next() => change,
            Some(change) = self.endpoints.next() => change,
            else => return None,
        };
        let mut touched = BTreeSet::from([key_of(&first.object)]);
        for feed in [&mut self.services, &mut self.endpoints] {
            while let Some(change) = feed.try_next() {
                touched.insert(key_of(&change.object));
            }
        }
        Some(touched)
    }
}
