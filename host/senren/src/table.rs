//! Tables for people, and the tables of resources that several commands show.

use console::measure_text_width;
use jiff::Timestamp;

use crate::{
    output::{self, Stream, plain},
    paint::Paint,
    views::Resource,
};

/// Columns as wide as their widest cell, two spaces between them.
pub struct Table {
    rows: Vec<Vec<Cell>>,
}

/// A text and how it is painted on a terminal.
pub struct Cell {
    text: String,
    paint: Paint,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        let text = text.into();
        let text = if text.is_empty() { "-".into() } else { plain(&text).into_owned() };
        Self { text, paint: Paint::Plain }
    }
}

impl Cell {
    /// A text that is painted.
    pub fn painted(text: impl Into<String>, paint: Paint) -> Self {
        Self { paint, ..Self::from(text) }
    }
}

impl Table {
    /// A table with a head line.
    pub fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|text| Cell::from(*text)).collect()] }
    }

    /// Adds a line, which has as many cells as the head.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// As text, painted where standard output is a terminal that wants it.
    pub fn render(&self) -> String {
        self.render_as(output::colour(Stream::Out))
    }

    fn render_as(&self, colour: bool) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| measure_text_width(&cell.text))
                .max()
        };
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let padding = " ".repeat(width - measure_text_width(&cell.text) + 2);
                line += &cell.paint.on(&cell.text, colour);
                line += &padding;
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// The table that `senren status` and `senren dev` show.
pub fn resources<'a>(resources: impl IntoIterator<Item = &'a Resource>, now: Timestamp) -> Table {
    resources_with(resources, now, |_| None)
}

/// The same, with a message of our own where `ours` has one.
pub fn resources_with<'a>(
    resources: impl IntoIterator<Item = &'a Resource>,
    now: Timestamp,
    ours: impl Fn(&Resource) -> Option<String>,
) -> Table {
    let mut table =
        Table::new(&["REGION", "TYPE", "NAME", "PHASE", "ENDPOINT", "AGE", "TIME-TO-READY", "MESSAGE"]);
    for resource in resources {
        table.row(vec![
            resource.region.as_str().into(),
            resource.r#type.as_str().into(),
            resource.name.as_str().into(),
            Cell::painted(phase(resource), Paint::of_phase(phase(resource))),
            endpoint(resource).into(),
            resource.created_at.map(|at| age(at, now)).unwrap_or_default().into(),
            time_to_ready(resource).into(),
            ours(resource).unwrap_or_else(|| note(resource)).into(),
        ]);
    }
    table
}

/// The phase; of a resource that is being deleted, that.
pub fn phase(resource: &Resource) -> &str {
    if resource.deleting { "Deleting" } else { &resource.phase }
}

/// The main endpoint, `host:port`.
pub fn endpoint(resource: &Resource) -> String {
    resource.endpoints.first().map(|e| format!("{}:{}", e.host, e.port)).unwrap_or_default()
}

/// What there is to say besides phase and endpoint: why it is not ready, and what of it is held.
fn note(resource: &Resource) -> String {
    match &resource.hold {
        Some(hold) => format!("held: {}", one_line(&hold.message)),
        None if resource.ready => String::new(),
        None => why(resource),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Reason and message, one line.
pub fn why(resource: &Resource) -> String {
    let message = one_line(&resource.message);
    match (resource.reason.as_str(), message.as_str()) {
        (reason, "") => reason.to_owned(),
        ("", message) => message.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    }
}

fn time_to_ready(resource: &Resource) -> String {
    match (resource.applied_at, resource.ready_at) {
        (Some(applied), Some(ready)) => seconds(ready.duration_since(applied)),
        _ => String::new(),
    }
}

/// `0.84s`, `12.3s`, `4m05s`: fine where short, coarse where long.
pub fn seconds(duration: jiff::SignedDuration) -> String {
    let secs = duration.as_secs_f64().max(0.0);
    match secs {
        0.0..10.0 => format!("{secs:.2}s"),
        10.0..60.0 => format!("{secs:.1}s"),
        _ => {
            let secs = secs as u64;
            if secs < 3600 {
                format!("{}m{:02}s", secs / 60, secs % 60)
            } else {
                format!("{}h{:02}m", secs / 3600, secs % 3600 / 60)
            }
        }
    }
}

/// `42s`, `5m`, `3h`, `12d`.
pub fn age(since: Timestamp, now: Timestamp) -> String {
    let secs = now.duration_since(since).as_secs().max(0);
    match secs {
        0..120 => format!("{secs}s"),
        120..7200 => format!("{}m", secs / 60),
        7200..172_800 => format!("{}h", secs / 3600),
        _ => format!("{}d", secs / 86400),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["A", "LONG-HEAD", "C"]);
        table.row(vec!["wide cell".into(), "".into(), Cell::painted("x", Paint::Good)]);
        assert_eq!(table.render_as(false), "A          LONG-HEAD  C\nwide cell  -          x\n");
        assert!(table.render_as(true).contains("\x1b[32mx\x1b[0m"));
    }

    #[test]
    fn others_words_neither_shift_columns_nor_reach_the_terminal_as_orders() {
        let mut table = Table::new(&["A", "B"]);
        table.row(vec!["中文".into(), "x\x1b[2J\ny".into()]);
        assert_eq!(table.render_as(false), "A     B\n中文  x\u{fffd}[2J\u{fffd}y\n");
    }

    #[test]
    fn times_are_fine_where_short_and_coarse_where_long() {
        let of = |millis| seconds(jiff::SignedDuration::from_millis(millis));
        assert_eq!(
            [of(-5), of(840), of(12_340), of(245_000), of(7_500_000)],
            ["0.00s", "0.84s", "12.3s", "4m05s", "2h05m"]
        );
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        let of = |secs| age(now - jiff::SignedDuration::from_secs(secs), now);
        assert_eq!([of(3), of(119), of(300), of(8000), of(200_000)], ["3s", "119s", "5m", "2h", "2d"]);
    }
}
