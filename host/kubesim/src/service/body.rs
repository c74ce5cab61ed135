//! Bodies of requests: objects and options, in JSON, in YAML, and a few in protobuf.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Call, protobuf};
use crate::events;
use crate::status::{self, Cause, Result};
use crate::store::{DeleteOptions, Propagation};

/// A body, and the format it says it has.
pub(super) struct Given<'a> {
    pub bytes: &'a Bytes,
    pub format: &'a str,
}

impl Given<'_> {
    /// The media type alone.
    pub fn media_type(&self) -> &str {
        self.format.split(';').next().unwrap_or_default().trim()
    }

    /// The value in it. What is called YAML may be JSON.
    pub fn value(&self) -> Result<Value> {
        let unrecognized = |what: &str, error: &dyn std::fmt::Display| {
            status::bad_request(format!(
                "the object provided is unrecognized (must be of type {what}): couldn't get version/kind; {error}"
            ))
        };
        if self.media_type() == protobuf::FORMAT {
            return protobuf::read(self.bytes);
        }
        match serde_json::from_slice(self.bytes) {
            Ok(value) => Ok(value),
            Err(_) if self.media_type().ends_with("yaml") => {
                serde_saphyr::from_slice(self.bytes).map_err(|error| unrecognized("YAML", &error))
            }
            Err(error) => Err(unrecognized("JSON", &format!("json parse error: {error}"))),
        }
    }

    /// The object in it, of the kind and version of the path.
    pub fn object(&self, call: &Call) -> Result<Value> {
        const FORMATS: [&str; 6] = [
            "",
            "application/json",
            "application/yaml",
            "application/apply-patch+yaml",
            protobuf::FORMAT,
            "*/*",
        ];
        if !FORMATS.contains(&self.media_type()) {
            return Err(unknown_format(self.media_type()));
        }
        let mut object = self.value()?;
        if !object.is_object() {
            return Err(status::bad_request("the object provided is not a JSON object"));
        }
        // Who applies says of what; of what is posted the path says enough.
        let fill = self.media_type() != "application/apply-patch+yaml";
        let wanted = if call.event_view {
            format!("{}/v1", events::GROUP)
        } else {
            call.kind.api_version(&call.target.version)
        };
        match object.get("apiVersion").and_then(Value::as_str) {
            Some(version) if version != wanted => {
                return Err(status::bad_request(format!(
                    "the API version in the data ({version}) does not match the expected API version ({wanted})"
                )));
            }
            Some(_) => (),
            None if fill => object["apiVersion"] = wanted.into(),
            None => (),
        }
        if fill && object.get("kind").is_none() {
            object["kind"] = call.kind.kind.clone().into();
        }
        if call.event_view {
            events::to_stored(&mut object);
        }
        Ok(object)
    }

    /// How to delete: by the body, or by the query.
    pub fn delete_options(&self, call: &Call) -> Result<DeleteOptions> {
        let given: Value = if self.bytes.is_empty() { json!({}) } else { self.value()? };
        let text = |value: &Value| value.as_str().filter(|v| !v.is_empty()).map(str::to_owned);
        let policy = text(&given["propagationPolicy"])
            .or_else(|| call.query.get("propagationPolicy").map(str::to_owned));
        let mut propagation = policy.as_deref().map(propagation).transpose()?;
        if let Some(orphan) = given["orphanDependents"].as_bool() {
            propagation = Some(if orphan { Propagation::Orphan } else { Propagation::Background });
        }
        let grace = match given["gracePeriodSeconds"].as_i64() {
            Some(seconds) => Some(seconds),
            None => call.query.number("gracePeriodSeconds")?.and_then(|seconds| i64::try_from(seconds).ok()),
        };
        Ok(DeleteOptions {
            uid: text(&given["preconditions"]["uid"]),
            resource_version: text(&given["preconditions"]["resourceVersion"]),
            propagation,
            grace_period_seconds: grace,
            dry_run: call.query.get("dryRun").is_some()
                || given["dryRun"].as_array().is_some_and(|d| !d.is_empty()),
        })
    }
}

fn propagation(policy: &str) -> Result<Propagation> {
    match policy {
        "Background" => Ok(Propagation::Background),
        "Foreground" => Ok(Propagation::Foreground),
        "Orphan" => Ok(Propagation::Orphan),
        other => {
            let supported = ["Foreground", "Background", "Orphan", "nil"];
            let cause = Cause::not_supported("propagationPolicy", &Value::from(other), &supported);
            Err(status::invalid("DeleteOptions", "meta.k8s.io", "", &[cause]))
        }
    }
}

pub(super) fn unknown_format(format: &str) -> Box<kube::core::Status> {
    tracing::debug!(format, "a body was refused");
    status::unsupported_media_type(
        "the body of the request was in an unknown format - accepted media types include: application/json, \
         application/yaml, application/vnd.kubernetes.protobuf",
    )
}
