//! Answers by request id, so that a client which has lost one may ask again.

use chrono::{DateTime, Utc};
use senren_api::SiteName;
use sqlx::{PgConnection, Row as _};

/// What a request id stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestKey {
    /// Chosen by the client.
    pub id: String,
    /// Of everything else in the request.
    pub content_hash: String,
}

/// An answer that was given, and the hash of what it was given for.
pub(crate) async fn find(
    transaction: &mut PgConnection,
    site: &SiteName,
    id: &str,
) -> sqlx::Result<Option<(String, Vec<u8>)>> {
    let query = sqlx::query("SELECT content_hash, answer FROM requests WHERE site = $1 AND id = $2");
    let row = query.bind(site.as_str()).bind(id).fetch_optional(transaction).await?;
    row.map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose()
}

/// Forgets the answers given before `when`.
pub(crate) async fn forget_before(connection: &mut PgConnection, when: DateTime<Utc>) -> sqlx::Result<u64> {
    let query = sqlx::query("DELETE FROM requests WHERE created_at < $1").bind(when);
    Ok(query.execute(connection).await?.rows_affected())
}
