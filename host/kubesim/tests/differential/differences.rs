//! Where the embedded API differs from the real one, and why: `differences.yaml`, which is checked in both directions
//! and is the table of the README.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Deserialize;
use serde_json::Value;

use crate::driver::Answer;

/// Answers by chapter.
pub type Answers = BTreeMap<String, Vec<Answer>>;

/// A difference that is meant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// In these steps, `chapter/step`; `*` stands for any text.
    pub steps: Vec<String>,
    /// At this place of the answer, a JSON pointer; `*` stands for any text. Answers with another status code differ
    /// as a whole, at ``.
    pub at: String,
    /// What a real server says there; absent when it says nothing. `*` in a text stands for any text.
    pub real: Option<Value>,
    /// What the embedded one says there.
    pub kubesim: Option<Value>,
    pub why: String,
}

/// One place where two answers differ.
#[derive(Debug, Clone, PartialEq)]
struct Found {
    step: String,
    at: String,
    real: Option<Value>,
    kubesim: Option<Value>,
}

/// What is wrong: differences that aren't meant, and meant ones that there are no more.
pub fn check(table: &[Difference], real: &Answers, kubesim: &Answers) -> Vec<String> {
    let found = compare(real, kubesim);
    let meant = |found: &Found| table.iter().any(|row| row.steps.iter().any(|step| row.means(step, found)));
    let new = found.iter().filter(|found| !meant(found)).map(|found| {
        let show = |value: &Option<Value>| value.as_ref().map_or("nothing".to_owned(), Value::to_string);
        format!(
            "{}\n  at      {}\n  real    {}\n  kubesim {}",
            found.step,
            found.at,
            show(&found.real),
            show(&found.kubesim)
        )
    });
    let rows = table.iter().flat_map(|row| row.steps.iter().map(move |step| (row, step)));
    let over = rows.filter(|(row, step)| !found.iter().any(|found| row.means(step, found)));
    let over =
        over.map(|(row, step)| format!("{step} no longer differs at {:?} as listed: {}", row.at, row.why));
    new.chain(over).collect()
}

impl Difference {
    fn means(&self, step: &str, found: &Found) -> bool {
        glob(step, &found.step)
            && glob(&self.at, &found.at)
            && same(self.real.as_ref(), found.real.as_ref())
            && same(self.kubesim.as_ref(), found.kubesim.as_ref())
    }
}

fn same(wanted: Option<&Value>, found: Option<&Value>) -> bool {
    match (wanted, found) {
        (Some(Value::String(pattern)), Some(Value::String(text))) => glob(pattern, text),
        (Some(Value::String(pattern)), Some(other)) => glob(pattern, &other.to_string()),
        (wanted, found) => wanted == found,
    }
}

/// Whether a text is of a pattern in which `*` stands for any text.
fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|text| {
            text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| glob(rest, &text[at..]))
        }),
    }
}

/// All places where answers differ.
fn compare(real: &Answers, kubesim: &Answers) -> Vec<Found> {
    let chapters = |answers: &Answers| answers.keys().cloned().collect::<Vec<_>>();
    assert_eq!(chapters(real), chapters(kubesim), "record the real server's answers anew");
    let mut found = Vec::new();
    for ((chapter, real), kubesim) in real.iter().zip(kubesim.values()) {
        let steps = |answers: &[Answer]| answers.iter().map(|answer| answer.step.clone()).collect::<Vec<_>>();
        assert_eq!(steps(real), steps(kubesim), "{chapter}: record the real server's answers anew");
        for (real, kubesim) in real.iter().zip(kubesim) {
            let step = format!("{chapter}/{}", real.step);
            if real.code == kubesim.code {
                let (real, kubesim) = (whole(real), whole(kubesim));
                differ(&step, "", Some(&real), Some(&kubesim), &mut found);
            } else {
                let (real, kubesim) = (Some(summary(real)), Some(summary(kubesim)));
                found.push(Found { step, at: String::new(), real, kubesim });
            }
        }
    }
    found
}

fn whole(answer: &Answer) -> Value {
    let mut value = serde_json::to_value(answer).expect("JSON");
    if let Some(fields) = value.as_object_mut() {
        fields.remove("step");
    }
    value
}

/// An answer in one line.
fn summary(answer: &Answer) -> Value {
    let message = answer.body["message"].as_str().unwrap_or_default();
    format!("{} {message}", answer.code).trim_end().into()
}

/// Notes the smallest parts in which two values differ; lists of different lengths differ as a whole.
fn differ(step: &str, at: &str, real: Option<&Value>, kubesim: Option<&Value>, found: &mut Vec<Found>) {
    match (real, kubesim) {
        (real, kubesim) if real == kubesim => (),
        (Some(Value::Object(theirs)), Some(Value::Object(ours))) => {
            let more = ours.keys().filter(|name| !theirs.contains_key(*name));
            for name in theirs.keys().chain(more) {
                let token = name.replace('~', "~0").replace('/', "~1");
                differ(step, &format!("{at}/{token}"), theirs.get(name), ours.get(name), found);
            }
        }
        (Some(Value::Array(theirs)), Some(Value::Array(ours))) if theirs.len() == ours.len() => {
            for (index, (real, kubesim)) in theirs.iter().zip(ours).enumerate() {
                differ(step, &format!("{at}/{index}"), Some(real), Some(kubesim), found);
            }
        }
        _ => found.push(Found {
            step: step.to_owned(),
            at: at.to_owned(),
            real: real.cloned(),
            kubesim: kubesim.cloned(),
        }),
    }
}

/// The table, for people.
pub fn markdown(table: &[Difference]) -> String {
    let mut out = "| Steps | Where | Kubernetes | Embedded | Why |\n|---|---|---|---|---|\n".to_owned();
    for row in table {
        let steps: Vec<String> = row.steps.iter().map(|step| code(step)).collect();
        let place = if row.at.is_empty() { "the answer".to_owned() } else { code(&row.at) };
        let show = |value: &Option<Value>| match value {
            None => "–".to_owned(),
            Some(Value::String(text)) => code(text),
            Some(other) => code(&other.to_string()),
        };
        let (real, kubesim) = (show(&row.real), show(&row.kubesim));
        let _ = writeln!(out, "| {} | {place} | {real} | {kubesim} | {} |", steps.join(", "), row.why.trim());
    }
    out
}

fn code(text: &str) -> String {
    const ENOUGH: usize = 160;
    let short: String = text.chars().take(ENOUGH).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("`{}{more}`", short.replace('|', "\\|").replace(['\n', '`'], " "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answers(code: u16, body: Value) -> Answers {
        let answer =
            Answer { step: "s".into(), code, warnings: Vec::new(), format: None, body, never: false };
        [("c".to_owned(), vec![answer])].into()
    }

    fn row(at: &str, real: Value, kubesim: Value) -> Difference {
        let (real, kubesim) = (Some(real).filter(|v| !v.is_null()), Some(kubesim).filter(|v| !v.is_null()));
        Difference { steps: vec!["c/*".into()], at: at.into(), real, kubesim, why: "w".into() }
    }

    #[test]
    fn a_difference_must_be_listed_and_what_is_listed_must_differ() {
        let expect = |table: Vec<Difference>, real: (u16, Value), kubesim: (u16, Value), wanted: usize| {
            let problems = check(&table, &answers(real.0, real.1), &answers(kubesim.0, kubesim.1));
            assert_eq!(problems.len(), wanted, "{problems:#?}");
        };
        let (one, other) = (json!({"a": {"b": 1}, "c": [1]}), json!({"a": {"b": 2}, "c": [1, 2]}));
        expect(vec![], (200, one.clone()), (200, one.clone()), 0);
        expect(vec![], (200, one.clone()), (200, other.clone()), 2);
        expect(vec![], (200, one.clone()), (201, one.clone()), 1);
        let listed = || vec![row("/body/a/b", json!(1), json!(2)), row("/body/c", json!([1]), json!("*"))];
        expect(listed(), (200, one.clone()), (200, other.clone()), 0);
        expect(listed(), (200, one.clone()), (200, one.clone()), 2);
        expect(vec![row("/body/a/b", json!(1), json!(3))], (200, one.clone()), (200, other), 3);
        expect(
            vec![row("", json!("200"), json!("501 no*"))],
            (200, one.clone()),
            (501, json!({"message": "no x"})),
            0,
        );
        expect(vec![row("/body/z", json!(null), json!(7))], (200, json!({})), (200, json!({"z": 7})), 0);
        expect(vec![row("/body/z", json!("*"), json!(7))], (200, json!({})), (200, json!({"z": 7})), 2);
    }
}
