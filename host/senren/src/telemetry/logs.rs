//! Logs, and the layer through which traces see the same spans. Each has a filter of its own.

use std::{fs::File, path::Path, sync::Mutex};

use anyhow::Context as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::Targets, fmt::MakeWriter, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// A file to log to, at its end.
pub fn file(path: &Path) -> anyhow::Result<Mutex<File>> {
    let file = File::options().create(true).append(true).open(path);
    Ok(Mutex::new(file.with_context(|| format!("cannot write {}", path.display()))?))
}

/// To be called once, before anything logs.
pub fn init<W>(default: &str, writer: W, ansi: bool, traces: Option<SdkTracerProvider>)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = ["SENREN_LOG", "RUST_LOG"]
        .iter()
        .find_map(|name| EnvFilter::try_from_env(name).ok())
        .unwrap_or_else(|| EnvFilter::new(default));
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(ansi);
    let lines = if std::env::var("SENREN_LOG_FORMAT").is_ok_and(|format| format == "json") {
        lines.json().flatten_event(true).with_filter(filter).boxed()
    } else {
        lines.with_filter(filter).boxed()
    };
    // Ours only: those of libraries would be most of it.
    let ours = Targets::new().with_target("senren", LevelFilter::INFO);
    let traces = traces.map(|traces| {
        tracing_opentelemetry::layer()
            .with_tracer(traces.tracer("senren"))
            .with_location(false)
            .with_threads(false)
            .with_filter(ours)
    });
    tracing_subscriber::registry().with(traces).with(lines).init();
}
