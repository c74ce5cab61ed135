//! Every metric of senren: what it is, for whoever reads `/metrics`, and for the table in `docs/operators.md`.
//!
//! A test holds it against the source, so that there is none besides these, and against that table.

use metrics::Unit;

use Kind::{Counter, Gauge, Histogram};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    /// Of seconds.
    Histogram,
}

struct Metric {
    name: &'static str,
    kind: Kind,
    labels: &'static str,
    help: &'static str,
}

const fn metric(name: &'static str, kind: Kind, labels: &'static str, help: &'static str) -> Metric {
    Metric { name, kind, labels, help }
}

/// A step of the walk, and what is measured there.
type Step = (&'static str, &'static [Metric]);

/// In the order of the walk.
const STEPS: [Step; 13] = [
    (
        "apply",
        &[
            metric("senren_applies_total", Counter, "method, code", "Calls that may change a site"),
            metric("senren_apply_seconds", Histogram, "method", "Time that such a call takes"),
        ],
    ),
    (
        "store",
        &[metric("senren_database_connections", Gauge, "state", "Connections to PostgreSQL, used and idle")],
    ),
    (
        "relay",
        &[
            metric("senren_relay_published_total", Counter, "", "States of regions that were published"),
            metric(
                "senren_relay_failures_total",
                Counter,
                "",
                "States that could not be published, and are tried again",
            ),
            metric(
                "senren_relay_republished_total",
                Counter,
                "",
                "States that a region did not confirm, and got again",
            ),
            metric("senren_region_desired_version", Gauge, "region", "Version that a region should be at"),
            metric(
                "senren_region_published_version",
                Gauge,
                "region",
                "Version that was last published to a region",
            ),
        ],
    ),
    (
        "publish",
        &[
            metric(
                "senren_relay_publish_seconds",
                Histogram,
                "",
                "Time until a state is durable on its topic",
            ),
            metric(
                "senren_bus_publish_seconds",
                Histogram,
                "topic",
                "Time until Kafka has acknowledged a record",
            ),
            metric(
                "senren_bus_topic_settings_off",
                Gauge,
                "topic, setting",
                "1 for each setting of a topic that is worse than senren would have made it; the log says how to change it",
            ),
        ],
    ),
    (
        "stand by",
        &[metric("senren_region_active", Gauge, "", "1 where this replica works, 0 where it stands by")],
    ),
    (
        "intake",
        &[
            metric(
                "senren_region_state_delay_seconds",
                Histogram,
                "",
                "From the publication of a state to its arrival, by the two clocks",
            ),
            metric(
                "senren_region_intake_seconds",
                Histogram,
                "",
                "From the arrival of a state until all of its resources were looked at",
            ),
            metric(
                "senren_region_applied_version",
                Gauge,
                "",
                "Version that this region has wholly taken in",
            ),
            metric(
                "senren_region_custom_resources_written_total",
                Counter,
                "",
                "Custom resources that were made or changed",
            ),
            metric(
                "senren_region_skipped_records_total",
                Counter,
                "reason",
                "Records of the state topic that can't be used",
            ),
        ],
    ),
    (
        "reconcile",
        &[
            metric("senren_reconciles_total", Counter, "type, outcome", "Steps of reconciling"),
            metric("senren_reconcile_seconds", Histogram, "type", "Time that a step takes"),
            metric("senren_resources", Gauge, "type, phase", "Resources of this region"),
        ],
    ),
    (
        "plugins",
        &[
            metric(
                "senren_plugin_call_seconds",
                Histogram,
                "plugin, function",
                "Time that a call of a plugin takes",
            ),
            metric(
                "senren_plugin_call_failures_total",
                Counter,
                "plugin, function, reason",
                "Calls that failed",
            ),
            metric(
                "senren_region_plugin_exchanges_total",
                Counter,
                "outcome",
                "Changes of the plugin directory, taken over or refused",
            ),
            metric(
                "senren_region_plugin_switch_seconds",
                Histogram,
                "",
                "Time from the old set of plugins to the new one",
            ),
            metric("senren_region_plugin_refusals_total", Counter, "", "Plugins that were refused"),
            metric(
                "senren_region_plugin_problems",
                Gauge,
                "",
                "Files of the plugin directory that are not as they should be",
            ),
        ],
    ),
    (
        "asks",
        &[
            metric(
                "senren_asks_total",
                Counter,
                "type, outcome",
                "Commands that plugins had run in their pods",
            ),
            metric("senren_ask_seconds", Histogram, "type", "Time that such a command takes"),
        ],
    ),
    (
        "apply and prune",
        &[
            metric("senren_kubernetes_writes_total", Counter, "verb, kind", "Writes to the Kubernetes API"),
            metric("senren_secret_rotations_total", Counter, "kind", "Secrets that got another content"),
        ],
    ),
    (
        "report",
        &[
            metric("senren_region_reports_total", Counter, "", "Statuses that were reported"),
            metric(
                "senren_region_report_seconds",
                Histogram,
                "",
                "Time until a report is durable on its topic",
            ),
            metric(
                "senren_region_outbox_reports",
                Gauge,
                "",
                "Reports that are committed in the region's database, and not yet acknowledged",
            ),
            metric(
                "senren_region_outbox_bypassed_total",
                Counter,
                "",
                "Reports that could not be committed before they were published",
            ),
            metric("senren_region_heartbeats_total", Counter, "", "Heartbeats that were sent"),
        ],
    ),
    (
        "ingest",
        &[
            metric(
                "senren_ingest_active",
                Gauge,
                "",
                "1 where this control plane takes in what regions report, 0 where it stands by",
            ),
            metric("senren_ingest_seconds", Histogram, "", "Time to store a batch of reports"),
            metric("senren_ingest_statuses_total", Counter, "", "Statuses that changed"),
            metric("senren_ingest_heartbeats_total", Counter, "", "Heartbeats that were news"),
            metric(
                "senren_ingest_skipped_total",
                Counter,
                "reason",
                "Records of the status topic that can't be used",
            ),
            metric(
                "senren_region_last_heartbeat_timestamp_seconds",
                Gauge,
                "region",
                "When a region was last heard, in seconds since 1970",
            ),
            metric(
                "senren_region_confirmed_version",
                Gauge,
                "region",
                "Version that a region says it has taken in",
            ),
            metric("senren_region_resources", Gauge, "region", "Resources that a region should have"),
            metric("senren_region_ready_resources", Gauge, "region", "Those of them that are ready"),
            metric("senren_region_problems", Gauge, "region", "What a region says is wrong with it"),
            metric(
                "senren_region_version_from_future_total",
                Counter,
                "",
                "Versions that this control plane never published: an old backup?",
            ),
        ],
    ),
    (
        "watch",
        &[
            metric("senren_watches", Gauge, "", "Clients that watch a site"),
            metric(
                "senren_watch_reads_total",
                Counter,
                "",
                "Readings of watched sites, each for all who watch it",
            ),
            metric("senren_watch_events_total", Counter, "", "Events that they were sent"),
        ],
    ),
];

/// Tells the recorder. Counters without labels are there from the start, so that a first event is a rise.
pub fn describe() {
    for metric in STEPS.iter().flat_map(|(_, metrics)| *metrics) {
        match metric.kind {
            Counter => {
                metrics::describe_counter!(metric.name, metric.help);
                if metric.labels.is_empty() {
                    metrics::counter!(metric.name).increment(0);
                }
            }
            Gauge => metrics::describe_gauge!(metric.name, metric.help),
            Histogram => metrics::describe_histogram!(metric.name, Unit::Seconds, metric.help),
        }
    }
    metrics::describe_gauge!("senren_build_info", "Version of this program");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::{
        collections::BTreeSet,
        path::{Path, PathBuf},
    };

    use super::*;

    const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

    fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => sources(&path, found),
                false if path.extension().is_some_and(|extension| extension == "rs") => found.push(path),
                false => {}
            }
        }
    }

    /// Names that are measured under: the first text in the parentheses of `counter!`, `gauge!` and `histogram!`, and of
    /// the closures that stand for them.
    fn measured() -> BTreeSet<String> {
        let mut files = Vec::new();
        for krate in ["bus", "control", "engine", "reconcile", "region"] {
            sources(&Path::new(ROOT).join("host").join(krate).join("src"), &mut files);
        }
        let mut names = BTreeSet::new();
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            for macro_name in ["counter!(", "gauge!(", "histogram!(", "gauge("] {
                for (at, _) in text.match_indices(macro_name) {
                    let argument = text[at + macro_name.len()..].trim_start();
                    if let Some(name) = argument.strip_prefix('"').and_then(|text| text.split('"').next()) {
                        names.insert(name.to_owned());
                    }
                }
            }
        }
        names
    }

    #[test]
    fn every_metric_is_described_and_every_description_is_of_one() {
        let described: BTreeSet<String> =
            STEPS.iter().flat_map(|(_, metrics)| *metrics).map(|metric| metric.name.to_owned()).collect();
        let measured = measured();
        let missing: Vec<_> = measured.difference(&described).collect();
        let idle: Vec<_> = described.difference(&measured).collect();
        assert!(missing.is_empty() && idle.is_empty(), "not described: {missing:?}; not measured: {idle:?}");
    }

    #[test]
    fn names_end_as_prometheus_wants() {
        for metric in STEPS.iter().flat_map(|(_, metrics)| *metrics) {
            let ending = match metric.kind {
                Counter => metric.name.ends_with("_total"),
                Gauge => !metric.name.ends_with("_total"),
                Histogram => metric.name.ends_with("_seconds"),
            };
            assert!(ending && metric.name.starts_with("senren_"), "{}", metric.name);
        }
    }

    fn table() -> String {
        let mut table = String::from("| step | metric | labels | what |\n|---|---|---|---|\n");
        for (step, metrics) in STEPS {
            for metric in metrics {
                let Metric { name, labels, help, .. } = metric;
                table.push_str(&format!("| {step} | `{name}` | {labels} | {help} |\n"));
            }
        }
        table
    }

    #[test]
    fn the_table_for_operators_is_this_one() {
        let path = Path::new(ROOT).join("docs/operators.md");
        let text = std::fs::read_to_string(&path).unwrap();
        let (begin, end) = ("<!-- metrics -->\n", "<!-- /metrics -->");
        let (before, rest) = text.split_once(begin).expect("a place for the table");
        let (found, after) = rest.split_once(end).expect("its end");
        if std::env::var_os("SENREN_WRITE_DOCS").is_some() {
            std::fs::write(&path, format!("{before}{begin}{}{end}{after}", table())).unwrap();
        } else {
            assert_eq!(found, table(), "SENREN_WRITE_DOCS=1 writes it");
        }
    }
}
