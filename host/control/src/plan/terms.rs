//! Under which terms a site is changed: what is too many at once, what is held, and how that is told.

use senren_api::SiteName;
use senren_schema::FieldChange;

use super::Desired;
use crate::{
    effects::Schemas,
    store::{
        holds::{Hold, HoldKind},
        resources::Current,
    },
};

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
    pub(super) fn exceeded(self, going: usize, all: usize) -> bool {
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

impl Terms<'_> {
    pub(super) fn differences(&self, have: &Current, want: &Desired) -> Vec<FieldChange> {
        self.schemas.differences(&have.region, &have.type_name, &have.spec, &want.spec)
    }

    pub(super) fn hold_replacement(&self, want: &Desired, what: &str) -> Hold {
        let message = format!(
            "{what}: it would be deleted and made anew, empty; it stays as it is until that is confirmed: {}",
            self.command(want.name.as_str(), want.region.as_str())
        );
        Hold { kind: HoldKind::Replacement, message, revision: self.revision }
    }

    pub(super) fn hold_deletion(&self, have: &Current, going: usize, all: usize) -> Hold {
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
