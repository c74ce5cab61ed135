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

use crate::exit::{Exit, Failure};

/// A file to log to, at its end.
pub fn file(path: &Path) -> anyhow::Result<Mutex<File>> {
    let file = File::options().create(true).append(true).open(path);
    Ok(Mutex::new(file.with_context(|| format!("cannot write {}", path.display()))?))
}

/// To be called once, before anything logs. Fails where the environment asks for what there isn't.
pub fn init<W>(default: &str, writer: W, ansi: bool, traces: Option<SdkTracerProvider>) -> Result<(), Failure>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let wish = Wish::of(default, |name| std::env::var(name).ok());
    let Wish { filter, json } = wish.map_err(|problem| Failure::new(Exit::Usage, problem))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(ansi);
    let lines = if json {
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
    Ok(())
}

/// How much is logged, and in which form.
#[derive(Debug)]
struct Wish {
    filter: EnvFilter,
    json: bool,
}

impl Wish {
    /// As the environment says; what is set to nothing is not set.
    fn of(default: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let set = |name: &'static str| Some((name, variable(name).filter(|value| !value.is_empty())?));
        let filter = match set("SENREN_LOG").or_else(|| set("RUST_LOG")) {
            None => EnvFilter::new(default),
            Some((name, value)) => EnvFilter::try_new(&value).map_err(|error| {
                format!("{name}={value:?} is no filter: {error}; write e.g. info or info,senren_region=debug")
            })?,
        };
        let json = match set("SENREN_LOG_FORMAT").map(|(_, value)| value).as_deref() {
            None | Some("text") => false,
            Some("json") => true,
            Some(other) => {
                return Err(format!("SENREN_LOG_FORMAT={other:?} is not known: write text or json"));
            }
        };
        Ok(Self { filter, json })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_environment_says_what_is_logged_and_a_mistake_in_it_is_told() {
        let wish = |set: &[(&str, &str)]| {
            let of = |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).to_owned());
            Wish::of("info", of).map(|wish| (wish.filter.to_string(), wish.json))
        };
        assert_eq!(wish(&[]), Ok(("info".into(), false)));
        assert_eq!(wish(&[("SENREN_LOG", ""), ("RUST_LOG", "warn")]), Ok(("warn".into(), false)));
        let both = [("SENREN_LOG", "debug"), ("RUST_LOG", "warn"), ("SENREN_LOG_FORMAT", "json")];
        assert_eq!(wish(&both), Ok(("debug".into(), true)));
        assert!(wish(&[("SENREN_LOG", "a=b=c")]).unwrap_err().contains("SENREN_LOG=\"a=b=c\""));
        assert!(wish(&[("SENREN_LOG_FORMAT", "xml")]).unwrap_err().contains("text or json"));
    }
}
