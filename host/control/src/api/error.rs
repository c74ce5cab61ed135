//! Errors of the API, as gRPC statuses with `google.rpc` details.
//!
//! A status travels in HTTP/2 trailers, which clients limit (8 KiB in gRPC's C core): a request with a thousand
//! mistakes must still get an answer that arrives. So details are cut, and say that they are.

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{
    apply::ApplyError,
    request::{Violation, Violations},
};
use crate::plan::Protected;

/// Bytes of details; base64 and the message come on top.
const DETAIL_BUDGET: usize = 3000;
const MAX_DESCRIPTION: usize = 600;

/// INVALID_ARGUMENT with a BadRequest.
pub(crate) fn invalid(violations: Violations) -> Status {
    let violations = violations.into_inner();
    let message = match violations.as_slice() {
        [only] => format!("{}: {}", only.field, shortened(&only.description)),
        [first, ..] => format!(
            "{} problems in the request; the first one: {}: {}",
            violations.len(),
            first.field,
            shortened(&first.description)
        ),
        [] => "the request is invalid".to_owned(),
    };
    let mut details = ErrorDetails::new();
    let mut budget = DETAIL_BUDGET;
    for (index, Violation { field, description }) in violations.iter().enumerate() {
        let description = shortened(description);
        let size = field.len() + description.len();
        if size > budget {
            let rest = violations.len() - index;
            details.add_bad_request_violation("", format!("and {rest} more; mend these first"));
            break;
        }
        budget -= size;
        details.add_bad_request_violation(field, description);
    }
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// Why nothing was changed.
pub(crate) fn refusal(error: ApplyError) -> Status {
    match error {
        ApplyError::Conflict { site, revision, expected } => {
            let subject = format!("site {site}");
            let message = format!(
                "{subject} is at revision {revision}, not at the expected {expected}: somebody else has applied; read \
                 it, merge, and apply again with expected_revision {revision}"
            );
            let mut details = ErrorDetails::new();
            let metadata = [("site", site.to_string()), ("revision", revision.to_string())];
            let metadata = metadata.map(|(key, value)| (key.to_owned(), value));
            details.set_error_info("REVISION_CONFLICT", "senren.io", metadata);
            Status::with_error_details(Code::Aborted, message, details)
        }
        ApplyError::RequestReused { id } => Status::already_exists(format!(
            "request id {id:?} was used before with another content; nothing was changed; use a new id for a new request"
        )),
        ApplyError::Invalid(violations) => invalid(violations),
        ApplyError::Protected(resources) => protected(&resources),
        ApplyError::NotFound(what) => Status::not_found(what),
        ApplyError::Connected { region } => {
            let message = format!(
                "{region} is connected: it says itself when they are gone; nothing was changed. Force-deletion is for a \
                 region that is gone for good"
            );
            let mut details = ErrorDetails::new();
            details.add_precondition_failure_violation(
                "REGION_CONNECTED",
                region.to_string(),
                "it was heard just now",
            );
            Status::with_error_details(Code::FailedPrecondition, message, details)
        }
        ApplyError::Busy => {
            Status::unavailable("others change the same right now; nothing was changed; try again")
        }
        ApplyError::Database(error) => database(&error),
    }
}

/// FAILED_PRECONDITION: something protected would go.
pub(crate) fn protected(protected: &[Protected]) -> Status {
    let mut details = ErrorDetails::new();
    let mut budget = DETAIL_BUDGET;
    for (index, resource) in protected.iter().enumerate() {
        let subject = format!("{}/{}", resource.region, resource.name);
        let description = match &resource.replaced {
            None => "it would be deleted; to delete it, apply deletion_protection = false first, then leave it out"
                .to_owned(),
            Some((from, to)) => format!(
                "it would be replaced, data lost, because its type changes from {from} to {to}; to replace it, apply \
                 deletion_protection = false first, then the new type"
            ),
        };
        let size = subject.len() + description.len();
        if size > budget {
            let rest = protected.len() - index;
            details.add_precondition_failure_violation("DELETION_PROTECTION", "", format!("and {rest} more"));
            break;
        }
        budget -= size;
        details.add_precondition_failure_violation("DELETION_PROTECTION", subject, description);
    }
    let names: Vec<String> =
        protected.iter().take(5).map(|r| format!("{} in {}", r.name, r.region)).collect();
    let more = if protected.len() > names.len() { ", …" } else { "" };
    let message = format!(
        "{} protected database(s) would be deleted or replaced: {}{more}; nothing was changed. Apply \
         deletion_protection = false for them first",
        protected.len(),
        names.join(", ")
    );
    Status::with_error_details(Code::FailedPrecondition, message, details)
}

/// UNAVAILABLE where the same may succeed later, else INTERNAL. Logs the cause, which is nobody else's business.
pub(crate) fn database(error: &sqlx::Error) -> Status {
    if crate::store::is_transient(error) {
        tracing::warn!(%error, "PostgreSQL is not available");
        return Status::unavailable("the control plane's database is not available right now; try again");
    }
    tracing::error!(%error, "PostgreSQL refused a statement");
    Status::internal("the control plane's database refused a statement; its log says more")
}

fn shortened(text: &str) -> String {
    if text.len() <= MAX_DESCRIPTION {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(MAX_DESCRIPTION / 2).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_mistakes_still_fit_into_a_trailer() {
        let mut violations = Violations::default();
        for index in 0..1000 {
            violations.add(format!("databases[{index}].name"), "x".repeat(5000));
        }
        let status = invalid(violations);
        assert!(status.message().starts_with("1000 problems"), "{}", status.message());
        assert!(status.details().len() < 4500, "{}", status.details().len());
        let details = status.get_error_details();
        let listed = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
        assert!(listed.last().is_some_and(|last| last.description.ends_with("more; mend these first")));
    }
}
