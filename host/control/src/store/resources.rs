//! What every site wants: resources, desired and departing.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use senren_api::{RegionId, SiteName, v1::ResourceReport};
use sqlx::{PgConnection, Row as _, postgres::PgRow};
use uuid::Uuid;

use super::{
    heartbeats::{self, Seen},
    holds::{self, Hold, HoldKind, Said},
    unsigned,
};

/// A resource that a site has, before an apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Current {
    pub uid: Uuid,
    pub region: String,
    pub name: String,
    pub type_name: String,
    pub spec: Arc<str>,
    pub deletion_protection: bool,
    pub generation: u64,
    /// Losing its data is confirmed, for this generation.
    pub data_loss_confirmed: bool,
    /// What the control plane holds, or expects the region to hold.
    pub expected_hold: Option<Hold>,
    /// What is held.
    pub hold: Option<Hold>,
    /// Why the region has not done what is desired, where it has spoken of this generation.
    pub reason: String,
    /// uid and type of what this one replaces by a change of type, while that is not gone.
    pub predecessor: Option<(Uuid, String)>,
    /// Its region was heard at least once. Else nothing of it can exist anywhere.
    pub region_seen: bool,
}

impl Current {
    /// False where the site no longer wants it, and it waits for the deletion to be confirmed.
    pub(crate) fn is_declared(&self) -> bool {
        self.expected_hold.as_ref().is_none_or(|hold| hold.kind != HoldKind::Deletion)
    }
}

/// A resource to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Insert {
    pub uid: Uuid,
    pub region: String,
    pub name: String,
    pub type_name: String,
    pub spec: Arc<str>,
    pub deletion_protection: bool,
    pub data_loss_confirmed: bool,
    /// uid of what runs under its name until this one does.
    pub replaces: Option<Uuid>,
    pub hold: Option<Hold>,
}

/// What a resource is to be from now on. One that was departing is desired again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Update {
    pub uid: Uuid,
    pub spec: Arc<str>,
    pub deletion_protection: bool,
    pub data_loss_confirmed: bool,
    pub hold: Option<Hold>,
    /// It gets the generation of this revision.
    pub renewed: bool,
}

/// Reads a row of `sites::before`; a site without resources is one row without any.
pub(crate) fn current(row: &PgRow) -> sqlx::Result<Option<Current>> {
    let Some(uid) = row.try_get::<Option<Uuid>, _>("uid")? else { return Ok(None) };
    let generation = unsigned(row.try_get("generation")?);
    let data_loss_confirmed = row.try_get("data_loss_confirmed")?;
    let expected_hold = holds::of_row(row)?;
    let observed: Option<i64> = row.try_get("observed_generation")?;
    let reason = row.try_get::<Option<&str>, _>("reason")?.unwrap_or_default();
    let said = observed.map(|observed| Said { generation: unsigned(observed), reason, message: "" });
    let predecessor: Option<Uuid> = row.try_get("predecessor")?;
    Ok(Some(Current {
        uid,
        region: row.try_get("region")?,
        name: row.try_get("name")?,
        type_name: row.try_get("type")?,
        spec: row.try_get::<&str, _>("spec")?.into(),
        deletion_protection: row.try_get("deletion_protection")?,
        generation,
        data_loss_confirmed,
        hold: holds::in_force(expected_hold.as_ref(), generation, data_loss_confirmed, said),
        expected_hold,
        reason: if said.is_some_and(|said| said.generation == generation) {
            reason.to_owned()
        } else {
            String::new()
        },
        predecessor: match predecessor {
            None => None,
            Some(uid) => Some((uid, row.try_get("predecessor_type")?)),
        },
        region_seen: row.try_get("region_seen")?,
    }))
}

/// A resource that is no longer desired, and not yet gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Departing {
    pub uid: Uuid,
    pub region: String,
    pub name: String,
    pub type_name: String,
}

/// The departing resources of a site in a region, with these names if there are any, ordered by name.
pub(crate) async fn departing(
    connection: &mut PgConnection,
    site: &SiteName,
    region: &RegionId,
    names: &[String],
) -> sqlx::Result<Vec<Departing>> {
    let query = sqlx::query(
        r#"SELECT uid, region, name, type FROM resources
           WHERE site = $1 AND region = $2 AND removed_at IS NOT NULL
             AND (CARDINALITY($3::text[]) = 0 OR name = ANY($3)) ORDER BY name COLLATE "C", uid"#,
    );
    let rows = query.bind(site.as_str()).bind(region.as_str()).bind(names).fetch_all(connection).await?;
    let departing = |row: PgRow| -> sqlx::Result<Departing> {
        Ok(Departing {
            uid: row.try_get(0)?,
            region: row.try_get(1)?,
            name: row.try_get(2)?,
            type_name: row.try_get(3)?,
        })
    };
    rows.into_iter().map(departing).collect()
}

/// Forgets departing resources of `regions` that their region does not have, and will not: its heartbeat confirms a
/// version without them, and either there is no report on them (or only that they are gone), or the region is among
/// those that are `settled`, serves their type, and so would know of them. Sound because a region confirms a version
/// only after it has reported on everything it has, and drops older versions.
pub(crate) async fn forget_absent(
    transaction: &mut PgConnection,
    regions: &[String],
    settled: &[&str],
) -> sqlx::Result<Vec<(SiteName, Uuid)>> {
    let query = sqlx::query(
        "DELETE FROM resources r USING heartbeats h
         WHERE r.region = ANY($1) AND h.region = r.region
           AND r.removed_at IS NOT NULL AND r.removed_version <= h.version
           AND (r.region = ANY($2) AND r.type = ANY(h.types)
                OR NOT EXISTS (SELECT FROM statuses s WHERE s.uid = r.uid AND NOT s.deleted))
         RETURNING r.site, r.uid",
    );
    let rows = query.bind(regions).bind(settled).fetch_all(transaction).await?;
    rows.iter().map(site_and_uid).collect()
}

/// The first two columns.
pub(crate) fn site_and_uid(row: &PgRow) -> sqlx::Result<(SiteName, Uuid)> {
    let site: String = row.try_get(0)?;
    let site = SiteName::try_from(site).map_err(|error| sqlx::Error::Decode(error.into()))?;
    Ok((site, row.try_get(1)?))
}

/// All that is known of one resource: what is desired, what was last reported, and when its region was last heard.
#[derive(Debug, Clone)]
pub struct Known {
    /// Given at creation.
    pub uid: Uuid,
    /// Its site.
    pub site: String,
    /// Its region.
    pub region: String,
    /// Its name.
    pub name: String,
    /// Its type.
    pub type_name: String,
    /// JSON.
    pub spec: String,
    /// Refuses deletion.
    pub deletion_protection: bool,
    /// The revision that last changed it.
    pub generation: u64,
    /// When it was first applied.
    pub created_at: DateTime<Utc>,
    /// When this generation was applied.
    pub applied_at: DateTime<Utc>,
    /// It is departing: the version of its region that is the first one without it.
    pub removed_version: Option<u64>,
    /// Losing its data is confirmed, for this generation.
    pub data_loss_confirmed: bool,
    /// What the control plane holds, or expects the region to hold.
    pub expected_hold: Option<Hold>,
    /// It is departing, but has to stay until what replaces it is confirmed.
    pub kept: bool,
    /// The latest report.
    pub report: Option<ResourceReport>,
    /// When the report's generation was first seen ready.
    pub ready_at: Option<DateTime<Utc>>,
    /// The region's latest heartbeat.
    pub seen: Option<Seen>,
    /// Why the region's state cannot be published; empty where it can.
    pub relay_problem: String,
}

impl Known {
    /// It is departing.
    pub fn removed(&self) -> bool {
        self.removed_version.is_some()
    }
}

/// A query over `Known`; a macro because sqlx takes literals only, which is what keeps data out of SQL.
macro_rules! known {
    ($where:literal) => {
        concat!(
            "SELECT r.uid, r.site, r.region, r.name, r.type, r.spec, r.deletion_protection, r.generation,
                    r.created_at, r.applied_at, r.removed_version, r.data_loss_confirmed,
                    r.hold_kind, r.hold_message, r.hold_revision, s.report, s.ready_at,
                    r.removed_at IS NOT NULL AND EXISTS (
                        SELECT FROM resources n
                        WHERE n.replaces = r.uid AND n.removed_at IS NULL AND NOT n.data_loss_confirmed
                    ) AS kept,
                    h.received_at, h.interval_ms, h.types, h.plugins_hash, h.version AS applied_version,
                    l.problem AS relay_problem
             FROM resources r
             JOIN relays l ON l.region = r.region
             LEFT JOIN statuses s ON s.uid = r.uid
             LEFT JOIN heartbeats h ON h.region = r.region
             WHERE ",
            $where
        )
    };
}

/// Which resources of a site somebody asks for. Empty: all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// In these regions.
    pub regions: Vec<String>,
    /// With these names.
    pub names: Vec<String>,
}

impl Filter {
    /// True where it asks for this resource.
    pub(crate) fn admits(&self, region: &str, name: &str) -> bool {
        (self.regions.is_empty() || self.regions.iter().any(|known| known == region))
            && (self.names.is_empty() || self.names.iter().any(|known| known == name))
    }
}

/// The resources of a site that `filter` admits, departing ones too, ordered by (name, region, age).
pub(crate) async fn known_of_site(
    connection: &mut PgConnection,
    site: &SiteName,
    filter: &Filter,
) -> sqlx::Result<Vec<Known>> {
    let query = sqlx::query(known!(
        "r.site = $1 AND (CARDINALITY($2::text[]) = 0 OR r.region = ANY($2))
                     AND (CARDINALITY($3::text[]) = 0 OR r.name = ANY($3))"
    ));
    let query = query.bind(site.as_str()).bind(&filter.regions).bind(&filter.names);
    let rows = query.fetch_all(connection).await?;
    let mut all = rows.iter().map(known).collect::<sqlx::Result<Vec<_>>>()?;
    all.sort_by(|a, b| {
        let age = (!a.removed(), a.created_at, a.uid).cmp(&(!b.removed(), b.created_at, b.uid));
        (&a.name, &a.region).cmp(&(&b.name, &b.region)).then(age)
    });
    Ok(all)
}

/// Those of these resources that still exist, belong to the site and pass the filter.
pub(crate) async fn known_by_uid(
    connection: &mut PgConnection,
    site: &SiteName,
    uids: &[Uuid],
    filter: &Filter,
) -> sqlx::Result<Vec<Known>> {
    let rows = sqlx::query(known!("r.uid = ANY($1)")).bind(uids).fetch_all(connection).await?;
    let mut all = rows.iter().map(known).collect::<sqlx::Result<Vec<_>>>()?;
    all.retain(|known| known.site == site.as_str() && filter.admits(&known.region, &known.name));
    Ok(all)
}

fn known(row: &PgRow) -> sqlx::Result<Known> {
    let report: Option<Vec<u8>> = row.try_get("report")?;
    let report = report.map(|report| prost::Message::decode(report.as_slice())).transpose();
    let heard: Option<DateTime<Utc>> = row.try_get("received_at")?;
    Ok(Known {
        uid: row.try_get("uid")?,
        site: row.try_get("site")?,
        region: row.try_get("region")?,
        name: row.try_get("name")?,
        type_name: row.try_get("type")?,
        spec: row.try_get("spec")?,
        deletion_protection: row.try_get("deletion_protection")?,
        generation: unsigned(row.try_get("generation")?),
        created_at: row.try_get("created_at")?,
        applied_at: row.try_get("applied_at")?,
        removed_version: row.try_get::<Option<i64>, _>("removed_version")?.map(unsigned),
        data_loss_confirmed: row.try_get("data_loss_confirmed")?,
        expected_hold: holds::of_row(row)?,
        kept: row.try_get("kept")?,
        report: report.map_err(|error| sqlx::Error::Decode(error.into()))?,
        ready_at: row.try_get("ready_at")?,
        seen: heard.map(|_| heartbeats::seen(row)).transpose()?,
        relay_problem: row.try_get("relay_problem")?,
    })
}
