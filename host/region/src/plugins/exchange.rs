//! The review: what the directory offers becomes what serves, as far as that can be.
//!
//! Plugins are exchanged each by itself, so that one that takes long, or is refused, keeps none of the others waiting.
//! Only when everything has succeeded that can fail is the set replaced, in one stroke.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use senren_engine::{Plugin, PluginSet};
use senren_reconcile::{crd, resource};
use tokio::time::Instant;

use super::{
    Shelf, check,
    decide::{Decision, Standing, Take, called, decide},
    keep::KeptPlugin,
    manifest,
};
use crate::plane::Plane;

/// How long it may take until the resources of a new type are known.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);

impl Shelf {
    /// Says at the start what is wrong by then, before it is known what there is in this region.
    pub fn tell(&mut self, plane: &Plane) {
        let decision = match self.listed {
            true => decide(&self.standing, &self.offers(), &self.tunings(), |_| false),
            false => Decision::default(),
        };
        self.say(plane, &decision);
    }

    /// Brings what serves to what the directory offers, and says what stands against it.
    pub async fn review(&mut self, plane: &Arc<Plane>) {
        self.put_aside(plane);
        self.expel(plane);
        // What was never listed says nothing about what is gone.
        if self.listed {
            loop {
                let decision = decide(&self.standing, &self.offers(), &self.tunings(), |plugin| {
                    plugin.types().iter().any(|ty| plane.has_any(&ty.wit.name))
                });
                if !decision.changes() {
                    self.say(plane, &decision);
                    break;
                }
                self.carry_out(plane, decision).await;
            }
        } else {
            self.say(plane, &Decision::default());
        }
        self.note().await;
    }

    /// Forgets what the plane could not use when it started; it is tried again, as if it were new.
    fn put_aside(&mut self, plane: &Plane) {
        let current = plane.plugins.current();
        self.standing.retain(|name, standing| {
            let serves = current.plugins().any(|plugin| plugin.same_as(&standing.plugin));
            if !serves {
                plane.problems.clear(&format!("definitions of {name}"));
            }
            serves
        });
    }

    /// What the operator no longer allows to make what it makes serves no longer. What it has made stays as it is, and
    /// its resources say that nobody serves them.
    fn expel(&mut self, plane: &Plane) {
        let allowed = |name: &str, standing: &Standing| {
            let why = self.forbidden(&standing.plugin);
            if let Some(why) = &why {
                tracing::error!(plugin = name, "it no longer serves: {why}");
            }
            why.is_none()
        };
        let standing = self.standing.clone().into_iter().filter(|(name, standing)| allowed(name, standing));
        let standing: BTreeMap<String, Standing> = standing.collect();
        if standing.len() < self.standing.len() {
            self.standing = standing;
            self.publish(plane);
        }
    }

    async fn carry_out(&mut self, plane: &Arc<Plane>, decision: Decision) {
        for (name, file) in decision.moved {
            if let Some(standing) = self.standing.get_mut(&name) {
                standing.file = file;
            }
        }
        if !decision.gone.is_empty() {
            for name in &decision.gone {
                tracing::info!(
                    plugin = name,
                    "its file is gone and nothing of it is left: it no longer serves"
                );
                self.standing.remove(name);
            }
            self.publish(plane);
        }
        let mut attempts: FuturesUnordered<_> = decision
            .takes
            .into_iter()
            .map(|take| {
                let before = take.replaces.as_ref().and_then(|name| self.standing.get(name));
                let before = before.map(|standing| standing.plugin.clone());
                async move {
                    let outcome = attempt(plane, before.as_ref(), &take.plugin).await;
                    (take, before, outcome)
                }
            })
            .collect();
        while let Some((take, before, outcome)) = attempts.next().await {
            match outcome {
                Ok(began) => self.exchange(plane, take, before.as_ref(), began),
                Err(why) => {
                    metrics::counter!("senren_region_plugin_exchanges_total", "outcome" => "refused")
                        .increment(1);
                    self.refuse(take.file, take.plugin, why);
                }
            }
        }
    }

    fn exchange(&mut self, plane: &Plane, take: Take, before: Option<&Plugin>, began: Instant) {
        if let Some(name) = &take.replaces {
            self.standing.remove(name);
        }
        self.refused.remove(&take.file);
        let now = called(&take.plugin);
        let name = take.plugin.descriptor().name.clone();
        self.standing.insert(name, Standing { plugin: take.plugin, file: take.file });
        self.publish(plane);
        let took = began.elapsed();
        metrics::counter!("senren_region_plugin_exchanges_total", "outcome" => "taken").increment(1);
        metrics::histogram!("senren_region_plugin_switch_seconds").record(took);
        match before.map(called) {
            Some(before) if before == now => tracing::info!("plugin {now} has other limits or settings"),
            Some(before) => tracing::info!(?took, "plugin {now} serves in the place of {before}"),
            None => tracing::info!(?took, "plugin {now} serves"),
        }
    }

    /// From here on, every step finds the new set; those that have begun end with what they began with.
    fn publish(&self, plane: &Plane) {
        let before = plane.plugins.current();
        let set = self.set();
        let same = |name: &str, other: &PluginSet| match (before.get(name), other.get(name)) {
            (Some(before), Some(now)) => before.plugin.same_as(&now.plugin),
            (before, now) => before.is_none() && now.is_none(),
        };
        let all = before.iter().chain(set.iter()).map(|(name, _)| name);
        let changed: BTreeSet<String> = all.filter(|name| !same(name, &set)).map(str::to_owned).collect();
        let gone: Vec<String> = changed.iter().filter(|name| set.get(name).is_none()).cloned().collect();
        plane.plugins.swap(set);
        // What is there of a type that must not be served is still to be known.
        gone.iter().filter(|name| !plane.has_any(name)).for_each(|name| plane.unfollow(name));
        plane.look_at_types(&changed);
        plane.news.notify_one();
    }

    /// Says what is wrong: once in the log, and as long as it lasts wherever the region speaks of itself.
    fn say(&mut self, plane: &Plane, decision: &Decision) {
        let mut said = self.troubles.clone();
        for (file, why) in &decision.problems {
            let subject = format!("plugin {}", self.origin(file));
            said.insert(subject.clone(), format!("{subject}: {why}"));
        }
        said.extend(self.unusable_settings());
        said.extend(self.idle_entries());
        said.extend(self.standing.iter().filter_map(|(name, standing)| {
            Some((format!("{} about {name}", manifest::FILE), self.unpinned(&standing.plugin)?))
        }));
        if self.standing.is_empty() {
            let message = format!("no plugin in {}: this region can run nothing", self.dir.display());
            said.insert("plugins".into(), message);
        }
        for (subject, message) in &said {
            if self.said.get(subject) != Some(message) {
                tracing::error!("{message}");
                metrics::counter!("senren_region_plugin_refusals_total").increment(1);
                plane.problems.set(subject, message.clone());
            }
        }
        for subject in self.said.keys().filter(|subject| !said.contains_key(*subject)) {
            tracing::info!("settled: {subject}");
            plane.problems.clear(subject);
        }
        metrics::gauge!("senren_region_plugin_problems").set(said.len() as f64);
        self.said = said;
        let notices = self.standing.iter().filter_map(|(name, standing)| {
            let notice = decision.notices.get(name)?;
            Some(standing.plugin.types().iter().map(move |ty| (ty.wit.name.clone(), notice.clone())))
        });
        let notices: BTreeMap<String, String> = notices.flatten().collect();
        let mut known = plane.notices.lock();
        if *known != notices {
            *known = notices;
            plane.news.notify_one();
        }
    }

    /// Settings that a plugin doesn't take: its resources stay as they are, and say so, until that is corrected.
    fn unusable_settings(&self) -> BTreeMap<String, String> {
        let mut said = BTreeMap::new();
        for (name, standing) in &self.standing {
            let entry = self.manifest.as_ref().and_then(|manifest| manifest.plugins.get(name));
            let here = entry.is_some_and(|entry| !entry.config.is_empty());
            for violation in standing.plugin.config().err().into_iter().flatten() {
                let at = if here {
                    format!("{} at [plugins.{name}] config{}", manifest::FILE, violation.path)
                } else {
                    format!("PLUGIN_CONFIG at /{name}{}", violation.path)
                };
                said.insert(at.clone(), format!("{at}: {}", violation.message));
            }
        }
        said
    }

    /// A misspelt name must not go unnoticed: what is decided under it holds for nothing.
    fn idle_entries(&self) -> BTreeMap<String, String> {
        let Some(manifest) = &self.manifest else { return BTreeMap::new() };
        let idle = manifest.plugins.keys().filter(|name| {
            let concerned = |file: &String| manifest.of_file(file).is_some_and(|(of, _)| of == *name);
            !self.standing.contains_key(*name) && !self.listing.files.keys().any(concerned)
        });
        let said = |name: &String| {
            let at = format!("{} at [plugins.{name}]", manifest::FILE);
            (at.clone(), format!("{at}: there is no such plugin, nor a file of it"))
        };
        idle.map(said).collect()
    }

    /// Writes down what serves, for the next start.
    async fn note(&mut self) {
        let Some(keep) = self.keep.clone() else { return };
        let plugins = self.standing.iter().map(|(name, standing)| {
            let (file, digest) = (standing.file.clone(), standing.plugin.digest().to_owned());
            (name.clone(), KeptPlugin { file, digest })
        });
        self.kept.plugins = plugins.collect();
        if self.noted == self.kept {
            return;
        }
        let kept = self.kept.clone();
        let noted = tokio::task::spawn_blocking(move || keep.note(&kept).map(|()| kept)).await;
        match noted {
            Ok(Ok(kept)) => {
                self.troubles.remove("kept");
                self.noted = kept;
            }
            Ok(Err(error)) => {
                let trouble =
                    format!("what serves can't be noted, so a restart needs every file again: {error}");
                self.troubles.insert("kept".into(), trouble);
            }
            Err(_) => {}
        }
    }
}

/// Does everything that may fail. Returns when it began to change something.
async fn attempt(plane: &Arc<Plane>, before: Option<&Plugin>, after: &Plugin) -> Result<Instant, String> {
    check::vet(after).await?;
    if let Some(before) = before {
        check::may_replace(plane, before, after).await?;
    }
    let began = Instant::now();
    if before.is_some_and(|before| before.digest() == after.digest()) {
        return Ok(began);
    }
    if let Err(error) = install(plane, after).await {
        if let Some(before) = before {
            // One of several may have been installed already.
            let _ = install(plane, before).await;
        }
        return Err(format!("its definitions can't be installed: {error:#}"));
    }
    for ty in after.types() {
        let known = plane.follow(&ty.wit.name, &resource::api_resource(&ty.wit));
        if tokio::time::timeout(LIST_TIMEOUT, known).await.is_err() {
            return Err(format!("the resources of its type {} can't be listed", ty.wit.name));
        }
    }
    Ok(began)
}

async fn install(plane: &Plane, plugin: &Plugin) -> anyhow::Result<()> {
    let (alone, _) = PluginSet::of(vec![plugin.clone()]);
    crd::install(plane.cluster.client.clone(), &alone).await
}
