//! What an edit of a plugin costs: from the file to the last of its resources reconciled by the new version, and how long
//! the exchange itself takes. Compiling is not in it: both versions were compiled before.
//!
//! Prints one JSON object per measure: {measure, unit, n, p50, p90, p99, max, goal}.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/running/mod.rs"]
mod running;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common::*;
use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use parking_lot::Mutex;
use running::variants::{Site, variant};
use serde_json::json;

const RESOURCES: u8 = 20;
const EDITS: usize = 20;

fn main() {
    // Cargo adds `--bench`; a test run of all targets passes `--test`, and measures nothing.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let switches = Switches::default();
    metrics::set_global_recorder(switches.clone()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let edits = runtime.block_on(edits());
    // The first one brought the plugin.
    let switches: Vec<Duration> =
        switches.0.seconds.lock().iter().map(|seconds| Duration::from_secs_f64(*seconds)).collect();
    assert_eq!(switches.len(), EDITS);
    report("plugin edited → live in all of 20 resources, compiled before", edits, 2000);
    report("plugin exchange: from its first change to the new one serving", switches, 100);
}

async fn edits() -> Vec<Duration> {
    let site = Site::new();
    let variants = [("newer", "Newer"), ("original", "OnRequest")];
    for (name, _) in variants {
        site.engine().load("compiled.wasm", &variant(name)).unwrap();
    }
    site.put("misbehaving.wasm", variant("original"));
    let region = site.start().await;
    let resources: Vec<_> = (0..RESOURCES)
        .map(|number| resource(&format!("r{number}"), "misbehaving", 100 + number, "{}"))
        .collect();
    region.publish(1, &resources).await;
    let live = async |reason: &str| {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(60) {
            let reports = latest(&region.bus);
            let there = reports.values().filter(|report| report.ready && report.reason == reason).count();
            if there == usize::from(RESOURCES) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("{reason} was never everywhere");
    };
    live("OnRequest").await;
    let mut taken = Vec::new();
    for (name, reason) in variants.into_iter().cycle().take(EDITS) {
        // As a person would: not in the middle of what the last edit brought about.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let wasm = variant(name);
        let started = Instant::now();
        site.put("misbehaving.wasm", wasm);
        live(reason).await;
        taken.push(started.elapsed());
    }
    region.stop().await;
    taken
}

fn report(measure: &str, mut taken: Vec<Duration>, goal: u64) {
    taken.sort();
    let at = |share: f64| {
        let index = ((taken.len() - 1) as f64 * share) as usize;
        (taken[index].as_secs_f64() * 1e4).round() / 10.0
    };
    let line = json!({"measure": measure, "unit": "ms", "n": taken.len(),
        "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": at(1.0), "goal": {"max": goal}});
    println!("{line}");
}

/// Keeps what the region measures of its exchanges.
#[derive(Clone, Default)]
struct Switches(Arc<Seconds>);

#[derive(Default)]
struct Seconds {
    seconds: Mutex<Vec<f64>>,
}

impl HistogramFn for Seconds {
    fn record(&self, value: f64) {
        self.seconds.lock().push(value);
    }
}

impl Recorder for Switches {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        match key.name() {
            "senren_region_plugin_switch_seconds" => Histogram::from_arc(self.0.clone()),
            _ => Histogram::noop(),
        }
    }
}
