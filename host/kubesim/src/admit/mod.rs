//! What an object must be like to be stored: decoded, defaulted, valid, and changed only where it may change.
//!
//! Three steps, in the order of a real server: [`undefaulted`] before ownership is settled, [`default`]
//! after, [`check`] last, which may still fill in what only the server knows (addresses, selectors).

mod claims;
mod decode;
mod defaults;
mod jobs;
mod meta;
mod names;
mod pod_defaults;
mod pods;
mod quantities;
mod services;
mod small;
mod stateful_sets;

use serde_json::{Value, json};

use crate::crd;
use crate::kinds::{self, GroupResource, Kind};
use crate::status::{self, Cause, Result};
use crate::store::{Key, State};
use crate::write::{Part, Write};

pub(crate) use decode::tidy_meta;
pub(crate) use defaults::set;
pub(crate) use meta::check_labels;
pub(crate) use names::label_value;

/// Checks types and drops fields that the kind doesn't have; a strict write is refused for them instead.
pub(crate) fn undefaulted(kind: &Kind, object: &mut Value, by: &Write) -> Result<()> {
    if !object.is_object() {
        return Err(status::bad_request("the object provided is not a JSON object"));
    }
    if let Some(told) = object.get("kind").and_then(Value::as_str)
        && told != kind.kind
    {
        return Err(status::bad_request(format!(
            "the kind of the object ({told}) does not match what is served here ({})",
            kind.kind
        )));
    }
    let unknown = decode::decode(kind, object)?;
    let listed: Vec<String> = unknown.iter().map(|path| format!("unknown field {path:?}")).collect();
    if !by.strict {
        by.told.tell(listed);
    } else if !listed.is_empty() {
        let problem = format!("strict decoding error: {}", listed.join(", "));
        return Err(decode::cannot_handle(kind, problem));
    }
    Ok(())
}

/// Fields of `config` that the kind doesn't have: server-side apply refuses them.
pub(crate) fn decode_config(kind: &Kind, config: &mut Value) -> Result<()> {
    let unknown = decode::decode(kind, config)?;
    match unknown.first() {
        None => Ok(()),
        Some(path) => {
            Err(crate::apply::no_patch(kind, config, &format!(".{path}: field not declared in schema")))
        }
    }
}

/// Fills in what the kind's type says is meant when nothing is said.
pub(crate) fn default(kind: &Kind, object: &mut Value) {
    match &kind.custom {
        Some(custom) => custom.default(object),
        None => {
            defaults::default(&kind.resource, object);
            if quantities::in_spec_of(&kind.resource) {
                quantities::canonicalize(&mut object["spec"]);
            }
        }
    }
}

/// Everything that must hold for an object to be stored. `old` is what it replaces.
pub(crate) fn check(
    state: &mut State,
    kind: &Kind,
    key: &Key,
    old: Option<&Value>,
    object: &mut Value,
    part: Part,
) -> Result<()> {
    if old.is_none() {
        complete(state, kind, object)?;
    }
    let mut causes = meta::check(kind, key, old, object);
    match &kind.custom {
        Some(custom) => causes.extend(custom.check(old, object, part)),
        None if part != Part::Status => causes.extend(check_builtin(state, kind, old, object)?),
        None => (),
    }
    if causes.is_empty() {
        return Ok(());
    }
    Err(status::invalid(&kind.kind, &kind.resource.group, &key.name, &causes))
}

/// What only the server can fill in, on creation.
fn complete(state: &mut State, kind: &Kind, object: &mut Value) -> Result<()> {
    let what = &kind.resource;
    if *what == kinds::SERVICES {
        services::allocate(state, object)?;
        object["status"] = json!({"loadBalancer": {}});
    } else if *what == kinds::JOBS {
        jobs::complete(object);
        object["status"] = json!({});
    } else if *what == kinds::PODS {
        pod_defaults::admitted(&mut object["spec"]);
        object["status"] = json!({"phase": "Pending", "qosClass": pods::qos_class(&object["spec"])});
    } else if *what == kinds::CLAIMS {
        object["status"] = json!({"phase": "Pending"});
    } else if *what == kinds::NAMESPACES {
        object["spec"] = json!({"finalizers": ["kubernetes"]});
        object["status"] = json!({"phase": "Active"});
    } else if *what == kinds::STATEFUL_SETS {
        object["status"] = json!({"replicas": 0, "availableReplicas": 0});
    } else if *what == kinds::DISRUPTION_BUDGETS {
        object["status"] =
            json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0});
    } else if *what == kinds::DEFINITIONS {
        crd::complete(object);
    }
    Ok(())
}

fn check_builtin(
    state: &mut State,
    kind: &Kind,
    old: Option<&Value>,
    object: &mut Value,
) -> Result<Vec<Cause>> {
    let what = &kind.resource;
    if let Some(unsupported) = unsupported(what, object) {
        return Err(status::not_implemented(unsupported));
    }
    if *what == kinds::SERVICES {
        services::check(state, old, object)
    } else if *what == kinds::STATEFUL_SETS {
        Ok(stateful_sets::check(old, object))
    } else if *what == kinds::PODS {
        Ok(pods::check(old, object))
    } else if *what == kinds::JOBS {
        Ok(jobs::check(old, object))
    } else if *what == kinds::CLAIMS {
        Ok(claims::check(old, object))
    } else if *what == kinds::SECRETS || *what == kinds::CONFIG_MAPS {
        Ok(claims::check_data(what, old, object))
    } else if *what == kinds::DEFINITIONS {
        crd::check(old, object)
    } else if *what == kinds::LEASES {
        Ok(small::lease(object))
    } else if *what == kinds::EVENTS {
        Ok(small::event(object))
    } else if *what == kinds::DISRUPTION_BUDGETS {
        Ok(small::disruption_budget(object))
    } else {
        Ok(Vec::new())
    }
}

/// What an object asks for that the controllers and the node don't do: it is refused, not half done.
fn unsupported(what: &GroupResource, object: &Value) -> Option<String> {
    if *what == kinds::PODS {
        pods::unsupported(&object["spec"])
    } else if *what == kinds::STATEFUL_SETS {
        stateful_sets::unsupported(object)
    } else if *what == kinds::JOBS {
        jobs::unsupported(object)
    } else {
        None
    }
}

/// Requires a field to be there and not empty.
fn require(causes: &mut Vec<Cause>, object: &Value, path: &str) {
    let value = path.split('.').fold(object, |value, field| &value[field]);
    let empty = match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    if empty {
        causes.push(Cause::required(path, ""));
    }
}

/// Refuses a change of a field.
fn immutable(causes: &mut Vec<Cause>, old: &Value, object: &Value, path: &str) {
    let look = |from: &Value| path.split('.').fold(from.clone(), |value, field| value[field].clone());
    let (was, is) = (look(old), look(object));
    if was != is {
        causes.push(Cause::invalid(path, &is, "field is immutable"));
    }
}
