//! From librdkafka's errors to ours: what was to be done, why it failed, and which setting to look at.
//!
//! librdkafka knows why a connection fails, but an operation that waits for one fails only because time is up. So the
//! two are put together here.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::log::{Context, Trouble};
use crate::{BusError, Record};

/// A client that could not be made.
pub(super) fn misconfigured(error: KafkaError) -> BusError {
    BusError::Config(match error {
        KafkaError::ClientConfig(_, problem, setting, _) => format!("{setting}: {problem}"),
        other => other.to_string(),
    })
}

/// A record that was not acknowledged.
pub(super) fn not_published(context: &Context, record: &Record, error: &KafkaError) -> BusError {
    if matches!(error.rdkafka_error_code(), Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize)) {
        return BusError::TooLarge {
            topic: record.topic.clone(),
            key: record.key.clone(),
            bytes: record.payload.as_ref().map_or(0, bytes::Bytes::len),
            cause: error.to_string(),
        };
    }
    failed(context, &format!("publish {:?} to topic {:?}", record.key, record.topic), error)
}

/// Something else that failed.
pub(super) fn failed(context: &Context, what: &str, error: &KafkaError) -> BusError {
    let what = what.to_owned();
    match error.rdkafka_error_code() {
        Some(
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed,
        ) => BusError::Denied { what, cause: error.to_string() },
        code => {
            let trouble = context.trouble().filter(|_| code.is_none_or(waits_for_a_connection));
            BusError::Unavailable { what, cause: cause(error, trouble) }
        }
    }
}

/// Errors that tell nothing but that there is no connection.
fn waits_for_a_connection(code: Code) -> bool {
    matches!(
        code,
        Code::OperationTimedOut
            | Code::MessageTimedOut
            | Code::TimedOutQueue
            | Code::RequestTimedOut
            | Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::SSL
            | Code::Authentication
            | Code::SaslAuthenticationFailed
    )
}

fn cause(error: &KafkaError, trouble: Option<Trouble>) -> String {
    let Some(trouble) = trouble else { return error.to_string() };
    let reason = trouble.reason.trim();
    match advice(&trouble) {
        Some(advice) => format!("{reason}; {advice}"),
        None => reason.to_owned(),
    }
}

/// Which setting to look at.
fn advice(trouble: &Trouble) -> Option<&'static str> {
    let says = |words: &[&str]| words.iter().any(|word| trouble.reason.contains(word));
    match trouble.code {
        Code::Authentication | Code::SaslAuthenticationFailed => Some(
            "check KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD, and that the broker has KAFKA_SASL_MECHANISM enabled",
        ),
        _ if says(&[
            "certificate verify failed",
            "self-signed certificate",
            "unable to get local issuer",
        ]) =>
        {
            Some("check that KAFKA_SSL_CA_LOCATION names the authority that signed the broker's certificate")
        }
        _ if says(&["certificate required", "bad certificate", "unknown ca", "certificate unknown"]) => Some(
            "check KAFKA_SSL_CERTIFICATE_LOCATION and KAFKA_SSL_KEY_LOCATION: the broker wants a client certificate of an \
             authority that it trusts",
        ),
        _ if says(&["security.protocol", "wrong version number", "in state APIVERSION_QUERY"]) => Some(
            "unless the broker is just starting, check KAFKA_SECURITY_PROTOCOL: it must be that of the listener at \
             KAFKA_BOOTSTRAP_SERVERS",
        ),
        Code::Resolve => Some("check KAFKA_BOOTSTRAP_SERVERS"),
        Code::BrokerTransportFailure if says(&["Connection refused", "timed out"]) => {
            Some("check KAFKA_BOOTSTRAP_SERVERS, and that the broker is up")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: Code, reason: &str, setting: &str) {
        let cause = cause(
            &KafkaError::AdminOp(Code::OperationTimedOut),
            Some(Trouble { code, reason: reason.to_owned() }),
        );
        assert!(cause.starts_with(reason) && cause.contains(setting), "{cause}");
    }

    #[test]
    fn what_is_wrong_with_a_connection_names_the_setting_to_look_at() {
        check(
            Code::Authentication,
            "sasl_ssl://k:9093/1: SASL authentication error: …",
            "KAFKA_SASL_PASSWORD",
        );
        check(Code::SSL, "SSL handshake failed: … certificate verify failed", "KAFKA_SSL_CA_LOCATION");
        check(
            Code::BrokerTransportFailure,
            "ssl/tls alert certificate required",
            "KAFKA_SSL_CERTIFICATE_LOCATION",
        );
        check(
            Code::BrokerTransportFailure,
            "k:9093/bootstrap: Disconnected: connection closed by peer (after 38ms in state APIVERSION_QUERY)",
            "KAFKA_SECURITY_PROTOCOL",
        );
        check(Code::Resolve, "Failed to resolve 'kafka:9092'", "KAFKA_BOOTSTRAP_SERVERS");
        check(Code::BrokerTransportFailure, "Connect failed: Connection refused", "KAFKA_BOOTSTRAP_SERVERS");
    }

    #[test]
    fn without_trouble_the_error_speaks_for_itself() {
        let error = KafkaError::AdminOp(Code::PolicyViolation);
        assert_eq!(cause(&error, None), error.to_string());
    }
}
