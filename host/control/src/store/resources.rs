//! What every site wants: resources, desired and departing.

use chrono::{DateTime, Utc};
use senren_api::{SiteName, v1::ResourceReport};
use sqlx::{PgConnection, Row as _, postgres::PgRow};
use uuid::Uuid;

use super::{
    heartbeats::{self, Seen},
    signed, unsigned,
};

/// A resource that a site has, before an apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Current {
    pub uid: Uuid,
    pub region: String,
    pub name: String,
    pub type_name: String,
    pub spec: String,
    pub deletion_protection: bool,
    pub generation: u64,
}

/// A resource to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Insert {
    pub uid: Uuid,
    pub region: String,
    pub name: String,
    pub type_name: String,
    pub spec: String,
    pub deletion_protection: bool,
}

/// What is to change of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Update {
    pub uid: Uuid,
    pub spec: String,
    pub deletion_protection: bool,
}

/// Everything that the site desires, in all regions.
pub(crate) async fn current(transaction: &mut PgConnection, site: &SiteName) -> sqlx::Result<Vec<Current>> {
    let query = sqlx::query(
        "SELECT uid, region, name, type, spec, deletion_protection, generation
         FROM resources WHERE site = $1 AND removed_at IS NULL",
    );
    let rows = query.bind(site.as_str()).fetch_all(transaction).await?;
    let current = |row: PgRow| -> sqlx::Result<Current> {
        Ok(Current {
            uid: row.try_get(0)?,
            region: row.try_get(1)?,
            name: row.try_get(2)?,
            type_name: row.try_get(3)?,
            spec: row.try_get(4)?,
            deletion_protection: row.try_get(5)?,
            generation: unsigned(row.try_get(6)?),
        })
    };
    rows.into_iter().map(current).collect()
}

/// Creates resources of the site, at this generation.
pub(crate) async fn insert(
    transaction: &mut PgConnection,
    site: &SiteName,
    generation: u64,
    now: DateTime<Utc>,
    inserts: &[Insert],
) -> sqlx::Result<()> {
    if inserts.is_empty() {
        return Ok(());
    }
    let query = sqlx::query(
        "INSERT INTO resources (uid, region, name, type, spec, deletion_protection,
                                site, generation, created_at, applied_at)
         SELECT i.*, $7, $8, $9, $9
         FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::boolean[]) AS i",
    );
    let query = query
        .bind(inserts.iter().map(|insert| insert.uid).collect::<Vec<_>>())
        .bind(inserts.iter().map(|insert| insert.region.as_str()).collect::<Vec<_>>())
        .bind(inserts.iter().map(|insert| insert.name.as_str()).collect::<Vec<_>>())
        .bind(inserts.iter().map(|insert| insert.type_name.as_str()).collect::<Vec<_>>())
        .bind(inserts.iter().map(|insert| insert.spec.as_str()).collect::<Vec<_>>())
        .bind(inserts.iter().map(|insert| insert.deletion_protection).collect::<Vec<_>>());
    query.bind(site.as_str()).bind(signed(generation)).bind(now).execute(transaction).await?;
    Ok(())
}

/// Changes resources, which thereby get this generation.
pub(crate) async fn update(
    transaction: &mut PgConnection,
    generation: u64,
    now: DateTime<Utc>,
    updates: &[Update],
) -> sqlx::Result<()> {
    if updates.is_empty() {
        return Ok(());
    }
    let query = sqlx::query(
        "UPDATE resources r
         SET spec = u.spec, deletion_protection = u.deletion_protection, generation = $4, applied_at = $5
         FROM UNNEST($1::uuid[], $2::text[], $3::boolean[]) AS u(uid, spec, deletion_protection)
         WHERE r.uid = u.uid",
    );
    let query = query
        .bind(updates.iter().map(|update| update.uid).collect::<Vec<_>>())
        .bind(updates.iter().map(|update| update.spec.as_str()).collect::<Vec<_>>())
        .bind(updates.iter().map(|update| update.deletion_protection).collect::<Vec<_>>());
    query.bind(signed(generation)).bind(now).execute(transaction).await?;
    Ok(())
}

/// Takes resources out of what is desired: each departs with a version of its region, and stays on record until the
/// region says that it is gone. In a region that was never heard of there is nothing to wait for.
pub(crate) async fn remove(
    transaction: &mut PgConnection,
    generation: u64,
    now: DateTime<Utc>,
    removals: &[(Uuid, u64)],
) -> sqlx::Result<()> {
    if removals.is_empty() {
        return Ok(());
    }
    let query = sqlx::query(
        "WITH removal AS (
             SELECT r.uid, u.version, EXISTS (SELECT FROM heartbeats h WHERE h.region = r.region) AS region_seen
             FROM UNNEST($1::uuid[], $2::bigint[]) AS u(uid, version) JOIN resources r ON r.uid = u.uid
         ), gone AS (
             DELETE FROM resources r USING removal WHERE r.uid = removal.uid AND NOT removal.region_seen
         )
         UPDATE resources r SET removed_at = $4, removed_version = removal.version, generation = $3, applied_at = $4
         FROM removal WHERE r.uid = removal.uid AND removal.region_seen",
    );
    let query = query
        .bind(removals.iter().map(|(uid, _)| *uid).collect::<Vec<_>>())
        .bind(removals.iter().map(|(_, version)| signed(*version)).collect::<Vec<_>>());
    query.bind(signed(generation)).bind(now).execute(transaction).await?;
    Ok(())
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
    /// It is departing.
    pub removed: bool,
    /// The latest report.
    pub report: Option<ResourceReport>,
    /// When the report's generation was first seen ready.
    pub ready_at: Option<DateTime<Utc>>,
    /// The region's latest heartbeat.
    pub seen: Option<Seen>,
    /// Why the region's state cannot be published; empty where it can.
    pub relay_problem: String,
}

/// A query over `Known`; a macro because sqlx takes literals only, which is what keeps data out of SQL.
macro_rules! known {
    ($where:literal) => {
        concat!(
            "SELECT r.uid, r.site, r.region, r.name, r.type, r.spec, r.deletion_protection, r.generation,
                    r.created_at, r.applied_at, r.removed_at IS NOT NULL AS removed, s.report, s.ready_at,
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
    fn admits(&self, known: &Known) -> bool {
        (self.regions.is_empty() || self.regions.contains(&known.region))
            && (self.names.is_empty() || self.names.contains(&known.name))
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
        let age = (!a.removed, a.created_at, a.uid).cmp(&(!b.removed, b.created_at, b.uid));
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
    all.retain(|known| known.site == site.as_str() && filter.admits(known));
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
        removed: row.try_get("removed")?,
        report: report.map_err(|error| sqlx::Error::Decode(error.into()))?,
        ready_at: row.try_get("ready_at")?,
        seen: heard.map(|_| heartbeats::seen(row)).transpose()?,
        relay_problem: row.try_get("relay_problem")?,
    })
}
