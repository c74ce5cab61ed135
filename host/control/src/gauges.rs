//! What a control plane knows of its regions, as gauges: read from the database now and then, so that every control
//! plane shows the same, whichever of them a region's messages go through.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::store::{Store, regions};

const INTERVAL: Duration = Duration::from_secs(10);

/// Keeps them up to date until `shutdown`.
pub(crate) async fn run(store: Store, shutdown: CancellationToken) {
    loop {
        if let Err(error) = set(&store).await {
            tracing::debug!(%error, "gauges cannot use the database");
        }
        if tokio::time::timeout(INTERVAL, shutdown.cancelled()).await.is_ok() {
            return;
        }
    }
}

async fn set(store: &Store) -> sqlx::Result<()> {
    let (connections, idle) = store.connections();
    metrics::gauge!("senren_database_connections", "state" => "used").set(number(connections - idle));
    metrics::gauge!("senren_database_connections", "state" => "idle").set(number(idle));
    let mut connection = store.acquire().await?;
    for region in regions::overviews(&mut connection).await? {
        let id = &region.id;
        let gauge = |name: &'static str| metrics::gauge!(name, "region" => id.clone());
        gauge("senren_region_desired_version").set(number(region.version));
        gauge("senren_region_published_version").set(number(region.published_version));
        gauge("senren_region_resources").set(number(region.resources));
        gauge("senren_region_ready_resources").set(number(region.ready));
        if let Some(heartbeat) = &region.heartbeat {
            gauge("senren_region_confirmed_version").set(number(heartbeat.version));
            gauge("senren_region_problems").set(number(heartbeat.problems.len() as u64));
            let heard = heartbeat.received_at.timestamp_millis();
            gauge("senren_region_last_heartbeat_timestamp_seconds").set(number(heard) / 1000.0);
        }
    }
    Ok(())
}

/// Exact up to 2^53.
#[allow(clippy::cast_precision_loss)]
fn number(count: impl TryInto<i64>) -> f64 {
    count.try_into().unwrap_or(i64::MAX) as f64
}
