//! `statefulsets/<name>/scale`: the replicas alone, as an `autoscaling/v1 Scale`.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::body::Given;
use super::patches::Patch;
use super::{ApiResponse, ApiService, Call, json_response, to_bytes};
use crate::shape::Shape;
use crate::status::{self, Cause, Result};
use crate::store::Part;

/// Answers a request about a scale.
pub(super) fn answer(
    api: &ApiService,
    method: &Method,
    call: &Call,
    given: &Given<'_>,
) -> Result<ApiResponse> {
    let (key, by, what) = (call.key(), call.write(), &call.kind.resource);
    let stored = match method.as_str() {
        "GET" => api.store.get(what, &key.namespace, &key.name)?,
        "PUT" => {
            let wanted = given.value()?;
            api.store.try_modify(what, Part::Scale, &key, &by, |object| set(object, &wanted))?
        }
        "PATCH" => {
            let change = Patch::read(&call.kind, given)?;
            api.store.try_modify(what, Part::Scale, &key, &by, |object| {
                let mut scale = scale(object);
                change.apply(&mut scale, &Shape::Deduced)?;
                set(object, &scale)
            })?
        }
        _ => return Err(status::method_not_allowed()),
    };
    Ok(json_response(StatusCode::OK, to_bytes(&scale(&stored))))
}

/// The scale of a set.
fn scale(set: &Value) -> Value {
    let meta = &set["metadata"];
    let mut own = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        own[field] = meta[field].clone();
    }
    let replicas = |part: &str| set[part]["replicas"].as_i64().unwrap_or_default();
    // Nothing is said of none wanted.
    let spec = if replicas("spec") == 0 { json!({}) } else { json!({"replicas": replicas("spec")}) };
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": own, "spec": spec,
        "status": {"replicas": replicas("status"), "selector": selector(&set["spec"]["selector"])}})
}

/// Makes a set as large as a scale says. Its `resourceVersion` and `uid` are preconditions.
fn set(object: &mut Value, scale: &Value) -> Result<()> {
    let replicas = match &scale["spec"]["replicas"] {
        Value::Null => 0,
        number => number.as_i64().ok_or_else(|| status::bad_request("spec.replicas must be a number"))?,
    };
    if replicas < 0 {
        let detail = "must be greater than or equal to 0";
        let cause = Cause::invalid("spec.replicas", &scale["spec"]["replicas"], detail);
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        return Err(status::invalid("Scale", "autoscaling", name, &[cause]));
    }
    object["spec"]["replicas"] = replicas.into();
    for precondition in ["resourceVersion", "uid"] {
        if let Some(value) = scale["metadata"][precondition].as_str().filter(|value| !value.is_empty()) {
            object["metadata"][precondition] = value.into();
        }
    }
    Ok(())
}

/// A label selector in one line.
fn selector(selector: &Value) -> String {
    let labels = selector["matchLabels"].as_object().into_iter().flatten();
    let labels = labels.map(|(label, value)| format!("{label}={}", value.as_str().unwrap_or_default()));
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten().map(|expression| {
        let key = expression["key"].as_str().unwrap_or_default();
        let values = expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let values = values.collect::<Vec<_>>().join(",");
        match expression["operator"].as_str() {
            Some("In") => format!("{key} in ({values})"),
            Some("NotIn") => format!("{key} notin ({values})"),
            Some("DoesNotExist") => format!("!{key}"),
            _ => key.to_owned(),
        }
    });
    labels.chain(expressions).collect::<Vec<_>>().join(",")
}
