//! `/metrics` for Prometheus, `/healthz` and `/readyz` for Kubernetes, on an address of their own: whoever may look at
//! a plane need not be let to its API.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;
use senren_telemetry::Readiness;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{catalog, process};

/// Setting of where to listen.
#[derive(Debug, Clone, Copy, clap::Args)]
#[group(skip)]
pub struct Settings {
    /// Where /metrics (Prometheus), /healthz and /readyz are served; not at all by default.
    #[arg(long, env = "METRICS_ADDR", value_name = "ADDR", help_heading = "Telemetry")]
    pub metrics_addr: Option<SocketAddr>,
}

/// The planes of this process, and whether they are ready. Clones are the same one.
#[derive(Clone, Default)]
pub struct Planes(Arc<Mutex<Vec<(String, Readiness)>>>);

/// Upper bounds of what takes time, in seconds: from a call of a plugin to a region that is away for a minute.
const BUCKETS: [f64; 16] =
    [0.000_05, 0.000_2, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];
/// Between two looks at what nobody asks for.
const UPKEEP: Duration = Duration::from_secs(5);

impl Planes {
    /// One more, which is called `name`.
    pub fn add(&self, name: impl Into<String>, readiness: Readiness) {
        self.0.lock().push((name.into(), readiness));
    }

    /// How each is; and whether all are ready.
    fn report(&self) -> (bool, String) {
        let planes = self.0.lock();
        let ready = !planes.is_empty() && planes.iter().all(|(_, readiness)| readiness.is_ready());
        let mut report = String::new();
        for (name, readiness) in planes.iter() {
            for (part, state) in readiness.parts() {
                report.push_str(&format!("{name}: {part}: {}\n", state.words));
            }
        }
        (ready, report)
    }
}

/// Begins to measure and to answer, where that is wished, until `shutdown`. To be called before the planes start;
/// they are added to what this returns. `region`: all that is measured is this region's.
pub async fn start(
    settings: Settings,
    region: Option<&str>,
    shutdown: CancellationToken,
) -> anyhow::Result<Planes> {
    let planes = Planes::default();
    let Some(addr) = settings.metrics_addr else { return Ok(planes) };
    let listener = TcpListener::bind(addr).await.with_context(|| format!("cannot listen on {addr}"))?;
    let metrics = record(region).context("metrics")?;
    catalog::describe();
    metrics::gauge!("senren_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1);
    let addr = listener.local_addr().unwrap_or(addr);
    tracing::info!(%addr, "serving /metrics, /healthz and /readyz");
    let router = router(metrics.clone(), planes.clone());
    tokio::spawn(async move {
        let serving = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned());
        if let Err(error) = serving.await {
            tracing::error!(%error, "/metrics is no longer served");
        }
    });
    tokio::spawn(async move {
        loop {
            metrics.run_upkeep();
            tokio::time::sleep(UPKEEP).await;
        }
    });
    Ok(planes)
}

fn record(region: Option<&str>) -> Result<PrometheusHandle, BuildError> {
    let mut builder =
        PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS)?;
    if let Some(region) = region {
        builder = builder.add_global_label("region", region);
    }
    builder.install_recorder()
}

fn router(metrics: PrometheusHandle, planes: Planes) -> Router {
    let scrape = move || {
        process::measure();
        let headers = [("content-type", "text/plain; version=0.0.4; charset=utf-8")];
        let text = metrics.render();
        async move { (headers, text) }
    };
    Router::new()
        .route("/metrics", get(scrape))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(planes)
}

async fn ready(State(planes): State<Planes>) -> impl IntoResponse {
    let (ready, report) = planes.report();
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_when_all_of_its_planes_are() {
        let planes = Planes::default();
        assert_eq!(planes.report(), (false, String::new()), "there is no plane yet");
        let (control, region) = (Readiness::default(), Readiness::default());
        planes.add("control", control.clone());
        planes.add("aws:us-east-1", region.clone());
        control.ready("database");
        region.wait("state topic", "it is not read to its end yet");
        let report = "control: database: ok\naws:us-east-1: state topic: it is not read to its end yet\n";
        assert_eq!(planes.report(), (false, report.to_owned()));
        region.ready("state topic");
        assert!(planes.report().0);
    }
}
