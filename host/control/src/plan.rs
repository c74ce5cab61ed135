//! What an apply changes: the difference between what a site has and what it should have. Pure.
//!
//! A resource is (region, name); its type is part of what it is, so that another type means another resource, with a
//! uid of its own. Protection is what is on record, not what the apply says: it must be cleared by an earlier one.

use std::collections::{BTreeMap, BTreeSet};

use senren_api::{RegionId, ResourceName, TypeName};
use uuid::Uuid;

use crate::store::resources::{Current, Insert, Update};

/// One database in one region, as an apply wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Desired {
    pub region: RegionId,
    pub name: ResourceName,
    pub type_name: TypeName,
    /// Canonical JSON: equal specs are equal texts.
    pub spec: String,
    pub deletion_protection: bool,
}

/// What happens to one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Unchanged,
    Created,
    Updated,
    Deleted,
    Replaced,
}

impl Action {
    /// For records and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
            Self::Replaced => "replaced",
        }
    }
}

/// A resource and what happens to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub region: String,
    pub name: String,
    pub type_name: String,
    pub uid: Uuid,
    pub action: Action,
    /// Before the apply, for what stays unchanged.
    pub generation: Option<u64>,
}

/// A resource that would go although it is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Protected {
    pub region: String,
    pub name: String,
    /// Set where it would be replaced: its type, and the one it should get.
    pub replaced: Option<(String, String)>,
}

/// All that an apply does to a site.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Every resource, ordered by (region, name).
    pub changes: Vec<Change>,
    pub inserts: Vec<Insert>,
    pub updates: Vec<Update>,
    /// uid and region.
    pub removals: Vec<(Uuid, String)>,
    pub protected: Vec<Protected>,
}

impl Plan {
    /// Compares; `uid` gives the new resources theirs.
    pub(crate) fn new(desired: &[Desired], current: Vec<Current>, uid: impl Fn() -> Uuid) -> Self {
        let mut plan = Self::default();
        let mut current: BTreeMap<(String, String), Current> =
            current.into_iter().map(|c| ((c.region.clone(), c.name.clone()), c)).collect();
        for want in desired {
            match current.remove(&(want.region.to_string(), want.name.to_string())) {
                None => plan.create(want, uid(), Action::Created),
                Some(have) if have.type_name != want.type_name.as_str() => plan.replace(have, want, uid()),
                Some(have) => plan.keep(have, want),
            }
        }
        for have in current.into_values() {
            plan.delete(have);
        }
        plan.changes.sort_by(|a, b| (&a.region, &a.name).cmp(&(&b.region, &b.name)));
        plan.protected.sort_by(|a, b| (&a.region, &a.name).cmp(&(&b.region, &b.name)));
        plan
    }

    /// True where the site is already as it should be.
    pub(crate) fn is_empty(&self) -> bool {
        self.inserts.is_empty() && self.updates.is_empty() && self.removals.is_empty()
    }

    /// The regions whose content changes.
    pub(crate) fn regions(&self) -> BTreeSet<&str> {
        let changed = self.changes.iter().filter(|change| change.action != Action::Unchanged);
        changed.map(|change| change.region.as_str()).collect()
    }

    fn create(&mut self, want: &Desired, uid: Uuid, action: Action) {
        self.changes.push(Change {
            region: want.region.to_string(),
            name: want.name.to_string(),
            type_name: want.type_name.to_string(),
            uid,
            action,
            generation: None,
        });
        self.inserts.push(Insert {
            uid,
            region: want.region.to_string(),
            name: want.name.to_string(),
            type_name: want.type_name.to_string(),
            spec: want.spec.clone(),
            deletion_protection: want.deletion_protection,
        });
    }

    fn replace(&mut self, have: Current, want: &Desired, uid: Uuid) {
        if have.deletion_protection {
            self.protected.push(Protected {
                region: have.region.clone(),
                name: have.name.clone(),
                replaced: Some((have.type_name.clone(), want.type_name.to_string())),
            });
        }
        self.removals.push((have.uid, have.region));
        self.create(want, uid, Action::Replaced);
    }

    fn keep(&mut self, have: Current, want: &Desired) {
        let same = have.spec == want.spec && have.deletion_protection == want.deletion_protection;
        if !same {
            self.updates.push(Update {
                uid: have.uid,
                spec: want.spec.clone(),
                deletion_protection: want.deletion_protection,
            });
        }
        self.changes.push(Change {
            region: have.region,
            name: have.name,
            type_name: have.type_name,
            uid: have.uid,
            action: if same { Action::Unchanged } else { Action::Updated },
            generation: same.then_some(have.generation),
        });
    }

    fn delete(&mut self, have: Current) {
        if have.deletion_protection {
            let protected =
                Protected { region: have.region.clone(), name: have.name.clone(), replaced: None };
            self.protected.push(protected);
        }
        self.removals.push((have.uid, have.region.clone()));
        self.changes.push(Change {
            region: have.region,
            name: have.name,
            type_name: have.type_name,
            uid: have.uid,
            action: Action::Deleted,
            generation: None,
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const HAD: Uuid = Uuid::from_u128(1);
    const NEW: Uuid = Uuid::from_u128(2);

    fn want(region: &str, name: &str, type_name: &str, spec: &str) -> Desired {
        Desired {
            region: region.parse().unwrap(),
            name: name.parse().unwrap(),
            type_name: type_name.parse().unwrap(),
            spec: spec.into(),
            deletion_protection: false,
        }
    }

    fn have(region: &str, name: &str, deletion_protection: bool) -> Current {
        Current {
            uid: HAD,
            region: region.into(),
            name: name.into(),
            type_name: "redis".into(),
            spec: "{}".into(),
            deletion_protection,
            generation: 7,
        }
    }

    /// Has `db` in aws:r; expected is `action uid` per resource, and how many are protected.
    fn check(wanted: &[Desired], protection: bool, expected: &[(&str, Action, Uuid)], protected: usize) {
        let plan = Plan::new(wanted, vec![have("aws:r", "db", protection)], || NEW);
        let changes: Vec<_> = plan.changes.iter().map(|c| (c.region.as_str(), c.action, c.uid)).collect();
        assert_eq!(changes, expected);
        assert_eq!(plan.protected.len(), protected);
    }

    #[test]
    fn every_kind_of_change_is_found() {
        check(&[want("aws:r", "db", "redis", "{}")], false, &[("aws:r", Action::Unchanged, HAD)], 0);
        check(&[want("aws:r", "db", "redis", "{\"a\":1}")], false, &[("aws:r", Action::Updated, HAD)], 0);
        check(&[want("aws:r", "db", "other", "{}")], false, &[("aws:r", Action::Replaced, NEW)], 0);
        check(&[], false, &[("aws:r", Action::Deleted, HAD)], 0);
        check(
            &[want("gcp:r", "db", "redis", "{}"), want("aws:r", "db", "redis", "{}")],
            false,
            &[("aws:r", Action::Unchanged, HAD), ("gcp:r", Action::Created, NEW)],
            0,
        );
    }

    #[test]
    fn what_is_protected_may_change_but_not_go() {
        check(&[want("aws:r", "db", "redis", "{\"a\":1}")], true, &[("aws:r", Action::Updated, HAD)], 0);
        check(&[want("aws:r", "db", "other", "{}")], true, &[("aws:r", Action::Replaced, NEW)], 1);
        check(&[], true, &[("aws:r", Action::Deleted, HAD)], 1);
        let moved = [want("gcp:r", "db", "redis", "{}")];
        let changes = [("aws:r", Action::Deleted, HAD), ("gcp:r", Action::Created, NEW)];
        check(&moved, true, &changes, 1);
    }

    #[test]
    fn only_regions_whose_content_changes_are_touched() {
        let wanted = [want("aws:r", "db", "redis", "{}"), want("gcp:r", "db", "redis", "{}")];
        let plan = Plan::new(&wanted, vec![have("aws:r", "db", false)], || NEW);
        assert_eq!(plan.regions().into_iter().collect::<Vec<_>>(), ["gcp:r"]);
        assert!(!plan.is_empty());
        assert!(Plan::new(&wanted[..1], vec![have("aws:r", "db", false)], || NEW).is_empty());
    }
}
