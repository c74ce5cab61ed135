//! Turns records of the status topic into what can be stored. Whatever cannot is skipped, counted and named; it never
//! stops what comes after it.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use prost_types::Timestamp;
use senren_api::{
    RegionId, ResourceName, SiteName, TypeName,
    v1::{Heartbeat, ResourceReport, StatusReport, status_report::Body},
};
use senren_bus::{Record, codec};
use uuid::Uuid;

use crate::store::{
    MAX_COUNTER,
    heartbeats::{NewHeartbeat, PluginSet, patience},
    statuses::NewStatus,
};

/// A report that is larger says nothing that anybody will read.
const MAX_REPORT_BYTES: usize = 1024 * 1024;
const DEFAULT_INTERVAL_MS: i64 = 10_000;
const MIN_INTERVAL_MS: i64 = 50;
const MAX_INTERVAL_MS: i64 = 3_600_000;
const MAX_PROBLEMS: usize = 50;
/// By how much a region's clock may differ from ours, or its messages be delayed, without consequences.
const TOLERANCE: TimeDelta = TimeDelta::seconds(60);

/// What some records say.
#[derive(Default)]
pub(crate) struct Batch {
    pub statuses: Vec<NewStatus>,
    /// The latest of each region, in region order.
    pub heartbeats: BTreeMap<RegionId, NewHeartbeat>,
    pub skipped: usize,
}

impl Batch {
    pub(crate) fn of(records: &[Record], now: DateTime<Utc>) -> Self {
        let mut batch = Self::default();
        // A line for each reason: somebody else may write here without end.
        let mut skipped: BTreeMap<&'static str, (u64, &str, String)> = BTreeMap::new();
        for record in records {
            if let Err((code, problem)) = batch.add(record, now) {
                batch.skipped += 1;
                skipped.entry(code).or_insert((0, &record.key, problem)).0 += 1;
            }
        }
        for (reason, (count, key, problem)) in skipped {
            metrics::counter!("senren_ingest_skipped_total", "reason" => reason).increment(count);
            tracing::warn!(key, reason, problem, alike = count - 1, "skipped a status message");
        }
        batch
    }

    fn add(&mut self, record: &Record, now: DateTime<Utc>) -> Result<(), (&'static str, String)> {
        if record.payload.as_ref().is_some_and(|payload| payload.len() > MAX_REPORT_BYTES) {
            return Err(("oversized", format!("it has more than {MAX_REPORT_BYTES} bytes")));
        }
        let report = codec::decode_report(record).map_err(|error| (error.code(), error.to_string()))?;
        self.add_report(report, now).map_err(|problem| ("invalid", problem))
    }

    fn add_report(&mut self, report: StatusReport, now: DateTime<Utc>) -> Result<(), String> {
        let region: RegionId = report.region.parse().map_err(|error| format!("{error}"))?;
        let sequence = counter("sequence", report.sequence)?;
        match report.body {
            Some(Body::Resource(report)) => self.statuses.push(status(region, sequence, report)?),
            Some(Body::Heartbeat(beat)) => {
                let beat = heartbeat(region.clone(), sequence, beat, now)?;
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
    let report = ResourceReport { reason: storable(report.reason), ..report };
    Ok(NewStatus { region, uid, sequence, generation, report })
}

fn heartbeat(
    region: RegionId,
    sequence: i64,
    beat: Heartbeat,
    now: DateTime<Utc>,
) -> Result<NewHeartbeat, String> {
    let interval_ms = match i64::from(beat.interval_ms) {
        0 => DEFAULT_INTERVAL_MS,
        interval => interval.clamp(MIN_INTERVAL_MS, MAX_INTERVAL_MS),
    };
    // A type that no apply could name is of no use to anybody here.
    let plugins = beat.plugins.into_iter().filter(|plugin| plugin.r#type.parse::<TypeName>().is_ok());
    let mut problems: Vec<String> = beat.problems.into_iter().take(MAX_PROBLEMS).map(storable).collect();
    let (heard_at, late) = heard_at(beat.sent_at, interval_ms, now);
    problems.extend(late);
    Ok(NewHeartbeat {
        region,
        sequence,
        version: counter("version", beat.version)?,
        content_hash: storable(beat.content_hash),
        interval_ms,
        plugins: PluginSet::of(plugins.collect()),
        cluster_uid: storable(beat.cluster_uid),
        plane_version: storable(beat.plane_version),
        problems,
        settled: beat.settled,
        heard_at,
    })
}

/// When a heartbeat counts as heard, and what is to be said about that. Mostly when it comes: clocks differ. But one
/// that we find after having been away ourselves tells of the time when it was sent, and is no sign that the region is
/// there now.
fn heard_at(
    sent_at: Option<Timestamp>,
    interval_ms: i64,
    now: DateTime<Utc>,
) -> (DateTime<Utc>, Option<String>) {
    let late = patience(TimeDelta::milliseconds(interval_ms)).max(TOLERANCE);
    let sent_at =
        sent_at.and_then(|sent| DateTime::from_timestamp(sent.seconds, sent.nanos.try_into().ok()?));
    match sent_at {
        Some(sent_at) if now - sent_at > late => {
            let age = (now - sent_at).num_seconds();
            let problem = format!(
                "its latest heartbeat came {age}s after it was sent: its messages are delayed, or its clock is behind"
            );
            (sent_at, Some(problem))
        }
        _ => (now, None),
    }
}

/// PostgreSQL's text takes everything but NUL.
fn storable(mut text: String) -> String {
    text.retain(|c| c != '\0');
    text
}
