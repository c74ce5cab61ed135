//! What sites declare, now and at earlier revisions.

use std::sync::Arc;

use senren_api::{SiteName, v1::Database};
use sqlx::{PgConnection, Row as _};

use super::signed;

/// A database as it is declared, in all its regions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Declaration {
    pub name: String,
    pub type_name: String,
    /// Canonical JSON.
    pub spec: Arc<str>,
    /// In the order in which they were written.
    pub regions: Vec<String>,
    pub deletion_protection: bool,
}

/// What a site declared at a revision, ordered by name.
pub(crate) async fn at(
    connection: &mut PgConnection,
    site: &SiteName,
    revision: u64,
) -> sqlx::Result<Vec<Database>> {
    let query = sqlx::query(
        r#"SELECT name, type, spec, regions, deletion_protection FROM declared
           WHERE site = $1 AND since <= $2 AND (until IS NULL OR until > $2) ORDER BY name COLLATE "C""#,
    );
    let rows = query.bind(site.as_str()).bind(signed(revision)).fetch_all(connection).await?;
    let database = |row: sqlx::postgres::PgRow| -> sqlx::Result<Database> {
        Ok(Database {
            name: row.try_get(0)?,
            r#type: row.try_get(1)?,
            spec_json: row.try_get(2)?,
            regions: row.try_get(3)?,
            deletion_protection: row.try_get(4)?,
        })
    };
    rows.into_iter().map(database).collect()
}
