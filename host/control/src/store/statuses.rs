//! What regions last reported of each resource. An older report never wins, nor one about another uid.

use chrono::{DateTime, Utc};
use prost::Message as _;
use senren_api::{RegionId, SiteName, v1::ResourceReport};
use sqlx::PgConnection;
use uuid::Uuid;

use super::resources::site_and_uid;

/// A report that is about to be recorded.
pub(crate) struct NewStatus {
    pub region: RegionId,
    pub uid: Uuid,
    pub sequence: i64,
    pub generation: i64,
    pub report: ResourceReport,
}

/// Records reports, in one statement. A report counts if its uid is that of a resource we know, under the same
/// region, site and name, and if nothing newer is known of it. Returns what it changed.
pub(crate) async fn record(
    transaction: &mut PgConnection,
    statuses: &[NewStatus],
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<(SiteName, Uuid)>> {
    if statuses.is_empty() {
        return Ok(Vec::new());
    }
    let query = sqlx::query(
        "WITH latest AS (
             SELECT DISTINCT ON (uid) * FROM UNNEST(
                 $1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::boolean[],
                 $8::boolean[], $9::bytea[], $11::text[]
             ) AS i(uid, region, site, name, sequence, generation, ready, deleted, report, reason)
             ORDER BY uid, sequence DESC
         ), recorded AS (
             INSERT INTO statuses AS s (uid, sequence, generation, ready, deleted, report, reason, ready_at)
             SELECT r.uid, i.sequence, i.generation, i.ready, i.deleted, i.report, i.reason, CASE WHEN i.ready THEN $10 END
             FROM latest i JOIN resources r
               ON r.uid = i.uid AND r.region = i.region AND r.site = i.site AND r.name = i.name
             ORDER BY r.uid
             ON CONFLICT (uid) DO UPDATE
             SET sequence = EXCLUDED.sequence, generation = EXCLUDED.generation, ready = EXCLUDED.ready,
                 deleted = EXCLUDED.deleted, report = EXCLUDED.report, reason = EXCLUDED.reason,
                 ready_at = CASE WHEN s.generation = EXCLUDED.generation
                                 THEN COALESCE(s.ready_at, EXCLUDED.ready_at) ELSE EXCLUDED.ready_at END
             WHERE s.sequence < EXCLUDED.sequence
             RETURNING uid
         )
         SELECT r.site, r.uid FROM recorded JOIN resources r ON r.uid = recorded.uid",
    );
    let query = query
        .bind(statuses.iter().map(|status| status.uid).collect::<Vec<_>>())
        .bind(statuses.iter().map(|status| status.region.as_str()).collect::<Vec<_>>())
        .bind(statuses.iter().map(|status| status.report.site.as_str()).collect::<Vec<_>>())
        .bind(statuses.iter().map(|status| status.report.name.as_str()).collect::<Vec<_>>())
        .bind(statuses.iter().map(|status| status.sequence).collect::<Vec<_>>())
        .bind(statuses.iter().map(|status| status.generation).collect::<Vec<_>>())
        .bind(statuses.iter().map(|status| status.report.ready).collect::<Vec<_>>())
        .bind(statuses.iter().map(|status| status.report.deleted).collect::<Vec<_>>())
        .bind(statuses.iter().map(|status| status.report.encode_to_vec()).collect::<Vec<_>>());
    let reasons = statuses.iter().map(|status| status.report.reason.as_str()).collect::<Vec<_>>();
    let rows = query.bind(now).bind(reasons).fetch_all(transaction).await?;
    rows.iter().map(site_and_uid).collect()
}

/// Forgets those of `uids` that were departing and whose latest report says that they are gone. One that is gone but
/// still desired (somebody deleted it in the region by hand) stays: the region will create it again.
pub(crate) async fn forget_gone(transaction: &mut PgConnection, uids: &[Uuid]) -> sqlx::Result<()> {
    let query = sqlx::query(
        "DELETE FROM resources r USING statuses s
         WHERE r.uid = ANY($1) AND s.uid = r.uid AND s.deleted AND r.removed_at IS NOT NULL",
    );
    query.bind(uids).execute(transaction).await?;
    Ok(())
}
