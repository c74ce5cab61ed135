//! What checking a plugin found: for programs as it is serialised, for people as [`Problem`] writes itself.

use std::fmt;

use senren_engine::Plugin;
use serde::{Serialize, Serializer, ser::SerializeStruct as _};
use serde_json::Value;

use crate::{catalogue::Check, readable};

/// What all checks of a plugin found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What was checked.
    pub facts: Facts,
    /// One for each check, in the order of the catalogue.
    pub verdicts: Vec<Verdict>,
    /// How long it took.
    pub seconds: f64,
}

/// What was checked.
#[derive(Debug, Clone, Serialize)]
pub struct Facts {
    /// Where it is from.
    pub origin: String,
    /// Size of the component.
    pub bytes: usize,
    /// SHA-256 of the component; absent where it can't be loaded, as is what follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// As it describes itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// As it describes itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The types that it serves.
    pub types: Vec<String>,
}

/// What one check found.
#[derive(Debug)]
pub struct Verdict {
    /// Which one.
    pub check: &'static Check,
    /// What came of it.
    pub outcome: Outcome,
    /// How long it took.
    pub seconds: f64,
}

/// What came of a check.
#[derive(Debug)]
pub enum Outcome {
    /// The plugin keeps to it, in so many cases.
    Passed {
        /// How many were tried; never 0.
        cases: usize,
    },
    /// It does not.
    Failed(Vec<Problem>),
    /// It was not tried, for this reason.
    Skipped(String),
}

/// One thing that is wrong with a plugin.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    /// The resource type that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_type: Option<String>,
    /// What is wrong, in a sentence.
    pub message: String,
    /// What was done until it showed, step by step; empty where the call says it all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<String>,
    /// What to do about it.
    pub fix: String,
    /// The smallest call that shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reproduction: Option<Reproduction>,
}

/// A call that shows a problem; `senren plugin call` makes it again.
#[derive(Debug, Clone, Serialize)]
pub struct Reproduction {
    /// The function and its arguments, with all JSON in it as JSON.
    pub call: Value,
    /// What the plugin answered.
    pub answered: Value,
    /// What was wanted instead.
    pub wanted: String,
}

impl Report {
    /// True where no check failed.
    pub fn passed(&self) -> bool {
        self.failures().next().is_none()
    }

    /// Every problem, with the check that found it.
    pub fn failures(&self) -> impl Iterator<Item = (&'static Check, &Problem)> {
        self.verdicts.iter().flat_map(|verdict| match &verdict.outcome {
            Outcome::Failed(problems) => problems.iter().map(|problem| (verdict.check, problem)).collect(),
            _ => vec![],
        })
    }

    /// How many checks passed, failed and were skipped.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |which: fn(&Outcome) -> bool| {
            self.verdicts.iter().filter(|verdict| which(&verdict.outcome)).count()
        };
        (
            count(|outcome| matches!(outcome, Outcome::Passed { .. })),
            count(|outcome| matches!(outcome, Outcome::Failed(_))),
            count(|outcome| matches!(outcome, Outcome::Skipped(_))),
        )
    }
}

impl Facts {
    pub(crate) fn of(origin: &str, wasm: &[u8], plugin: Option<&Plugin>) -> Self {
        let types = plugin.into_iter().flat_map(Plugin::types).map(|ty| ty.wit.name.clone());
        Self {
            origin: origin.to_owned(),
            bytes: wasm.len(),
            digest: plugin.map(|plugin| plugin.digest().to_owned()),
            name: plugin.map(|plugin| plugin.descriptor().name.clone()),
            version: plugin.map(|plugin| plugin.descriptor().version.clone()),
            types: types.collect(),
        }
    }
}

impl Verdict {
    pub(crate) fn new(check: &'static Check, outcome: Outcome, seconds: f64) -> Self {
        Self { check, outcome, seconds }
    }

    /// True where it failed.
    pub fn failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(_))
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Verdict", 6)?;
        fields.serialize_field("check", self.check.name)?;
        fields.serialize_field("demands", self.check.demands)?;
        match &self.outcome {
            Outcome::Passed { cases } => {
                fields.serialize_field("outcome", "passed")?;
                fields.serialize_field("cases", cases)?;
            }
            Outcome::Failed(problems) => {
                fields.serialize_field("outcome", "failed")?;
                fields.serialize_field("problems", problems)?;
            }
            Outcome::Skipped(why) => {
                fields.serialize_field("outcome", "skipped")?;
                fields.serialize_field("reason", why)?;
            }
        }
        fields.serialize_field("seconds", &self.seconds)?;
        fields.end()
    }
}

impl Problem {
    pub(crate) fn new(message: impl Into<String>, fix: impl Into<String>) -> Self {
        let (message, fix) = (message.into(), fix.into());
        Self { resource_type: None, message, steps: vec![], fix, reproduction: None }
    }

    /// With what was done until it showed.
    pub(crate) fn after(mut self, steps: impl IntoIterator<Item = String>) -> Self {
        self.steps = steps.into_iter().collect();
        self
    }

    /// With the call that shows it.
    pub(crate) fn shown_by(
        mut self,
        call: &senren_engine::Call,
        answered: Value,
        wanted: impl Into<String>,
    ) -> Self {
        let call = readable::of(call);
        self.reproduction = Some(Reproduction { call, answered, wanted: wanted.into() });
        self
    }
}

/// Values longer than this are cut in texts; the reproduction that is written to a file has all of them.
const SHOWN: usize = 1200;

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(resource_type) = &self.resource_type {
            write!(f, "{resource_type}: ")?;
        }
        writeln!(f, "{}", self.message)?;
        for (number, step) in (1..).zip(&self.steps) {
            writeln!(f, "  {number}. {step}")?;
        }
        if let Some(reproduction) = &self.reproduction {
            writeln!(f, "  call:     {}", shown(&reproduction.call))?;
            writeln!(f, "  answered: {}", shown(&reproduction.answered))?;
            writeln!(f, "  wanted:   {}", reproduction.wanted)?;
        }
        write!(f, "  fix:      {}", self.fix)
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}… ({} more bytes)", &text[..end], text.len() - end),
        None => text,
    }
}
