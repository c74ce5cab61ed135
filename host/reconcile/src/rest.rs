//! Rest: a step that came to nothing comes to nothing again, for as long as all that it depends on is the same.
//!
//! A plugin is pure, and so is what is made of its answer, so a region that looks at everything again and finds it as
//! it was needs to call nobody and compare nothing but versions. The exception is time, which a plugin is told: one
//! that cares says when it wants to be called, and rest ends then. It also ends by itself now and then, so that nothing
//! that we failed to think of lasts.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use senren_engine::Plugin;

use crate::cache::Group;

/// No rest is longer.
const LONGEST: SignedDuration = SignedDuration::from_hours(1);

/// What a step depended on that changed nothing.
pub(crate) struct Rest {
    plugin: Plugin,
    objects: u64,
    answers: u64,
    ends: Timestamp,
    /// The plugin wants to be called then.
    asked: bool,
}

impl Rest {
    /// After a step at `now`, with this plugin, these `objects` (as [`versions`] names them) and these `answers` (as the
    /// desk counts them). `again`: when the plugin wants to be called again.
    pub(crate) fn new(
        plugin: Plugin,
        (objects, answers): (u64, u64),
        again: Option<Duration>,
        now: Timestamp,
    ) -> Self {
        let after = |duration| now.checked_add(duration).unwrap_or(now);
        let longest = after(LONGEST);
        let asked = again.and_then(|again| SignedDuration::try_from(again).ok()).map(after);
        let asked = asked.filter(|asked| *asked < longest);
        Self { plugin, objects, answers, ends: asked.unwrap_or(longest), asked: asked.is_some() }
    }

    /// True while nothing is different.
    pub(crate) fn lasts(&self, plugin: &Plugin, (objects, answers): (u64, u64), now: Timestamp) -> bool {
        self.objects == objects && self.answers == answers && now < self.ends && self.plugin.same_as(plugin)
    }

    /// When to come back for the plugin's sake.
    pub(crate) fn again(&self, now: Timestamp) -> Option<Duration> {
        self.asked.then(|| Duration::try_from(self.ends.duration_since(now)).unwrap_or_default())
    }
}

/// Names the versions of all objects of a group, the custom resource among them.
pub(crate) fn versions(group: &Group) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (id, object) in group {
        id.hash(&mut hasher);
        object.metadata.uid.hash(&mut hasher);
        object.metadata.resource_version.hash(&mut hasher);
    }
    hasher.finish()
}
