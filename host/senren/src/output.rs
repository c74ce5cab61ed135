//! Results on standard output, as a table, JSON or YAML. Everything else goes to standard error.
//!
//! Whoever reads either may stop reading (`| head`, `2>&1 | head`): no output of ours may end in a panic. And no text
//! that came over the network reaches a terminal with what a terminal obeys in it: see [`plain`].

use std::{
    borrow::Cow,
    fmt,
    io::{self, IsTerminal as _, Write as _},
};

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

/// A line on standard error; as `eprintln!`, which panics where nobody reads it any more.
macro_rules! say {
    ($($text:tt)*) => { $crate::output::line_on_stderr(format_args!($($text)*)) };
}
pub(crate) use say;

/// What [`say!`] does.
pub fn line_on_stderr(text: fmt::Arguments<'_>) {
    // A command does what it was asked to, also where nobody wants to hear of it.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// `text` without the characters that a terminal obeys (escape sequences) and that would break a line: messages of
/// plugins and names of authors are others' words.
pub fn plain(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect::<String>().into()
    } else {
        text.into()
    }
}

/// The same, of a text that may have several lines.
pub fn plain_lines(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

/// Tells what was accepted but will not work as it is now.
pub fn warnings(warnings: &[Warning]) {
    for warning in warnings {
        say!("warning: {}: {}", warning.code, plain(&warning.message));
    }
}

/// Prints `text` and ends the line. Where nobody reads it any more there is nothing more to say, and no failure of
/// ours.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_taken_out() {
        assert_eq!(plain("an\u{1b}[31m\r\nn"), "an\u{fffd}[31m\u{fffd}\u{fffd}n");
        assert!(matches!(plain("żółw 亀"), Cow::Borrowed("żółw 亀")));
        assert_eq!(plain_lines("a\u{7}\nb"), "a\u{fffd}\nb");
    }
}
