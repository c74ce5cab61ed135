//! What an error of the control plane, or of the way to it, means to the user: the exit status, and what to say.

use std::error::Error;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{CALL_TIMEOUT, Endpoint};
use crate::{
    document::{Document, render},
    exit::{Exit, Failure},
};

/// What `status` means; every violation is told at its place in `document`, where there is one.
pub fn failure(endpoint: &Endpoint, status: &Status, document: Option<&Document>) -> Failure {
    let message = status.message();
    match status.code() {
        Code::InvalidArgument => Failure::new(Exit::Usage, invalid(status, document)),
        Code::Aborted | Code::FailedPrecondition | Code::AlreadyExists => {
            Failure::new(Exit::Refused, refused(status))
        }
        Code::NotFound => Failure::new(Exit::Refused, message),
        Code::PermissionDenied | Code::Unauthenticated => {
            Failure::new(Exit::Refused, format!("{endpoint} says: {message}"))
        }
        Code::Unimplemented => Failure::new(
            Exit::Unreachable,
            format!("what answers at {endpoint} is no senren control plane, or an older one: {message}"),
        ),
        Code::DeadlineExceeded => {
            Failure::new(Exit::TimedOut, format!("{endpoint} did not answer in time: {message}"))
        }
        // How tonic tells that our own time limit was reached.
        Code::Cancelled if message == "Timeout expired" => {
            let limit = CALL_TIMEOUT.as_secs();
            Failure::new(Exit::TimedOut, format!("{endpoint} did not answer within {limit}s"))
        }
        Code::Unavailable => unreachable(endpoint, &transport_message(status)),
        // A transport that breaks: what was there has gone, or never spoke gRPC.
        Code::Unknown | Code::Internal | Code::Cancelled if status.source().is_some() => {
            let message = transport_message(status);
            let cause = format!("the connection broke ({message}): it ended, or does not speak gRPC");
            unreachable(endpoint, &cause)
        }
        code => Failure::new(Exit::Failed, format!("{endpoint} says {code:?}: {message}")),
    }
}

/// What was tried, why it failed and what to do.
pub fn unreachable(endpoint: &Endpoint, cause: &str) -> Failure {
    let mut message = format!("cannot reach a control plane at {endpoint}: {cause}\n");
    message += "  Start one (`senren dev FILE` or `senren control`), or name another with --endpoint or SENREN_ENDPOINT.";
    if endpoint.is_tls() {
        message += "\n  TLS was used; write http://host:port for a control plane without it.";
    }
    Failure::new(Exit::Unreachable, message)
}

fn invalid(status: &Status, document: Option<&Document>) -> String {
    let details = status.get_error_details();
    let violations = details.bad_request().map(|bad| bad.field_violations.as_slice()).unwrap_or_default();
    if violations.is_empty() {
        return format!("the control plane says: {}", status.message());
    }
    if let Some(document) = document {
        let problems: Vec<_> = violations.iter().map(|v| document.locate(&v.field, &v.description)).collect();
        return render(&document.file, &problems);
    }
    let lines = violations.iter().map(|v| format!("\n  {}: {}", v.field, v.description));
    format!("the control plane refuses the request:{}", lines.collect::<String>())
}

fn refused(status: &Status) -> String {
    let details = status.get_error_details();
    let violations = details.precondition_failure().map(|p| p.violations.as_slice()).unwrap_or_default();
    let lines = violations.iter().map(|v| format!("\n  {}: {}", v.subject, v.description));
    let message = status.message();
    // Mostly it says that itself.
    let changed = if message.contains("nothing was changed") { "" } else { ", nothing was changed" };
    format!("refused{changed}: {message}{}", lines.collect::<String>())
}

fn transport_message(status: &Status) -> String {
    match status.source() {
        Some(source) => last_cause(source),
        None => status.message().to_owned(),
    }
}

/// The last cause says most: `connection refused`.
pub fn last_cause(error: &dyn Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
