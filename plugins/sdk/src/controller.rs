//! The trait that a plugin's author implements, and what lies between it and the contract: JSON becomes types on
//! the way in, builders become JSON on the way out.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::schema::drop_nulls;
use crate::wit::{self, Change, Fault, Outcome, Status, Violation};
use crate::{Answer, Description, Observed, Schema};

/// One type of database. Every function is a pure function of its arguments, and is called in a fresh instance.
pub trait Controller {
    /// The spec: what users write, with defaults filled in. Fields that the schema gives a default need none here.
    type Spec: Serialize + DeserializeOwned;

    /// What operators may set for the plugin in a region; [`NoConfig`] if nothing.
    type Config: Settings;

    /// Name of the type, as users write it: `redis-cluster`.
    const TYPE: &'static str;

    /// What the type is called, and which Kubernetes objects it has to do with.
    fn describe() -> Description;

    /// Schema of the spec: form, defaults and the effects of changes.
    fn schema() -> Schema;

    /// Checks what the schema cannot say, and may normalise. Must be idempotent. Default: nothing to check.
    fn admit(spec: &mut Self::Spec, violations: &mut Violations) {
        let _ = (spec, violations);
    }

    /// Corrects what the schema's effects say about a change from `current` to `desired`. Default: they are right.
    fn diff(change: &mut Change, current: &Self::Spec, desired: &Self::Spec) -> Result<(), Fault> {
        let _ = (change, current, desired);
        Ok(())
    }

    /// From all that is known, all that shall be. Not called while the resource is being deleted.
    fn reconcile(input: &Input<'_, Self::Spec, Self::Config>) -> Result<Outcome, Fault>;

    /// As `reconcile`, while the resource is being deleted: what must still be there. Default: nothing, so that
    /// the deletion finishes and everything goes.
    fn delete(input: &Input<'_, Self::Spec, Self::Config>) -> Result<Outcome, Fault> {
        let _ = input;
        Ok(Outcome::gone())
    }
}

/// Settings that an operator may give a plugin in a region.
pub trait Settings: DeserializeOwned {
    /// Their schema. Everything in it is optional or has a default.
    fn schema() -> Schema;
}

/// For plugins without settings.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
pub struct NoConfig {}

impl Settings for NoConfig {
    fn schema() -> Schema {
        Schema::object([])
    }
}

/// What is wrong with a spec, collected.
#[derive(Debug, Default)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// Adds one. `path` is a JSON Pointer into the spec, `code` is for programs (`needs-persistence`), `message`
    /// tells people what is wrong and what would be right.
    pub fn add(&mut self, path: &str, code: &str, message: impl Into<String>) {
        self.0.push(Violation { path: path.to_owned(), code: code.to_owned(), message: message.into() });
    }
}

/// Everything that `reconcile` may know; see the record `input` of the contract.
pub struct Input<'a, Spec, Config> {
    /// As admitted.
    pub spec: Spec,
    /// The operator's settings.
    pub config: Config,
    /// Name of the resource: that of every child, or what it begins with.
    pub name: &'a str,
    /// Namespace of the resource and all of its objects.
    pub namespace: &'a str,
    /// What belongs to this resource, as last read.
    pub observed: Observed<'a>,
    /// What the last call answered, if the host still knows.
    pub last_status: Option<Value>,
    /// The rest, as the contract has it.
    pub raw: &'a wit::Input,
}

impl<Spec, Config> Input<'_, Spec, Config> {
    /// `<name>-<suffix>`
    pub fn child(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.name)
    }

    /// The DNS name of a Service in this namespace.
    pub fn dns(&self, service: &str) -> String {
        format!("{service}.{}.svc", self.namespace)
    }

    /// Labels by which a selector finds the pods of this resource: those that Kubernetes recommends. The host puts
    /// the same on every object.
    pub fn labels(&self) -> Value {
        json!({
            "app.kubernetes.io/name": self.raw.resource_type,
            "app.kubernetes.io/instance": self.name,
        })
    }

    /// Version of a Secret that was requested; nothing until it exists.
    pub fn secret_version(&self, name: &str) -> Option<&str> {
        self.raw.secrets.iter().find(|secret| secret.name == name).map(|secret| secret.version.as_str())
    }

    /// What is known so far of an ask with this id.
    pub fn answer(&self, id: &str) -> Option<Answer> {
        self.raw.answers.iter().find(|answer| answer.id == id).map(Answer::read)
    }

    /// The whole of what the last call answered, if the host still knows: for a plugin that has to wait for answers
    /// before it can say anything else.
    pub fn last(&self) -> Option<Status> {
        self.last_status.as_ref().and_then(Status::read)
    }

    /// Phase that the last call answered, if the host still knows.
    pub fn last_phase(&self) -> Option<&str> {
        self.last_status.as_ref()?.get("phase")?.as_str()
    }
}

/// `admit` of the contract.
pub fn admit<C: Controller>(spec: &str) -> Result<String, Vec<Violation>> {
    let malformed = |error: serde_json::Error| {
        vec![Violation { path: String::new(), code: "malformed".to_owned(), message: error.to_string() }]
    };
    let mut value: Value = serde_json::from_str(spec).map_err(malformed)?;
    C::schema().fill_defaults(&mut value);
    let mut spec: C::Spec = serde_json::from_value(value).map_err(malformed)?;
    let mut violations = Violations::default();
    C::admit(&mut spec, &mut violations);
    if !violations.0.is_empty() {
        return Err(violations.0);
    }
    Ok(canonical(&spec).map_err(malformed)?.to_string())
}

/// `diff` of the contract.
pub fn diff<C: Controller>(current: Option<&str>, desired: Option<&str>) -> Result<Change, Fault> {
    let (current, desired) = match (current, desired) {
        (Some(current), Some(desired)) => (current, desired),
        (None, Some(_)) => return Ok(Change::create()),
        (Some(_), None) => return Ok(Change::delete()),
        (None, None) => {
            return Err(Fault::permanent("NothingToCompare", "neither a current nor a desired spec"));
        }
    };
    let schema = C::schema();
    let (current, desired): (C::Spec, C::Spec) =
        (read(current, || schema.clone())?, read(desired, || schema.clone())?);
    let value = |spec: &C::Spec| canonical(spec).map_err(|error| unreadable(&error));
    let mut change = Change::between(&schema, &value(&current)?, &value(&desired)?)?;
    if change.action != "none" {
        C::diff(&mut change, &current, &desired)?;
    }
    Ok(change)
}

/// `reconcile` of the contract.
pub fn reconcile<C: Controller>(raw: &wit::Input) -> Result<Outcome, Fault> {
    let input = Input {
        spec: read(&raw.spec, C::schema)?,
        config: read(&raw.config, C::Config::schema)?,
        name: &raw.name,
        namespace: &raw.namespace,
        observed: Observed::read(&raw.observed),
        last_status: raw.last_status.as_deref().and_then(|status| serde_json::from_str(status).ok()),
        raw,
    };
    if raw.deleting { C::delete(&input) } else { C::reconcile(&input) }
}

/// A document is complete as a rule. One that an earlier version of the plugin admitted, or settings that leave
/// something out, first get the defaults.
fn read<T: DeserializeOwned>(text: &str, schema: impl FnOnce() -> Schema) -> Result<T, Fault> {
    if let Ok(read) = serde_json::from_str(text) {
        return Ok(read);
    }
    let mut value: Value = serde_json::from_str(text).map_err(|error| unreadable(&error))?;
    schema().fill_defaults(&mut value);
    serde_json::from_value(value).map_err(|error| unreadable(&error))
}

fn unreadable(error: &serde_json::Error) -> Fault {
    Fault::permanent(
        "UnreadableDocument",
        format!("the spec or the plugin's settings cannot be read: {error}"),
    )
}

fn canonical(spec: &impl Serialize) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::to_value(spec)?;
    drop_nulls(&mut value);
    Ok(value)
}
