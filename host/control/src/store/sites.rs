//! Sites and their revision.

use senren_api::SiteName;
use sqlx::PgConnection;

use super::unsigned;

/// Locks the site until the transaction ends, making it known if it is new, and returns its revision. Applies of one
/// site happen one after the other because of this.
pub(crate) async fn lock(transaction: &mut PgConnection, site: &SiteName) -> sqlx::Result<u64> {
    const LOCK: &str = "SELECT revision FROM sites WHERE name = $1 FOR UPDATE";
    let found = sqlx::query_scalar(LOCK).bind(site.as_str()).fetch_optional(&mut *transaction).await?;
    if let Some(revision) = found {
        return Ok(unsigned(revision));
    }
    let insert = sqlx::query("INSERT INTO sites (name) VALUES ($1) ON CONFLICT DO NOTHING");
    insert.bind(site.as_str()).execute(&mut *transaction).await?;
    let revision = sqlx::query_scalar(LOCK).bind(site.as_str()).fetch_one(transaction).await?;
    Ok(unsigned(revision))
}

/// The revision of a site; 0 if nothing was ever applied.
pub(crate) async fn revision(connection: &mut PgConnection, site: &SiteName) -> sqlx::Result<u64> {
    let query = sqlx::query_scalar("SELECT revision FROM sites WHERE name = $1").bind(site.as_str());
    Ok(query.fetch_optional(connection).await?.map_or(0, unsigned))
}
