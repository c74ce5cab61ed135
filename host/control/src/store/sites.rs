//! Sites: their revision, and all that an apply has to know of one.

use std::collections::BTreeMap;

use senren_api::SiteName;
use sqlx::{PgConnection, Row as _};

use super::{
    heartbeats::{self, Seen},
    resources::{self, Current},
    unsigned,
};

/// A site before an apply.
pub(crate) struct Before {
    /// 0: nothing was ever applied.
    pub revision: u64,
    /// Everything that it has, in all regions.
    pub current: Vec<Current>,
    /// Those of the regions asked for that have been heard.
    pub seen: BTreeMap<String, Seen>,
}

/// Reads a site, and what `regions` say of themselves. In one statement: revision and resources belong together, and
/// every round trip is felt by whoever waits for an apply.
pub(crate) async fn before(
    connection: &mut PgConnection,
    site: &SiteName,
    regions: &[&str],
) -> sqlx::Result<Before> {
    let query = sqlx::query(
        "SELECT * FROM (
             SELECT z.revision, r.uid, r.region, r.name, r.type, r.spec, r.deletion_protection, r.generation,
                    r.data_loss_confirmed, r.hold_kind, r.hold_message, r.hold_revision,
                    s.generation AS observed_generation, s.reason, p.uid AS predecessor, p.type AS predecessor_type,
                    EXISTS (SELECT FROM heartbeats h WHERE h.region = r.region) AS region_seen
             FROM sites z
             LEFT JOIN resources r ON r.site = z.name AND r.removed_at IS NULL
             LEFT JOIN statuses s ON s.uid = r.uid
             LEFT JOIN resources p ON p.uid = r.replaces AND p.removed_at IS NOT NULL
             WHERE z.name = $1
         ) site FULL JOIN (
             SELECT region AS heard, received_at, interval_ms, types, plugins_hash, version AS applied_version
             FROM heartbeats WHERE region = ANY($2)
         ) heartbeat ON false",
    );
    let rows = query.bind(site.as_str()).bind(regions).fetch_all(connection).await?;
    let mut before = Before { revision: 0, current: Vec::new(), seen: BTreeMap::new() };
    for row in &rows {
        match row.try_get::<Option<String>, _>("heard")? {
            Some(region) => drop(before.seen.insert(region, heartbeats::seen(row)?)),
            None => {
                before.revision = unsigned(row.try_get("revision")?);
                before.current.extend(resources::current(row)?);
            }
        }
    }
    Ok(before)
}

/// Locks the site until the transaction ends, if it is known: nothing of it changes meanwhile.
pub(crate) async fn lock(transaction: &mut PgConnection, site: &SiteName) -> sqlx::Result<()> {
    let query = sqlx::query("SELECT FROM sites WHERE name = $1 FOR UPDATE").bind(site.as_str());
    query.execute(transaction).await?;
    Ok(())
}

/// The revision of a site; 0 if nothing was ever applied.
pub(crate) async fn revision(connection: &mut PgConnection, site: &SiteName) -> sqlx::Result<u64> {
    let query = sqlx::query_scalar("SELECT revision FROM sites WHERE name = $1").bind(site.as_str());
    Ok(query.fetch_optional(connection).await?.map_or(0, unsigned))
}
