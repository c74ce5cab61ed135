//! The latest heartbeat of each region, and the plugin sets that heartbeats show.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use prost::Message as _;
use senren_api::{
    RegionId,
    v1::{Heartbeat, PluginInfo},
};
use sqlx::{PgConnection, Row as _};

use super::unsigned;

/// Heartbeats that may be missing before a region counts as silent.
const MISSED: i32 = 3;

/// When a region was last heard, and what it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// By our clock.
    pub at: DateTime<Utc>,
    /// How often it promises to be heard.
    pub interval: TimeDelta,
    /// The resource types it serves.
    pub types: Vec<String>,
    /// Names its plugin set.
    pub plugins_hash: String,
    /// The version that it says it has applied.
    pub applied_version: u64,
}

impl Seen {
    /// The moment from which the region counts as silent, unless it is heard before.
    pub fn silent_from(&self) -> DateTime<Utc> {
        silent_from(self.at, self.interval)
    }

    /// True where too many heartbeats are missing.
    pub fn is_silent(&self, now: DateTime<Utc>) -> bool {
        now >= self.silent_from()
    }
}

/// The moment from which a region counts as silent that was last heard `at`.
pub(crate) fn silent_from(at: DateTime<Utc>, interval: TimeDelta) -> DateTime<Utc> {
    at + patience(interval)
}

/// How long a region may go unheard that promises to be heard once per `interval`.
pub(crate) fn patience(interval: TimeDelta) -> TimeDelta {
    interval * MISSED
}

/// A heartbeat that is about to be recorded.
pub(crate) struct NewHeartbeat {
    pub region: RegionId,
    pub sequence: i64,
    pub version: i64,
    pub content_hash: String,
    pub interval_ms: i64,
    pub plugins: PluginSet,
    pub cluster_uid: String,
    pub plane_version: String,
    pub problems: Vec<String>,
    /// All that the region has is desired.
    pub settled: bool,
    /// When it counts as heard, by our clock.
    pub heard_at: DateTime<Utc>,
}

impl NewHeartbeat {
    /// True where it is too old to say that the region is there.
    pub(crate) fn is_silent(&self, now: DateTime<Utc>) -> bool {
        now >= silent_from(self.heard_at, TimeDelta::milliseconds(self.interval_ms))
    }
}

/// What a region can run, under a hash that regions with the same plugins share.
pub(crate) struct PluginSet {
    pub hash: String,
    pub types: Vec<String>,
    pub encoded: Vec<u8>,
}

impl PluginSet {
    pub(crate) fn of(plugins: Vec<PluginInfo>) -> Self {
        let types = plugins.iter().map(|plugin| plugin.r#type.clone()).collect();
        let encoded = Heartbeat { plugins, ..Heartbeat::default() }.encode_to_vec();
        let hash = crate::hash::sha256(&encoded);
        Self { hash, types, encoded }
    }
}

/// What is known of those of `regions` that have been heard.
pub(crate) async fn of(
    connection: &mut PgConnection,
    regions: &[&str],
) -> sqlx::Result<BTreeMap<String, Seen>> {
    let query = sqlx::query(
        "SELECT region, received_at, interval_ms, types, plugins_hash, version AS applied_version
         FROM heartbeats WHERE region = ANY($1)",
    );
    let rows = query.bind(regions).fetch_all(connection).await?;
    rows.into_iter().map(|row| Ok((row.try_get("region")?, seen(&row)?))).collect()
}

/// Reads the columns of a heartbeat that a query has joined.
pub(crate) fn seen(row: &sqlx::postgres::PgRow) -> sqlx::Result<Seen> {
    Ok(Seen {
        at: row.try_get("received_at")?,
        interval: TimeDelta::milliseconds(row.try_get("interval_ms")?),
        types: row.try_get("types")?,
        plugins_hash: row.try_get("plugins_hash")?,
        applied_version: unsigned(row.try_get("applied_version")?),
    })
}

/// Every type that any region serves.
pub(crate) async fn all_types(connection: &mut PgConnection) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar("SELECT DISTINCT UNNEST(types) AS type FROM heartbeats ORDER BY type")
        .fetch_all(connection)
        .await
}

/// The plugins of a set, if it is known.
pub(crate) async fn plugins(
    connection: &mut PgConnection,
    hash: &str,
) -> sqlx::Result<Option<Vec<PluginInfo>>> {
    let query = sqlx::query_scalar("SELECT plugins FROM plugin_sets WHERE hash = $1").bind(hash);
    let encoded: Option<Vec<u8>> = query.fetch_optional(connection).await?;
    let heartbeat = encoded.map(|encoded| Heartbeat::decode(encoded.as_slice())).transpose();
    let heartbeat = heartbeat.map_err(|error| sqlx::Error::Decode(error.into()))?;
    Ok(heartbeat.map(|heartbeat| heartbeat.plugins))
}

/// Records heartbeats, at most one per region and sorted by it; one that is older than what is known changes
/// nothing. Returns the regions whose heartbeat is news.
pub(crate) async fn record(
    transaction: &mut PgConnection,
    beats: &[NewHeartbeat],
) -> sqlx::Result<Vec<String>> {
    let mut news = Vec::with_capacity(beats.len());
    for beat in beats {
        // One by one: a batch has few of them, and arrays of arrays (types, problems) do not unnest.
        let query = sqlx::query(
            "WITH plugin_set AS (
                 INSERT INTO plugin_sets (hash, plugins) SELECT $7, $8
                 WHERE NOT EXISTS (SELECT FROM plugin_sets WHERE hash = $7) ON CONFLICT DO NOTHING
             )
             INSERT INTO heartbeats AS h (region, sequence, version, content_hash, interval_ms, types, plugins_hash,
                                          received_at, cluster_uid, plane_version, problems)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $9, $10, $11, $12)
             ON CONFLICT (region) DO UPDATE
             SET sequence = EXCLUDED.sequence, version = EXCLUDED.version, content_hash = EXCLUDED.content_hash,
                 interval_ms = EXCLUDED.interval_ms, types = EXCLUDED.types, plugins_hash = EXCLUDED.plugins_hash,
                 received_at = EXCLUDED.received_at, cluster_uid = EXCLUDED.cluster_uid,
                 plane_version = EXCLUDED.plane_version, problems = EXCLUDED.problems
             WHERE h.sequence < EXCLUDED.sequence",
        );
        let query = query.bind(beat.region.as_str()).bind(beat.sequence).bind(beat.version);
        let query = query.bind(&beat.content_hash).bind(beat.interval_ms).bind(&beat.plugins.types);
        let query = query.bind(&beat.plugins.hash).bind(&beat.plugins.encoded).bind(beat.heard_at);
        let query = query.bind(&beat.cluster_uid).bind(&beat.plane_version).bind(&beat.problems);
        if query.execute(&mut *transaction).await?.rows_affected() > 0 {
            news.push(beat.region.to_string());
        }
    }
    Ok(news)
}

/// Forgets plugin sets that no region shows any more.
pub(crate) async fn forget_unused_plugin_sets(connection: &mut PgConnection) -> sqlx::Result<u64> {
    let query = sqlx::query(
        "DELETE FROM plugin_sets p WHERE NOT EXISTS (SELECT FROM heartbeats h WHERE h.plugins_hash = p.hash)",
    );
    Ok(query.execute(connection).await?.rows_affected())
}
