//! Logs: `SENREN_LOG` (or `RUST_LOG`) says how much, `SENREN_LOG_FORMAT=json` how.

use std::{fs::File, io::IsTerminal as _, path::Path, sync::Mutex};

use anyhow::Context as _;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

/// Logs of a plane, or of a command: on standard error. A plane logs what it does; a command only what is wrong.
pub fn init_to_stderr(plane: bool) {
    let ansi = std::io::stderr().is_terminal();
    init(if plane { "info" } else { "error" }, std::io::stderr, ansi);
}

/// Logs of planes whose terminal is needed for other things.
pub fn init_to_file(path: &Path) -> anyhow::Result<()> {
    let file = File::options().create(true).append(true).open(path);
    let file = file.with_context(|| format!("cannot write {}", path.display()))?;
    init("info", Mutex::new(file), false);
    Ok(())
}

/// To be called once, before anything logs.
fn init<W>(default: &str, writer: W, ansi: bool)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = ["SENREN_LOG", "RUST_LOG"]
        .iter()
        .find_map(|name| EnvFilter::try_from_env(name).ok())
        .unwrap_or_else(|| EnvFilter::new(default));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(ansi);
    if std::env::var("SENREN_LOG_FORMAT").is_ok_and(|format| format == "json") {
        logs.json().flatten_event(true).init();
    } else {
        logs.init();
    }
}
