//! What a plane remembers across restarts, in ConfigMap `senren-state` of its own namespace: which versions it has
//! taken in, and the uids that no custom resource vouches for.
//!
//! The first keeps a restarted plane from falling back to an older state. The second is for honest endings: the
//! control plane waits for `deleted` of every uid it has heard of, so a uid that leaves the cluster, or never was
//! in it, is written down *before* it loses its custom resource, and struck out once `deleted` is acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use senren_api::ResourceKey;
use senren_reconcile::{names, within};
use serde_json::json;
use tokio::sync::Mutex;

use crate::{
    cluster::Cluster,
    desired::{Mark, Marks},
};

/// A uid, where it is or was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Known {
    pub uid: String,
    pub type_name: String,
    pub key: ResourceKey,
}

/// What is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// The versions that were taken in.
    pub applied: Marks,
    /// The uids that no custom resource vouches for.
    pub unvouched: BTreeSet<Known>,
}

/// A ConfigMap takes 1 MiB.
const MAX_UNVOUCHED: usize = 5000;

/// The ConfigMap, and what it is known to hold.
pub(crate) struct Memory {
    stored: Mutex<Snapshot>,
}

impl Memory {
    /// Reads what an earlier process remembered. What can't be read counts as nothing: the topic has the state, and
    /// the worst is that an older one is taken in first.
    pub async fn load(cluster: &Cluster) -> Result<(Self, Snapshot), kube::Error> {
        let found = within(api(cluster).get_opt(names::STATE_CONFIG_MAP)).await?;
        let snapshot = found.and_then(|found| found.data).map_or_else(Snapshot::default, |data| parse(&data));
        Ok((Self { stored: Mutex::new(snapshot.clone()) }, snapshot))
    }

    /// Writes, unless it is written already.
    pub async fn store(&self, cluster: &Cluster, make: impl FnOnce() -> Snapshot) -> Result<(), kube::Error> {
        let mut stored = self.stored.lock().await;
        let snapshot = make();
        if *stored == snapshot {
            return Ok(());
        }
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": names::STATE_CONFIG_MAP, "labels": names::plane_labels(&cluster.region) },
            "data": render(&snapshot),
        });
        let params = PatchParams::apply(names::INTAKE_MANAGER).force();
        within(api(cluster).patch(names::STATE_CONFIG_MAP, &params, &Patch::Apply(&object))).await?;
        *stored = snapshot;
        Ok(())
    }

    /// True where `uid` is written down.
    pub async fn holds(&self, known: &Known) -> bool {
        self.stored.lock().await.unvouched.contains(known)
    }
}

fn api(cluster: &Cluster) -> Api<ConfigMap> {
    Api::namespaced(cluster.client.clone(), &names::system_namespace(&cluster.prefix))
}

fn render(snapshot: &Snapshot) -> BTreeMap<&'static str, String> {
    let (version, content_hash) = snapshot.applied.latest();
    let line = |known: &Known| format!("{} {} {}\n", known.uid, known.type_name, known.key);
    let mut data = BTreeMap::from([
        ("version", version.to_string()),
        ("contentHash", content_hash.to_owned()),
        ("unvouched", snapshot.unvouched.iter().take(MAX_UNVOUCHED).map(line).collect()),
    ]);
    if let Ok(ranges) = serde_json::to_string(&snapshot.applied) {
        data.insert("ranges", ranges);
    }
    data
}

fn parse(data: &BTreeMap<String, String>) -> Snapshot {
    let text = |key: &str| data.get(key).map_or("", String::as_str);
    let applied = serde_json::from_str(text("ranges")).ok().or_else(|| {
        let version = text("version").parse().ok()?;
        Some(Marks(vec![Mark { first: 0, last: 255, version, content_hash: text("contentHash").to_owned() }]))
    });
    let known = |line: &str| {
        let mut words = line.split(' ');
        let (uid, type_name, (site, name)) = (words.next()?, words.next()?, words.next()?.split_once('/')?);
        let key = ResourceKey { site: site.parse().ok()?, name: name.parse().ok()? };
        Some(Known { uid: uid.to_owned(), type_name: type_name.to_owned(), key })
    };
    Snapshot {
        applied: applied.unwrap_or_default(),
        unvouched: text("unvouched").lines().filter_map(known).collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn data(snapshot: &Snapshot) -> BTreeMap<String, String> {
        render(snapshot).into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    #[test]
    fn what_was_remembered_is_read_again() {
        let mut snapshot = Snapshot::default();
        assert_eq!(parse(&data(&snapshot)), snapshot);
        snapshot.applied.note(senren_api::state::ALL_SLOTS, 7, "abc");
        let key = ResourceKey { site: Default::default(), name: "a".parse().unwrap() };
        snapshot.unvouched.insert(Known { uid: "u".into(), type_name: "redis".into(), key });
        assert_eq!(parse(&data(&snapshot)), snapshot);
        assert_eq!(data(&snapshot)["version"], "7");
    }

    #[test]
    fn what_cannot_be_read_is_nothing() {
        let garbled =
            [("version", "x"), ("unvouched", "a\nb c d\n")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(parse(&garbled.into()), Snapshot::default());
    }
}
