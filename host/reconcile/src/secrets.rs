//! Secrets that plugins ask for. The host makes their content once, from its own randomness, and keeps it until the
//! resource is deleted; a plugin sees a name and a version, and pods refer to the name.
//!
//! A secret is created, never applied: whoever comes second finds the first one's content. It is never made anew
//! because a reading was stale.

use std::collections::BTreeSet;

use kube::{ResourceExt as _, api::DynamicObject};
use rand::Rng as _;
use senren_engine::wit;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    api::{Kube, api_failure},
    failure::Failure,
    guard::{Refusal, Rules, check_name},
    kind::{ApiKind, ObjectId},
    names,
    observe::{Observed, controlled_by},
    status::SecretRecord,
};

/// Letters and digits: easily typed, quoted and put into a URL.
const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const MAX_KEYS: usize = 16;
/// Shorter is guessable; longer than some servers take.
const LENGTHS: std::ops::RangeInclusive<usize> = 16..=128;

/// Parameters of kind `random`.
#[derive(Debug, Deserialize)]
struct Random {
    /// Keys of the secret; each gets a content of its own.
    keys: Vec<String>,
    #[serde(default = "default_length")]
    length: usize,
}

fn default_length() -> usize {
    32
}

/// A secret that may be made.
#[derive(Debug)]
pub(crate) struct Wanted {
    id: ObjectId,
    kind: String,
    random: Random,
}

impl Wanted {
    pub(crate) fn id(&self) -> &ObjectId {
        &self.id
    }

    fn record(&self, version: &str) -> SecretRecord {
        SecretRecord { name: self.id.name.clone(), version: version.to_owned(), kind: self.kind.clone() }
    }
}

/// What the resource's status says of its secrets. One that is no longer asked for is still kept, and said to be.
pub(crate) fn records(
    wanted: &[Wanted],
    states: &[wit::SecretState],
    before: &[SecretRecord],
) -> Vec<SecretRecord> {
    let version = |name: &str| {
        states.iter().find(|state| state.name == name).map_or("", |state| state.version.as_str())
    };
    let kept =
        before.iter().filter(|record| wanted.iter().all(|wanted| wanted.id.name != record.name)).cloned();
    wanted.iter().map(|wanted| wanted.record(version(&wanted.id.name))).chain(kept).collect()
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
    if request.kind != "random" {
        return Err(unusable(
            request,
            format!("kind {:?} is not supported by this host, only random is", request.kind),
        ));
    }
    let random: Random = serde_json::from_str(&request.params)
        .map_err(|error| unusable(request, format!("params: {error}")))?;
    let key_ok = |key: &String| {
        !key.is_empty()
            && key.len() <= 253
            && key.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
    };
    let problem = if random.keys.is_empty() || random.keys.len() > MAX_KEYS {
        format!("params: keys must be 1 to {MAX_KEYS}")
    } else if let Some(bad) = random.keys.iter().find(|key| !key_ok(key)) {
        format!("params: {bad:?} can't be a key of a secret: use letters, digits, '-', '_' and '.'")
    } else if !LENGTHS.contains(&random.length) {
        format!("params: length must be {} to {}", LENGTHS.start(), LENGTHS.end())
    } else {
        let id = ObjectId::new(kind(), &request.name);
        return Ok(Wanted { id, kind: request.kind.clone(), random });
    };
    Err(unusable(request, problem))
}

fn refused(request: &wit::SecretRequest, problem: &str) -> Failure {
    let object = format!("Secret {}", request.name);
    Failure::GuardRefused(vec![Refusal { object, path: String::new(), problem: problem.to_owned() }])
}

fn unusable(request: &wit::SecretRequest, problem: String) -> Failure {
    Failure::Secret { name: request.name.clone(), problem, retryable: false }
}

/// The kind of every secret.
pub(crate) fn kind() -> ApiKind {
    ApiKind::new("v1", "Secret")
}

/// The secrets that the resource has, as its plugin sees them.
pub(crate) fn known(observed: &Observed) -> Vec<wit::SecretState> {
    observed
        .of_kind("v1", "Secret")
        .filter(|object| object.metadata.deletion_timestamp.is_none())
        .map(|o| state(o))
        .collect()
}

fn state(secret: &DynamicObject) -> wit::SecretState {
    let version = secret.annotations().get(names::SECRET_VERSION).cloned().unwrap_or_default();
    wit::SecretState { name: secret.name_any(), version }
}

/// Makes every wanted secret that does not exist, and returns the state of each.
pub(crate) async fn ensure(
    kube: &Kube,
    rules: &Rules,
    wanted: &[Wanted],
    observed: &Observed,
) -> Result<Vec<wit::SecretState>, Failure> {
    let mut states = Vec::with_capacity(wanted.len());
    for secret in wanted {
        states.push(match observed.get(&secret.id) {
            Some(existing) => state(existing),
            None => create(kube, rules, secret).await?,
        });
    }
    Ok(states)
}

async fn create(kube: &Kube, rules: &Rules, secret: &Wanted) -> Result<wit::SecretState, Failure> {
    match kube.create(&rules.namespace, &secret.id, &manifest(secret, rules)).await {
        Ok(created) => return Ok(state(&created)),
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(source) => return Err(Failure::Apply { id: secret.id.clone().into(), source }),
    }
    // It was there after all: ours, unless somebody else's has the name.
    let existing = kube
        .get(&rules.namespace, &secret.id)
        .await
        .map_err(|source| api_failure(format!("{} can't be read", secret.id), source))?;
    match existing {
        Some(existing) if controlled_by(&existing, &rules.uid) => Ok(state(&existing)),
        Some(_) => {
            let problem = "a secret of that name exists and is not this resource's".to_owned();
            Err(Failure::Secret { name: secret.id.name.clone(), problem, retryable: true })
        }
        None => {
            let problem = "it was deleted while it was read".to_owned();
            Err(Failure::Secret { name: secret.id.name.clone(), problem, retryable: true })
        }
    }
}

fn manifest(secret: &Wanted, rules: &Rules) -> Value {
    let content: Map<String, Value> = secret
        .random
        .keys
        .iter()
        .map(|key| (key.clone(), json!(random_text(secret.random.length))))
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": secret.id.name,
            "namespace": rules.namespace,
            "labels": rules.labels,
            // Not derived from the content: a hash of a secret is a hint at it.
            "annotations": { names::SECRET_VERSION: random_version() },
            "ownerReferences": [rules.owner],
        },
        "stringData": content,
    })
}

fn random_text(length: usize) -> String {
    let mut rng = rand::rng();
    let letters = (0..length).filter_map(|_| ALPHABET.get(rng.random_range(0..ALPHABET.len())));
    letters.map(|letter| char::from(*letter)).collect()
}

fn random_version() -> String {
    format!("{:016x}", rand::rng().random::<u64>())
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
    fn only_sound_requests_are_granted() {
        let keys = r#"{"keys": ["password"]}"#;
        check_request("cache", "random", keys, None);
        check_request("cache-auth", "random", r#"{"keys": ["a", "b.c"], "length": 16}"#, None);
        for (name, kind, params, reason, message) in [
            (
                "other-auth",
                "random",
                keys,
                "GuardRefused",
                r#"refused: Secret other-auth: must be "cache" or start with "cache-""#,
            ),
            (
                "cache-tls",
                "tls",
                "{}",
                "SecretFailed",
                r#"secret cache-tls: kind "tls" is not supported by this host, only random is"#,
            ),
            (
                "cache",
                "random",
                r#"{"keys": []}"#,
                "SecretFailed",
                "secret cache: params: keys must be 1 to 16",
            ),
            (
                "cache",
                "random",
                r#"{"keys": ["a"], "length": 4}"#,
                "SecretFailed",
                "secret cache: params: length must be 16 to 128",
            ),
            (
                "cache",
                "random",
                r#"{"keys": ["../a"]}"#,
                "SecretFailed",
                r#"secret cache: params: "../a" can't be a key of a secret: use letters, digits, '-', '_' and '.'"#,
            ),
        ] {
            check_request(name, kind, params, Some((reason, message)));
        }
    }

    #[test]
    fn contents_have_the_wanted_length_and_differ() {
        let (a, b) = (random_text(40), random_text(40));
        assert!(a.len() == 40 && a.chars().all(|c| c.is_ascii_alphanumeric()), "{a}");
        assert_ne!(a, b);
    }
}
