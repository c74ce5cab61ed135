//! Whose turn it is to take in what regions report, and how far that topic is read.
//!
//! A turn ends by itself: whoever has it renews it, and once it does so no more (killed, hung, cut off), it is anybody's.
//! It saves work, and correctness does not hang on it: two that believe to have it take in the same twice, and only the
//! one that has it can move the position. The position lies beside what was taken in, so a database that is restored
//! from a backup has the one that belongs to it.

use std::time::Duration;

use senren_bus::Position;
use sqlx::{PgConnection, Row as _, postgres::types::PgInterval};
use uuid::Uuid;

/// Takes the turn for so long, if it is nobody else's. Returns how far the topic is read.
pub(crate) async fn take(
    connection: &mut PgConnection,
    topic: &str,
    owner: Uuid,
    time: Duration,
) -> sqlx::Result<Option<Position>> {
    let query = sqlx::query(
        "INSERT INTO turns AS t (topic, owner, until) VALUES ($1, $2, now() + $3)
         ON CONFLICT (topic) DO UPDATE SET owner = EXCLUDED.owner, until = EXCLUDED.until
         WHERE t.owner = EXCLUDED.owner OR t.until <= now()
         RETURNING log, partitions, offsets",
    );
    let row = query.bind(topic).bind(owner).bind(interval(time)).fetch_optional(connection).await?;
    let Some(row) = row else { return Ok(None) };
    let (partitions, offsets): (Vec<i32>, Vec<i64>) = (row.try_get(1)?, row.try_get(2)?);
    Ok(Some(Position { log: row.try_get(0)?, offsets: partitions.into_iter().zip(offsets).collect() }))
}

/// Keeps the turn for so long from now, and notes how far the topic is read. False: it is somebody else's by now.
pub(crate) async fn renew(
    connection: &mut PgConnection,
    topic: &str,
    owner: Uuid,
    time: Duration,
    position: &Position,
) -> sqlx::Result<bool> {
    let query = sqlx::query(
        "UPDATE turns SET until = now() + $3, log = $4, partitions = $5, offsets = $6
         WHERE topic = $1 AND owner = $2",
    );
    let (partitions, offsets): (Vec<i32>, Vec<i64>) = position.offsets.iter().unzip();
    let query = query.bind(topic).bind(owner).bind(interval(time));
    let query = query.bind(&position.log).bind(partitions).bind(offsets);
    Ok(query.execute(connection).await?.rows_affected() > 0)
}

fn interval(time: Duration) -> PgInterval {
    let microseconds = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    PgInterval { months: 0, days: 0, microseconds }
}
