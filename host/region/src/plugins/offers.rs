//! What the files of the plugin directory offer, after what the operator decided about them.

use std::collections::{BTreeMap, BTreeSet};

use senren_engine::Plugin;
use senren_reconcile::ApiKind;

use super::{
    RETRY, Shelf,
    decide::{Offer, Standing, called},
    directory::{self, Content},
    manifest,
};

impl Shelf {
    /// What each file offers.
    pub(super) fn offers(&self) -> BTreeMap<String, Offer> {
        let offer = |file: &String, found: &directory::File| match self.offer(file, &found.content) {
            // Whoever writes it may be about to make it right.
            Offer::Bad(_) if found.young => Offer::Unknown,
            offer => offer,
        };
        self.listing.files.iter().map(|(file, found)| (file.clone(), offer(file, found))).collect()
    }

    fn offer(&self, file: &str, content: &Content) -> Offer {
        let digest = match content {
            Content::Digest(digest) => digest,
            Content::Unusable(why) => return Offer::Bad(why.clone()),
        };
        if let Err(why) = self.pinned(file, digest) {
            return Offer::Bad(why);
        }
        let plugin = match self.loaded.get(digest) {
            None => return Offer::Unknown,
            Some(Err(why)) => return Offer::Bad(why.clone()),
            Some(Ok(plugin)) => self.tuned(plugin),
        };
        if let Some(why) = self.misnamed(file, &plugin).or_else(|| self.forbidden(&plugin)) {
            return Offer::Bad(why);
        }
        match self.refusal(file, &plugin) {
            Some(why) => Offer::Bad(why.to_owned()),
            None => Offer::Good(plugin),
        }
    }

    /// Why it was refused a while ago.
    fn refusal(&self, file: &str, plugin: &Plugin) -> Option<&str> {
        let refused = self.refused.get(file)?;
        (refused.plugin.same_as(plugin) && refused.at.elapsed() < RETRY).then_some(refused.why.as_str())
    }

    /// Each of those that stand, with what is decided about it now: that holds wherever its file may be.
    pub(super) fn tunings(&self) -> BTreeMap<String, Offer> {
        let tuning = |standing: &Standing| {
            let plugin = self.tuned(&standing.plugin);
            match self.refusal(&standing.file, &plugin) {
                Some(why) => Offer::Bad(why.to_owned()),
                None => Offer::Good(plugin),
            }
        };
        self.standing.iter().map(|(name, standing)| (name.clone(), tuning(standing))).collect()
    }

    /// Whether the operator allows this content of that file.
    pub(super) fn pinned(&self, file: &str, digest: &str) -> Result<(), String> {
        let Some(manifest) = &self.manifest else {
            return Err(format!(
                "{} can't be read, so that it isn't known whether this is allowed",
                manifest::FILE
            ));
        };
        match manifest.digest_of_file(file)? {
            Some(pinned) if !pinned.is(digest) => Err(format!(
                "its digest is sha256:{digest}, but {} says {pinned}: the file is not the one that was meant, or the \
                 digest there has to follow",
                manifest::FILE
            )),
            _ => Ok(()),
        }
    }

    /// What is decided about a plugin is decided by its name, so nothing may go by another's.
    fn misnamed(&self, file: &str, plugin: &Plugin) -> Option<String> {
        let name = &plugin.descriptor().name;
        let manifest = self.manifest.as_ref()?;
        if let Some((expected, _)) = manifest.of_file(file)
            && expected != name
        {
            return Some(format!(
                "it is the plugin {name}, but {} says that {file} is {expected}",
                manifest::FILE
            ));
        }
        let pinned = manifest.plugins.get(name)?.digest.as_ref()?;
        (!pinned.is(plugin.digest())).then(|| {
            format!(
                "it is the plugin {name} with digest sha256:{}, but {} says {pinned}",
                plugin.digest(),
                manifest::FILE
            )
        })
    }

    /// Why a plugin that serves would not be loaded now. It goes on: a pin says which file may come, and until that has
    /// come, and is good, the last one is better than none.
    pub(super) fn unpinned(&self, plugin: &Plugin) -> Option<String> {
        let manifest = self.manifest.as_ref()?;
        let entry = manifest.plugins.get(&plugin.descriptor().name);
        let told = match entry.and_then(|entry| entry.digest.as_ref()) {
            Some(pinned) if pinned.is(plugin.digest()) => return None,
            Some(pinned) => format!("{} says {pinned}", manifest::FILE),
            None if manifest.require_digests => {
                format!("{} requires digests, and has none for it", manifest::FILE)
            }
            None => return None,
        };
        Some(format!(
            "{} serves, but {told}: it goes on until a file that is allowed takes its place. To end it, let its kinds \
             not be allowed",
            called(plugin)
        ))
    }

    /// A plugin that owns kinds that the operator doesn't allow could never bring about what it wants, and must not.
    pub(super) fn forbidden(&self, plugin: &Plugin) -> Option<String> {
        let Some(kinds) = owned(plugin, |kind| !self.allowed_kinds.contains(kind)) else {
            return self.narrowed(plugin);
        };
        Some(format!(
            "it makes objects of kinds that this region does not allow: {kinds}; add them to ALLOWED_KINDS and to the \
             plane's ClusterRole, or remove the plugin"
        ))
    }

    fn narrowed(&self, plugin: &Plugin) -> Option<String> {
        let manifest = self.manifest.as_ref()?;
        let kinds = owned(plugin, |kind| !manifest.allows(&plugin.descriptor().name, kind))?;
        Some(format!("it makes objects of kinds that {} does not allow it: {kinds}", manifest::FILE))
    }

    /// With what the operator decided about it.
    pub(super) fn tuned(&self, plugin: &Plugin) -> Plugin {
        let name = &plugin.descriptor().name;
        let manifest = self.manifest.clone().unwrap_or_default();
        let settings = manifest.settings(name, self.plugin_config.get(name));
        plugin.tuned(manifest.limits(name, self.engine.limits()), settings.as_ref())
    }
}

/// Those of a plugin's own kinds, if there are any.
fn owned(plugin: &Plugin, which: impl Fn(&ApiKind) -> bool) -> Option<String> {
    let owned = plugin.types().iter().flat_map(|ty| &ty.wit.owns).map(ApiKind::from);
    let kinds: BTreeSet<String> = owned.filter(which).map(|kind| kind.to_string()).collect();
    (!kinds.is_empty()).then(|| kinds.into_iter().collect::<Vec<_>>().join(", "))
}
