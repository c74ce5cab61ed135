//! Results on standard output, as a table, JSON or YAML. Everything else goes to standard error.

use std::io::{self, Write as _};

use anyhow::Context as _;
use serde::Serialize;

use crate::{cli::Output, exit::Failure};

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
