//! The region's sign of life: what it has taken in, what it can run, and what is wrong with it.
//!
//! It confirms a version only after everything that was due to be reported has been acknowledged (see
//! [`crate::report`]); where that takes too long, it goes out on time with the version confirmed before.

use std::time::Duration;

use parking_lot::Mutex;
use senren_api::v1::{Heartbeat, PluginInfo, StatusReport, status_report::Body};
use senren_bus::{BusError, codec};

use crate::plane::Plane;

/// The version and content hash that were last confirmed, and whether the region was settled then.
#[derive(Default)]
pub struct Confirmed(Mutex<(u64, String, bool)>);

/// How long a heartbeat waits for the reports before it. Must leave the interval its meaning.
const PATIENCE: Duration = Duration::from_secs(2);

/// Publishes one heartbeat.
pub async fn beat(plane: &Plane, confirmed: &Confirmed) -> Result<(), BusError> {
    let (version, content_hash) = plane.applied();
    let patience = PATIENCE.min(plane.config.heartbeat_interval / 2);
    if plane.is_complete() && tokio::time::timeout(patience, plane.board.said()).await.is_ok() {
        *confirmed.0.lock() = (version, content_hash, plane.is_settled());
    }
    let (version, content_hash, settled) = confirmed.0.lock().clone();
    let heartbeat = Heartbeat {
        version,
        content_hash,
        interval_ms: u32::try_from(plane.config.heartbeat_interval.as_millis()).unwrap_or(u32::MAX),
        sent_at: Some(timestamp(jiff::Timestamp::now())),
        plugins: plugins(plane),
        cluster_uid: plane.cluster_uid.clone(),
        plane_version: env!("CARGO_PKG_VERSION").into(),
        problems: plane.problems.list(),
        settled,
    };
    let message = StatusReport {
        region: plane.region.to_string(),
        sequence: plane.next_sequence(),
        body: Some(Body::Heartbeat(heartbeat)),
    };
    plane.bus.publish(codec::encode_report(plane.bus.topics(), &message)).await?;
    metrics::counter!("senren_region_heartbeats_total").increment(1);
    plane.gauges.resources(&plane.crs.all());
    Ok(())
}

fn plugins(plane: &Plane) -> Vec<PluginInfo> {
    let notices = plane.notices.lock();
    let info = |(name, served): (&str, &senren_engine::Served)| {
        let descriptor = served.plugin.descriptor();
        PluginInfo {
            r#type: name.to_owned(),
            kind: served.resource_type.wit.kind.clone(),
            plugin: descriptor.name.clone(),
            version: descriptor.version.clone(),
            digest: served.plugin.digest().to_owned(),
            spec_schema_json: served.resource_type.wit.spec_schema.clone(),
            notice: notices.get(name).cloned().unwrap_or_default(),
        }
    };
    plane.plugins.current().iter().map(info).collect()
}

pub(crate) fn timestamp(time: jiff::Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}
