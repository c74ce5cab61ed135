//! Checks databases against what their regions say of themselves: whether they are there, serve the type, and take
//! the spec.
//!
//! An error only where no region could ever take it as it is; a region that is not there yet, or lacks the plugin for
//! now, makes a warning: declaring for a region that is still to come is what senren is for.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use senren_api::v1::Warning;
use sqlx::PgConnection;

use super::request::{Declared, Violations};
use crate::{
    catalog::Catalog,
    effects::Schemas,
    store::heartbeats::{self, Seen},
};

/// What is known of databases that a site may declare.
pub(crate) struct Checked {
    pub warnings: Vec<Warning>,
    /// What their regions can run.
    pub schemas: Schemas,
}

/// Every region that one of them names, once.
pub(crate) fn regions<'a>(databases: &[&'a Declared]) -> Vec<&'a str> {
    let named = databases.iter().flat_map(|declared| &declared.regions).map(|region| region.as_str());
    named.collect::<BTreeSet<&str>>().into_iter().collect()
}

/// Looks at databases with the eyes of their regions; `seen` is what those say of themselves.
pub(crate) async fn check(
    connection: &mut PgConnection,
    catalog: &Catalog,
    databases: &[&Declared],
    seen: &BTreeMap<String, Seen>,
    now: DateTime<Utc>,
) -> sqlx::Result<Result<Checked, Violations>> {
    let mut findings = Findings { violations: Violations::default(), warnings: Vec::new() };
    for region in regions(databases) {
        findings.about_region(region, seen.get(region), now);
    }
    let mut schemas = Schemas::default();
    for (region, seen) in seen {
        schemas.0.insert(region.clone(), catalog.get(connection, &seen.plugins_hash).await?);
    }
    let mut all_types = None;
    for database in databases {
        let served = findings.about_type(database, seen);
        if !served && database.regions.iter().any(|region| seen.contains_key(region.as_str())) {
            if all_types.is_none() {
                all_types = Some(heartbeats::all_types(connection).await?);
            }
            findings.about_unserved_type(database, all_types.as_deref().unwrap_or_default());
        }
        check_spec(database, seen, &schemas, &mut findings.violations);
    }
    let Findings { warnings, violations } = findings;
    Ok(if violations.is_empty() { Ok(Checked { warnings, schemas }) } else { Err(violations) })
}

struct Findings {
    violations: Violations,
    warnings: Vec<Warning>,
}

impl Findings {
    fn warn(&mut self, code: &str, region: &str, name: &str, message: String) {
        self.warnings.push(Warning { code: code.into(), region: region.into(), name: name.into(), message });
    }

    fn about_region(&mut self, region: &str, seen: Option<&Seen>, now: DateTime<Utc>) {
        match seen {
            None => self.warn(
                "RegionNeverSeen",
                region,
                "",
                format!(
                    "no regional plane with id {region} has ever connected; what was applied waits for it (is the id \
                     right?)"
                ),
            ),
            Some(seen) if seen.is_silent(now) => self.warn(
                "RegionSilent",
                region,
                "",
                format!("{region} was last heard {}; what was applied waits for it", crate::status::ago(seen.at, now)),
            ),
            Some(_) => {}
        }
    }

    /// Warns where a region that is there lacks the type. True if one of them has it.
    fn about_type(&mut self, database: &Declared, seen: &BTreeMap<String, Seen>) -> bool {
        let type_name = database.type_name.as_str();
        let mut served = false;
        for region in &database.regions {
            let Some(seen) = seen.get(region.as_str()) else { continue };
            if seen.types.iter().any(|t| t == type_name) {
                served = true;
                continue;
            }
            let message = format!(
                "{region} has no plugin for type {type_name} ({}); what was applied waits for one",
                crate::status::served_types(&seen.types)
            );
            self.warn("NoPlugin", region.as_str(), &database.name, message);
        }
        served
    }

    /// A type that no region at all has is a mistake rather than a plan.
    fn about_unserved_type(&mut self, database: &Declared, all_types: &[String]) {
        let type_name = database.type_name.as_str();
        if all_types.iter().any(|known| known == type_name) {
            return;
        }
        let suggestion = senren_schema::closest(type_name, all_types.iter().map(String::as_str));
        let suggestion = suggestion.map(|close| format!(", did you mean {close}?")).unwrap_or_default();
        self.violations.add(
            format!("databases[{}].type", database.index),
            format!(
                "no region has a plugin for type {type_name:?}{suggestion} (known types: {})",
                if all_types.is_empty() { "none".to_owned() } else { all_types.join(", ") }
            ),
        );
    }
}

/// Judges the spec by the schema of each region that serves the type. Regions with the same plugins judge once.
fn check_spec(
    database: &Declared,
    seen: &BTreeMap<String, Seen>,
    schemas: &Schemas,
    violations: &mut Violations,
) {
    let mut judged = BTreeSet::new();
    let mut said = BTreeSet::new();
    for region in &database.regions {
        let Some(seen) = seen.get(region.as_str()) else { continue };
        if !judged.insert(&seen.plugins_hash) {
            continue;
        }
        let Some(schema) = schemas.of(region.as_str(), database.type_name.as_str()) else { continue };
        // Defaults first, as everybody does who will judge it after us.
        let mut spec = database.spec.clone();
        schema.apply_defaults(&mut spec);
        for violation in schema.validate(&spec) {
            let field = format!("databases[{}].spec{}", database.index, violation.path);
            if said.insert((field.clone(), violation.message.clone())) {
                violations.add(field, violation.message);
            }
        }
    }
}
