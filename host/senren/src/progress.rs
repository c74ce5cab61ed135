//! How things come along, on standard error: a line per resource that moves on a terminal, plain lines where a
//! log is kept.

use std::{collections::HashMap, io::IsTerminal as _, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use senren_api::v1::ResourceStatus;

use crate::output::{plain, say};

/// More resources than this share one line.
const MAX_LINES: usize = 15;

/// A display of resources on their way.
pub struct Progress {
    kind: Kind,
}

enum Kind {
    Terminal {
        all: MultiProgress,
        overall: ProgressBar,
        /// By uid, as all of these: what replaces another has its name.
        bars: HashMap<String, ProgressBar>,
        settled: HashMap<String, bool>,
    },
    Lines {
        last: HashMap<String, String>,
    },
}

impl Progress {
    /// Live where standard error is a terminal.
    pub fn on_stderr() -> Self {
        let kind = if std::io::stderr().is_terminal() {
            let all = MultiProgress::new();
            let overall = all.add(spinner("{spinner} {msg}  {elapsed}"));
            overall.set_message("waiting");
            Kind::Terminal { all, overall, bars: HashMap::new(), settled: HashMap::new() }
        } else {
            Kind::Lines { last: HashMap::new() }
        };
        Self { kind }
    }

    /// Plain lines, also on a terminal.
    pub fn lines() -> Self {
        Self { kind: Kind::Lines { last: HashMap::new() } }
    }

    /// Takes note of a resource without showing it.
    pub fn know(&mut self, status: &ResourceStatus) {
        if let Kind::Lines { last } = &mut self.kind {
            last.insert(status.uid.clone(), line(status, false));
        }
    }

    /// Shows what is new of a resource; `settled`: nothing more is waited for.
    pub fn show(&mut self, status: &ResourceStatus, settled: bool) {
        let key = status.uid.clone();
        match &mut self.kind {
            Kind::Lines { last } => {
                let line = line(status, settled);
                if last.get(&key) != Some(&line) {
                    say!("{}  {}  {}", status.region, status.name, line.trim_end());
                    last.insert(key, line);
                }
            }
            Kind::Terminal { all, overall, bars, settled: known } => {
                known.insert(key.clone(), settled);
                let done = known.values().filter(|settled| **settled).count();
                overall.set_message(format!("{done} of {} done", known.len()));
                let wanted = !settled || known.len() <= MAX_LINES;
                if wanted && !bars.contains_key(&key) && bars.len() < MAX_LINES {
                    bars.insert(key.clone(), all.insert_before(overall, spinner("{spinner} {wide_msg}")));
                }
                let Some(bar) = bars.get(&key) else { return };
                let phase = phase(status, settled);
                let message =
                    format!("{:<18} {:<24} {phase:<9} {}", status.region, status.name, why(status, settled));
                let message = plain(message.trim_end()).into_owned();
                if settled && known.len() > MAX_LINES {
                    // Its line is for one that is still on its way.
                    all.remove(bar);
                    bars.remove(&key);
                } else if settled {
                    bar.set_style(style("✓ {wide_msg}"));
                    bar.abandon_with_message(message);
                } else {
                    bar.set_message(message);
                }
            }
        }
    }

    /// Takes the display away; what was said in lines stays.
    pub fn finish(self) {
        if let Kind::Terminal { all, overall, .. } = self.kind {
            overall.finish_and_clear();
            // Who cannot draw cannot clear either.
            let _ = all.clear();
        }
    }
}

fn line(status: &ResourceStatus, settled: bool) -> String {
    plain(&format!("{}  {}", phase(status, settled), why(status, settled))).into_owned()
}

/// What is deleted is `Deleting`, whatever its region last said of it, until it is settled, which is to be gone.
fn phase(status: &ResourceStatus, settled: bool) -> &str {
    match (status.deleting, settled) {
        (true, true) => "Gone",
        (true, false) => "Deleting",
        (false, _) => &status.phase,
    }
}

/// The endpoint where it is ready, else reason and message; nothing of what is gone.
fn why(status: &ResourceStatus, settled: bool) -> String {
    if status.deleting && settled {
        return String::new();
    }
    if status.ready && !status.deleting {
        return status.endpoints.first().map(|e| format!("{}:{}", e.host, e.port)).unwrap_or_default();
    }
    match (status.reason.as_str(), status.message.lines().next().unwrap_or_default()) {
        (reason, "") => reason.to_owned(),
        ("", message) => message.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    }
}

fn spinner(template: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_style(style(template));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
