//! All proofs of one run: each starts the moment its database is ready, and they go on side by side.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use senren_api::{RegionId, SiteName, v1::ResourceStatus};
use tokio::{task::JoinSet, time::Instant};

use super::{
    machine::{Access, NAMESPACE_PREFIX},
    prove::{Finding, Place, prove, prove_replicas},
};

/// Region and name.
pub type Key = (String, String);

/// Proofs on their way.
pub struct Proofs {
    begin: Instant,
    deadline: Instant,
    clusters: BTreeMap<RegionId, Access>,
    value: String,
    started: BTreeSet<String>,
    running: JoinSet<(Key, Found)>,
}

/// What came of them.
pub struct Results {
    found: BTreeMap<Key, Found>,
    clusters: BTreeMap<RegionId, Access>,
    value: String,
    deadline: Instant,
}

/// What came of one.
#[derive(Debug)]
pub struct Found {
    /// From the apply to its end.
    pub after: Duration,
    /// What was found.
    pub finding: Finding,
}

impl Proofs {
    /// Times are counted from `begin`, the apply; nothing is tried after `deadline`.
    pub fn new(begin: Instant, deadline: Instant, clusters: BTreeMap<RegionId, Access>) -> Self {
        let value = format!("written by senren dev at {}", jiff::Zoned::now().strftime("%F %T"));
        Self { begin, deadline, clusters, value, started: BTreeSet::new(), running: JoinSet::new() }
    }

    /// Starts the proof of a ready database, once.
    pub fn start(&mut self, status: &ResourceStatus) {
        if status.deleting || !self.started.insert(status.uid.clone()) {
            return;
        }
        let Some(place) = Place::of(status, &self.clusters) else { return };
        let (status, value) = (status.clone(), self.value.clone());
        let (begin, deadline) = (self.begin, self.deadline);
        self.running.spawn(async move {
            let finding = prove(&place, &status, &value, deadline).await;
            ((status.region, status.name), Found { after: begin.elapsed(), finding })
        });
    }

    /// Waits for all that were started.
    pub async fn finish(mut self) -> Results {
        let mut found = BTreeMap::new();
        while let Some(ended) = self.running.join_next().await {
            // A proof that panicked is missing, and the table says so.
            if let Ok((key, proof)) = ended {
                found.insert(key, proof);
            }
        }
        Results { found, clusters: self.clusters, value: self.value, deadline: self.deadline }
    }
}

impl Results {
    /// What was found out about one resource.
    pub fn of(&self, region: &str, name: &str) -> Option<&Found> {
        self.found.get(&(region.to_owned(), name.to_owned()))
    }

    /// All of it.
    pub fn iter(&self) -> impl Iterator<Item = &Found> {
        self.found.values()
    }

    /// Looks for the value that was written where replicas are read, once those are there.
    pub async fn follow_up(&mut self, resources: &[ResourceStatus]) {
        for status in resources.iter().filter(|status| status.ready) {
            let Some(found) = self.found.get_mut(&(status.region.clone(), status.name.clone())) else {
                continue;
            };
            let (Finding::Proven(proof), Some(place)) =
                (&mut found.finding, Place::of(status, &self.clusters))
            else {
                continue;
            };
            match prove_replicas(&place, status, &self.value, self.deadline).await {
                Ok(replicated) => proof.replicated = replicated,
                Err(error) => found.finding = Finding::Failed(error),
            }
        }
    }
}

impl Place {
    fn of(status: &ResourceStatus, clusters: &BTreeMap<RegionId, Access>) -> Option<Self> {
        let access = clusters.get(&status.region.parse().ok()?)?;
        let site = SiteName::from_request(&status.site).ok()?;
        Some(Self {
            cluster: access.client.clone(),
            embedded: access.embedded,
            namespace: senren_reconcile::names::namespace(NAMESPACE_PREFIX, &site),
        })
    }
}
