//! Refusals: the `metav1.Status` bodies a Kubernetes API server answers with.
//!
//! Every refusal of this crate is built here, so that code, reason, details and wording agree with what a real
//! API server says; clients branch on exactly these (`is_conflict`, `AlreadyExists`, the causes of a 422).

use kube::core::Status;
use kube::core::response::{StatusCause, StatusDetails, StatusSummary};

use crate::kinds::GroupResource;

/// What an operation on the API returns: a value, or the Status the client is to see.
pub type Result<T> = std::result::Result<T, Box<Status>>;

/// One violated rule of an object, as listed in `details.causes` of a 422.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueRequired`, `FieldValueInvalid`, …
    pub reason: &'static str,
    /// Path of the field, `spec.replicas`.
    pub field: String,
    /// What is wrong, including the offending value where there is one.
    pub message: String,
}

impl Cause {
    /// A required field is missing.
    pub fn required(field: impl Into<String>, detail: &str) -> Cause {
        let message =
            if detail.is_empty() { "Required value".into() } else { format!("Required value: {detail}") };
        Cause { reason: "FieldValueRequired", field: field.into(), message }
    }

    /// A field has a value that is not allowed.
    pub fn invalid(field: impl Into<String>, value: &serde_json::Value, detail: &str) -> Cause {
        Cause {
            reason: "FieldValueInvalid",
            field: field.into(),
            message: format!("Invalid value: {value}: {detail}"),
        }
    }

    /// A field's value is not among the supported ones.
    pub fn not_supported(field: impl Into<String>, value: &serde_json::Value, supported: &[&str]) -> Cause {
        let supported = supported.iter().map(|s| format!("{s:?}")).collect::<Vec<_>>().join(", ");
        Cause {
            reason: "FieldValueNotSupported",
            field: field.into(),
            message: format!("Unsupported value: {value}: supported values: {supported}"),
        }
    }

    /// A field must not be set, or not be changed.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Cause {
        Cause { reason: "FieldValueForbidden", field: field.into(), message: format!("Forbidden: {detail}") }
    }

    /// A list or a map holds more than it may.
    pub fn too_many(field: impl Into<String>, value: &serde_json::Value, limit: &serde_json::Value) -> Cause {
        let count = value.as_array().map(Vec::len).or(value.as_object().map(serde_json::Map::len));
        let message = format!("Too many: {}: must have at most {limit} items", count.unwrap_or_default());
        Cause { reason: "FieldValueTooMany", field: field.into(), message }
    }

    /// A list holds the same thing twice.
    pub fn duplicate(field: impl Into<String>, value: &serde_json::Value) -> Cause {
        Cause {
            reason: "FieldValueDuplicate",
            field: field.into(),
            message: format!("Duplicate value: {value}"),
        }
    }
}

fn failure(code: u16, reason: &str, message: impl Into<String>) -> Box<Status> {
    Box::new(Status {
        status: Some(StatusSummary::Failure),
        code,
        message: message.into(),
        metadata: None,
        reason: reason.to_owned(),
        details: None,
    })
}

/// A refusal whose details are there and say nothing.
fn undetailed(code: u16, reason: &str, message: impl Into<String>) -> Box<Status> {
    let mut status = failure(code, reason, message);
    status.details = Some(no_details());
    status
}

fn with_details(
    mut status: Box<Status>,
    what: &GroupResource,
    name: &str,
    change: impl FnOnce(&mut StatusDetails),
) -> Box<Status> {
    let mut details = no_details();
    details.name = name.to_owned();
    details.group = what.group.to_string();
    details.kind = what.plural.to_string();
    change(&mut details);
    status.details = Some(details);
    status
}

fn no_details() -> StatusDetails {
    StatusDetails {
        name: String::new(),
        group: String::new(),
        kind: String::new(),
        uid: String::new(),
        causes: Vec::new(),
        retry_after_seconds: 0,
    }
}

/// 404: no such object.
pub fn not_found(what: &GroupResource, name: &str) -> Box<Status> {
    with_details(failure(404, "NotFound", format!("{what} {name:?} not found")), what, name, |_| ())
}

/// 404: the server serves nothing under this path.
pub fn no_such_path() -> Box<Status> {
    undetailed(404, "NotFound", "the server could not find the requested resource")
}

/// 409: an object of this name is there already.
pub fn already_exists(what: &GroupResource, name: &str) -> Box<Status> {
    with_details(failure(409, "AlreadyExists", format!("{what} {name:?} already exists")), what, name, |_| ())
}

/// 409: the write rests on something that no longer holds.
pub fn conflict(what: &GroupResource, name: &str, detail: &str) -> Box<Status> {
    let message = format!("Operation cannot be fulfilled on {what} {name:?}: {detail}");
    with_details(failure(409, "Conflict", message), what, name, |_| ())
}

/// 409: the object changed since the client read it.
pub fn modified(what: &GroupResource, name: &str) -> Box<Status> {
    const DETAIL: &str =
        "the object has been modified; please apply your changes to the latest version and try again";
    conflict(what, name, DETAIL)
}

/// 409 of server-side apply: other managers own fields that are applied with other values.
pub fn apply_conflict(causes: Vec<(String, String)>) -> Box<Status> {
    let plural = if causes.len() == 1 { "" } else { "s" };
    let mut by_manager: Vec<(&str, Vec<&str>)> = Vec::new();
    for (who, field) in &causes {
        match by_manager.iter_mut().find(|(seen, _)| seen == who) {
            Some((_, fields)) => fields.push(field),
            None => by_manager.push((who, vec![field])),
        }
    }
    let listed = match by_manager.as_slice() {
        [(who, fields)] if fields.len() == 1 => format!("conflict with {who}: {}", fields[0]),
        [(who, fields)] => {
            let lines: String = fields.iter().map(|f| format!("\n- {f}")).collect();
            format!("conflicts with {who}:{lines}")
        }
        many => {
            let groups: Vec<String> = many
                .iter()
                .map(|(who, fields)| {
                    let lines: String = fields.iter().map(|f| format!("\n- {f}")).collect();
                    format!("conflicts with {who}:{lines}")
                })
                .collect();
            groups.join("\n")
        }
    };
    let message = format!("Apply failed with {} conflict{plural}: {listed}", causes.len());
    let mut status = failure(409, "Conflict", message);
    let mut details = no_details();
    details.causes = causes
        .into_iter()
        .map(|(who, field)| StatusCause {
            reason: "FieldManagerConflict".into(),
            message: format!("conflict with {who}"),
            field,
        })
        .collect();
    status.details = Some(details);
    status
}

/// 422: the object breaks rules of its kind.
pub fn invalid(kind: &str, group: &str, name: &str, causes: &[Cause]) -> Box<Status> {
    let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
    let listed = match causes {
        [one] => format!("{}: {}", one.field, one.message),
        many => {
            let all: Vec<String> = many.iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
            format!("[{}]", all.join(", "))
        }
    };
    let mut status = failure(422, "Invalid", format!("{qualified} {name:?} is invalid: {listed}"));
    let mut details = no_details();
    details.name = name.to_owned();
    details.group = group.to_owned();
    details.kind = kind.to_owned();
    details.causes = causes
        .iter()
        .map(|c| StatusCause {
            reason: c.reason.to_owned(),
            message: c.message.clone(),
            field: c.field.clone(),
        })
        .collect();
    status.details = Some(details);
    status
}

/// 400: the request itself makes no sense.
pub fn bad_request(message: impl Into<String>) -> Box<Status> {
    failure(400, "BadRequest", message)
}

/// 403: understood and refused.
pub fn forbidden(what: &GroupResource, name: &str, detail: &str) -> Box<Status> {
    let message = if name.is_empty() {
        format!("{what} is forbidden: {detail}")
    } else {
        format!("{what} {name:?} is forbidden: {detail}")
    };
    with_details(failure(403, "Forbidden", message), what, name, |_| ())
}

/// 403: whatever the request is about.
pub fn forbidden_request(why: &str) -> Box<Status> {
    failure(403, "Forbidden", format!("forbidden: {why}"))
}

/// 403 on creating into a namespace that is being deleted, with the cause clients look for.
pub fn namespace_terminating(what: &GroupResource, name: &str, namespace: &str) -> Box<Status> {
    let detail =
        format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut status = forbidden(what, name, &detail);
    if let Some(details) = status.details.as_mut() {
        details.causes.push(StatusCause {
            reason: "NamespaceTerminating".into(),
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".into(),
        });
    }
    status
}

/// 410: the history no longer reaches back to the asked revision.
pub fn expired(asked: u64, oldest: u64) -> Box<Status> {
    failure(410, "Expired", format!("too old resource version: {asked} ({oldest})"))
}

/// 410 of a `continue` token whose snapshot is gone.
pub fn continue_expired() -> Box<Status> {
    failure(
        410,
        "Expired",
        "The provided continue parameter is too old to display a consistent list result. You can start a new \
         list without the continue parameter.",
    )
}

/// 405: the resource exists, the verb does not.
pub fn method_not_allowed() -> Box<Status> {
    undetailed(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
}

/// 406: the client takes only what isn't served.
pub fn not_acceptable() -> Box<Status> {
    let message = "406: Not Acceptable\n\nAvailable representations: application/json";
    undetailed(406, "NotAcceptable", message)
}

/// 413: more than is taken in one request.
pub fn too_large(limit: usize) -> Box<Status> {
    failure(413, "RequestEntityTooLarge", format!("Request entity too large: limit is {limit}"))
}

/// 415: a body in a format that this endpoint does not take.
pub fn unsupported_media_type(message: impl Into<String>) -> Box<Status> {
    failure(415, "UnsupportedMediaType", message)
}

/// 415: a patch of a kind that there isn't.
pub fn no_such_patch() -> Box<Status> {
    undetailed(415, "UnsupportedMediaType", "415: Unsupported Media Type")
}

/// 429: come back later.
pub fn too_many_requests(retry_after_seconds: u32) -> Box<Status> {
    let mut status = failure(429, "TooManyRequests", "Too many requests, please try again later.");
    let mut details = no_details();
    details.retry_after_seconds = retry_after_seconds;
    status.details = Some(details);
    status
}

/// 501: a real API server can do this and the embedded one cannot. It never approximates.
pub fn not_implemented(what: impl std::fmt::Display) -> Box<Status> {
    failure(501, "NotImplemented", format!("the embedded Kubernetes API does not support {what}"))
}

/// 500: a fault of ours.
pub fn internal(message: impl std::fmt::Display) -> Box<Status> {
    failure(500, "InternalError", format!("Internal error occurred: {message}"))
}

/// 500 whose message stands by itself, without a reason.
pub fn internal_plain(message: impl Into<String>) -> Box<Status> {
    failure(500, "", message)
}

/// 404 of a request that names a namespace which isn't there.
pub fn no_namespace(namespace: &str) -> Box<Status> {
    not_found(&crate::kinds::NAMESPACES, namespace)
}

/// 422 of a patch that can't be applied.
pub fn unprocessable(problem: &str) -> Box<Status> {
    tracing::debug!(problem, "a patch was refused");
    undetailed(422, "Invalid", "the server rejected our request due to an error in our request")
}

/// 504: the client has seen a revision that this server hasn't.
pub fn too_large_revision(asked: u64, current: u64) -> Box<Status> {
    let mut status =
        failure(504, "Timeout", format!("Timeout: Too large resource version: {asked}, current: {current}"));
    let mut details = no_details();
    details.retry_after_seconds = 1;
    details.causes.push(StatusCause {
        reason: "ResourceVersionTooLarge".into(),
        message: "Too large resource version".into(),
        field: String::new(),
    });
    status.details = Some(details);
    status
}

/// 409 without anything having changed: for fault injection.
pub fn conflict_anywhere() -> Box<Status> {
    failure(
        409,
        "Conflict",
        "Operation cannot be fulfilled: the object has been modified; please apply your changes to the latest \
         version and try again",
    )
}

/// 503: not at the moment, or not any more.
pub fn unavailable(message: &str) -> Box<Status> {
    failure(503, "ServiceUnavailable", message)
}
