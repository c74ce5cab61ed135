//! Decoding: of the right types, and without fields that the kind does not have.
//!
//! Built-in kinds pass through the generated types of `k8s-openapi`; what comes back is restricted to what
//! went in, because the generated types also write required fields that nobody gave.

use k8s_openapi::api::{apps, batch, coordination, core, discovery, networking, policy};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::Status;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::quantities;
use crate::kinds::{self, Kind};
use crate::status::{self, Result};

type Typed = fn(&Value) -> serde_json::Result<Value>;

/// Decodes in place and returns the paths of the fields that were dropped.
pub fn decode(kind: &Kind, object: &mut Value) -> Result<Vec<String>> {
    let mut unknown = Vec::new();
    match &kind.custom {
        None => {
            typed(kind, object, codec(kind), "", &mut unknown)?;
            if object.get("spec").and_then(quantities::invalid).is_some()
                && quantities::in_spec_of(&kind.resource)
            {
                return Err(cannot_handle(
                    kind,
                    "quantities must match the regular expression \
                     '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
                ));
            }
        }
        Some(custom) => {
            let mut meta = object["metadata"].take();
            typed(kind, &mut meta, Some(through::<ObjectMeta>), "metadata", &mut unknown)?;
            object["metadata"] = meta;
            let before = object.clone();
            custom.prune(object);
            lost(&before, object, "", &mut unknown);
        }
    }
    tidy_meta(&mut object["metadata"]);
    Ok(unknown)
}

fn typed(
    kind: &Kind,
    object: &mut Value,
    codec: Option<Typed>,
    path: &str,
    unknown: &mut Vec<String>,
) -> Result<()> {
    let Some(codec) = codec else { return Ok(()) };
    let decoded = codec(object).map_err(|error| cannot_handle(kind, error))?;
    let given = std::mem::replace(object, decoded);
    restrict(object, &given, path, unknown);
    Ok(())
}

pub fn cannot_handle(kind: &Kind, problem: impl std::fmt::Display) -> Box<Status> {
    let (name, version) = (&kind.kind, &kind.storage);
    status::bad_request(format!("{name} in version {version:?} cannot be handled as a {name}: {problem}"))
}

fn through<T: Serialize + DeserializeOwned>(object: &Value) -> serde_json::Result<Value> {
    serde_json::to_value(T::deserialize(object)?)
}

fn codec(kind: &Kind) -> Option<Typed> {
    let table: [(kinds::GroupResource, Typed); 17] = [
        (kinds::NAMESPACES, through::<core::v1::Namespace>),
        (kinds::CONFIG_MAPS, through::<core::v1::ConfigMap>),
        (kinds::SECRETS, through::<core::v1::Secret>),
        (kinds::SERVICES, through::<core::v1::Service>),
        (kinds::SERVICE_ACCOUNTS, through::<core::v1::ServiceAccount>),
        (kinds::ENDPOINTS, through::<core::v1::Endpoints>),
        (kinds::PODS, through::<core::v1::Pod>),
        (kinds::CLAIMS, through::<core::v1::PersistentVolumeClaim>),
        (kinds::EVENTS, through::<core::v1::Event>),
        (kinds::ENDPOINT_SLICES, through::<discovery::v1::EndpointSlice>),
        (kinds::STATEFUL_SETS, through::<apps::v1::StatefulSet>),
        (kinds::CONTROLLER_REVISIONS, through::<apps::v1::ControllerRevision>),
        (kinds::JOBS, through::<batch::v1::Job>),
        (kinds::LEASES, through::<coordination::v1::Lease>),
        (kinds::DISRUPTION_BUDGETS, through::<policy::v1::PodDisruptionBudget>),
        (kinds::NETWORK_POLICIES, through::<networking::v1::NetworkPolicy>),
        (kinds::DEFINITIONS, through::<apiextensions::v1::CustomResourceDefinition>),
    ];
    table.into_iter().find(|(what, _)| *what == kind.resource).map(|(_, typed)| typed)
}

/// Leaves in `decoded` only what is in `given`, and notes what is in `given` only.
fn restrict(decoded: &mut Value, given: &Value, path: &str, unknown: &mut Vec<String>) {
    match (decoded, given) {
        (Value::Object(fields), Value::Object(had)) => {
            fields.retain(|name, _| had.get(name).is_some_and(|value| !value.is_null()));
            for (name, value) in had {
                match fields.get_mut(name) {
                    Some(inner) => restrict(inner, value, &join(path, name), unknown),
                    None if value.is_null() => (),
                    None => unknown.push(join(path, name)),
                }
            }
            fields.retain(|name, value| {
                !(value.as_array().is_some_and(Vec::is_empty) || is_empty_map(name, value))
            });
        }
        (Value::Array(items), Value::Array(had)) => {
            for (at, (item, value)) in items.iter_mut().zip(had).enumerate() {
                restrict(item, value, &format!("{path}[{at}]"), unknown);
            }
        }
        // The types know some numbers only as fractions (`minimum: 1`).
        (Value::Number(number), Value::Number(had)) if number.as_f64() == had.as_f64() => {
            number.clone_from(had);
        }
        _ => (),
    }
}

/// Maps that a real server leaves out when they are empty; an empty struct it keeps (`emptyDir: {}`).
fn is_empty_map(name: &str, value: &Value) -> bool {
    const MAPS: [&str; 10] = [
        "labels",
        "annotations",
        "nodeSelector",
        "matchLabels",
        "limits",
        "requests",
        "data",
        "binaryData",
        "stringData",
        "overhead",
    ];
    MAPS.contains(&name) && value.as_object().is_some_and(serde_json::Map::is_empty)
}

fn lost(before: &Value, after: &Value, path: &str, unknown: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(had), Value::Object(has)) => {
            for (name, value) in had {
                match has.get(name) {
                    Some(inner) => lost(value, inner, &join(path, name), unknown),
                    None => unknown.push(join(path, name)),
                }
            }
        }
        (Value::Array(had), Value::Array(has)) => {
            for (at, (was, is)) in had.iter().zip(has).enumerate() {
                lost(was, is, &format!("{path}[{at}]"), unknown);
            }
        }
        _ => (),
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A real server leaves out what is empty.
pub fn tidy_meta(meta: &mut Value) {
    if let Some(fields) = meta.as_object_mut() {
        fields.retain(|_, value| {
            !(value.is_null()
                || value.as_array().is_some_and(Vec::is_empty)
                || value.as_object().is_some_and(serde_json::Map::is_empty))
        });
    }
}
