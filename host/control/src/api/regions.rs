//! Regions, as `ListRegions` shows them.

use chrono::{DateTime, TimeDelta, Utc};
use senren_api::v1::Region;

use crate::{
    catalog::Plugins,
    status::timestamp,
    store::{heartbeats::silent_from, regions::Overview},
};

/// A region, now.
pub(crate) fn present(overview: Overview, plugins: &Plugins, now: DateTime<Utc>) -> Region {
    let mut problems = own_problems(&overview);
    let in_sync = in_sync(&overview);
    let mut region = Region {
        id: overview.id,
        phase: "NeverSeen".to_owned(),
        version: overview.version,
        published_version: overview.published_version,
        behind_since: overview.behind_since.map(timestamp),
        resources: u32::try_from(overview.resources).unwrap_or(u32::MAX),
        ..Region::default()
    };
    if let Some(heartbeat) = overview.heartbeat {
        let silent =
            now >= silent_from(heartbeat.received_at, TimeDelta::milliseconds(heartbeat.interval_ms));
        region.phase = if silent { "Silent" } else { "Connected" }.to_owned();
        region.applied_version = heartbeat.version;
        region.in_sync = in_sync && !silent;
        region.last_heartbeat_at = Some(timestamp(heartbeat.received_at));
        region.plugins.clone_from(&plugins.infos);
        // What a silent region's databases do is not known.
        let ready = if silent { 0 } else { overview.ready };
        region.ready_resources = u32::try_from(ready).unwrap_or(u32::MAX);
        region.plane_version = heartbeat.plane_version;
        region.cluster_uid = heartbeat.cluster_uid;
        problems.extend(heartbeat.problems);
    }
    region.problems = problems;
    region
}

/// Version and content agree. A region to which nothing was ever applied has nothing to agree on.
fn in_sync(overview: &Overview) -> bool {
    overview.heartbeat.as_ref().is_some_and(|heartbeat| {
        heartbeat.version == overview.version
            && (overview.version == 0
                || overview.published_version == overview.version
                    && heartbeat.content_hash == overview.published_hash)
    })
}

/// What is wrong between us and the region.
fn own_problems(overview: &Overview) -> Vec<String> {
    let mut problems = Vec::new();
    if !overview.relay_problem.is_empty() {
        problems.push(format!("its state cannot be published: {}", overview.relay_problem));
    }
    let applied = overview.heartbeat.as_ref().map_or(0, |heartbeat| heartbeat.version);
    let (holder, version) =
        if applied > 0 { ("it holds", applied) } else { ("its topic holds", overview.head) };
    if overview.version == 0 && version > 0 {
        problems.push(format!(
            "{holder} version {version} of a state that this control plane does not have (is this the right database?); \
             nothing is published to it until an apply names it"
        ));
    }
    problems
}
