//! What the region should have: the latest state of every hash slot, and which version it came with.
//!
//! A state counts for the slots that it covers, and in each of them only if no higher version was seen there. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use senren_api::{
    ResourceKey, TypeName,
    state::{covers, slot, slots},
    v1::{DesiredResource, RegionalState, SlotRange},
};
use serde::{Deserialize, Serialize};

use crate::memory::Known;

/// One resource that the region should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Desired {
    pub key: ResourceKey,
    pub type_name: String,
    pub uid: String,
    pub generation: u64,
    pub spec_json: String,
    pub protected: bool,
    /// It may replace what runs under its name, and lose the data of that.
    pub data_loss_confirmed: bool,
    /// uid of the resource of another type that it replaces; empty: none.
    pub replaces_uid: String,
}

/// The version and content hash that were last taken in for a range of slots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Mark {
    pub first: u32,
    pub last: u32,
    pub version: u64,
    pub content_hash: String,
}

/// The marks of all ranges; none covers another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Marks(pub Vec<Mark>);

impl Marks {
    /// The highest version that was seen for a slot; 0: none.
    pub fn version_of(&self, slot: u32) -> u64 {
        let covering = self.0.iter().filter(|mark| (mark.first..=mark.last).contains(&slot));
        covering.map(|mark| mark.version).max().unwrap_or_default()
    }

    /// Notes what was seen. What it covers and surpasses is forgotten.
    pub fn note(&mut self, range: SlotRange, version: u64, content_hash: &str) {
        self.0.retain(|mark| mark.first < range.first || mark.last > range.last || mark.version > version);
        let content_hash = content_hash.to_owned();
        self.0.push(Mark { first: range.first, last: range.last, version, content_hash });
        self.0.sort_by_key(|mark| (mark.first, mark.last));
    }

    /// The highest version, with its content hash; 0 and empty: none.
    pub fn latest(&self) -> (u64, &str) {
        let latest = self.0.iter().max_by_key(|mark| mark.version);
        latest.map_or((0, ""), |mark| (mark.version, &mark.content_hash))
    }
}

/// What a state changes.
#[derive(Debug, Default)]
pub(crate) struct Replaced {
    /// The resources that are not desired as they were, in the slots that the state decides about.
    pub changed: BTreeSet<ResourceKey>,
    /// Everything in those slots has to be looked at, too: the state is the first one there since this process started,
    /// or one that came before. Otherwise what is unchanged is as it was left, and watched.
    pub all: bool,
    /// It is the very one that came before: as long as that is still being looked at, nothing is to be done for it.
    pub again: bool,
    /// Those slots.
    pub slots: BTreeSet<u8>,
    /// What can't be used, in words.
    pub problems: Vec<String>,
}

/// Everything that the region should have.
#[derive(Debug, Default)]
pub(crate) struct DesiredSet {
    resources: BTreeMap<ResourceKey, Arc<Desired>>,
    /// Names under which something is desired that can't be understood: what is there stays as it is.
    unusable: BTreeSet<ResourceKey>,
    /// Slots whose resources are known since this process started.
    known: BTreeSet<u8>,
    /// What was seen, now or before this process started.
    pub seen: Marks,
}

impl DesiredSet {
    /// With what an earlier process has seen.
    pub fn resume(seen: Marks) -> Self {
        Self { seen, ..Self::default() }
    }

    /// Takes over a state. `None`: it is older than what was seen in every slot that it covers.
    pub fn replace(&mut self, state: &RegionalState) -> Option<Replaced> {
        let range = slots(state);
        let decides = |slot: &u32| state.version >= self.seen.version_of(*slot);
        let slots: BTreeSet<u8> =
            (range.first..=range.last).filter(decides).filter_map(|slot| u8::try_from(slot).ok()).collect();
        if slots.is_empty() {
            return None;
        }
        let in_slots = |key: &ResourceKey| holds(&slots, key);
        let reloads = slots.iter().any(|slot| self.seen.version_of((*slot).into()) == state.version);
        let known = slots.is_subset(&self.known);
        let (all, again) = (reloads || !known, reloads && known);
        let mut replaced = Replaced { all, again, slots: slots.clone(), ..Replaced::default() };
        let before: BTreeMap<_, _> = self.resources.extract_if(.., |key, _| in_slots(key)).collect();
        self.unusable.retain(|key| !in_slots(key));
        for resource in &state.resources {
            match Desired::parse(resource) {
                Err((key, problem)) => {
                    replaced.problems.push(problem);
                    self.unusable.extend(key.filter(in_slots));
                }
                Ok(desired) if !covers(&range, &resource.site, &resource.name) => {
                    replaced.problems.push(format!("{} lies outside of the slots of its state", desired.key));
                }
                Ok(desired) if in_slots(&desired.key) => {
                    self.resources.insert(desired.key.clone(), Arc::new(desired));
                }
                // Another, higher version decides about it.
                Ok(_) => {}
            }
        }
        let changed = |key: &&ResourceKey| in_slots(key) && before.get(*key) != self.resources.get(*key);
        replaced.changed = before.keys().chain(self.resources.keys()).filter(changed).cloned().collect();
        self.known.extend(&slots);
        self.seen.note(range, state.version, &state.content_hash);
        Some(replaced)
    }

    /// What should be under this name.
    pub fn get(&self, key: &ResourceKey) -> Option<Arc<Desired>> {
        self.resources.get(key).cloned()
    }

    /// Every name under which something should be.
    pub fn keys(&self) -> impl Iterator<Item = &ResourceKey> {
        self.resources.keys()
    }

    /// Every name under which something of this type should be.
    pub fn keys_of(&self, type_name: &str) -> impl Iterator<Item = &ResourceKey> {
        self.resources
            .values()
            .filter(move |desired| desired.type_name == type_name)
            .map(|desired| &desired.key)
    }

    /// `None`: it isn't known yet whether this uid is desired.
    pub fn wants(&self, known: &Known) -> Option<bool> {
        let wanted = || self.resources.get(&known.key).is_some_and(|desired| desired.uid == known.uid);
        self.knows(&known.key).then(wanted)
    }

    /// True once it is known what should be, or not be, under this name.
    pub fn knows(&self, key: &ResourceKey) -> bool {
        holds(&self.known, key) && !self.unusable.contains(key)
    }
}

impl Desired {
    /// Or what is wrong with it, and whose name it has, if that can be told.
    fn parse(resource: &DesiredResource) -> Result<Self, (Option<ResourceKey>, String)> {
        let DesiredResource {
            site,
            name,
            r#type,
            uid,
            generation,
            spec_json,
            deletion_protection,
            data_loss_confirmed,
            replaces_uid,
        } = resource;
        let refused = |problem: String| format!("resource \"{site}/{name}\" can't be taken in: {problem}");
        let nameless = |problem: String| (None, refused(problem));
        let key = ResourceKey {
            site: site.parse().map_err(|error| nameless(format!("{error}")))?,
            name: name.parse().map_err(|error| nameless(format!("{error}")))?,
        };
        let known_type = r#type.parse::<TypeName>();
        let problem = match known_type {
            Err(error) => Some(error.to_string()),
            Ok(_) => uid.is_empty().then(|| "it has no uid".to_owned()),
        };
        if let Some(problem) = problem {
            return Err((Some(key), refused(problem)));
        }
        Ok(Self {
            key,
            type_name: r#type.clone(),
            uid: uid.clone(),
            generation: *generation,
            spec_json: spec_json.clone(),
            protected: *deletion_protection,
            data_loss_confirmed: *data_loss_confirmed,
            replaces_uid: replaces_uid.clone(),
        })
    }
}

/// True where the slot of `key` is among `slots`. Mostly they are all, and then there is nothing to hash.
pub(crate) fn holds(slots: &BTreeSet<u8>, key: &ResourceKey) -> bool {
    slots.len() == 256 || slots.contains(&slot(key.site.as_str(), key.name.as_str()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn state(version: u64, slots: Option<(u32, u32)>, names: &[&str]) -> RegionalState {
        let resource = |name: &&str| DesiredResource {
            site: "default".into(),
            name: (*name).into(),
            r#type: "redis".into(),
            uid: format!("uid-{name}"),
            ..Default::default()
        };
        RegionalState {
            region: "aws:r".into(),
            version,
            slots: slots.map(|(first, last)| SlotRange { first, last }),
            resources: names.iter().map(resource).collect(),
            ..Default::default()
        }
    }

    fn names(set: &DesiredSet) -> Vec<String> {
        set.resources.keys().map(|key| key.name.to_string()).collect()
    }

    #[test]
    fn an_older_state_changes_nothing_and_an_equal_one_reloads() {
        let mut set = DesiredSet::default();
        assert!(set.replace(&state(2, None, &["a", "b"])).is_some());
        assert!(set.replace(&state(1, None, &[])).is_none());
        assert_eq!(names(&set), ["a", "b"]);
        let reloaded = set.replace(&state(2, None, &["a", "b"])).unwrap();
        assert_eq!((reloaded.all, reloaded.again, reloaded.changed.len()), (true, true, 0));
        let replaced = set.replace(&state(3, None, &["b", "c"])).unwrap();
        assert_eq!((replaced.all, replaced.changed.len()), (false, 2), "a went, c came, b stays");
        let mut resumed = DesiredSet::resume(set.seen.clone());
        let first = resumed.replace(&state(3, None, &["b"])).unwrap();
        assert_eq!(
            (first.all, first.again),
            (true, false),
            "the first one since the start is looked at whole"
        );
    }

    #[test]
    fn a_state_of_a_range_decides_about_its_slots_only() {
        assert_eq!((slot("default", "global-features"), slot("default", "a")), (52, 158));
        let mut set = DesiredSet::default();
        set.replace(&state(1, None, &["a", "global-features"]));
        set.replace(&state(3, Some((52, 52)), &[]));
        assert_eq!(names(&set), ["a"]);
        let replaced = set.replace(&state(2, None, &["global-features"])).unwrap();
        assert_eq!(names(&set), Vec::<String>::new(), "slot 52 follows version 3");
        assert!(!replaced.slots.contains(&52));
        assert_eq!(set.seen.version_of(52), 3);
        assert_eq!(set.seen.version_of(0), 2);
    }

    #[test]
    fn marks_that_are_covered_and_surpassed_are_forgotten() {
        let mut marks = Marks::default();
        marks.note(SlotRange { first: 0, last: 127 }, 1, "x");
        marks.note(SlotRange { first: 128, last: 255 }, 5, "y");
        marks.note(SlotRange { first: 0, last: 255 }, 3, "z");
        assert_eq!(marks.0.len(), 2);
        assert_eq!(marks.latest(), (5, "y"));
        assert_eq!((marks.version_of(0), marks.version_of(200)), (3, 5));
    }

    #[test]
    fn what_cannot_be_used_is_said_and_stops_nothing_else() {
        let mut bad = state(1, None, &["a", "B", "c"]);
        bad.resources[2].uid.clear();
        let mut set = DesiredSet::default();
        let problems = set.replace(&bad).unwrap().problems.join("; ");
        assert!(problems.contains("\"default/B\"") && problems.contains("has no uid"), "{problems}");
        assert_eq!(names(&set), ["a"]);
        let key = |name: &str| ResourceKey { site: Default::default(), name: name.parse().unwrap() };
        assert!(set.knows(&key("a")) && set.knows(&key("gone")));
        assert!(!set.knows(&key("c")), "what is there under its name must not be deleted");
        set.replace(&state(2, None, &["a", "c"])).unwrap();
        assert!(set.knows(&key("c")));
    }
}
