//! Patches of the four kinds, of objects and of their scale.

use std::sync::Arc;

use http::StatusCode;
use serde_json::Value;

use super::body::Given;
use super::{ApiResponse, ApiService, Call, json_response};
use crate::kinds::Kind;
use crate::shape::Shape;
use crate::status::{self, Cause, Result};
use crate::store::Part;
use crate::{events, patch, strategic};

/// A change of a value, still to be applied.
pub(super) enum Patch {
    /// RFC 7386.
    Merge(Value),
    /// RFC 6902.
    Steps(Value),
    /// A merge patch that knows the kind.
    Strategic(Value),
}

impl Patch {
    /// Reads a patch of a kind.
    pub fn read(kind: &Kind, given: &Given<'_>) -> Result<Patch> {
        match given.media_type() {
            "application/merge-patch+json" => Ok(Patch::Merge(given.value()?)),
            "application/json-patch+json" => match given.value()? {
                steps @ Value::Array(_) => Ok(Patch::Steps(steps)),
                other => {
                    let is = if other.is_object() { "object" } else { "value" };
                    let target = "Go value of type []handlers.jsonPatchOp";
                    let problem = format!("error decoding patch: json: cannot unmarshal {is} into {target}");
                    Err(status::bad_request(problem))
                }
            },
            "application/strategic-merge-patch+json" if kind.custom.is_none() => {
                Ok(Patch::Strategic(given.value()?))
            }
            "application/strategic-merge-patch+json" => Err(status::unsupported_media_type(
                "the body of the request was in an unknown format - accepted media types include: \
                 application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
            )),
            _ => Err(status::no_such_patch()),
        }
    }

    fn value_mut(&mut self) -> &mut Value {
        match self {
            Patch::Merge(value) | Patch::Steps(value) | Patch::Strategic(value) => value,
        }
    }

    /// Applies it to a value of this shape.
    pub fn apply(&self, target: &mut Value, shape: &Shape) -> Result<()> {
        match self {
            Patch::Merge(change) => {
                patch::merge(target, change);
                Ok(())
            }
            Patch::Steps(steps) => patch::apply(target, steps),
            Patch::Strategic(change) => strategic::apply(target, change, shape),
        }
        .map_err(|problem| status::unprocessable(&problem))
    }
}

/// What a patch makes of an object can't be read as one.
fn unreadable(object: &Value, problem: &kube::core::Status) -> Box<kube::core::Status> {
    let reason =
        problem.message.split_once(" cannot be handled as a ").and_then(|(_, rest)| rest.split_once(": "));
    let shown = Value::from(object.to_string());
    let detail = reason.map_or(problem.message.as_str(), |(_, reason)| reason);
    status::invalid("", "", "", &[Cause::invalid("patch", &shown, detail)])
}

impl ApiService {
    /// Answers a patch of an object.
    pub(super) fn patch(&self, call: &Call, part: Part, given: &Given<'_>) -> Result<ApiResponse> {
        if given.media_type() == "application/apply-patch+yaml" {
            return self.apply(call, part, given);
        }
        let kind: Arc<Kind> = call.kind.clone();
        let mut change = Patch::read(&kind, given)?;
        if call.event_view {
            events::to_stored(change.value_mut());
        }
        let (key, by) = (call.key(), call.write());
        let stored = self.store.try_modify(&kind.resource, part, &key, &by, |object| {
            change.apply(object, &kind.shape)?;
            crate::write::check_identity(&kind, &key, object)?;
            crate::admit::undefaulted(&kind, object, &by).map_err(|problem| unreadable(object, &problem))
        })?;
        Ok(call.answered(StatusCode::OK, &stored, &by))
    }

    /// Server-side apply.
    fn apply(&self, call: &Call, part: Part, given: &Given<'_>) -> Result<ApiResponse> {
        if call.query.get("fieldManager").is_none_or(str::is_empty) {
            let cause = Cause::required("fieldManager", "is required for apply patch");
            return Err(status::invalid("PatchOptions", "meta.k8s.io", "", &[cause]));
        }
        let (config, force) = (given.object(call)?, call.query.is_on("force"));
        let (stored, created) =
            self.store.apply(&call.kind.resource, part, &call.key(), config, force, &call.write())?;
        let code = if created { StatusCode::CREATED } else { StatusCode::OK };
        Ok(json_response(code, call.written(&stored)))
    }
}
