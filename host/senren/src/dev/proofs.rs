//! All proofs of one run: each starts the moment its database is ready, and they go on side by side.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use senren_api::{RegionId, SiteName, v1::ResourceStatus};
use tokio::{task::JoinSet, time::Instant};

use super::{
    machine::NAMESPACE_PREFIX,
    prove::{Proof, prove},
};

/// The only type that we know how to prove.
pub const PROVABLE: &str = "redis";

/// Region and name.
pub type Key = (String, String);

/// Proofs on their way.
pub struct Proofs {
    begin: Instant,
    deadline: Instant,
    clusters: BTreeMap<RegionId, kube::Client>,
    value: String,
    started: BTreeSet<String>,
    running: JoinSet<(Key, Found)>,
}

/// What came of them.
pub type Results = BTreeMap<Key, Found>;

/// What came of one.
#[derive(Debug)]
pub struct Found {
    /// From the apply to its end.
    pub after: Duration,
    /// The proof, or why there is none.
    pub proof: anyhow::Result<Proof>,
}

impl Proofs {
    /// Times are counted from `begin`, the apply; nothing is tried after `deadline`.
    pub fn new(begin: Instant, deadline: Instant, clusters: BTreeMap<RegionId, kube::Client>) -> Self {
        let value = format!("written by senren dev at {}", jiff::Zoned::now().strftime("%F %T"));
        Self { begin, deadline, clusters, value, started: BTreeSet::new(), running: JoinSet::new() }
    }

    /// Starts the proof of a ready database, once.
    pub fn start(&mut self, status: &ResourceStatus) {
        if status.r#type != PROVABLE || status.deleting || !self.started.insert(status.uid.clone()) {
            return;
        }
        let cluster = status.region.parse::<RegionId>().ok().and_then(|id| self.clusters.get(&id).cloned());
        let site = SiteName::from_request(&status.site);
        let (Some(cluster), Ok(site)) = (cluster, site) else { return };
        let namespace = senren_reconcile::names::namespace(NAMESPACE_PREFIX, &site);
        let (status, value) = (status.clone(), self.value.clone());
        let (begin, deadline) = (self.begin, self.deadline);
        self.running.spawn(async move {
            let proof = prove(&cluster, &namespace, &status, &value, deadline).await;
            ((status.region, status.name), Found { after: begin.elapsed(), proof })
        });
    }

    /// Waits for all that were started.
    pub async fn finish(mut self) -> Results {
        let mut results = Results::new();
        while let Some(ended) = self.running.join_next().await {
            // A proof that panicked is missing, and the table says so.
            if let Ok((key, found)) = ended {
                results.insert(key, found);
            }
        }
        results
    }
}
