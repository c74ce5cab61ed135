//! What a process says of itself, and to whom: logs, metrics, traces, and whether it is ready.
//!
//! Logs always: `SENREN_LOG` (or `RUST_LOG`) says how much, `SENREN_LOG_FORMAT=json` how. Metrics where somebody is to
//! listen ([`endpoint`]), traces where the environment names a collector ([`traces`]); otherwise neither costs anything.

mod catalog;
pub mod endpoint;
mod logs;
mod process;
mod traces;

use std::{io::IsTerminal as _, path::Path, sync::OnceLock};

use opentelemetry_sdk::trace::SdkTracerProvider;

use crate::exit::Failure;

/// To be flushed at the end.
static TRACES: OnceLock<SdkTracerProvider> = OnceLock::new();

/// Logs of a command, on standard error: only what is wrong. To be called once, before anything logs.
pub fn init_command() -> Result<(), Failure> {
    logs::init("error", std::io::stderr, std::io::stderr().is_terminal(), None)
}

/// What a plane says: logs on standard error, and traces. To be called once, in a runtime, before anything logs.
pub fn init_plane(service: &str) -> Result<(), Failure> {
    let (traces, problem) = traces(service);
    logs::init("info", std::io::stderr, std::io::stderr().is_terminal(), traces)?;
    tell(problem);
    Ok(())
}

/// What planes say whose terminal is needed for other things. To be called as [`init_plane`].
pub fn init_to_file(service: &str, path: &Path) -> Result<(), Failure> {
    let (traces, problem) = traces(service);
    logs::init("info", logs::file(path)?, false, traces)?;
    tell(problem);
    Ok(())
}

/// Where traces go; or why nowhere. What an environment asks for that we can't do (whole clusters get the variables
/// of OpenTelemetry from an operator) costs the traces, not the plane.
fn traces(service: &str) -> (Option<SdkTracerProvider>, Option<anyhow::Error>) {
    match traces::provider(service) {
        Ok(traces) => (traces.map(|traces| TRACES.get_or_init(|| traces).clone()), None),
        Err(problem) => (None, Some(problem)),
    }
}

fn tell(problem: Option<anyhow::Error>) {
    if let Some(problem) = problem {
        tracing::error!("no traces are sent: {problem:#}");
    }
}

/// Sends what is still to be sent. The runtime that telemetry was started in must still be there.
pub fn end() {
    if let Some(Err(error)) = TRACES.get().map(SdkTracerProvider::shutdown) {
        tracing::warn!(%error, "the last traces were not sent");
    }
}
