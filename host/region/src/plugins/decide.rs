//! What becomes of the plugins that stand, given what the directory offers. Pure.
//!
//! A plugin stands until another takes its place: one of its name, or else whatever its file now holds. What is offered
//! and can't be used changes nothing. A plugin whose file is gone stands while there are resources of it.

use std::{collections::BTreeMap, collections::BTreeSet};

use senren_engine::{Plugin, PluginSet};

/// A plugin that serves.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub plugin: Plugin,
    /// Where it came from, in the plugin directory.
    pub file: String,
}

/// What a file offers.
#[derive(Debug, Clone)]
pub(crate) enum Offer {
    /// A plugin, with what the operator decided about it.
    Good(Plugin),
    /// Nothing that could be used, and why.
    Bad(String),
    /// It isn't known yet: it is being written, or compiled.
    Unknown,
}

/// A plugin that is to serve.
#[derive(Debug)]
pub(crate) struct Take {
    /// The name of the one whose place it takes; `None`: it is new.
    pub replaces: Option<String>,
    pub file: String,
    pub plugin: Plugin,
}

/// What is to happen.
#[derive(Debug, Default)]
pub(crate) struct Decision {
    /// Plugins that go.
    pub gone: Vec<String>,
    /// Plugins that are to come, none of which is in the way of another, or of one that stands.
    pub takes: Vec<Take>,
    /// Plugins that are the same in another file now.
    pub moved: BTreeMap<String, String>,
    /// What is to be said of plugins that stay, by their names.
    pub notices: BTreeMap<String, String>,
    /// What is wrong, by file.
    pub problems: BTreeMap<String, String>,
}

impl Decision {
    /// True where there is something to do.
    pub fn changes(&self) -> bool {
        !(self.gone.is_empty() && self.takes.is_empty() && self.moved.is_empty())
    }
}

/// Decides. `tunings`: those that stand, with what is decided about them now. `used`: there are resources of a plugin's
/// types.
pub(crate) fn decide(
    standing: &BTreeMap<String, Standing>,
    offers: &BTreeMap<String, Offer>,
    tunings: &BTreeMap<String, Offer>,
    used: impl Fn(&Plugin) -> bool,
) -> Decision {
    let mut decision = Decision::default();
    for (file, offer) in offers {
        if let Offer::Bad(why) = offer {
            decision.problems.insert(file.clone(), why.clone());
        }
    }
    let mut taken = BTreeSet::new();
    let mut successors = Vec::new();
    for (name, stands) in standing {
        match successor(name, stands, offers, standing) {
            Some((file, plugin)) => {
                taken.insert(file);
                if file != stands.file {
                    decision.moved.insert(name.clone(), file.to_owned());
                }
                if !plugin.same_as(&stands.plugin) {
                    successors.push((name, file, plugin));
                }
            }
            None => {
                stays_or_goes(name, stands, offers.get(&stands.file), &used, &mut decision);
                match tunings.get(name).filter(|_| !decision.gone.contains(name)) {
                    Some(Offer::Good(tuned)) if !tuned.same_as(&stands.plugin) => {
                        successors.push((name, stands.file.as_str(), tuned));
                    }
                    Some(Offer::Bad(why)) => {
                        let notice = decision.notices.entry(name.clone()).or_default();
                        notice.push_str(&format!("; what is decided about it now is refused: {why}"));
                    }
                    _ => {}
                }
            }
        }
    }
    let mut order: Vec<_> =
        successors.into_iter().map(|(name, file, plugin)| (Some(name), file, plugin)).collect();
    order.extend(offers.iter().filter_map(|(file, offer)| match offer {
        Offer::Good(plugin) if !taken.contains(file.as_str()) => Some((None, file.as_str(), plugin)),
        _ => None,
    }));
    for (replaces, file, plugin) in order {
        take(standing, replaces, file, plugin, &mut decision);
    }
    decision
}

/// Who takes the place of a plugin: where there are several of its name, rather the one in its own file, then the very
/// same in another.
fn successor<'a>(
    name: &str,
    stands: &Standing,
    offers: &'a BTreeMap<String, Offer>,
    standing: &BTreeMap<String, Standing>,
) -> Option<(&'a str, &'a Plugin)> {
    let good = || {
        offers.iter().filter_map(|(file, offer)| match offer {
            Offer::Good(plugin) => Some((file.as_str(), plugin)),
            _ => None,
        })
    };
    let same_name = || good().filter(|(_, plugin)| plugin.descriptor().name == name);
    let own_file = || good().find(|(file, _)| *file == stands.file);
    same_name()
        .find(|(file, _)| *file == stands.file)
        .or_else(|| same_name().find(|(_, plugin)| plugin.digest() == stands.plugin.digest()))
        .or_else(|| same_name().next())
        // A plugin that was given another name, unless that is another's.
        .or_else(|| own_file().filter(|(_, plugin)| !standing.contains_key(&plugin.descriptor().name)))
}

fn stays_or_goes(
    name: &str,
    stands: &Standing,
    own: Option<&Offer>,
    used: impl Fn(&Plugin) -> bool,
    decision: &mut Decision,
) {
    let Standing { plugin, file } = stands;
    match own {
        Some(Offer::Unknown) => {}
        Some(Offer::Bad(why)) => {
            decision
                .notices
                .insert(name.to_owned(), format!("{file} is refused, and this one goes on: {why}"));
            decision.problems.insert(file.clone(), format!("{why}; {} goes on", called(plugin)));
        }
        Some(Offer::Good(_)) | None if used(plugin) => {
            let until = "goes on serving while there are resources of it. Put the file back, or delete them";
            decision
                .notices
                .insert(name.to_owned(), format!("{file} is gone from the plugin directory; it {until}"));
            let problem = format!("the file is gone; {} {until}", called(plugin));
            decision.problems.entry(file.clone()).or_insert(problem);
        }
        Some(Offer::Good(_)) | None => decision.gone.push(name.to_owned()),
    }
}

/// Takes it, unless it is in the way of another.
fn take(
    standing: &BTreeMap<String, Standing>,
    replaces: Option<&String>,
    file: &str,
    plugin: &Plugin,
    decision: &mut Decision,
) {
    let stays = |name: &&String| Some(*name) != replaces && !decision.gone.contains(name);
    let now: Vec<_> =
        standing.keys().filter(stays).filter_map(|name| Some((name, standing.get(name)?))).collect();
    let replaced = |name: &String| decision.takes.iter().find(|take| take.replaces.as_ref() == Some(name));
    let then = now.iter().map(|(name, stands)| replaced(name).map_or(&stands.plugin, |take| &take.plugin));
    let new = decision.takes.iter().filter(|take| take.replaces.is_none()).map(|take| &take.plugin);
    let conflict = |others: Vec<Plugin>| PluginSet::of(others).0.conflict(plugin);
    match conflict(then.chain(new).cloned().collect()) {
        // Where another has to make room first, that happens first.
        None if conflict(now.iter().map(|(_, stands)| stands.plugin.clone()).collect()).is_some() => {}
        None => decision.takes.push(Take {
            replaces: replaces.cloned(),
            file: file.to_owned(),
            plugin: plugin.clone(),
        }),
        Some(why) => {
            if let Some(name) = replaces {
                decision
                    .notices
                    .insert(name.clone(), format!("{file} is refused, and this one goes on: {why}"));
            }
            decision.problems.insert(file.to_owned(), why);
        }
    }
}

/// For people: which one that is.
pub(crate) fn called(plugin: &Plugin) -> String {
    let digest: String = plugin.digest().chars().take(12).collect();
    format!("{} {} (sha256:{digest}…)", plugin.descriptor().name, plugin.descriptor().version)
}
