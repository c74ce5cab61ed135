//! What was published to each region, and the right to publish to it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use senren_api::v1::DesiredResource;
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use super::{signed, unsigned};

/// A region whose relay row this transaction holds, and what it should be.
#[derive(Default)]
pub(crate) struct Lease {
    pub region: String,
    /// Failures in a row before this attempt.
    pub failures: u32,
    /// Other regions have something to publish, too.
    pub more: bool,
    pub version: u64,
    /// Whose work this version is; empty where nobody records that, or where it was published before.
    pub traceparent: String,
    /// Ordered by (site, name).
    pub resources: Vec<DesiredResource>,
}

/// Takes a region that has something to publish and that no other relay is publishing. One statement, so one snapshot:
/// version and resources belong together.
pub(crate) async fn lease(transaction: &mut PgConnection, now: DateTime<Utc>) -> sqlx::Result<Option<Lease>> {
    let query = sqlx::query(
        "WITH due AS (
             SELECT l.region, l.failures, l.published_version FROM relays l JOIN regions r ON r.id = l.region
             WHERE r.version > 0 AND (r.version <> l.published_version OR l.republish)
               AND (l.retry_at IS NULL OR l.retry_at <= $1)
             ORDER BY l.failures LIMIT 1
             FOR UPDATE OF l SKIP LOCKED
         ), lease AS MATERIALIZED (
             SELECT due.*, EXISTS (
                 SELECT FROM relays l JOIN regions r ON r.id = l.region
                 WHERE r.version > 0 AND (r.version <> l.published_version OR l.republish)
                   AND (l.retry_at IS NULL OR l.retry_at <= $1) AND l.region <> due.region
             ) AS more
             FROM due
         )
         SELECT lease.region, lease.failures, lease.more, r.version,
                CASE WHEN r.version <> lease.published_version THEN r.traceparent ELSE '' END,
                d.uid, d.site, d.name, d.type, d.generation, d.spec, d.deletion_protection, d.data_loss_confirmed,
                d.replaces
         FROM lease JOIN regions r ON r.id = lease.region
         LEFT JOIN resources d ON d.region = r.id AND d.removed_at IS NULL",
    );
    let rows = query.bind(now).fetch_all(transaction).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let failures: i32 = first.try_get(1)?;
    let mut lease = Lease {
        region: first.try_get(0)?,
        failures: u32::try_from(failures).unwrap_or_default(),
        more: first.try_get(2)?,
        version: unsigned(first.try_get(3)?),
        traceparent: first.try_get(4)?,
        resources: Vec::with_capacity(rows.len()),
    };
    for row in &rows {
        // A region without resources is one row of nulls.
        let Some(uid) = row.try_get::<Option<Uuid>, _>(5)? else { continue };
        lease.resources.push(DesiredResource {
            uid: uid.to_string(),
            site: row.try_get(6)?,
            name: row.try_get(7)?,
            r#type: row.try_get(8)?,
            generation: unsigned(row.try_get(9)?),
            spec_json: row.try_get(10)?,
            deletion_protection: row.try_get(11)?,
            data_loss_confirmed: row.try_get(12)?,
            replaces_uid: row.try_get::<Option<Uuid>, _>(13)?.map(|uid| uid.to_string()).unwrap_or_default(),
        });
    }
    // The database's collation need not be ours.
    lease.resources.sort_by(|a, b| (&a.site, &a.name).cmp(&(&b.site, &b.name)));
    Ok(Some(lease))
}

/// Notes that this version, with this content, is on the topic. If the region's version has moved on meanwhile, the
/// two differ, and the region is due again.
pub(crate) async fn published(
    transaction: &mut PgConnection,
    region: &str,
    version: u64,
    content_hash: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    let query = sqlx::query(
        "UPDATE relays SET published_version = $2, content_hash = $3, published_at = $4, republish = false,
                failures = 0, retry_at = NULL, problem = ''
         WHERE region = $1",
    );
    let query = query.bind(region).bind(signed(version)).bind(content_hash).bind(now);
    query.execute(transaction).await?;
    Ok(())
}

/// Notes that publishing has failed, and when to try again.
pub(crate) async fn failed(
    transaction: &mut PgConnection,
    region: &str,
    problem: &str,
    retry_at: DateTime<Utc>,
) -> sqlx::Result<()> {
    let query = sqlx::query(
        "UPDATE relays SET failures = failures + 1, retry_at = $2, problem = $3 WHERE region = $1",
    );
    query.bind(region).bind(retry_at).bind(problem).execute(transaction).await?;
    Ok(())
}

/// Makes every region due again that was told its state at least `patience` ago and does not confirm it. A region that
/// is being published right now is left out. Returns how many there are.
pub(crate) async fn republish_unconfirmed(
    connection: &mut PgConnection,
    now: DateTime<Utc>,
    patience: Duration,
) -> sqlx::Result<u64> {
    let query = sqlx::query(
        "UPDATE relays SET republish = true WHERE region IN (
             SELECT l.region FROM relays l
             JOIN regions r ON r.id = l.region LEFT JOIN heartbeats h ON h.region = l.region
             WHERE r.version > 0 AND l.published_version = r.version AND NOT l.republish AND l.published_at <= $1
               AND (h.region IS NULL OR h.version <> l.published_version OR h.content_hash <> l.content_hash)
             FOR UPDATE OF l SKIP LOCKED)",
    );
    Ok(query.bind(now - patience).execute(connection).await?.rows_affected())
}

/// Makes those of `regions` due again whose state was published before `when`. Returns whether there are any.
pub(crate) async fn republish(
    transaction: &mut PgConnection,
    regions: &[&str],
    when: DateTime<Utc>,
) -> sqlx::Result<bool> {
    if regions.is_empty() {
        return Ok(false);
    }
    let query = sqlx::query(
        "UPDATE relays SET republish = true WHERE region IN (
             SELECT region FROM relays WHERE region = ANY($1) AND published_version > 0 AND published_at <= $2
             FOR UPDATE SKIP LOCKED)",
    );
    Ok(query.bind(regions).bind(when).execute(transaction).await?.rows_affected() > 0)
}
