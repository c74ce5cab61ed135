//! What an `exec` ask wants, parsed and held to its bounds. Pure.

use std::time::Duration;

use serde::Deserialize;

/// A command and its arguments travel in a URL.
const MAX_COMMAND_BYTES: usize = 32 * 1024;
const MAX_ARGUMENTS: usize = 256;

/// A command in a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exec {
    pub pod: String,
    /// Where it is left out, the pod's default container, as with kubectl.
    pub container: Option<String>,
    pub command: Vec<String>,
    /// For the whole of it.
    pub timeout: Duration,
    /// From when on it is to be done again.
    pub max_age: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Params {
    pod: String,
    container: Option<String>,
    command: Vec<String>,
    #[serde(default = "default_timeout_ms")]
    timeout_ms: u64,
    #[serde(default = "default_max_age_ms")]
    max_age_ms: u64,
}

fn default_timeout_ms() -> u64 {
    2_000
}

fn default_max_age_ms() -> u64 {
    10_000
}

impl Exec {
    /// Reads `params`, or says what is wrong with them. A longer timeout than `longest` is cut to that.
    pub(crate) fn parse(params: &str, longest: Duration) -> Result<Self, String> {
        let params: Params = serde_json::from_str(params).map_err(|error| format!("params: {error}"))?;
        let dns = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        let name_ok = |name: &str| (1..=253).contains(&name.len()) && name.chars().all(dns);
        let bytes: usize = params.command.iter().map(String::len).sum();
        if !name_ok(&params.pod) {
            return Err(format!("params: pod {:?} can't be the name of a pod", params.pod));
        }
        if let Some(bad) = params.container.as_deref().filter(|name| !name_ok(name)) {
            return Err(format!("params: container {bad:?} can't be the name of a container"));
        }
        if params.command.first().is_none_or(String::is_empty) {
            return Err("params: command names no program".into());
        }
        if params.command.len() > MAX_ARGUMENTS || bytes > MAX_COMMAND_BYTES {
            return Err(format!(
                "params: command has {} arguments of {bytes} bytes; it may have {MAX_ARGUMENTS} of {MAX_COMMAND_BYTES}",
                params.command.len()
            ));
        }
        if params.timeout_ms == 0 {
            return Err("params: timeout-ms must not be 0".into());
        }
        Ok(Self {
            pod: params.pod,
            container: params.container,
            command: params.command,
            timeout: Duration::from_millis(params.timeout_ms).min(longest),
            max_age: Duration::from_millis(params.max_age_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    const LONGEST: Duration = Duration::from_secs(10);

    fn check(params: Value, problem: &str) {
        let result = Exec::parse(&params.to_string(), LONGEST);
        assert!(result.as_ref().is_err_and(|error| error.contains(problem)), "{params}: {result:?}");
    }

    #[test]
    fn what_is_left_out_has_a_default_and_a_timeout_has_a_bound() {
        let parse = |params: Value| Exec::parse(&params.to_string(), LONGEST).unwrap();
        let exec = parse(json!({"pod": "cache-0", "command": ["redis-cli", "PING"], "later": 1}));
        assert_eq!(
            (exec.container, exec.timeout.as_millis(), exec.max_age.as_millis()),
            (None, 2000, 10_000)
        );
        let long =
            json!({"pod": "a", "container": "c", "command": ["x"], "timeout-ms": 60_000, "max-age-ms": 0});
        assert_eq!((parse(long.clone()).timeout, parse(long).max_age), (LONGEST, Duration::ZERO));
    }

    #[test]
    fn what_can_not_be_done_is_explained() {
        check(json!([]), "params: invalid");
        check(json!({"command": ["x"]}), "missing field `pod`");
        check(json!({"pod": "a/../b", "command": ["x"]}), "can't be the name of a pod");
        check(json!({"pod": "", "command": ["x"]}), "can't be the name of a pod");
        check(json!({"pod": "a", "container": "A B", "command": ["x"]}), "can't be the name of a container");
        check(json!({"pod": "a", "command": []}), "names no program");
        check(json!({"pod": "a", "command": [""]}), "names no program");
        check(json!({"pod": "a", "command": "x"}), "invalid type: string");
        check(json!({"pod": "a", "command": vec!["x"; 257]}), "257 arguments");
        check(json!({"pod": "a", "command": ["x", "y".repeat(40_000)]}), "40001 bytes");
        check(json!({"pod": "a", "command": ["x"], "timeout-ms": 0}), "must not be 0");
        check(json!({"pod": "a", "command": ["x"], "timeout-ms": -1}), "invalid value");
    }
}
