//! What each revision changed, for people who ask later.

use chrono::{DateTime, Utc};
use senren_api::SiteName;
use sqlx::PgConnection;

use super::signed;

/// One revision of a site.
pub(crate) struct Entry<'a> {
    pub site: &'a SiteName,
    pub revision: u64,
    pub applied_at: DateTime<Utc>,
    pub request_id: &'a str,
    pub author: &'a str,
    pub changes: serde_json::Value,
}

/// Brings a locked site to a revision, and records what it changed. One statement: the two belong together.
pub(crate) async fn record(transaction: &mut PgConnection, entry: Entry<'_>) -> sqlx::Result<()> {
    let query = sqlx::query(
        "WITH revised AS (UPDATE sites SET revision = $2 WHERE name = $1)
         INSERT INTO history (site, revision, applied_at, request_id, author, changes)
         VALUES ($1, $2, $3, $4, $5, $6)",
    );
    let query = query.bind(entry.site.as_str()).bind(signed(entry.revision)).bind(entry.applied_at);
    let query = query.bind(entry.request_id).bind(entry.author).bind(entry.changes);
    query.execute(transaction).await?;
    Ok(())
}
