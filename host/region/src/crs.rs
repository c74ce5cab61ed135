//! The custom resources of this plane, in memory: kept up to date by a watch per type and by our own writes, so
//! that intake decides and report speaks without asking the API server.
//!
//! It may be behind the API server, never wrong about the order: an older reading doesn't replace a newer one.
//! Whoever would act on an *absence* asks the API server itself (see `cluster::Cluster::find`).

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures::TryStreamExt as _;
use kube::{
    Api,
    api::{ApiResource, DynamicObject},
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event},
    },
};
use parking_lot::Mutex;
use senren_api::ResourceKey;
use senren_reconcile::names;
use tokio::sync::watch;

use crate::{cr::Cr, memory::Known, plane::Plane};

/// All custom resources that are known. There may be several of one name: of several types, of which intake leaves
/// one.
#[derive(Default)]
pub(crate) struct Crs {
    entries: Mutex<HashMap<ResourceKey, Vec<Arc<Cr>>>>,
}

/// What a reading changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing: it is as old as what we have, or older.
    Nothing,
    /// The status.
    Status,
    /// What intake wrote, or whether it exists.
    Content,
}

impl Crs {
    /// Those of a name.
    pub fn of(&self, key: &ResourceKey) -> Vec<Arc<Cr>> {
        self.entries.lock().get(key).cloned().unwrap_or_default()
    }

    /// True where one carries this uid.
    pub fn has(&self, known: &Known) -> bool {
        let entries = self.entries.lock();
        entries.get(&known.key).is_some_and(|same_name| same_name.iter().any(|cr| cr.uid == known.uid))
    }

    /// Every name.
    pub fn keys(&self) -> Vec<ResourceKey> {
        self.entries.lock().keys().cloned().collect()
    }

    /// True where there is one of this type.
    pub fn any_of(&self, type_name: &str) -> bool {
        self.entries.lock().values().flatten().any(|cr| cr.type_name == type_name)
    }

    /// Every one.
    pub fn all(&self) -> Vec<Arc<Cr>> {
        self.entries.lock().values().flatten().cloned().collect()
    }

    /// Takes over a reading.
    pub fn put(&self, cr: Cr) -> Seen {
        let mut entries = self.entries.lock();
        let same_name = entries.entry(cr.key.clone()).or_default();
        match same_name.iter_mut().find(|known| known.type_name == cr.type_name) {
            None => same_name.push(Arc::new(cr)),
            Some(known) if !cr.is_newer_than(known) => return Seen::Nothing,
            Some(known) => {
                let content = cr.kubernetes_uid != known.kubernetes_uid || cr.differs_in_content(known);
                *known = Arc::new(cr);
                return if content { Seen::Content } else { Seen::Status };
            }
        }
        Seen::Content
    }

    /// Forgets one that is gone. False where it isn't known, or another has taken its place.
    pub fn remove(&self, gone: &Cr) -> bool {
        let mut entries = self.entries.lock();
        let Some(same_name) = entries.get_mut(&gone.key) else { return false };
        let before = same_name.len();
        same_name.retain(|cr| cr.type_name != gone.type_name || cr.kubernetes_uid != gone.kubernetes_uid);
        let removed = same_name.len() < before;
        if same_name.is_empty() {
            entries.remove(&gone.key);
        }
        removed
    }
}

/// What a problem with the watch of a type goes by.
pub(crate) fn subject(type_name: &str) -> String {
    format!("watch of type {type_name}")
}

/// Keeps the custom resources of one type up to date, for ever. `ready` tells when all are known.
pub(crate) async fn watch_type(
    plane: &Plane,
    type_name: &str,
    resource: &ApiResource,
    ready: &watch::Sender<bool>,
) {
    let api: Api<DynamicObject> = Api::all_with(plane.cluster.client.clone(), resource);
    let config = watcher::Config::default().labels(&names::plane_selector(&plane.region));
    let mut events = std::pin::pin!(watcher::watcher(api, config).default_backoff());
    let parse = |object| Cr::parse(type_name, &plane.prefix, &plane.region, object);
    let mut listed: HashSet<String> = HashSet::new();
    let subject = subject(type_name);
    loop {
        match events.try_next().await {
            Ok(None) => return,
            // The stream starts anew by itself, with back-off.
            Err(error) => {
                tracing::warn!(%error, r#type = type_name, "custom resources can't be watched");
                plane
                    .problems
                    .set(&subject, format!("resources of type {type_name} can't be watched: {error}"));
            }
            Ok(Some(Event::Init)) => listed.clear(),
            Ok(Some(Event::InitApply(object))) => {
                if let Some(cr) = parse(object) {
                    listed.insert(cr.kubernetes_uid.clone());
                    plane.see(cr);
                }
            }
            Ok(Some(Event::InitDone)) => {
                plane.problems.clear(&subject);
                let known = plane.crs.all();
                let unlisted =
                    |cr: &&Arc<Cr>| cr.type_name == type_name && !listed.contains(&cr.kubernetes_uid);
                known.iter().filter(unlisted).for_each(|cr| plane.see_gone(cr));
                ready.send_replace(true);
            }
            Ok(Some(Event::Apply(object))) => parse(object).into_iter().for_each(|cr| plane.see(cr)),
            Ok(Some(Event::Delete(object))) => parse(object).iter().for_each(|cr| plane.see_gone(cr)),
        }
    }
}
