//! What an apply changes: the difference between what a site has and what it should have. Pure.
//!
//! A resource is (region, name); its type is part of what it is, so that another type means another resource, with a
//! uid of its own. Protection is what is on record, not what the apply says: it must be cleared by an earlier one.
//!
//! What is too many at once, or loses data, is held: see [`Limits`], and `store::holds`.

mod terms;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use senren_api::{RegionId, ResourceName, TypeName};
use senren_schema::FieldChange;
use uuid::Uuid;

use crate::store::{
    holds::{Hold, HoldKind, REPLACEMENT_HELD},
    resources::{Current, Departing, Insert, Update},
};

pub(crate) use terms::{Limits, Terms, told};

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
mod tests;
