//! All plugins that a region serves, by type; made whole and replaced whole.

use crate::{Plugin, ResourceType};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};
use tokio::sync::watch;

/// A type, and the plugin that serves it.
#[derive(Debug, Clone)]
pub struct Served {
    /// Serves it.
    pub plugin: Plugin,
    /// What it is.
    pub resource_type: ResourceType,
}

/// A plugin that serves nothing, and why. The others are not affected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", file.display())]
pub struct LoadProblem {
    /// Where it comes from.
    pub file: PathBuf,
    /// What is wrong, and what can be done.
    pub message: String,
}

/// Plugins of which no two serve the same type. Immutable.
#[derive(Debug, Clone, Default)]
pub struct PluginSet {
    by_type: BTreeMap<String, Served>,
    plugins: Vec<Plugin>,
}

impl PluginSet {
    /// Takes the plugins in their order. One that serves what an earlier one serves already is a problem, and
    /// serves nothing at all: half a plugin would be harder to understand than none.
    pub fn of(plugins: Vec<Plugin>) -> (PluginSet, Vec<LoadProblem>) {
        let mut set = PluginSet::default();
        let mut problems = Vec::new();
        for plugin in plugins {
            match set.conflict(&plugin) {
                Some(message) => problems.push(LoadProblem { file: plugin.origin().into(), message }),
                None => set.add(plugin),
            }
        }
        (set, problems)
    }

    /// Who serves this type.
    pub fn get(&self, type_name: &str) -> Option<&Served> {
        self.by_type.get(type_name)
    }

    /// All types, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Served)> {
        self.by_type.iter().map(|(name, served)| (name.as_str(), served))
    }

    /// All plugins, in the order they were given.
    pub fn plugins(&self) -> impl Iterator<Item = &Plugin> {
        self.plugins.iter()
    }

    fn add(&mut self, plugin: Plugin) {
        for resource_type in plugin.types() {
            let served = Served { plugin: plugin.clone(), resource_type: resource_type.clone() };
            self.by_type.insert(resource_type.wit.name.clone(), served);
        }
        self.plugins.push(plugin);
    }

    /// Why a plugin can't be among these: names that address something must be one plugin's, of the plugin, of its types,
    /// of its custom resources.
    pub fn conflict(&self, plugin: &Plugin) -> Option<String> {
        let name = &plugin.descriptor().name;
        if let Some(other) = self.plugins.iter().find(|other| other.descriptor().name == *name) {
            return Some(format!(
                "the plugin is called {name:?}, as is the one in {}: remove one of them",
                other.origin()
            ));
        }
        let types = || plugin.types().iter().map(|ty| &ty.wit);
        types().find_map(|ty| {
            self.by_type.values().find_map(|served| {
                let other = &served.resource_type.wit;
                let (what, value) = if ty.name == other.name {
                    ("the type", &ty.name)
                } else if ty.kind == other.kind {
                    ("the kind", &ty.kind)
                } else if ty.plural == other.plural {
                    ("the plural", &ty.plural)
                } else {
                    return None;
                };
                let (other, origin) = (&served.plugin.descriptor().name, served.plugin.origin());
                Some(format!(
                    "{what} {value:?} is served by the plugin {other:?} in {origin} already: remove one of them"
                ))
            })
        })
    }
}

/// The current set: what a region consults at each step, and what a reload replaces.
#[derive(Debug, Clone)]
pub struct Plugins {
    current: watch::Sender<Arc<PluginSet>>,
}

impl Default for Plugins {
    /// Begins with none.
    fn default() -> Self {
        Plugins::new(PluginSet::of(Vec::new()).0)
    }
}

impl Plugins {
    /// Begins with `set`.
    pub fn new(set: PluginSet) -> Plugins {
        Plugins { current: watch::Sender::new(Arc::new(set)) }
    }

    /// The set as of now; hold on to it for one step, not longer.
    pub fn current(&self) -> Arc<PluginSet> {
        Arc::clone(&self.current.borrow())
    }

    /// Told of every set that replaces another.
    pub fn subscribe(&self) -> watch::Receiver<Arc<PluginSet>> {
        self.current.subscribe()
    }

    /// Replaces the set for every holder of this handle. Calls that are under way end with the plugin they began
    /// with.
    pub fn swap(&self, set: PluginSet) {
        self.current.send_replace(Arc::new(set));
    }
}
