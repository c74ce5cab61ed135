//! `plugins.toml`: what an operator decides about the plugins that lie beside it.
//!
//! ```toml
//! require_digests = true                      # nothing is loaded whose digest is not in here
//! allowed_kinds = ["v1/ConfigMap", "v1/Service", "apps/v1/StatefulSet"]   # of those that the region allows
//!
//! [plugins.redis]                             # the plugin's own name
//! file = "redis-1.4.wasm"                     # default: redis.wasm
//! digest = "sha256:9f86d08…"                  # of the file
//! allowed_kinds = ["v1/ConfigMap", "v1/Service"]
//! limits = { memory = "128Mi", deadline = "2s", output = "8Mi" }
//! config = { endpoint = "cluster-ip" }
//! ```
//!
//! It only ever narrows what a region allows. What it does not know it refuses, with the line: a misspelt pin must not
//! pass for none.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use senren_engine::{Limits, MAX_MEMORY_BYTES};
use senren_reconcile::ApiKind;
use serde::Deserialize;
use serde_json::Value;

/// Its name, in the plugin directory.
pub const FILE: &str = "plugins.toml";

const MAX_OUTPUT_BYTES: usize = 64 << 20;
const MAX_DEADLINE: Duration = Duration::from_secs(60);

/// The file, read.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Refuses every file that no entry gives the digest of.
    #[serde(default)]
    pub require_digests: bool,
    /// Kinds that plugins may make, among those that the region allows; absent: all of those.
    pub allowed_kinds: Option<Vec<Kind>>,
    /// By the name of the plugin.
    #[serde(default)]
    pub plugins: BTreeMap<String, Entry>,
}

/// What is decided about one plugin.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Where it is; absent: its name with `.wasm`.
    pub file: Option<FileName>,
    /// The file must have it.
    pub digest: Option<Digest>,
    /// Kinds that it may make, among those that the others allow; absent: all of those.
    pub allowed_kinds: Option<Vec<Kind>>,
    /// What its calls may use.
    #[serde(default)]
    pub limits: Overrides,
    /// Its settings, over those of `PLUGIN_CONFIG`, member by member.
    #[serde(default)]
    pub config: toml::Table,
}

/// Limits other than the default ones.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overrides {
    /// Linear memory.
    pub memory: Option<Size>,
    /// Time of computation.
    pub deadline: Option<Time>,
    /// Size of an answer.
    pub output: Option<Size>,
}

impl Overrides {
    /// With these in the place of the default ones.
    pub fn over(&self, defaults: &Limits) -> Limits {
        let bytes = |size: Option<Size>, default: usize| size.map_or(default, |size| size.0);
        Limits {
            // In whole pages.
            memory_bytes: bytes(self.memory, defaults.memory_bytes).next_multiple_of(1 << 16),
            output_bytes: bytes(self.output, defaults.output_bytes),
            deadline: self.deadline.map_or(defaults.deadline, |time| time.0),
            ..defaults.clone()
        }
    }
}

impl Manifest {
    /// Reads the file's text. The error has the line, or the table.
    pub fn parse(text: &str) -> Result<Manifest, String> {
        let manifest: Manifest = toml::from_str(text).map_err(|error| located(text, &error))?;
        let mut files: BTreeMap<String, &str> = BTreeMap::new();
        for (name, entry) in &manifest.plugins {
            if let Some(other) = files.insert(entry.file_of(name), name) {
                return Err(format!(
                    "{FILE}: [plugins.{other}] and [plugins.{name}] are both about {}",
                    entry.file_of(name)
                ));
            }
            let limits = entry.limits.over(&Limits::default());
            let too_much = [
                ("memory", limits.memory_bytes > MAX_MEMORY_BYTES, format!("{}Mi", MAX_MEMORY_BYTES >> 20)),
                ("output", limits.output_bytes > MAX_OUTPUT_BYTES, format!("{}Mi", MAX_OUTPUT_BYTES >> 20)),
                ("deadline", limits.deadline > MAX_DEADLINE, format!("{MAX_DEADLINE:?}")),
            ];
            if let Some((limit, _, most)) = too_much.into_iter().find(|(_, too_much, _)| *too_much) {
                return Err(format!("{FILE}: [plugins.{name}] limits.{limit} may be at most {most}"));
            }
        }
        Ok(manifest)
    }

    /// What is decided about the plugin that a file must contain, with its name.
    pub fn of_file(&self, file: &str) -> Option<(&str, &Entry)> {
        let mut entries = self.plugins.iter();
        entries.find(|(name, entry)| entry.file_of(name) == file).map(|(name, entry)| (name.as_str(), entry))
    }

    /// The digest that a file must have. The error says why it can't be loaded whatever it is.
    pub fn digest_of_file(&self, file: &str) -> Result<Option<&Digest>, String> {
        match self.of_file(file).and_then(|(_, entry)| entry.digest.as_ref()) {
            None if self.require_digests => {
                Err(format!("{FILE} requires digests, and has none for this file"))
            }
            digest => Ok(digest),
        }
    }

    /// Kinds that a plugin may make, of those that the region allows.
    pub fn allows(&self, plugin: &str, kind: &ApiKind) -> bool {
        let entry = self.plugins.get(plugin).and_then(|entry| entry.allowed_kinds.as_ref());
        [self.allowed_kinds.as_ref(), entry]
            .into_iter()
            .flatten()
            .all(|allowed| allowed.iter().any(|allowed| allowed.0 == *kind))
    }

    /// The settings of a plugin, over those that are set elsewhere. `None`: nothing is set.
    pub fn settings(&self, plugin: &str, elsewhere: Option<&Value>) -> Option<Value> {
        let here = self.plugins.get(plugin).map(|entry| &entry.config).filter(|config| !config.is_empty());
        let Some(here) = here else { return elsewhere.cloned() };
        let mut settings = elsewhere.and_then(Value::as_object).cloned().unwrap_or_default();
        settings.extend(here.iter().map(|(key, value)| (key.clone(), json(value))));
        Some(Value::Object(settings))
    }

    /// What its calls may use.
    pub fn limits(&self, plugin: &str, defaults: &Limits) -> Limits {
        self.plugins.get(plugin).map_or_else(|| defaults.clone(), |entry| entry.limits.over(defaults))
    }
}

impl Entry {
    fn file_of(&self, name: &str) -> String {
        self.file.as_ref().map_or_else(|| format!("{name}.wasm"), |file| file.0.clone())
    }
}

fn json(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Float(number) => Value::from(*number),
        toml::Value::Boolean(truth) => Value::from(*truth),
        toml::Value::Datetime(time) => Value::from(time.to_string()),
        toml::Value::Array(values) => values.iter().map(json).collect(),
        toml::Value::Table(table) => table.iter().map(|(key, value)| (key.clone(), json(value))).collect(),
    }
}

/// `plugins.toml:3:5: …`, in one line.
fn located(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let place = before.map_or_else(String::new, |before| {
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
        format!("{line}:{column}: ")
    });
    format!("{FILE}:{place}{}", error.message().replace('\n', ", "))
}

/// A SHA-256, in hexadecimal, with `sha256:` before it or without.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Digest(String);

impl Digest {
    /// True where it is this one, in hexadecimal.
    pub fn is(&self, digest: &str) -> bool {
        self.0 == digest
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let hex = text.strip_prefix("sha256:").unwrap_or(&text);
        if hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Digest(hex.to_ascii_lowercase()));
        }
        Err("write a digest as `sha256sum` prints it: 64 hexadecimal digits".into())
    }
}

/// A kind of object, as in `ALLOWED_KINDS`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Kind(pub ApiKind);

impl TryFrom<String> for Kind {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        ApiKind::from_str(&text).map(Kind).map_err(|error| error.to_string())
    }
}

/// The name of a file beside this one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct FileName(String);

impl TryFrom<String> for FileName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let fits = text.ends_with(".wasm") && !text.contains('/') && !text.starts_with('.');
        if fits { Ok(FileName(text)) } else { Err("name a .wasm file of this directory".into()) }
    }
}

/// A number of bytes: `64Mi`, or `64MiB`, or a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Number")]
pub struct Size(usize);

#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Plain(usize),
    Text(String),
}

impl TryFrom<Number> for Size {
    type Error = String;

    fn try_from(number: Number) -> Result<Self, String> {
        let bytes = match number {
            Number::Plain(bytes) => Some(bytes),
            Number::Text(text) => {
                let text = text.strip_suffix('B').unwrap_or(&text);
                let units = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("", 0)];
                let parsed = |(unit, shift): (&str, u32)| {
                    let number: usize = text.strip_suffix(unit)?.trim_end().parse().ok()?;
                    number.checked_mul(1 << shift)
                };
                units.into_iter().find_map(parsed)
            }
        };
        match bytes {
            Some(bytes) if bytes > 0 => Ok(Size(bytes)),
            _ => Err("write a size in whole units, like 64Mi or 512Ki".into()),
        }
    }
}

/// A length of time: `500ms`, `2s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Time(Duration);

impl TryFrom<String> for Time {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parsed = text.parse::<jiff::SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok());
        match parsed {
            Some(time) if !time.is_zero() => Ok(Time(time)),
            _ => Err("write a time like 500ms or 2s".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    const HEX: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[test]
    fn what_is_decided_is_found_by_file_and_by_name() {
        let text = format!(
            r#"
            require_digests = true
            allowed_kinds = ["v1/ConfigMap", "apps/v1/StatefulSet"]
            [plugins.redis]
            digest = "sha256:{}"
            allowed_kinds = ["v1/ConfigMap"]
            [plugins.aerospike]
            file = "aerospike-2.wasm"
            digest = "{HEX}"
            limits = {{ memory = "128Mi", deadline = "2s500ms", output = "512KiB" }}
            config = {{ endpoint = "cluster-ip", ports = [1, 2], since = 2026-01-01 }}"#,
            HEX.to_uppercase()
        );
        let manifest = Manifest::parse(&text).unwrap();
        assert!(manifest.digest_of_file("redis.wasm").unwrap().unwrap().is(HEX));
        assert!(manifest.digest_of_file("aerospike-2.wasm").unwrap().is_some());
        assert!(manifest.digest_of_file("aerospike.wasm").unwrap_err().contains("has none for this file"));
        assert_eq!(manifest.of_file("aerospike-2.wasm").unwrap().0, "aerospike");
        let kind = |kind: &str| kind.parse().unwrap();
        assert!(manifest.allows("aerospike", &kind("apps/v1/StatefulSet")));
        assert!(!manifest.allows("redis", &kind("apps/v1/StatefulSet")));
        assert!(!manifest.allows("unheard-of", &kind("v1/Service")));
        let limits = manifest.limits("aerospike", &Limits::default());
        let found = (limits.memory_bytes, limits.output_bytes, limits.deadline);
        assert_eq!(found, (128 << 20, 512 << 10, Duration::from_millis(2500)));
        assert_eq!(manifest.limits("redis", &Limits::default()), Limits::default());
        let elsewhere = json!({"endpoint": "dns", "image": "x"});
        let merged = json!({"endpoint": "cluster-ip", "image": "x", "ports": [1, 2], "since": "2026-01-01"});
        assert_eq!(manifest.settings("aerospike", Some(&elsewhere)), Some(merged));
        assert_eq!(manifest.settings("redis", Some(&elsewhere)), Some(elsewhere));
        assert_eq!(manifest.settings("redis", None), None);
    }

    #[test]
    fn no_file_decides_nothing() {
        let manifest = Manifest::parse("").unwrap();
        assert_eq!(manifest, Manifest::default());
        assert!(manifest.digest_of_file("x.wasm").unwrap().is_none());
        assert!(manifest.allows("x", &"v1/Pod".parse().unwrap()));
    }

    #[track_caller]
    fn check(text: &str, words: &str) {
        let error = Manifest::parse(text).unwrap_err();
        assert!(error.contains(words), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        check("[plugins.redis]\ndigst = \"x\"", "plugins.toml:2:1: unknown field `digst`");
        check(
            "[plugins.redis]\n\n  digest = \"abc\"",
            "plugins.toml:3:12: write a digest as `sha256sum` prints it",
        );
        check("allowed_kinds = [\n \"Pod\"]", "plugins.toml:1:17: \"Pod\" is not a kind");
        check("[plugins.a", "plugins.toml:1:");
        check("[plugins.a]\nfile = \"../x.wasm\"", "2:8: name a .wasm file of this directory");
        check("[plugins.a]\nlimits.memory = \"much\"", "2:17: write a size in whole units");
        check("[plugins.a]\nlimits.memory = 0", "2:17: write a size in whole units");
        check("[plugins.a]\nlimits.deadline = \"-1s\"", "2:19: write a time like");
        check("[plugins.a]\nlimits.deadline = \"5m\"", "[plugins.a] limits.deadline may be at most 60s");
        check("[plugins.a]\nlimits.memory = \"2Gi\"", "limits.memory may be at most 1024Mi");
        check(
            "[plugins.a]\n[plugins.b]\nfile = \"a.wasm\"",
            "[plugins.a] and [plugins.b] are both about a.wasm",
        );
    }
}
