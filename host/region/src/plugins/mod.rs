//! The plugins of a region: from files in a directory to the set that serves, at start and ever after.
//!
//! Dropping a file in is all that it takes. Whoever does that may do it wrong, so:
//! - nothing of a file runs before its digest is what it must be, and nothing serves before it was compiled (on threads
//!   of its own), described itself, was checked against what there is in this region, and has its definitions installed;
//! - the set is replaced whole, between two steps of reconciling: none is lost, none sees half of it;
//! - what can't be used changes nothing. The last good one goes on, across a restart too (see [`keep`]), and why is said
//!   once in the log, and for as long as it lasts in the heartbeat, on its types, and in a metric;
//! - a plugin leaves only when its file is gone *and* nothing of it is left.
//!
//! [`Shelf::review`] is the step; [`follow`] drives it.

mod changes;
mod check;
mod decide;
mod directory;
mod exchange;
mod keep;
pub mod manifest;
mod offers;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use senren_engine::{Engine, Plugin, PluginSet};
use senren_reconcile::ApiKind;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{PluginConfig, RegionConfig, plane::Plane};
use changes::Changes;
use decide::{Offer, Standing, decide};
use directory::{Content, Listing};
use keep::{Keep, Kept};
use manifest::Manifest;

/// How often the directory is looked at, whether or not something is known to have changed.
const POLL: Duration = Duration::from_secs(5);
/// What may still be being written is looked at again after this time.
const AGAIN: Duration = Duration::from_millis(300);
/// What was refused because of what there is in the region, or by its API server, is tried again after this time.
const RETRY: Duration = Duration::from_secs(15);
/// A start waits so long for plugins to be compiled. What takes longer comes later, as if it were dropped in.
const PATIENCE: Duration = Duration::from_secs(20);

/// What serves, and what the directory offers.
pub(crate) struct Shelf {
    engine: Engine,
    dir: PathBuf,
    allowed_kinds: Vec<ApiKind>,
    plugin_config: PluginConfig,
    listing: Listing,
    /// The directory was read once.
    listed: bool,
    /// `None`: what the operator decided is not known.
    manifest: Option<Manifest>,
    /// Why there is no listing, and why another manifest than the one in the directory holds.
    troubles: BTreeMap<String, String>,
    /// By digest: what became of loading it.
    loaded: HashMap<String, Result<Plugin, String>>,
    loading: BTreeSet<String>,
    loads: JoinSet<(String, Option<Result<Plugin, String>>)>,
    standing: BTreeMap<String, Standing>,
    /// By file: what was tried in vain.
    refused: HashMap<String, Refused>,
    keep: Option<Keep>,
    /// What is to be found at the next start, and what would be now.
    kept: Kept,
    noted: Kept,
    /// What was last said to be wrong.
    said: BTreeMap<String, String>,
}

struct Refused {
    plugin: Plugin,
    why: String,
    at: Instant,
}

impl Shelf {
    /// Takes up what served before, and what the directory offers besides.
    pub async fn open(engine: &Engine, config: &RegionConfig) -> Shelf {
        let keep = engine.cache_dir().map(|dir| Keep::in_dir(dir, &config.region_id));
        let kept = keep.as_ref().and_then(Keep::recall);
        let manifest = kept.as_ref().and_then(recalled_manifest);
        let kept = kept.unwrap_or_default();
        let mut shelf = Shelf {
            engine: engine.clone(),
            dir: config.plugin_dir.clone(),
            allowed_kinds: config.reconcile_settings().allowed_kinds,
            plugin_config: config.plugin_config.clone(),
            listing: Listing::default(),
            listed: false,
            manifest,
            troubles: BTreeMap::new(),
            loaded: HashMap::new(),
            loading: BTreeSet::new(),
            loads: JoinSet::new(),
            standing: BTreeMap::new(),
            refused: HashMap::new(),
            noted: kept.clone(),
            kept,
            keep,
            said: BTreeMap::new(),
        };
        shelf.look().await;
        shelf.recall().await;
        let until = Instant::now() + PATIENCE;
        while tokio::time::timeout_at(until, shelf.loaded()).await.is_ok_and(|more| more) {}
        shelf.begin().await;
        shelf
    }

    /// What serves.
    pub fn set(&self) -> PluginSet {
        PluginSet::of(self.standing.values().map(|standing| standing.plugin.clone()).collect()).0
    }

    /// Loads what served before, from where it was kept.
    async fn recall(&mut self) {
        let Some(keep) = &self.keep else { return };
        let mut loads = JoinSet::new();
        for (name, kept) in self.kept.plugins.clone() {
            let (keep, engine, origin) = (keep.clone(), self.engine.clone(), self.origin(&kept.file));
            loads.spawn_blocking(move || {
                let loaded = keep.component(&kept.digest).map(|wasm| engine.load(&origin, &wasm));
                (name, kept, loaded)
            });
        }
        while let Some(Ok((name, kept, loaded))) = loads.join_next().await {
            match loaded {
                Some(Ok(plugin)) => {
                    self.loaded.insert(kept.digest, Ok(plugin.clone()));
                    let plugin = self.tuned(&plugin);
                    self.standing.insert(name, Standing { plugin, file: kept.file });
                }
                Some(Err(error)) => tracing::warn!("what served before can't be used any more: {error}"),
                None => tracing::warn!(plugin = name, "what served before was not kept"),
            }
        }
    }

    /// Decides with what serves from the start. What takes the place of another waits until it is known what there is in
    /// this region.
    async fn begin(&mut self) {
        self.warn_of_idle_settings();
        let mut standing = std::mem::take(&mut self.standing);
        standing.retain(|name, standing| match self.forbidden(&standing.plugin) {
            None => true,
            Some(why) => {
                tracing::error!(plugin = name, "what served before is not used any more: {why}");
                false
            }
        });
        self.standing = standing;
        let decision = decide(&self.standing, &self.offers(), &self.tunings(), |_| true);
        for take in decision.takes {
            let retuned = take.replaces.as_ref().and_then(|name| self.standing.get(name));
            match &take.replaces {
                Some(_) if retuned.is_none_or(|old| old.plugin.digest() != take.plugin.digest()) => continue,
                Some(name) => drop(self.standing.remove(name)),
                None => {
                    if let Err(why) = check::vet(&take.plugin).await {
                        self.refuse(take.file, take.plugin, why);
                        continue;
                    }
                }
            }
            let name = take.plugin.descriptor().name.clone();
            self.standing.insert(name, Standing { plugin: take.plugin, file: take.file });
        }
    }

    /// Looks at the directory, and has loaded what is new there.
    async fn look(&mut self) {
        let (dir, before) = (self.dir.clone(), self.listing.clone());
        let listed = tokio::task::spawn_blocking(move || directory::list(&dir, &before)).await;
        match listed {
            Ok(Ok(listing)) => {
                self.troubles.remove("directory");
                // Whoever touches a file, or what is decided about all of them, wants it tried.
                let same = |file: &str| listing.files.get(file) == self.listing.files.get(file);
                let decided = listing.manifest == self.listing.manifest;
                self.refused.retain(|file, _| decided && same(file));
                self.listing = listing;
                self.listed = true;
            }
            Ok(Err(error)) => {
                let trouble = format!("the plugin directory {} can't be read: {error}", self.dir.display());
                self.troubles.insert("directory".into(), trouble);
                return;
            }
            Err(_) => return,
        }
        self.read_manifest();
        let digests = self.listing.files.values().filter_map(|file| match &file.content {
            Content::Digest(digest) => Some(digest),
            Content::Unusable(_) => None,
        });
        let wanted: BTreeSet<&str> = digests
            .map(String::as_str)
            .chain(self.standing.values().map(|standing| standing.plugin.digest()))
            .collect();
        self.loaded.retain(|digest, _| wanted.contains(digest.as_str()));
        self.load();
    }

    /// Another manifest holds only when it can be read.
    fn read_manifest(&mut self) {
        let text = self.listing.manifest.clone();
        let read = text.as_ref().map_or(Ok(Manifest::default()), |text| {
            text.as_ref().map_err(String::clone).and_then(|text| Manifest::parse(text))
        });
        match read {
            Ok(manifest) => {
                self.troubles.remove(manifest::FILE);
                self.manifest = Some(manifest);
                self.kept.manifest = text.and_then(Result::ok);
            }
            Err(why) => {
                let until = match self.manifest {
                    Some(_) => "what it said before holds",
                    None => "no file is loaded",
                };
                self.troubles
                    .insert(manifest::FILE.into(), format!("{why}; until that is corrected, {until}"));
            }
        }
    }

    /// Has every file loaded whose digest is as it must be, each in its own time.
    fn load(&mut self) {
        for (file, found) in &self.listing.files {
            let Content::Digest(digest) = &found.content else { continue };
            if self.loaded.contains_key(digest) || self.pinned(file, digest).is_err() {
                continue;
            }
            if !self.loading.insert(digest.clone()) {
                continue;
            }
            let (path, origin) = (directory::path(&self.dir, file), self.origin(file));
            let (engine, keep, digest) = (self.engine.clone(), self.keep.clone(), digest.clone());
            self.loads.spawn_blocking(move || {
                let loaded = directory::read(&path, &digest).map(|wasm| {
                    let plugin = engine.load(&origin, &wasm).map_err(|error| error.refusal.to_string())?;
                    if let Some(Err(error)) = keep.map(|keep| keep.store(&digest, &wasm)) {
                        tracing::warn!(%error, "{origin} can't be kept: a restart needs its file");
                    }
                    Ok(plugin)
                });
                (digest, loaded)
            });
        }
    }

    /// Waits for a plugin that is being loaded. False: none is.
    async fn loaded(&mut self) -> bool {
        let Some(loaded) = self.loads.join_next().await else { return false };
        if let Ok((digest, loaded)) = loaded {
            self.loading.remove(&digest);
            // Where the file has changed meanwhile, another look finds that.
            self.loaded.extend(loaded.map(|loaded| (digest, loaded)));
        }
        true
    }

    fn warn_of_idle_settings(&self) {
        let offers = self.offers();
        for name in self.plugin_config.keys().filter(|name| !self.standing.contains_key(*name)) {
            let is_it =
                |offer: &Offer| matches!(offer, Offer::Good(plugin) if plugin.descriptor().name == *name);
            if !offers.values().any(is_it) {
                tracing::warn!(
                    "PLUGIN_CONFIG has settings for plugin {name:?}, which is not in the plugin directory"
                );
            }
        }
    }

    fn refuse(&mut self, file: String, plugin: Plugin, why: String) {
        self.refused.insert(file, Refused { plugin, why, at: Instant::now() });
    }

    fn origin(&self, file: &str) -> String {
        directory::path(&self.dir, file).display().to_string()
    }
}

/// What `plugins.toml` said when it could last be read; nothing where there was none.
fn recalled_manifest(kept: &Kept) -> Option<Manifest> {
    kept.manifest.as_deref().map_or(Some(Manifest::default()), |text| Manifest::parse(text).ok())
}

/// Keeps what serves as the directory has it, for ever.
pub(crate) async fn follow(plane: Arc<Plane>, mut shelf: Shelf) {
    let mut changes = Changes::default();
    let mut poll = tokio::time::interval(POLL);
    poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let again = shelf.listing.is_unsettled().then(|| Instant::now() + AGAIN);
        let again = async {
            match again {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = changes.next() => {
                changes.settle().await;
                shelf.look().await;
            }
            _ = poll.tick() => {
                changes.watch(&shelf.dir);
                shelf.look().await;
            }
            () = again => shelf.look().await,
            Some(()) = async { shelf.loaded().await.then_some(()) } => {}
        }
        shelf.review(&plane).await;
    }
}
