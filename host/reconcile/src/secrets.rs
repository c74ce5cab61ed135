//! Secrets that plugins ask for. The host makes their content, from its own randomness, and keeps it until the resource
//! is deleted; a plugin sees a name and a version, and pods refer to the name.
//!
//! A secret is created, never applied: whoever comes second finds the first one's content. It is made anew only where
//! the API server's own copy says that its time has come, or that somebody asked for it after it was made: never
//! because a reading was stale.
//!
//! Beside the secrets that a plugin asks for there may be one that it never sees and no pod gets: the authority that
//! signs the resource's certificates. Its name has a dot, which no name that a plugin chooses can have.

mod request;
mod tls;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{ResourceExt as _, api::DynamicObject};
use rand::Rng as _;
use senren_engine::wit;
use serde_json::{Map, Value, json};

use request::{Content, Recipe, Tls};
pub(crate) use request::{Wanted, check};
use tls::{Authority, Unmade};

use crate::{
    api::{Kube, api_failure},
    failure::Failure,
    guard::Rules,
    kind::{ApiKind, ObjectId},
    names,
    observe::{Observed, controlled_by},
    resource::CustomResource,
    status::SecretRecord,
};

/// End of the name of an authority's secret.
const AUTHORITY: &str = ".ca";

/// The kind of every secret.
pub(crate) fn kind() -> ApiKind {
    ApiKind::new("v1", "Secret")
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

/// Everything that will be made for `wanted`.
pub(crate) fn ids(wanted: &[Wanted], rules: &Rules) -> Vec<ObjectId> {
    let authority =
        wanted.iter().any(|wanted| matches!(wanted.recipe, Recipe::Tls(_))).then(|| authority_id(rules));
    wanted.iter().map(|wanted| wanted.id.clone()).chain(authority).collect()
}

/// The secrets that the resource has, as its plugin sees them.
pub(crate) fn known(observed: &Observed) -> Vec<wit::SecretState> {
    observed
        .of_kind("v1", "Secret")
        .filter(|object| {
            object.metadata.deletion_timestamp.is_none() && !object.name_any().ends_with(AUTHORITY)
        })
        .map(|o| state(o))
        .collect()
}

fn state(secret: &DynamicObject) -> wit::SecretState {
    let version = annotation(secret, names::SECRET_VERSION).unwrap_or_default().to_owned();
    wit::SecretState { name: secret.name_any(), version }
}

fn annotation<'a>(secret: &'a DynamicObject, name: &str) -> Option<&'a str> {
    secret.annotations().get(name).map(String::as_str)
}

/// Makes and renews the secrets of one resource.
pub(crate) struct Keeper<'a> {
    pub kube: &'a Kube,
    pub rules: &'a Rules,
    pub observed: &'a Observed,
    /// The rotation that is asked for on the resource.
    pub rotation: Option<&'a str>,
    pub now: Timestamp,
}

impl<'a> Keeper<'a> {
    pub(crate) fn new(
        kube: &'a Kube,
        rules: &'a Rules,
        observed: &'a Observed,
        resource: &'a CustomResource,
        now: Timestamp,
    ) -> Self {
        Self { kube, rules, observed, rotation: resource.rotation.as_deref(), now }
    }

    /// Makes every wanted secret that does not exist, renews those whose time has come, and returns the state of each.
    pub(crate) async fn ensure(&self, wanted: &[Wanted]) -> Result<Vec<wit::SecretState>, Failure> {
        let mut states = Vec::with_capacity(wanted.len());
        for secret in wanted {
            states.push(match self.observed.get(&secret.id) {
                Some(existing) if self.due(secret, existing)? => self.renew(secret).await?,
                Some(existing) => state(existing),
                None => self.create(secret).await?,
            });
        }
        Ok(states)
    }

    /// True where the content is to be made anew.
    fn due(&self, secret: &Wanted, existing: &DynamicObject) -> Result<bool, Failure> {
        let (has, needs) = (existing.data.get("type").and_then(Value::as_str), secret.recipe.object_type());
        if has.is_some_and(|has| has != needs) {
            let problem = format!(
                "it exists as one of another kind than {}: choose another name",
                secret.recipe.kind()
            );
            return Err(Failure::Secret { name: secret.id.name.clone(), problem, retryable: false });
        }
        let asked = self.rotation.is_some_and(|wish| annotation(existing, names::ROTATED) != Some(wish));
        let renew_at = annotation(existing, names::RENEW_AT).and_then(|at| at.parse::<Timestamp>().ok());
        let authority =
            self.observed.get(&authority_id(self.rules)).and_then(|ca| annotation(ca, names::SECRET_VERSION));
        let other_authority = matches!(secret.recipe, Recipe::Tls(_))
            && authority.is_some_and(|authority| annotation(existing, names::ISSUER) != Some(authority));
        Ok(asked || renew_at.is_some_and(|at| at <= self.now) || other_authority)
    }

    async fn create(&self, secret: &Wanted) -> Result<wit::SecretState, Failure> {
        let manifest = self.manifest(secret).await?;
        match self.kube.create(&self.rules.namespace, &secret.id, &manifest).await {
            Ok(created) => return Ok(state(&created)),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(source) => return Err(Failure::Apply { id: secret.id.clone().into(), source }),
        }
        self.live(&secret.id).await.map(|existing| state(&existing))
    }

    /// Replaces the content, if the API server's copy is still the one to be replaced.
    async fn renew(&self, secret: &Wanted) -> Result<wit::SecretState, Failure> {
        let live = self.live(&secret.id).await?;
        if live.metadata.deletion_timestamp.is_some() || !self.due(secret, &live)? {
            return Ok(state(&live));
        }
        let manifest = self.manifest(secret).await?;
        let replaced = self.kube.replace(&self.rules.namespace, &secret.id, &manifest, &live).await;
        let replaced = replaced.map_err(|source| Failure::Apply { id: secret.id.clone().into(), source })?;
        metrics::counter!("senren_secret_rotations_total", "kind" => secret.recipe.kind()).increment(1);
        tracing::info!(
            secret = secret.id.name,
            namespace = self.rules.namespace,
            "a secret has a new content"
        );
        Ok(state(&replaced))
    }

    /// The API server's own copy, which must be this resource's.
    async fn live(&self, id: &ObjectId) -> Result<DynamicObject, Failure> {
        let read = self.kube.get(&self.rules.namespace, id).await;
        let problem = match read.map_err(|source| api_failure(format!("{id} can't be read"), source))? {
            Some(existing) if controlled_by(&existing, &self.rules.uid) => return Ok(existing),
            Some(_) => "a secret of that name exists and is not this resource's",
            None => "it was deleted while it was read",
        };
        Err(Failure::Secret { name: id.name.clone(), problem: problem.to_owned(), retryable: true })
    }

    async fn manifest(&self, secret: &Wanted) -> Result<Value, Failure> {
        let (content, issuer) = match &secret.recipe {
            Recipe::Random(random) => (random.make(), None),
            Recipe::Tls(tls) => {
                let authority = self.authority(tls).await?;
                let content =
                    tls.make(&authority, self.now).map_err(|problem| unmade(&secret.id, &problem))?;
                (content, Some(authority.id))
            }
        };
        let Content { data, renew_at } = content;
        let mut annotations = Map::new();
        let mut annotate = |name: &str, value: Option<String>| {
            annotations.extend(value.map(|value| (name.to_owned(), Value::String(value))));
        };
        // Not derived from the content: a hash of a secret is a hint at it.
        annotate(names::SECRET_VERSION, Some(random_version()));
        annotate(names::ROTATED, self.rotation.map(str::to_owned));
        annotate(names::RENEW_AT, renew_at.map(|at| at.to_string()));
        annotate(names::ISSUER, issuer);
        Ok(self.object(&secret.id, secret.recipe.object_type(), &annotations, &data))
    }

    fn object(
        &self,
        id: &ObjectId,
        object_type: &str,
        annotations: &Map<String, Value>,
        data: &Map<String, Value>,
    ) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": object_type,
            "metadata": {
                "name": id.name,
                "namespace": self.rules.namespace,
                "labels": self.rules.labels,
                "annotations": annotations,
                "ownerReferences": [self.rules.owner],
            },
            "stringData": data,
        })
    }

    /// What signs this resource's certificates: made with the first of them, replaced before it ends.
    async fn authority(&self, tls: &Tls) -> Result<Authority, Failure> {
        let id = authority_id(self.rules);
        let read = self.kube.get(&self.rules.namespace, &id).await;
        let existing = read.map_err(|source| api_failure(format!("{id} can't be read"), source))?;
        let before = match &existing {
            Some(existing) if controlled_by(existing, &self.rules.uid) => parse_authority(existing),
            Some(_) => {
                let problem = "a secret of that name exists and is not this resource's".to_owned();
                return Err(Failure::Secret { name: id.name, problem, retryable: true });
            }
            None => None,
        };
        if let Some(before) = before.as_ref().filter(|before| before.covers(tls.days, self.now)) {
            return Ok(Authority {
                id: before.id.clone(),
                bundle: before.bundle.clone(),
                key: before.key.clone(),
                ..*before
            });
        }
        let new = Authority::new(before.as_ref(), self.now).map_err(|problem| unmade(&id, &problem))?;
        let annotations = json!({ names::SECRET_VERSION: new.id, names::ENDS: new.ends.to_string() });
        let data = json!({ "ca.crt": new.bundle, "ca.key": new.key });
        let empty = Map::new();
        let fields = |value: &Value| value.as_object().unwrap_or(&empty).clone();
        let manifest = self.object(&id, "Opaque", &fields(&annotations), &fields(&data));
        let written = match &existing {
            Some(existing) => self.kube.replace(&self.rules.namespace, &id, &manifest, existing).await,
            None => self.kube.create(&self.rules.namespace, &id, &manifest).await,
        };
        written.map_err(|source| Failure::Apply { id: id.into(), source })?;
        Ok(new)
    }
}

fn authority_id(rules: &Rules) -> ObjectId {
    ObjectId::new(kind(), format!("{}{AUTHORITY}", rules.name))
}

/// `None` where somebody has spoilt it: it is made anew.
fn parse_authority(secret: &DynamicObject) -> Option<Authority> {
    let id = annotation(secret, names::SECRET_VERSION)?.to_owned();
    let ends = annotation(secret, names::ENDS)?.parse().ok()?;
    let secret: Secret = serde_json::from_value(serde_json::to_value(secret).ok()?).ok()?;
    let text = |key: &str| String::from_utf8(secret.data.as_ref()?.get(key)?.0.clone()).ok();
    Some(Authority { id, bundle: text("ca.crt")?, key: text("ca.key")?, ends })
}

fn unmade(id: &ObjectId, problem: &Unmade) -> Failure {
    Failure::Secret { name: id.name.clone(), problem: problem.to_string(), retryable: true }
}

fn random_version() -> String {
    format!("{:016x}", rand::rng().random::<u64>())
}
