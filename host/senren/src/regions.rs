//! `senren regions`.

use jiff::Timestamp;
use senren_api::v1::ListRegionsRequest;

use crate::{
    cli::RegionsArgs,
    client::Client,
    exit::Failure,
    output,
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
            version(region).into(),
            if region.in_sync { "yes" } else { "no" }.into(),
            format!("{}/{}", region.ready_resources, region.resources).into(),
            region.plugins.iter().map(|p| p.r#type.as_str()).collect::<Vec<_>>().join(",").into(),
            region.plane_version.as_str().into(),
        ]);
    }
    let problems = regions
        .regions
        .iter()
        .flat_map(|region| region.problems.iter().map(move |problem| format!("{}: {problem}\n", region.id)));
    table.render() + &problems.collect::<String>()
}

/// `7`, or `5 of 7` while the region has not taken in the newest.
fn version(region: &Region) -> String {
    if region.applied_version == region.version {
        region.version.to_string()
    } else {
        format!("{} of {}", region.applied_version, region.version)
    }
}
