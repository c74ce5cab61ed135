//! The way back: what the region observes of each resource, on the status topic.
//!
//! What is published until it is acknowledged is always the latest; what comes before it waits in [`crate::outbox`],
//! where the region has a database. A report is about
//! the generation that reconciling has looked at (`status.senrenGeneration`), never about one that was merely
//! written down, so a `Ready` of the old spec is never taken for one of the new.
//!
//! # How the control plane learns that a resource is gone
//! All reports and heartbeats of a region lie in one partition, in the order in which they were acknowledged, and:
//! 1. For every uid that this plane ever reported on, or that had a custom resource here, `deleted` is reported once
//!    no state desires it and the API server no longer has its custom resource (whose finalizer goes last, after
//!    every object). That is remembered across restarts (see [`crate::memory`]) and repeated until acknowledged.
//! 2. A heartbeat says version V only after every report that was due when V was taken in is acknowledged. So
//!    before it there is a report on each uid that has a custom resource at that time.
//! 3. Such a heartbeat says `settled` where all that this plane knows of is desired.
//!
//! Therefore a resource that is being deleted is gone when a `deleted` report with its uid has come, or when a
//! heartbeat confirms a version from which it was missing and either there is no report on its uid at all (then this
//! region never had it) or the region is settled (then it has it no more, and has lost the memory of it, as a new
//! cluster in the place of an old one has). It will not come back, since the region drops older versions.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use kube::api::DynamicObject;
use parking_lot::Mutex;
use senren_api::{
    ResourceKey,
    v1::{Condition, Endpoint, ResourceReport, StatusReport, status_report::Body},
};
use senren_bus::{BusError, codec};
use senren_reconcile::Journal;
use senren_telemetry::trace;
use serde_json::Value;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::{board::Due, cr::Cr, heartbeat::timestamp, intake::Trouble, memory::Known, plane::Plane};

/// What was last acknowledged, by uid, without the time of observation.
#[derive(Default)]
pub(crate) struct Said {
    by_uid: Mutex<HashMap<String, ResourceReport>>,
}

impl Said {
    /// Everything counts as not said.
    pub fn forget(&self) {
        self.by_uid.lock().clear();
    }

    fn is(&self, report: &ResourceReport) -> bool {
        self.by_uid.lock().get(&report.uid) == Some(report)
    }

    fn note(&self, report: ResourceReport) {
        let mut by_uid = self.by_uid.lock();
        if report.deleted {
            by_uid.remove(&report.uid);
        } else {
            by_uid.insert(report.uid.clone(), report);
        }
    }
}

/// Takes up what an earlier process had to say, where the region has a database. The error says why it can't be had.
pub async fn resume(plane: &Plane) -> Result<(), String> {
    plane.outbox.open().await.map(|keys| plane.board.mark(keys))
}

/// Deletes what was acknowledged from the region's database, where there is one.
pub async fn sweep(plane: &Plane) -> Result<(), String> {
    plane.outbox.sweep().await
}

/// Publishes what there is to say about one resource. False: there is nothing to say about any.
pub async fn report_next(plane: &Plane) -> Result<bool, BusError> {
    match plane.board.take() {
        Some(due) => publish_due(plane, due).await.map(|()| true),
        None => Ok(false),
    }
}

/// Publishes what there is to say about a resource that was taken from the board.
pub(crate) async fn publish_due(plane: &Plane, due: Due) -> Result<(), BusError> {
    match say(plane, &due.key).await {
        Ok(()) => plane.board.done(&due),
        Err(error) => {
            plane.board.failed(due);
            return Err(error);
        }
    }
    Ok(())
}

/// The uids of one name share a key on the topic, so the one that is desired comes last.
async fn say(plane: &Plane, key: &ResourceKey) -> Result<(), BusError> {
    let mut spoken = publish_waiting(plane, key).await?;
    for known in plane.roll.leaving(key) {
        if plane.has_cr(&known) || plane.is_desired(&known) == Some(true) {
            continue;
        }
        plane.keep(key, || Some(farewell(&known)), true).await;
        spoken |= publish_waiting(plane, key).await?;
        plane.roll.forget(&known);
    }
    for report in reports(plane, key) {
        if spoken || !plane.said.is(&report) {
            let read = || reports(plane, key).into_iter().find(|now| now.uid == report.uid);
            plane.keep(key, read, true).await;
            spoken |= publish_waiting(plane, key).await?;
        }
    }
    Ok(())
}

/// Publishes what waits, in its order. False: nothing did.
async fn publish_waiting(plane: &Plane, key: &ResourceKey) -> Result<bool, BusError> {
    let mut spoken = false;
    while let Some(waiting) = plane.outbox.next(key) {
        if let Some(report) = waiting.report() {
            publish(plane, key, &waiting.message, report).await?;
        }
        plane.outbox.acknowledged(key, &waiting);
        spoken = true;
    }
    Ok(spoken)
}

async fn publish(
    plane: &Plane,
    key: &ResourceKey,
    message: &StatusReport,
    report: ResourceReport,
) -> Result<(), BusError> {
    let span = plane.traces.span(
        key,
        || tracing::info_span!("report", resource = %key, generation = report.generation, phase = report.phase),
    );
    let ends = report.deleted || report.ready && report.phase == "Ready";
    send(plane, message, &report, trace::of(&span)).instrument(span).await?;
    plane.said.note(report);
    if ends {
        plane.traces.end(key);
    }
    Ok(())
}

async fn send(
    plane: &Plane,
    message: &StatusReport,
    report: &ResourceReport,
    traceparent: Option<String>,
) -> Result<(), BusError> {
    let begin = Instant::now();
    let record = codec::encode_report(plane.bus.topics(), message);
    let record = record.with_header(trace::TRACEPARENT, traceparent);
    match plane.bus.publish(record).await {
        Err(error @ BusError::TooLarge { .. }) => {
            // It would never get through, and must not hold up what can.
            tracing::error!(site = report.site, name = report.name, %error, "a report is lost");
        }
        published => published?,
    }
    metrics::counter!("senren_region_reports_total").increment(1);
    metrics::histogram!("senren_region_report_seconds").record(begin.elapsed());
    Ok(())
}

impl Plane {
    /// Has a report published, after all that waits about its name. Where it can't be committed first, that is said,
    /// and it is published all the same.
    async fn keep(&self, key: &ResourceKey, read: impl FnOnce() -> Option<ResourceReport>, again: bool) {
        let stamp = |report| StatusReport {
            region: self.region.to_string(),
            sequence: self.next_sequence(),
            body: Some(Body::Resource(ResourceReport {
                observed_at: Some(timestamp(jiff::Timestamp::now())),
                ..report
            })),
        };
        if let Err(why) = self.outbox.add(key, read, again, stamp).await {
            self.database_away(Some(why));
        }
    }

    /// Says that the region's database can't be had, or no longer that.
    pub(crate) fn database_away(&self, why: Option<String>) {
        const SUBJECT: &str = "regional database";
        match why {
            None => self.problems.clear(SUBJECT),
            Some(why) => {
                let words = "the region's database can't be used, so a crash may cost reports";
                if self.problems.is_news(SUBJECT, format!("{words}: {why}")) {
                    tracing::warn!("{words}: {why}");
                }
            }
        }
    }
}

#[async_trait]
impl Journal for Plane {
    async fn keep(&self, type_name: &str, resource: &DynamicObject) {
        let cr = Cr::parse(type_name, &self.prefix, &self.region, resource.clone());
        let Some(cr) = cr.filter(|cr| !cr.uid.is_empty() && cr.status.is_some()) else { return };
        // The watch may be behind, and must not say later what was before this.
        self.note(cr.clone());
        let read = || {
            let trouble = self.troubles.lock().get(&cr.key).cloned();
            Some(of_cr(&cr, trouble.as_ref().filter(|trouble| trouble.uid == cr.uid)))
        };
        Self::keep(self, &cr.key, read, false).await;
        self.board.mark([cr.key]);
    }
}

/// What there is to say about a name, the desired one last.
fn reports(plane: &Plane, key: &ResourceKey) -> Vec<ResourceReport> {
    let desired = plane.desired.lock().get(key);
    let trouble = plane.troubles.lock().get(key).cloned();
    let is_desired = |uid: &str| desired.as_ref().is_some_and(|desired| desired.uid == uid);
    let mut crs: Vec<Arc<Cr>> = plane.crs.of(key).into_iter().filter(|cr| !cr.uid.is_empty()).collect();
    crs.sort_by_key(|cr| is_desired(&cr.uid));
    let about = |uid: &str| trouble.as_ref().filter(|trouble| trouble.uid == uid);
    let mut reports: Vec<ResourceReport> = crs.iter().map(|cr| of_cr(cr, about(&cr.uid))).collect();
    if let Some(trouble) = &trouble
        && crs.iter().all(|cr| cr.uid != trouble.uid)
    {
        reports.push(of_trouble(key, trouble));
    }
    reports
}

fn of_cr(cr: &Cr, trouble: Option<&Trouble>) -> ResourceReport {
    let mut report = ResourceReport {
        site: cr.key.site.to_string(),
        name: cr.key.name.to_string(),
        r#type: cr.type_name.clone(),
        uid: cr.uid.clone(),
        generation: cr.generation,
        phase: "Pending".into(),
        ..Default::default()
    };
    if let Some(status) = cr.status.as_deref() {
        if status.senren_generation > 0 {
            report.generation = status.senren_generation;
        }
        if !status.phase.is_empty() {
            report.phase = status.phase.clone();
        }
        report.ready = status.ready;
        report.reason = status.reason.clone();
        report.message = status.message.clone();
        report.endpoints = status.endpoints.iter().map(endpoint).collect();
        report.conditions = status.conditions.iter().map(condition).collect();
        if !status.details.is_empty() {
            report.details_json = Value::Object(status.details.clone()).to_string();
        }
    }
    if cr.deleting && !cr.protected && report.phase != "Deleting" {
        // Reconciling will say so in a moment.
        report.phase = "Deleting".into();
        report.ready = false;
    }
    if let Some(trouble) = trouble {
        // The database may be serving on, but it is not what was asked for.
        report.generation = trouble.generation;
        report.phase = trouble.phase.into();
        report.ready = false;
        report.reason = trouble.reason.clone();
        report.message = trouble.message.clone();
    }
    report
}

fn endpoint(endpoint: &senren_reconcile::status::Endpoint) -> Endpoint {
    Endpoint { name: endpoint.name.clone(), host: endpoint.host.clone(), port: endpoint.port.into() }
}

fn condition(condition: &senren_reconcile::status::Condition) -> Condition {
    Condition {
        r#type: condition.kind.clone(),
        status: condition.status.clone(),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
    }
}

fn of_trouble(key: &ResourceKey, trouble: &Trouble) -> ResourceReport {
    ResourceReport {
        site: key.site.to_string(),
        name: key.name.to_string(),
        r#type: trouble.type_name.clone(),
        uid: trouble.uid.clone(),
        generation: trouble.generation,
        phase: trouble.phase.into(),
        reason: trouble.reason.clone(),
        message: trouble.message.clone(),
        ..Default::default()
    }
}

fn farewell(known: &Known) -> ResourceReport {
    ResourceReport {
        site: known.key.site.to_string(),
        name: known.key.name.to_string(),
        r#type: known.type_name.clone(),
        uid: known.uid.clone(),
        phase: "Deleting".into(),
        deleted: true,
        ..Default::default()
    }
}
