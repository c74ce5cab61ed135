//! What an apply changes: the difference between what a site has and what it should have. Pure.
//!
//! A resource is (region, name); its type is part of what it is, so that another type means another resource, with a
//! uid of its own. Protection is what is on record, not what the apply says: it must be cleared by an earlier one.
//!
//! What is too many at once, or loses data, is held: see [`Limits`], and `store::holds`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use senren_api::{RegionId, ResourceName, SiteName, TypeName};
use senren_schema::FieldChange;
use uuid::Uuid;

use crate::{
    effects::Schemas,
    store::{
        holds::{Hold, HoldKind, REPLACEMENT_HELD},
        resources::{Current, Departing, Insert, Update},
    },
};

/// One database in one region, as an apply wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Desired {
    pub region: RegionId,
    pub name: ResourceName,
    pub type_name: TypeName,
    /// Canonical JSON: equal specs are equal texts.
    pub spec: Arc<str>,
    pub deletion_protection: bool,
}

/// How many deletions of one apply are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// More than this many …
    pub count: u32,
    /// … and more than this share of what the site has. 0 in either: never too many.
    pub percent: u32,
}

impl Limits {
    /// True where so many of `all` must not go without somebody's confirmation.
    fn exceeded(self, going: usize, all: usize) -> bool {
        let (count, percent) = (self.count as usize, self.percent as usize);
        let many = going > count && going * 100 > all * percent;
        count > 0 && percent > 0 && going > 0 && (many || going == all)
    }
}

/// Under which terms a site is changed.
pub(crate) struct Terms<'a> {
    pub site: &'a SiteName,
    /// Of this apply, if it changes anything.
    pub revision: u64,
    /// Nothing is held.
    pub confirm_data_loss: bool,
    pub limits: Limits,
    pub schemas: &'a Schemas,
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

/// A resource and what happens to it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    pub region: String,
    pub name: String,
    pub type_name: String,
    pub uid: Uuid,
    pub action: Action,
    /// Of what keeps the one that it has.
    pub generation: Option<u64>,
    pub hold: Option<Hold>,
    /// What it was.
    pub before: Option<(String, Arc<str>)>,
    /// What it is to be.
    pub after: Option<Arc<str>>,
    /// Of an update: what of its spec differs.
    pub fields: Vec<FieldChange>,
    /// Data that it holds now will be lost, as far as can be known here.
    pub data_loss: bool,
}

impl Change {
    /// True where this apply asks for something that the site did not want before.
    pub(crate) fn is_news(&self, revision: u64) -> bool {
        match (self.action, &self.hold) {
            (Action::Unchanged, _) => false,
            (Action::Deleted, Some(hold)) => hold.revision == revision,
            _ => true,
        }
    }
}

/// A resource that would go although it is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Protected {
    pub region: String,
    pub name: String,
    /// Set where it would be replaced: its type, and the one it should get.
    pub replaced: Option<(String, String)>,
}

/// A field that cannot be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Forbidden {
    pub region: String,
    pub name: String,
    /// JSON Pointer into the spec.
    pub path: String,
}

/// All that an apply does to a site.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// Every resource, ordered by (region, name).
    pub changes: Vec<Change>,
    pub inserts: Vec<Insert>,
    pub updates: Vec<Update>,
    pub removals: Vec<Uuid>,
    /// Regions whose content changes.
    pub regions: BTreeSet<String>,
    /// Names under which something else is declared than before.
    pub renamed: BTreeSet<String>,
    pub protected: Vec<Protected>,
    pub forbidden: Vec<Forbidden>,
}

impl Plan {
    /// Compares; `uid` gives the new resources theirs.
    pub(crate) fn new(
        desired: &[Desired],
        current: Vec<Current>,
        terms: &Terms<'_>,
        uid: impl Fn() -> Uuid,
    ) -> Self {
        let mut plan = Self::default();
        // Where a region was never heard of there is nothing to lose.
        let all = current.iter().filter(|have| have.region_seen).count();
        let mut current: BTreeMap<(String, String), Current> =
            current.into_iter().map(|c| ((c.region.clone(), c.name.clone()), c)).collect();
        for want in desired {
            match current.remove(&(want.region.to_string(), want.name.to_string())) {
                None => plan.create(want, uid()),
                Some(have) if have.type_name != want.type_name.as_str() => {
                    plan.replace(have, want, terms, uid());
                }
                Some(have) => plan.keep(have, want, terms),
            }
        }
        plan.delete_all(current.into_values().collect(), all, terms);
        plan.changes.sort_by(|a, b| (&a.region, &a.name).cmp(&(&b.region, &b.name)));
        plan.protected.sort_by(|a, b| (&a.region, &a.name).cmp(&(&b.region, &b.name)));
        plan
    }

    /// True where the site is already as it should be.
    pub(crate) fn is_empty(&self) -> bool {
        self.inserts.is_empty() && self.updates.is_empty() && self.removals.is_empty()
    }

    fn create(&mut self, want: &Desired, uid: Uuid) {
        self.inserts.push(insert(want, uid));
        self.touch(want.region.as_str(), want.name.as_str());
        self.changes.push(Change { after: Some(want.spec.clone()), ..change(want, uid, Action::Created) });
    }

    fn replace(&mut self, have: Current, want: &Desired, terms: &Terms<'_>, uid: Uuid) {
        if have.deletion_protection {
            self.protected.push(Protected {
                region: have.region.clone(),
                name: have.name.clone(),
                replaced: Some((have.type_name.clone(), want.type_name.to_string())),
            });
        }
        self.touch(want.region.as_str(), want.name.as_str());
        self.removals.push(have.uid);
        // While a replacement is held, what runs is what it was to replace.
        let held = have.hold.as_ref().is_some_and(|hold| hold.kind == HoldKind::Replacement);
        let running = have.predecessor.clone().filter(|_| held);
        let (running, running_type) = running.unwrap_or((have.uid, have.type_name.clone()));
        let before = Some((have.type_name, have.spec));
        if running_type == want.type_name.as_str() {
            self.updates.push(Update { renewed: true, ..update(want, running) });
            let after = Some(want.spec.clone());
            self.changes.push(Change { before, after, ..change(want, running, Action::Replaced) });
            return;
        }
        let data_loss = have.region_seen;
        let hold = (data_loss && !terms.confirm_data_loss)
            .then(|| terms.hold_replacement(want, &format!("type {running_type} → {}", want.type_name)));
        let new = Insert {
            replaces: data_loss.then_some(running),
            data_loss_confirmed: terms.confirm_data_loss,
            hold: hold.clone(),
            ..insert(want, uid)
        };
        let after = Some(want.spec.clone());
        self.changes.push(Change {
            hold,
            before,
            after,
            data_loss,
            ..change(want, new.uid, Action::Replaced)
        });
        self.inserts.push(new);
    }

    fn keep(&mut self, have: Current, want: &Desired, terms: &Terms<'_>) {
        let same_spec = have.spec == want.spec;
        if same_spec && have.deletion_protection == want.deletion_protection && have.is_declared() {
            return self.leave(have, want, terms);
        }
        let fields = if same_spec { Vec::new() } else { terms.differences(&have, want) };
        // Where the region keeps something else than what was declared, it alone knows what the change means.
        let taken = !matches!(have.reason.as_str(), REPLACEMENT_HELD | "ForbiddenChange");
        let effect = |effect| fields.iter().find(|field| taken && field.effect == effect);
        if let Some(field) = effect("forbidden") {
            let path = field.path.clone();
            self.forbidden.push(Forbidden { region: have.region.clone(), name: have.name.clone(), path });
        }
        let recreated = effect("recreate").filter(|_| have.region_seen);
        let hold = match recreated.filter(|_| !terms.confirm_data_loss) {
            Some(field) => Some(terms.hold_replacement(want, &told(field))),
            // What was held before still is.
            None => have
                .hold
                .filter(|hold| same_spec && !terms.confirm_data_loss && hold.kind == HoldKind::Replacement),
        };
        let data_loss = recreated.is_some();
        self.touch(want.region.as_str(), want.name.as_str());
        self.updates.push(Update {
            data_loss_confirmed: terms.confirm_data_loss || same_spec && have.data_loss_confirmed,
            hold: hold.clone(),
            renewed: true,
            ..update(want, have.uid)
        });
        let before = Some((have.type_name, have.spec));
        let after = Some(want.spec.clone());
        self.changes.push(Change {
            hold,
            before,
            after,
            fields,
            data_loss,
            ..change(want, have.uid, Action::Updated)
        });
    }

    /// It is as it should be, except that what is held of it may now be confirmed.
    fn leave(&mut self, have: Current, want: &Desired, terms: &Terms<'_>) {
        let confirmed = terms.confirm_data_loss && have.hold.is_some();
        if confirmed {
            self.confirm(&have);
        }
        self.changes.push(Change {
            generation: Some(have.generation),
            data_loss: confirmed,
            hold: have.hold.filter(|_| !confirmed),
            ..change(want, have.uid, if confirmed { Action::Updated } else { Action::Unchanged })
        });
    }

    /// Lets the region lose what it holds.
    fn confirm(&mut self, have: &Current) {
        self.regions.insert(have.region.clone());
        self.updates.push(Update {
            uid: have.uid,
            spec: have.spec.clone(),
            deletion_protection: have.deletion_protection,
            data_loss_confirmed: true,
            hold: None,
            renewed: false,
        });
    }

    /// `all`: how many the site has.
    fn delete_all(&mut self, unwanted: Vec<Current>, all: usize, terms: &Terms<'_>) {
        let going = unwanted.iter().filter(|have| have.region_seen).count();
        let held = !terms.confirm_data_loss && terms.limits.exceeded(going, all);
        for have in unwanted {
            if have.deletion_protection && have.is_declared() {
                let (region, name) = (have.region.clone(), have.name.clone());
                self.protected.push(Protected { region, name, replaced: None });
            }
            match have.expected_hold.clone().filter(|hold| hold.kind == HoldKind::Deletion) {
                Some(hold) if !terms.confirm_data_loss => self.hold(have, hold),
                None if held && have.region_seen => {
                    let hold = terms.hold_deletion(&have, going, all);
                    self.renamed.insert(have.name.clone());
                    self.updates.push(Update {
                        uid: have.uid,
                        spec: have.spec.clone(),
                        deletion_protection: have.deletion_protection,
                        data_loss_confirmed: have.data_loss_confirmed,
                        hold: Some(hold.clone()),
                        renewed: false,
                    });
                    self.hold(have, hold);
                }
                _ => self.delete(have),
            }
        }
    }

    fn hold(&mut self, have: Current, hold: Hold) {
        let generation = Some(have.generation);
        self.changes.push(Change { hold: Some(hold), generation, ..deletion(have) });
    }

    fn delete(&mut self, have: Current) {
        self.removals.push(have.uid);
        self.touch(&have.region, &have.name);
        self.changes.push(deletion(have));
    }

    fn touch(&mut self, region: &str, name: &str) {
        self.regions.insert(region.to_owned());
        self.renamed.insert(name.to_owned());
    }

    /// What happens once what is held of `held` is confirmed.
    pub(crate) fn confirmed(held: Vec<Current>) -> Self {
        let mut plan = Self::default();
        for have in held {
            if have.is_declared() {
                plan.confirm(&have);
                let action = if have.predecessor.is_some() { Action::Replaced } else { Action::Updated };
                let generation = Some(have.generation);
                plan.changes.push(Change { action, generation, data_loss: true, ..deletion(have) });
            } else {
                plan.delete(have);
            }
        }
        plan.changes.sort_by(|a, b| (&a.region, &a.name).cmp(&(&b.region, &b.name)));
        // What is declared stays as it is.
        plan.renamed.clear();
        plan
    }

    /// Nobody waits for `departing` any more.
    pub(crate) fn forgotten(departing: Vec<Departing>) -> Self {
        let change = |gone: Departing| Change {
            region: gone.region,
            name: gone.name,
            type_name: gone.type_name,
            uid: gone.uid,
            action: Action::Deleted,
            generation: None,
            hold: None,
            before: None,
            after: None,
            fields: Vec::new(),
            data_loss: true,
        };
        Self { changes: departing.into_iter().map(change).collect(), ..Self::default() }
    }
}

impl Terms<'_> {
    fn differences(&self, have: &Current, want: &Desired) -> Vec<FieldChange> {
        self.schemas.differences(&have.region, &have.type_name, &have.spec, &want.spec)
    }

    fn hold_replacement(&self, want: &Desired, what: &str) -> Hold {
        let message = format!(
            "{what}: it would be deleted and made anew, empty; it stays as it is until that is confirmed: {}",
            self.command(want.name.as_str(), want.region.as_str())
        );
        Hold { kind: HoldKind::Replacement, message, revision: self.revision }
    }

    fn hold_deletion(&self, have: &Current, going: usize, all: usize) -> Hold {
        let share = match (going, all) {
            (1, 1) => "the only database".to_owned(),
            (going, all) if going == all => format!("all {all} databases"),
            (going, all) => format!("{going} of {all} databases"),
        };
        let message = format!(
            "{share} of site {} would be deleted at once, with their data; it stays until that is confirmed: {}, or \
             until an apply names it again",
            self.site,
            self.command(&have.name, &have.region)
        );
        Hold { kind: HoldKind::Deletion, message, revision: self.revision }
    }

    fn command(&self, name: &str, region: &str) -> String {
        let site =
            if *self.site == SiteName::default() { String::new() } else { format!(" --site {}", self.site) };
        format!("senren confirm {name} --region {region}{site}")
    }
}

/// `memory_mb 64 → 128`.
pub(crate) fn told(field: &FieldChange) -> String {
    let value = |value: &Option<serde_json::Value>| match value {
        None => "unset".to_owned(),
        Some(value) => shortened(&value.to_string()),
    };
    let path = field.path.trim_start_matches('/').replace('/', ".");
    format!("{path} {} → {}", value(&field.before), value(&field.after))
}

fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    text.chars().take(MOST - 1).chain(['…']).collect()
}

fn change(want: &Desired, uid: Uuid, action: Action) -> Change {
    Change {
        region: want.region.to_string(),
        name: want.name.to_string(),
        type_name: want.type_name.to_string(),
        uid,
        action,
        generation: None,
        hold: None,
        before: None,
        after: None,
        fields: Vec::new(),
        data_loss: false,
    }
}

fn deletion(have: Current) -> Change {
    Change {
        region: have.region,
        name: have.name,
        type_name: have.type_name.clone(),
        uid: have.uid,
        action: Action::Deleted,
        generation: None,
        hold: None,
        before: Some((have.type_name, have.spec)),
        after: None,
        fields: Vec::new(),
        data_loss: have.region_seen,
    }
}

fn insert(want: &Desired, uid: Uuid) -> Insert {
    Insert {
        uid,
        region: want.region.to_string(),
        name: want.name.to_string(),
        type_name: want.type_name.to_string(),
        spec: want.spec.clone(),
        deletion_protection: want.deletion_protection,
        data_loss_confirmed: false,
        replaces: None,
        hold: None,
    }
}

fn update(want: &Desired, uid: Uuid) -> Update {
    Update {
        uid,
        spec: want.spec.clone(),
        deletion_protection: want.deletion_protection,
        data_loss_confirmed: false,
        hold: None,
        renewed: false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use senren_api::v1::PluginInfo;

    use super::*;
    use crate::catalog::Plugins;

    const HAD: Uuid = Uuid::from_u128(1);
    const NEW: Uuid = Uuid::from_u128(2);
    const OLDER: Uuid = Uuid::from_u128(3);

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
            data_loss_confirmed: false,
            expected_hold: None,
            hold: None,
            reason: String::new(),
            predecessor: None,
            region_seen: true,
        }
    }

    fn held(kind: HoldKind) -> Option<Hold> {
        Some(Hold { kind, message: "too many".into(), revision: 7 })
    }

    fn plan(wanted: &[Desired], current: Vec<Current>, confirm_data_loss: bool) -> Plan {
        let schema = r#"{"type": "object", "properties": {
            "a": {"type": "integer"},
            "b": {"type": "integer", "default": 0, "x-senren-effect": "recreate"},
            "c": {"type": "integer", "x-senren-effect": "forbidden"}}}"#;
        let info =
            PluginInfo { r#type: "redis".into(), spec_schema_json: schema.into(), ..Default::default() };
        let plugins = Arc::new(Plugins::of(vec![info]));
        let terms = Terms {
            site: &SiteName::default(),
            revision: 8,
            confirm_data_loss,
            limits: Limits { count: 3, percent: 30 },
            schemas: &Schemas([("aws:r".to_owned(), plugins)].into()),
        };
        Plan::new(wanted, current, &terms, || NEW)
    }

    /// Has `db` in aws:r; expected is `action uid` per resource, and how many are protected.
    fn check(wanted: &[Desired], protection: bool, expected: &[(&str, Action, Uuid)], protected: usize) {
        let plan = plan(wanted, vec![have("aws:r", "db", protection)], true);
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
        let both = plan(&wanted, vec![have("aws:r", "db", false)], false);
        assert_eq!(both.regions.into_iter().collect::<Vec<_>>(), ["gcp:r"]);
        assert_eq!(both.renamed.into_iter().collect::<Vec<_>>(), ["db"], "it is declared for another region");
        assert!(plan(&wanted[..1], vec![have("aws:r", "db", false)], false).is_empty());
        let held = plan(&[], vec![have("aws:r", "db", false)], false);
        assert!(held.regions.is_empty() && !held.is_empty(), "what is held is published as it was");
    }

    /// Of `all` databases in one region, an apply leaves out `going`; `held` of them stay.
    fn check_deletions(all: usize, going: usize, held: usize) {
        let name = |index: usize| format!("db-{index}");
        let current =
            (0..all).map(|i| Current { uid: Uuid::from_u128(i as u128), ..have("aws:r", &name(i), false) });
        let wanted: Vec<Desired> = (going..all).map(|i| want("aws:r", &name(i), "redis", "{}")).collect();
        let plan = plan(&wanted, current.collect(), false);
        let found = plan.changes.iter().filter(|change| change.hold.is_some()).count();
        assert_eq!(found, held, "{going} of {all}");
        assert_eq!(plan.removals.len(), going - held);
    }

    #[test]
    fn too_many_deletions_at_once_are_held() {
        check_deletions(10, 3, 0);
        check_deletions(13, 4, 4);
        check_deletions(14, 4, 0);
        check_deletions(1000, 300, 0);
        check_deletions(1000, 301, 301);
        check_deletions(3, 2, 0);
        check_deletions(3, 3, 3);
        check_deletions(1, 1, 1);
        check_deletions(0, 0, 0);
    }

    #[test]
    fn a_limit_of_0_is_none() {
        for (count, percent) in [(0, 30), (3, 0)] {
            assert!(!Limits { count, percent }.exceeded(10, 10));
        }
    }

    /// What happens to a database that is as `change` makes it, if the site wants `wanted`: what is held, whether data
    /// are lost, and whether anything changes.
    fn check_hold(
        change: impl FnOnce(&mut Current),
        wanted: &[Desired],
        confirm: bool,
        expected: (Option<HoldKind>, bool, bool),
    ) {
        let mut current = have("aws:r", "db", false);
        change(&mut current);
        let plan = plan(wanted, vec![current], confirm);
        let only = &plan.changes[0];
        let found = (only.hold.as_ref().map(|hold| hold.kind), only.data_loss, !plan.is_empty());
        assert_eq!(found, expected, "{only:#?}");
    }

    #[test]
    fn what_loses_data_is_held_until_it_is_confirmed() {
        use HoldKind::{Deletion, Replacement};
        let same = [want("aws:r", "db", "redis", "{}")];
        let made_anew = [want("aws:r", "db", "redis", "{\"b\":1}")];
        let default = [want("aws:r", "db", "redis", "{\"b\":0}")];
        let retyped = [want("aws:r", "db", "other", "{}")];
        let unseen = |have: &mut Current| have.region_seen = false;
        check_hold(|_| {}, &made_anew, false, (Some(Replacement), true, true));
        check_hold(|_| {}, &made_anew, true, (None, true, true));
        check_hold(unseen, &made_anew, false, (None, false, true));
        check_hold(|_| {}, &default, false, (None, false, true));
        check_hold(|_| {}, &retyped, false, (Some(Replacement), true, true));
        check_hold(|_| {}, &retyped, true, (None, true, true));
        check_hold(unseen, &retyped, false, (None, false, true));
        check_hold(unseen, &[], false, (None, false, true));

        let going = |have: &mut Current| (have.hold, have.expected_hold) = (held(Deletion), held(Deletion));
        check_hold(going, &[], false, (Some(Deletion), true, false));
        check_hold(going, &[], true, (None, true, true));
        check_hold(going, &same, false, (None, false, true));

        let kept = |have: &mut Current| have.hold = held(Replacement);
        check_hold(kept, &same, false, (Some(Replacement), false, false));
        check_hold(kept, &same, true, (None, true, true));
        let kept = |have: &mut Current| {
            have.hold = held(Replacement);
            have.reason = REPLACEMENT_HELD.into();
        };
        check_hold(kept, &made_anew, false, (None, false, true));
    }

    #[test]
    fn a_replacement_that_is_held_can_be_taken_back() {
        let current = Current {
            type_name: "other".into(),
            hold: held(HoldKind::Replacement),
            predecessor: Some((OLDER, "redis".into())),
            ..have("aws:r", "db", false)
        };
        let back = plan(&[want("aws:r", "db", "redis", "{}")], vec![current.clone()], false);
        assert_eq!((back.updates[0].uid, back.removals[0], back.inserts.len()), (OLDER, HAD, 0));
        assert!(!back.changes[0].data_loss && back.changes[0].hold.is_none());
        let further = plan(&[want("aws:r", "db", "third", "{}")], vec![current.clone()], false);
        assert_eq!(further.inserts[0].replaces, Some(OLDER), "what runs is what would be lost");
        let running = Current { hold: None, ..current };
        let replaced = plan(&[want("aws:r", "db", "redis", "{}")], vec![running], false);
        assert_eq!(replaced.inserts[0].replaces, Some(HAD));
    }

    #[test]
    fn what_cannot_be_changed_is_found_unless_the_region_kept_something_else() {
        let wanted = [want("aws:r", "db", "redis", "{\"c\":1}")];
        let found = plan(&wanted, vec![have("aws:r", "db", false)], false).forbidden;
        assert_eq!(found.iter().map(|forbidden| forbidden.path.as_str()).collect::<Vec<_>>(), ["/c"]);
        let kept = Current { reason: "ForbiddenChange".into(), ..have("aws:r", "db", false) };
        assert!(plan(&wanted, vec![kept], false).forbidden.is_empty());
    }
}
