//! What the binary says of itself to Prometheus, Kubernetes and a collector of traces.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::mpsc,
    time::{Duration, Instant},
};

use common::{Dev, command, free_addr};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    trace::v1::Span,
};
use tonic::{Request, Response, Status, transport::Server};

const ONE: &str = "databases:\n  - name: cache\n    type: redis\n    regions: [aws:us-east-1]\n    spec:\n      memory_mb: 64\n";
const BOARD: &str = include_str!("../../../deploy/grafana/senren.json");
const OPERATORS: &str = include_str!("../../../docs/operators.md");

/// What is only there once it has happened, or with Kafka: not in a small world where all is well.
const RARE: [&str; 11] = [
    "senren_bus_publish_seconds",
    "senren_bus_topic_settings_off",
    "senren_region_skipped_records_total",
    "senren_plugin_call_failures_total",
    "senren_asks_total",
    "senren_ask_seconds",
    "senren_region_plugin_exchanges_total",
    "senren_region_plugin_switch_seconds",
    "senren_region_plugin_problems",
    "senren_secret_rotations_total",
    "senren_ingest_skipped_total",
];

/// Status and body.
fn get(addr: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(addr).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

/// Names of metrics in a text, without what Prometheus adds for histograms.
fn names(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words =
        text.split(|c| !word(c)).filter(|word| word.starts_with("senren_") || word.starts_with("process_"));
    let bare = |word: &str| {
        let suffix = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| word.strip_suffix(suffix));
        suffix.unwrap_or(word).to_owned()
    };
    words.map(bare).collect()
}

fn documented() -> BTreeSet<String> {
    let table = OPERATORS.split("<!-- metrics -->").nth(1).unwrap();
    table.lines().filter_map(|line| Some(line.split('`').nth(1)?.to_owned())).collect()
}

/// Every query of the board, those of its variables included.
fn queries() -> Vec<String> {
    fn collect(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(fields) => {
                found.extend(
                    ["expr", "definition"]
                        .iter()
                        .filter_map(|key| Some(fields.get(*key)?.as_str()?.to_owned())),
                );
                fields.values().for_each(|value| collect(value, found));
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect(&serde_json::from_str(BOARD).unwrap(), &mut found);
    found
}

#[test]
fn the_board_asks_for_what_is_measured() {
    let known: BTreeSet<String> = documented();
    for query in queries() {
        let asked = names(&query);
        assert!(!asked.is_empty(), "{query}");
        for name in asked {
            let standard = name.starts_with("process_") || name == "senren_build_info";
            assert!(standard || known.contains(&name), "{name} of {query} is no metric");
        }
    }
    let asked = names(&queries().join("\n"));
    let unseen: Vec<_> = known.difference(&asked).collect();
    assert!(unseen.is_empty(), "the board does not show {unseen:?}");
}

#[test]
fn a_running_world_is_measured_and_ready() {
    let dir = tempfile::tempdir().unwrap();
    let addr = free_addr();
    let dev = Dev::start_with(dir.path(), ONE, &["--metrics-addr", &addr.to_string()]);
    assert_eq!(get(addr, "/healthz"), (200, "ok\n".to_owned()));
    let (status, report) = get(addr, "/readyz");
    assert_eq!(status, 200, "{report}");
    for part in
        ["aws:us-east-1: cluster: ok", "aws:us-east-1: state topic: ok", "control plane: database: ok"]
    {
        assert!(report.contains(part), "no {part:?} in {report}");
    }
    assert_eq!(get(addr, "/nothing").0, 404);

    let expected: BTreeSet<String> =
        documented().into_iter().filter(|name| !RARE.contains(&name.as_str())).collect();
    let asked = names(&queries().join("\n"));
    let expected: BTreeSet<_> =
        asked.into_iter().filter(|name| !RARE.contains(&name.as_str())).chain(expected).collect();
    // What is sampled is there after a moment.
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let (_, metrics) = get(addr, "/metrics");
        let measured: BTreeSet<_> =
            names(&metrics.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n"));
        let missing: Vec<_> = expected.difference(&measured).collect();
        if missing.is_empty() {
            break;
        }
        assert!(Instant::now() < end, "not measured: {missing:?}\n{metrics}");
        std::thread::sleep(Duration::from_millis(200));
    }
    let (_, metrics) = get(addr, "/metrics");
    for line in [
        "senren_applies_total{method=\"ApplyState\",code=\"Ok\"} 1",
        "senren_region_ready_resources{region=\"aws:us-east-1\"} 1",
        "senren_resources{type=\"redis\",phase=\"Ready\"} 1",
    ] {
        assert!(metrics.contains(line), "no {line:?} in\n{metrics}");
    }
    assert!(metrics.contains("senren_apply_seconds_bucket{method=\"ApplyState\",le="), "{metrics}");
    assert_eq!(dev.end("TERM"), Some(0));
}

/// A collector that hands on every span.
struct Collector(mpsc::Sender<Span>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let spans = request.into_inner().resource_spans.into_iter();
        for span in spans.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans) {
            self.0.send(span).map_err(|error| Status::internal(error.to_string()))?;
        }
        Ok(Response::new(ExportTraceServiceResponse { partial_success: None }))
    }
}

fn attribute<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// Runs a world once with a collector, and returns all spans.
fn traced(content: &str) -> Vec<Span> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (sender, spans) = mpsc::channel();
    let addr = free_addr();
    runtime.spawn(Server::builder().add_service(TraceServiceServer::new(Collector(sender))).serve(addr));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state.yaml");
    fs::write(&file, content).unwrap();
    let ended = command(dir.path(), &file, free_addr(), &["--once"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{addr}"))
        .output()
        .unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    spans.try_iter().collect()
}

#[test]
fn one_trace_leads_from_the_apply_to_the_last_status() {
    let spans = traced(ONE);
    let by_id: BTreeMap<_, _> = spans.iter().map(|span| (&span.span_id, span)).collect();
    let apply = spans
        .iter()
        .find(|span| attribute(span, "method") == Some("/senren.v1.ControlPlane/ApplyState"))
        .unwrap_or_else(|| panic!("no apply in {spans:#?}"));
    let of_apply: Vec<_> = spans.iter().filter(|span| span.trace_id == apply.trace_id).collect();

    let shown: Vec<_> = of_apply.iter().map(|span| &span.name).collect();
    for step in ["store", "relay", "intake", "reconcile", "report", "ingest"] {
        assert!(of_apply.iter().any(|span| span.name == step), "no {step} in {shown:?}");
    }
    // Each leads back to the apply by way of its parents.
    for span in &of_apply {
        let mut root = *span;
        while let Some(parent) = by_id.get(&root.parent_span_id) {
            root = parent;
        }
        assert_eq!(root.span_id, apply.span_id, "{} hangs in the air: {root:?}", span.name);
    }
    // The last report says that it is ready, and was taken in.
    let reported =
        of_apply.iter().find(|span| attribute(span, "phase") == Some("Ready")).expect("a last report");
    let stored = of_apply.iter().any(|span| span.name == "ingest" && span.parent_span_id == reported.span_id);
    assert!(stored, "the last report was not taken in: {of_apply:#?}");
}
