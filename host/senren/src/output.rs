//! Results on standard output, as a table, JSON or YAML. Everything else goes to standard error.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Context as _;
use serde::Serialize;

use crate::{cli::Output, exit::Failure, views::Warning};

/// Where something is printed.
#[derive(Debug, Clone, Copy)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Whether what goes there is painted: on a terminal, unless NO_COLOR is set.
pub fn colour(stream: Stream) -> bool {
    let terminal = match stream {
        Stream::Out => io::stdout().is_terminal(),
        Stream::Err => io::stderr().is_terminal(),
    };
    terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Tells what was accepted but will not work as it is now.
pub fn warnings(warnings: &[Warning]) {
    for warning in warnings {
        eprintln!("warning: {}: {}", warning.code, warning.message);
    }
}

/// Prints `text` and ends the line. Whoever reads our output may stop reading (`| head`): that is no failure of
/// ours, but there is nothing more to say either.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.write_all(b"\n"))
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        result => Ok(result.context("cannot write to standard output")?),
    }
}

/// Prints `value` as `output` says; `table` makes the text for people.
pub fn show<T: Serialize>(
    output: Output,
    value: &T,
    table: impl FnOnce(&T) -> String,
) -> Result<(), Failure> {
    match output {
        Output::Table => print(table(value).trim_end()),
        Output::Json => print(&serde_json::to_string_pretty(value).context("JSON")?),
        Output::Yaml => print(serde_saphyr::to_string(value).context("YAML")?.trim_end()),
    }
}

/// Prints one value of a stream: JSON on a line of its own, YAML as a document.
pub fn show_next<T: Serialize>(
    output: Output,
    value: &T,
    line: impl FnOnce(&T) -> String,
) -> Result<(), Failure> {
    match output {
        Output::Table => print(&line(value)),
        Output::Json => print(&serde_json::to_string(value).context("JSON")?),
        Output::Yaml => {
            print(&format!("---\n{}", serde_saphyr::to_string(value).context("YAML")?.trim_end()))
        }
    }
}
