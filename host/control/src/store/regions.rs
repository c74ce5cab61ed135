//! Regions and their version: the counter that names the content of a region's desired state.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row as _};

use super::{signed, unsigned};

/// Makes regions known that nobody has named yet. `regions` are sorted.
pub(crate) async fn ensure(transaction: &mut PgConnection, regions: &[&str]) -> sqlx::Result<()> {
    let query = sqlx::query(
        r#"WITH made AS (
             INSERT INTO regions (id) SELECT id FROM UNNEST($1::text[]) AS id ORDER BY id COLLATE "C"
             ON CONFLICT DO NOTHING RETURNING id
         )
         INSERT INTO relays (region) SELECT id FROM made ON CONFLICT DO NOTHING"#,
    );
    query.bind(regions).execute(transaction).await?;
    Ok(())
}

/// Compares our versions with those that the heartbeats of `regions` show. One that confirms ours is no longer behind.
/// Where one is above ours, ours is raised above it, so that it gets published; returns these, with the region's version
/// and our new one.
///
/// Never where nothing was ever applied (version 0): there, our state is not older than the region's but missing,
/// and publishing it would delete everything the region has.
pub(crate) async fn compare(
    transaction: &mut PgConnection,
    regions: &[String],
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<(String, u64, u64)>> {
    let query = sqlx::query(
        r#"WITH shown AS (
             SELECT r.id, h.version FROM regions r JOIN heartbeats h ON h.region = r.id
             WHERE r.id = ANY($1) AND (r.version > 0 AND h.version > r.version
                                       OR h.version = r.version AND r.behind_since IS NOT NULL)
             ORDER BY r.id COLLATE "C" FOR UPDATE OF r
         )
         UPDATE regions r
         SET version = CASE WHEN shown.version > r.version THEN shown.version + 1 ELSE r.version END,
             traceparent = CASE WHEN shown.version > r.version THEN '' ELSE r.traceparent END,
             behind_since = CASE WHEN shown.version > r.version THEN COALESCE(r.behind_since, $2) END
         FROM shown WHERE r.id = shown.id
         RETURNING r.id, shown.version, r.version"#,
    );
    let rows = query.bind(regions).bind(now).fetch_all(transaction).await?;
    let mut overtaken = Vec::new();
    for row in rows {
        let (theirs, ours): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
        if theirs < ours {
            overtaken.push((row.try_get(0)?, unsigned(theirs), unsigned(ours)));
        }
    }
    Ok(overtaken)
}

/// Notes what the topics show, by region, and raises those of our versions above it that are below. Returns the regions
/// that it is true of, with the version shown and our new one. `shown` is ordered by region.
///
/// Never where nothing was ever applied, as in `compare`.
pub(crate) async fn overtake_heads(
    transaction: &mut PgConnection,
    shown: &[(String, u64)],
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<(String, u64, u64)>> {
    let query = sqlx::query(
        r#"WITH shown AS (
             SELECT r.id, r.version AS before, s.head FROM UNNEST($1::text[], $2::bigint[]) AS s(id, head)
             JOIN regions r ON r.id = s.id WHERE r.head < s.head
             ORDER BY r.id COLLATE "C" FOR UPDATE OF r
         )
         UPDATE regions r
         SET head = shown.head,
             version = CASE WHEN shown.before BETWEEN 1 AND shown.head - 1 THEN shown.head + 1 ELSE r.version END,
             behind_since = CASE WHEN shown.before BETWEEN 1 AND shown.head - 1 THEN COALESCE(r.behind_since, $3)
                                 ELSE r.behind_since END
         FROM shown WHERE r.id = shown.id
         RETURNING r.id, shown.before, r.head, r.version"#,
    );
    let (regions, heads): (Vec<&str>, Vec<i64>) =
        shown.iter().map(|(region, head)| (region.as_str(), signed(*head))).unzip();
    let rows = query.bind(regions).bind(heads).bind(now).fetch_all(transaction).await?;
    let mut overtaken = Vec::new();
    for row in rows {
        let (before, head): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
        if before > 0 && before < head {
            overtaken.push((row.try_get(0)?, unsigned(head), unsigned(row.try_get(3)?)));
        }
    }
    Ok(overtaken)
}

/// The ids of all regions.
pub(crate) async fn all(connection: &mut PgConnection) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar("SELECT id FROM regions").fetch_all(connection).await
}

/// A region, as `ListRegions` shows it.
pub(crate) struct Overview {
    pub id: String,
    pub version: u64,
    /// The highest version that its topic had before this database published there.
    pub head: u64,
    pub behind_since: Option<DateTime<Utc>>,
    pub published_version: u64,
    pub published_hash: String,
    pub relay_problem: String,
    pub heartbeat: Option<OverviewHeartbeat>,
    pub resources: i64,
    pub ready: i64,
}

/// What `ListRegions` shows of a heartbeat.
pub(crate) struct OverviewHeartbeat {
    pub version: u64,
    pub content_hash: String,
    pub interval_ms: i64,
    pub received_at: DateTime<Utc>,
    pub plugins_hash: String,
    pub cluster_uid: String,
    pub plane_version: String,
    pub problems: Vec<String>,
}

/// All regions, by id.
pub(crate) async fn overviews(connection: &mut PgConnection) -> sqlx::Result<Vec<Overview>> {
    let query = sqlx::query(
        r#"SELECT r.id, r.version, r.head, r.behind_since, l.published_version, l.content_hash AS published_hash, l.problem,
                  h.version AS applied_version, h.content_hash, h.interval_ms, h.received_at, h.plugins_hash,
                  h.cluster_uid, h.plane_version, h.problems,
                  COALESCE(c.resources, 0) AS resources, COALESCE(c.ready, 0) AS ready
           FROM regions r
           JOIN relays l ON l.region = r.id
           LEFT JOIN heartbeats h ON h.region = r.id
           LEFT JOIN (
               SELECT d.region, count(*) AS resources,
                      count(*) FILTER (WHERE s.ready AND s.generation = d.generation) AS ready
               FROM resources d LEFT JOIN statuses s ON s.uid = d.uid
               WHERE d.removed_at IS NULL GROUP BY d.region
           ) c ON c.region = r.id
           ORDER BY r.id COLLATE "C""#,
    );
    query.fetch_all(connection).await?.into_iter().map(|row| overview(&row)).collect()
}

fn overview(row: &sqlx::postgres::PgRow) -> sqlx::Result<Overview> {
    let heartbeat = match row.try_get::<Option<i64>, _>("applied_version")? {
        None => None,
        Some(version) => Some(OverviewHeartbeat {
            version: unsigned(version),
            content_hash: row.try_get("content_hash")?,
            interval_ms: row.try_get("interval_ms")?,
            received_at: row.try_get("received_at")?,
            plugins_hash: row.try_get("plugins_hash")?,
            cluster_uid: row.try_get("cluster_uid")?,
            plane_version: row.try_get("plane_version")?,
            problems: row.try_get("problems")?,
        }),
    };
    Ok(Overview {
        id: row.try_get("id")?,
        version: unsigned(row.try_get("version")?),
        head: unsigned(row.try_get("head")?),
        behind_since: row.try_get("behind_since")?,
        published_version: unsigned(row.try_get("published_version")?),
        published_hash: row.try_get("published_hash")?,
        relay_problem: row.try_get("problem")?,
        heartbeat,
        resources: row.try_get("resources")?,
        ready: row.try_get("ready")?,
    })
}
