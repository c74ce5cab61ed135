//! `senren regions`.

use jiff::Timestamp;
use senren_api::v1::ListRegionsRequest;

use crate::{
    cli::RegionsArgs,
    client::Client,
    exit::Failure,
    output::{self, plain},
    paint::Paint,
    table::{Cell, Table, age},
    views::{Region, Regions},
};

/// Shows all regions.
pub async fn run(args: RegionsArgs) -> Result<(), Failure> {
    let client = Client::open(&args.connection).await?;
    let answer = client
        .call(ListRegionsRequest {}, async |mut grpc, request| grpc.list_regions(request).await)
        .await?;
    output::show(args.output, &Regions::from(answer), |regions| text(regions, Timestamp::now()))
}

fn text(regions: &Regions, now: Timestamp) -> String {
    if regions.regions.is_empty() {
        return "No region yet: none has sent a heartbeat, and no apply has named one.".into();
    }
    let mut table =
        Table::new(&["REGION", "PHASE", "HEARTBEAT", "VERSION", "IN-SYNC", "READY", "TYPES", "PLANE"]);
    for region in &regions.regions {
        let heartbeat = region.last_heartbeat_at.map(|at| format!("{} ago", age(at, now)));
        table.row(vec![
            region.id.as_str().into(),
            Cell::painted(region.phase.as_str(), Paint::of_phase(&region.phase)),
            heartbeat.unwrap_or_default().into(),
            version(region, now).into(),
            if region.in_sync { "yes" } else { "no" }.into(),
            format!("{}/{}", region.ready_resources, region.resources).into(),
            region.plugins.iter().map(|p| p.r#type.as_str()).collect::<Vec<_>>().join(",").into(),
            region.plane_version.as_str().into(),
        ]);
    }
    table.render() + &regions.regions.iter().flat_map(remarks).collect::<String>()
}

/// What is not as it should be, a line each: first of the region, then of its plugins.
fn remarks(region: &Region) -> Vec<String> {
    let notices = region.plugins.iter().filter(|plugin| !plugin.notice.is_empty());
    let notices = notices.map(|plugin| format!("{}: {}", plugin.r#type, plugin.notice));
    let all = region.problems.iter().cloned().chain(notices);
    all.map(|remark| format!("{}: {}\n", region.id, plain(&remark))).collect()
}

/// `7`, or `5 of 7 for 12s` while the region has not taken in the newest.
fn version(region: &Region, now: Timestamp) -> String {
    if region.applied_version == region.version {
        return region.version.to_string();
    }
    let behind = region.behind_since.map(|since| format!(" for {}", age(since, now))).unwrap_or_default();
    format!("{} of {}{behind}", region.applied_version, region.version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::Plugin;

    #[test]
    fn what_is_wrong_with_a_region_and_with_its_plugins_is_below_the_table() {
        let plugin = |r#type: &str, notice: &str| Plugin {
            r#type: r#type.into(),
            kind: String::new(),
            plugin: r#type.into(),
            version: "1.0.0".into(),
            digest: String::new(),
            spec_schema: serde_json::Value::Null,
            notice: notice.into(),
        };
        let region = Region {
            id: "aws:r".into(),
            phase: "Connected".into(),
            version: 7,
            applied_version: 5,
            in_sync: false,
            last_heartbeat_at: None,
            plugins: vec![plugin("redis", ""), plugin("old", "its file was removed")],
            resources: 2,
            ready_resources: 1,
            problems: vec!["x.wasm: no component".into()],
            plane_version: "0.1.0".into(),
            cluster_uid: String::new(),
            published_version: 7,
            behind_since: Some(Timestamp::UNIX_EPOCH - jiff::SignedDuration::from_mins(5)),
        };
        let text = text(&Regions { regions: vec![region] }, Timestamp::UNIX_EPOCH);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].contains("5 of 7 for 5m ") && lines[1].contains("redis,old"), "{text}");
        assert_eq!(lines[2..], ["aws:r: x.wasm: no component", "aws:r: old: its file was removed"]);
    }
}
