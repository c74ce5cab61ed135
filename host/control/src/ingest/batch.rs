//! Turns records of the status topic into what can be stored. Whatever cannot is skipped, counted and named; it never
//! stops what comes after it.

use std::collections::BTreeMap;

use senren_api::{
    RegionId, ResourceName, SiteName, TypeName,
    v1::{Heartbeat, ResourceReport, StatusReport, status_report::Body},
};
use senren_bus::{Record, codec};
use uuid::Uuid;

use crate::store::{
    MAX_COUNTER,
    heartbeats::{NewHeartbeat, PluginSet},
    statuses::NewStatus,
};

/// A report that is larger says nothing that anybody will read.
const MAX_REPORT_BYTES: usize = 1024 * 1024;
const DEFAULT_INTERVAL_MS: i64 = 10_000;
const MIN_INTERVAL_MS: i64 = 50;
const MAX_INTERVAL_MS: i64 = 3_600_000;
const MAX_PROBLEMS: usize = 50;

/// What some records say.
#[derive(Default)]
pub(crate) struct Batch {
    pub statuses: Vec<NewStatus>,
    /// The latest of each region, in region order.
    pub heartbeats: BTreeMap<RegionId, NewHeartbeat>,
    pub skipped: usize,
}

impl Batch {
    pub(crate) fn of(records: &[Record]) -> Self {
        let mut batch = Self::default();
        for record in records {
            if let Err((code, problem)) = batch.add(record) {
                batch.skipped += 1;
                metrics::counter!("senren_ingest_skipped_total", "reason" => code).increment(1);
                tracing::warn!(key = record.key, reason = code, problem, "skipped a status message");
            }
        }
        batch
    }

    fn add(&mut self, record: &Record) -> Result<(), (&'static str, String)> {
        if record.payload.as_ref().is_some_and(|payload| payload.len() > MAX_REPORT_BYTES) {
            return Err(("oversized", format!("it has more than {MAX_REPORT_BYTES} bytes")));
        }
        let report = codec::decode_report(record).map_err(|error| (error.code(), error.to_string()))?;
        self.add_report(report).map_err(|problem| ("invalid", problem))
    }

    fn add_report(&mut self, report: StatusReport) -> Result<(), String> {
        let region: RegionId = report.region.parse().map_err(|error| format!("{error}"))?;
        let sequence = counter("sequence", report.sequence)?;
        match report.body {
            Some(Body::Resource(report)) => self.statuses.push(status(region, sequence, report)?),
            Some(Body::Heartbeat(beat)) => {
                let beat = heartbeat(region.clone(), sequence, beat)?;
                if self.heartbeats.get(&region).is_none_or(|known| known.sequence < sequence) {
                    self.heartbeats.insert(region, beat);
                }
            }
            None => return Err("it reports on nothing".to_owned()),
        }
        Ok(())
    }
}

fn counter(what: &str, value: u64) -> Result<i64, String> {
    if value > MAX_COUNTER {
        return Err(format!("{what} {value} is beyond any that can be"));
    }
    i64::try_from(value).map_err(|error| format!("{what}: {error}"))
}

fn status(region: RegionId, sequence: i64, report: ResourceReport) -> Result<NewStatus, String> {
    report.site.parse::<SiteName>().map_err(|error| error.to_string())?;
    report.name.parse::<ResourceName>().map_err(|error| error.to_string())?;
    let uid: Uuid = report.uid.parse().map_err(|_| format!("{:?} is no uid", report.uid))?;
    let phase = &report.phase;
    if phase.is_empty() || phase.len() > 40 || !phase.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(format!("{phase:?} is no phase"));
    }
    let generation = counter("generation", report.generation)?;
    Ok(NewStatus { region, uid, sequence, generation, report })
}

fn heartbeat(region: RegionId, sequence: i64, beat: Heartbeat) -> Result<NewHeartbeat, String> {
    let interval_ms = match i64::from(beat.interval_ms) {
        0 => DEFAULT_INTERVAL_MS,
        interval => interval.clamp(MIN_INTERVAL_MS, MAX_INTERVAL_MS),
    };
    // A type that no apply could name is of no use to anybody here.
    let plugins = beat.plugins.into_iter().filter(|plugin| plugin.r#type.parse::<TypeName>().is_ok());
    Ok(NewHeartbeat {
        region,
        sequence,
        version: counter("version", beat.version)?,
        content_hash: storable(beat.content_hash),
        interval_ms,
        plugins: PluginSet::of(plugins.collect()),
        cluster_uid: storable(beat.cluster_uid),
        plane_version: storable(beat.plane_version),
        problems: beat.problems.into_iter().take(MAX_PROBLEMS).map(storable).collect(),
    })
}

/// PostgreSQL's text takes everything but NUL.
fn storable(mut text: String) -> String {
    text.retain(|c| c != '\0');
    text
}
