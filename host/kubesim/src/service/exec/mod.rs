//! `pods/<name>/exec`: a command in a container, its streams over a connection that has changed its protocol.

mod spdy;
mod spdy_frames;
mod websocket;

use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use kube::core::Status;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ApiResponse, ApiService, Call};
use crate::status::{self, Result};
use crate::workloads::exec::{ExecError, ExecRequest, Session};

/// A command that was started, or what the node says instead.
type Started = std::result::Result<Session, Box<Status>>;

/// Answers a request to run a command.
pub(super) async fn answer(api: &ApiService, call: &Call, head: &mut Parts) -> Result<ApiResponse> {
    if head.method != Method::GET && head.method != Method::POST {
        return Err(status::method_not_allowed());
    }
    let request = asked(call)?;
    let Some(connection) = head.extensions.remove::<OnUpgrade>() else {
        return Err(status::bad_request("Upgrade request required"));
    };
    let stop = api.running.stopped().clone();
    if mentions(&head.headers, &header::UPGRADE, "spdy/3.1") {
        let response = spdy::accept(&head.headers)?;
        let session = start(api, call, &request).await??;
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            if let Some(connection) = changed(connection).await {
                spdy::serve(connection, &request, session).await;
            }
        }));
        return Ok(response);
    }
    if !mentions(&head.headers, &header::UPGRADE, "websocket") {
        return Err(status::bad_request("unable to upgrade: WebSocket and SPDY/3.1 are supported"));
    }
    let (version, response) = websocket::accept(&head.headers)?;
    let mut session = start(api, call, &request).await?;
    if version == websocket::Version::V4 {
        session = Ok(session?);
    }
    // With the newest version, a server has changed the protocol before it asks the node.
    tokio::spawn(stop.run_until_cancelled_owned(async move {
        if let Some(connection) = changed(connection).await {
            websocket::serve(connection, version, session).await;
        }
    }));
    Ok(response)
}

/// The connection, once its protocol has changed.
async fn changed(connection: OnUpgrade) -> Option<Upgraded> {
    connection
        .await
        .inspect_err(|error| tracing::debug!(%error, "a connection did not change its protocol"))
        .ok()
}

/// What the query asks for.
fn asked(call: &Call) -> Result<ExecRequest> {
    let on = |name: &str| call.query.is_on(name);
    let request = ExecRequest {
        container: call.query.get("container").map(str::to_owned),
        command: call.query.all("command").map(str::to_owned).collect(),
        stdin: on("stdin"),
        stdout: on("stdout"),
        // A terminal has one output.
        stderr: on("stderr") && !on("tty"),
        tty: on("tty"),
    };
    if request.command.is_empty() {
        return Err(status::bad_request("you must specify at least one command for the container"));
    }
    if !(request.stdin || request.stdout || request.stderr) {
        return Err(status::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    Ok(request)
}

/// Starts the command. The outer error is the API's, the inner one the node's.
async fn start(api: &ApiService, call: &Call, request: &ExecRequest) -> Result<Started> {
    let key = call.key();
    match api.running.exec(&key.namespace, &key.name, request).await {
        Ok(session) => Ok(Ok(session)),
        Err(ExecError::Refused(refusal)) => Err(refusal),
        Err(ExecError::NotRunning(why)) => {
            Ok(Err(status::internal(format!("unable to upgrade connection: {why}"))))
        }
        Err(ExecError::Failed(why)) => Ok(Err(status::internal(why))),
    }
}

/// How a command ended, as clients are told.
fn verdict(end: std::result::Result<i32, String>) -> Value {
    match end {
        Ok(0) => json!({"metadata": {}, "status": "Success"}),
        Ok(code) => json!({"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!(
                "command terminated with non-zero exit code: command terminated with exit code {code}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]}}),
        Err(why) => refused(&status::internal(format!("error executing command in container: {why}"))),
    }
}

fn refused(refusal: &Status) -> Value {
    let mut status = serde_json::to_value(refusal).unwrap_or_default();
    status["metadata"] = json!({});
    status
}

/// Whether one of a header's comma-separated words is this one.
fn mentions(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    words(headers, name).any(|own| own.eq_ignore_ascii_case(word))
}

fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// A terminal's size, as clients write it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    width: u16,
    height: u16,
}
