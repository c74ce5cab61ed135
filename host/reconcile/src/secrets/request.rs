//! What a plugin may ask for, and the content that is made of it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rand::Rng as _;
use senren_engine::wit;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::tls::{self, Authority, Unmade};
use crate::{
    failure::Failure,
    guard::{Refusal, Rules, check_name},
    kind::ObjectId,
    status::SecretRecord,
};

/// Letters and digits: easily typed, quoted and put into a URL.
const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const MAX_KEYS: usize = 16;
/// Shorter is guessable; longer than some servers take.
const LENGTHS: std::ops::RangeInclusive<usize> = 16..=128;
const MAX_HOSTS: usize = 100;

/// A secret that may be made.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(super) id: ObjectId,
    pub(super) recipe: Recipe,
}

/// How its content is made.
#[derive(Debug)]
pub(super) enum Recipe {
    Random(Random),
    Tls(Tls),
}

/// Parameters of kind `random`.
#[derive(Debug, Deserialize)]
pub(super) struct Random {
    /// Keys of the secret; each gets a content of its own.
    keys: Vec<String>,
    #[serde(default = "default_length")]
    length: usize,
}

/// Parameters of kind `tls`.
#[derive(Debug, Deserialize)]
pub(super) struct Tls {
    /// What the certificate is for: DNS names, addresses.
    hosts: Vec<String>,
    #[serde(default = "default_days")]
    pub(super) days: u16,
}

fn default_length() -> usize {
    32
}

fn default_days() -> u16 {
    365
}

/// What goes into a secret.
pub(super) struct Content {
    pub data: Map<String, Value>,
    pub renew_at: Option<Timestamp>,
}

impl Wanted {
    pub(super) fn record(&self, version: &str) -> SecretRecord {
        let kind = self.recipe.kind().to_owned();
        SecretRecord { name: self.id.name.clone(), version: version.to_owned(), kind }
    }
}

impl Recipe {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Recipe::Random(_) => "random",
            Recipe::Tls(_) => "tls",
        }
    }

    /// The type of the Kubernetes object.
    pub(super) fn object_type(&self) -> &'static str {
        match self {
            Recipe::Random(_) => "Opaque",
            Recipe::Tls(_) => "kubernetes.io/tls",
        }
    }
}

impl Random {
    pub(super) fn make(&self) -> Content {
        let data = self.keys.iter().map(|key| (key.clone(), json!(random_text(self.length)))).collect();
        Content { data, renew_at: None }
    }

    fn problem(&self) -> Option<String> {
        let key_ok = |key: &String| {
            !key.is_empty()
                && key.len() <= 253
                && key.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
        };
        if self.keys.is_empty() || self.keys.len() > MAX_KEYS {
            Some(format!("keys must be 1 to {MAX_KEYS}"))
        } else if let Some(bad) = self.keys.iter().find(|key| !key_ok(key)) {
            Some(format!("{bad:?} can't be a key of a secret: use letters, digits, '-', '_' and '.'"))
        } else if !LENGTHS.contains(&self.length) {
            Some(format!("length must be {} to {}", LENGTHS.start(), LENGTHS.end()))
        } else {
            None
        }
    }
}

impl Tls {
    pub(super) fn make(&self, authority: &Authority, now: Timestamp) -> Result<Content, Unmade> {
        let certificate = authority.sign(&self.hosts, self.days, now)?;
        let data = [
            ("ca.crt", authority.bundle.clone()),
            ("tls.crt", certificate.chain),
            ("tls.key", certificate.key),
        ];
        let data = data.into_iter().map(|(key, text)| (key.to_owned(), Value::String(text))).collect();
        Ok(Content { data, renew_at: Some(certificate.renew_at) })
    }

    fn problem(&self) -> Option<String> {
        if self.hosts.is_empty() || self.hosts.len() > MAX_HOSTS {
            Some(format!("hosts must be 1 to {MAX_HOSTS}"))
        } else if !(1..=tls::MAX_DAYS).contains(&self.days) {
            Some(format!("days must be 1 to {}", tls::MAX_DAYS))
        } else {
            self.hosts.iter().find_map(|host| tls::check_host(host))
        }
    }
}

/// Checks what a plugin asks for.
pub(crate) fn check(requests: &[wit::SecretRequest], rules: &Rules) -> Result<Vec<Wanted>, Failure> {
    let mut seen = BTreeSet::new();
    requests
        .iter()
        .map(|request| {
            if !seen.insert(&request.name) {
                return Err(refused(request, "is asked for twice"));
            }
            check_one(request, rules)
        })
        .collect()
}

fn check_one(request: &wit::SecretRequest, rules: &Rules) -> Result<Wanted, Failure> {
    let problems = check_name(&request.name, rules);
    if let Some(problem) = problems.first() {
        return Err(refused(request, problem));
    }
    let unreadable = |error: serde_json::Error| unusable(request, format!("params: {error}"));
    let (recipe, problem) = match request.kind.as_str() {
        "random" => {
            let random: Random = serde_json::from_str(&request.params).map_err(unreadable)?;
            let problem = random.problem();
            (Recipe::Random(random), problem)
        }
        "tls" => {
            let tls: Tls = serde_json::from_str(&request.params).map_err(unreadable)?;
            let problem = tls.problem();
            (Recipe::Tls(tls), problem)
        }
        other => {
            let problem = format!("kind {other:?} is not supported by this host, only random and tls are");
            return Err(unusable(request, problem));
        }
    };
    match problem {
        Some(problem) => Err(unusable(request, format!("params: {problem}"))),
        None => Ok(Wanted { id: ObjectId::new(super::kind(), &request.name), recipe }),
    }
}

fn refused(request: &wit::SecretRequest, problem: &str) -> Failure {
    let object = format!("Secret {}", request.name);
    Failure::GuardRefused(vec![Refusal { object, path: String::new(), problem: problem.to_owned() }])
}

fn unusable(request: &wit::SecretRequest, problem: String) -> Failure {
    Failure::Secret { name: request.name.clone(), problem, retryable: false }
}

fn random_text(length: usize) -> String {
    let mut rng = rand::rng();
    let letters = (0..length).filter_map(|_| ALPHABET.get(rng.random_range(0..ALPHABET.len())));
    letters.map(|letter| char::from(*letter)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::guard::tests::rules;

    fn check_request(name: &str, kind: &str, params: &str, expected: Option<(&str, &str)>) {
        let request = wit::SecretRequest { name: name.into(), kind: kind.into(), params: params.into() };
        let result = check(std::slice::from_ref(&request), &rules());
        match expected {
            None => assert!(result.is_ok(), "{request:?}: {result:?}"),
            Some((reason, message)) => {
                let failure = result.expect_err("must be refused");
                assert_eq!((failure.reason(), failure.to_string().as_str()), (reason, message));
            }
        }
    }

    #[test]
    fn sound_requests_are_granted() {
        check_request("cache", "random", r#"{"keys": ["password"]}"#, None);
        check_request("cache-auth", "random", r#"{"keys": ["a", "b.c"], "length": 16}"#, None);
        check_request(
            "cache-tls",
            "tls",
            r#"{"hosts": ["cache.senren-default.svc", "*.x", "10.0.0.1"]}"#,
            None,
        );
        check_request("cache-tls", "tls", r#"{"hosts": ["cache"], "days": 30}"#, None);
    }

    #[test]
    fn others_are_refused_with_the_reason() {
        let bad = |kind: &str, params: &str, problem: &str| {
            let message = format!("secret cache: {problem}");
            check_request("cache", kind, params, Some(("SecretFailed", &message)));
        };
        bad("horoscope", "{}", r#"kind "horoscope" is not supported by this host, only random and tls are"#);
        bad("random", r#"{"keys": []}"#, "params: keys must be 1 to 16");
        bad("random", r#"{"keys": ["a"], "length": 4}"#, "params: length must be 16 to 128");
        bad(
            "random",
            r#"{"keys": ["../a"]}"#,
            r#"params: "../a" can't be a key of a secret: use letters, digits, '-', '_' and '.'"#,
        );
        bad("tls", "{}", "params: missing field `hosts` at line 1 column 2");
        bad("tls", r#"{"hosts": []}"#, "params: hosts must be 1 to 100");
        bad("tls", r#"{"hosts": ["a"], "days": 0}"#, "params: days must be 1 to 1825");
        bad(
            "tls",
            r#"{"hosts": ["a:1"]}"#,
            r#"params: "a:1" is neither a DNS name in lower case nor an IP address"#,
        );
        let refused = r#"refused: Secret other-auth: must be "cache" or start with "cache-""#;
        check_request("other-auth", "random", r#"{"keys": ["a"]}"#, Some(("GuardRefused", refused)));
    }

    #[test]
    fn contents_have_the_wanted_length_and_differ() {
        let (a, b) = (random_text(40), random_text(40));
        assert!(a.len() == 40 && a.chars().all(|c| c.is_ascii_alphanumeric()), "{a}");
        assert_ne!(a, b);
    }
}
