//! Looking inside a database: work that the host does for a plugin, and its answers.
//!
//! What to keep in mind: an answer is as old as it says, and every call may see it again. So a command that changes
//! something carries in its id what it was decided on, and does no harm when it is done twice.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use crate::wit::{self, Ask, Outcome};

/// A command in a pod of the resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    id: String,
    pod: String,
    container: String,
    command: Vec<String>,
    timeout: Duration,
    max_age: Duration,
}

impl Exec {
    /// `command` in the container of that name; by default it may take two seconds, and its answer is good for ten.
    pub fn new<I, S>(id: impl Into<String>, pod: impl Into<String>, container: &str, command: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        Self {
            id: id.into(),
            pod: pod.into(),
            container: container.to_owned(),
            command: command.into_iter().map(Into::into).collect(),
            timeout: Duration::from_secs(2),
            max_age: Duration::from_secs(10),
        }
    }

    /// How long it may take. The host has a limit of its own, too.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How old its answer may become before it is done again. Changing this alone makes no other ask of it.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }
}

impl From<Exec> for Ask {
    fn from(exec: Exec) -> Self {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let params = json!({
            "pod": exec.pod,
            "container": exec.container,
            "command": exec.command,
            "timeout-ms": ms(exec.timeout).max(1),
            "max-age-ms": ms(exec.max_age),
        });
        Self { id: exec.id, kind: "exec".to_owned(), params: params.to_string() }
    }
}

impl Outcome {
    /// Asks the host to do something and to answer in a later call. An ask that is left out is forgotten, together
    /// with its answer.
    pub fn ask(mut self, ask: impl Into<Ask>) -> Self {
        self.asks.push(ask.into());
        self
    }
}

/// What became of an [`Exec`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// When it was done, on the clock of `now_ms`.
    pub observed_at_ms: u64,
    /// What the command left, or why there was none: no such pod, no answer in time.
    pub result: Result<Output, String>,
}

/// What a command left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Output {
    /// 0 if it succeeded.
    pub exit_code: i32,
    /// Its output.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
    /// There was more output than the host keeps.
    pub truncated: bool,
}

impl Answer {
    pub(crate) fn read(answer: &wit::Answer) -> Self {
        #[derive(Deserialize)]
        struct Failed {
            #[serde(default)]
            error: String,
        }
        let unreadable = |error: serde_json::Error| format!("the answer cannot be read: {error}");
        let result = if answer.ok {
            serde_json::from_str(&answer.output).map_err(unreadable)
        } else {
            Err(serde_json::from_str::<Failed>(&answer.output).map_or_else(unreadable, |failed| failed.error))
        };
        Self { observed_at_ms: answer.observed_at_ms, result }
    }

    /// The whole of what a command printed that succeeded.
    pub fn text(&self) -> Option<&str> {
        let output = self.result.as_ref().ok()?;
        (output.exit_code == 0 && !output.truncated).then_some(output.stdout.as_str())
    }

    /// What went wrong, in a line.
    pub fn problem(&self) -> Option<String> {
        let output = match &self.result {
            Ok(output) => output,
            Err(error) => return Some(error.clone()),
        };
        if output.exit_code == 0 {
            return output.truncated.then(|| "it printed more than the host keeps".to_owned());
        }
        let words = [&output.stderr, &output.stdout]
            .into_iter()
            .find_map(|text| text.lines().map(str::trim).rfind(|line| !line.is_empty()))
            .unwrap_or_default();
        Some(format!("exit status {}: {words}", output.exit_code))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::Value;

    use super::*;

    #[test]
    fn an_exec_is_as_the_contract_has_it() {
        let ask = Ask::from(
            Exec::new("look", "x-0", "redis", ["redis-cli", "PING"]).max_age(Duration::from_millis(250)),
        );
        let params: Value = serde_json::from_str(&ask.params).unwrap();
        assert_eq!((ask.id.as_str(), ask.kind.as_str()), ("look", "exec"));
        assert_eq!(
            params,
            json!({
                "pod": "x-0", "container": "redis", "command": ["redis-cli", "PING"],
                "timeout-ms": 2000, "max-age-ms": 250,
            })
        );
    }

    #[test]
    fn an_answer_is_what_was_printed_or_why_nothing_was() {
        let done = |code: i32, stderr: &str| json!({"exit-code": code, "stdout": "PONG\n", "stderr": stderr, "truncated": false});
        for (ok, output, text, problem) in [
            (true, done(0, ""), Some("PONG\n"), None),
            (true, done(1, "a\nNOAUTH\n\n"), None, Some("exit status 1: NOAUTH")),
            (true, done(2, ""), None, Some("exit status 2: PONG")),
            (false, json!({"error": "no such pod"}), None, Some("no such pod")),
            (
                true,
                json!({"stdout": "x", "truncated": true}),
                None,
                Some("it printed more than the host keeps"),
            ),
        ] {
            let raw = wit::Answer { id: "a".into(), ok, output: output.to_string(), observed_at_ms: 5 };
            let answer = Answer::read(&raw);
            assert_eq!((answer.text(), answer.problem().as_deref()), (text, problem), "{output}");
        }
    }
}
