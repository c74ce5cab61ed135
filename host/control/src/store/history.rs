//! What each revision changed, for people who ask later. Written with the revision itself; see `revision`.

use chrono::{DateTime, Utc};
use senren_api::SiteName;
use sqlx::{PgConnection, Row as _, postgres::PgRow};

use super::{signed, unsigned};

/// One revision of a site.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub revision: u64,
    pub applied_at: DateTime<Utc>,
    pub request_id: String,
    pub author: String,
    pub kind: String,
    pub rollback_to: Option<u64>,
    /// Without what is unchanged.
    pub changes: serde_json::Value,
    /// What was declared then is on record.
    pub recorded: bool,
}

/// At most `limit` revisions of a site before `before`, the latest first.
pub(crate) async fn list(
    connection: &mut PgConnection,
    site: &SiteName,
    before: Option<u64>,
    limit: u32,
) -> sqlx::Result<Vec<Entry>> {
    let query = sqlx::query(
        "SELECT revision, applied_at, request_id, author, kind, rollback_to, changes, recorded FROM history
         WHERE site = $1 AND revision < $2 ORDER BY revision DESC LIMIT $3",
    );
    let query = query.bind(site.as_str()).bind(signed(before.unwrap_or(u64::MAX))).bind(i64::from(limit));
    query.fetch_all(connection).await?.iter().map(entry).collect()
}

/// One of them.
pub(crate) async fn find(
    connection: &mut PgConnection,
    site: &SiteName,
    revision: u64,
) -> sqlx::Result<Option<Entry>> {
    let query = sqlx::query(
        "SELECT revision, applied_at, request_id, author, kind, rollback_to, changes, recorded FROM history
         WHERE site = $1 AND revision = $2",
    );
    let row = query.bind(site.as_str()).bind(signed(revision)).fetch_optional(connection).await?;
    row.as_ref().map(entry).transpose()
}

fn entry(row: &PgRow) -> sqlx::Result<Entry> {
    Ok(Entry {
        revision: unsigned(row.try_get("revision")?),
        applied_at: row.try_get("applied_at")?,
        request_id: row.try_get("request_id")?,
        author: row.try_get("author")?,
        kind: row.try_get("kind")?,
        rollback_to: row.try_get::<Option<i64>, _>("rollback_to")?.map(unsigned),
        changes: row.try_get("changes")?,
        recorded: row.try_get("recorded")?,
    })
}

/// Forgets revisions that are older than `when` or not among the last `keep` of their site, and what was declared
/// only then. Never what a site is at now.
pub(crate) async fn forget(
    connection: &mut PgConnection,
    keep: u32,
    when: DateTime<Utc>,
) -> sqlx::Result<u64> {
    let query = sqlx::query(
        "WITH forgotten AS (
             DELETE FROM history h USING sites z
             WHERE z.name = h.site AND h.revision < z.revision
               AND (h.revision <= z.revision - $1 OR h.applied_at < $2)
         )
         DELETE FROM declared d USING sites z
         WHERE z.name = d.site AND d.until <= (
             SELECT MIN(h.revision) FROM history h
             WHERE h.site = d.site
               AND (h.revision = z.revision OR h.revision > z.revision - $1 AND h.applied_at >= $2))",
    );
    Ok(query.bind(i64::from(keep)).bind(when).execute(connection).await?.rows_affected())
}
