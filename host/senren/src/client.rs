//! The way to a control plane: which endpoint is meant, the connection, and what an error of it means to the
//! user. Never retries on its own: a command that fails says so.

use std::{error::Error, fmt, net::IpAddr, str::FromStr, time::Duration};

use senren_api::{DEFAULT_PORT, v1::control_plane_client::ControlPlaneClient};
use tonic::{
    Code, Status,
    transport::{Channel, ClientTlsConfig, Endpoint as Transport, Uri},
};
use tonic_types::StatusExt as _;

use crate::{
    document::{Document, render},
    exit::{Exit, Failure},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one answer may take; a stream has no limit.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Where a control plane is, as `http://` or `https://`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(Uri);

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "write host:port, http://host:port or https://host:port, e.g. localhost:7443";
        let wrong = |problem: &str| format!("{problem}; {form}");
        let (scheme, authority) = match text.split_once("://") {
            Some((scheme @ ("http" | "https"), authority)) => (Some(scheme), authority),
            Some((scheme, _)) => return Err(wrong(&format!("{scheme:?} is no scheme of ours"))),
            None => (None, text),
        };
        let authority = authority.trim_end_matches('/');
        if authority.contains(['/', '?', '#', '@']) {
            return Err(wrong("there is more to it than host and port"));
        }
        let authority: tonic::codegen::http::uri::Authority =
            authority.parse().map_err(|_| wrong("it has no host"))?;
        if authority.host().is_empty() {
            return Err(wrong("it has no host"));
        }
        if authority.as_str() != authority.host() && authority.port_u16().is_none_or(|port| port == 0) {
            return Err(wrong("what follows its host is no port from 1 to 65535"));
        }
        let scheme = scheme.unwrap_or(if is_local(authority.host()) { "http" } else { "https" });
        let port = match (authority.port_u16(), text.contains("://")) {
            (Some(port), _) => port,
            (None, true) => {
                if scheme == "http" {
                    80
                } else {
                    443
                }
            }
            (None, false) => DEFAULT_PORT,
        };
        let uri = format!("{scheme}://{}:{port}", authority.host());
        uri.parse().map(Self).map_err(|_| wrong("it is no address"))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.to_string().trim_end_matches('/'))
    }
}

impl Endpoint {
    /// The plaintext endpoint of a control plane in this process.
    pub fn local(addr: std::net::SocketAddr) -> Result<Self, Failure> {
        let host = match addr.ip() {
            ip if ip.is_unspecified() => "127.0.0.1".to_owned(),
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        format!("http://{host}:{}", addr.port())
            .parse()
            .map_err(|error: String| Failure::new(Exit::Failed, error))
    }
}

fn is_local(host: &str) -> bool {
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

/// A connection to the control plane at an endpoint.
#[derive(Clone)]
pub struct Client {
    /// For error messages.
    pub endpoint: Endpoint,
    /// The generated client.
    pub grpc: ControlPlaneClient<Channel>,
}

impl Client {
    /// Connects, or says what was tried and what to do.
    pub async fn connect(endpoint: &Endpoint) -> Result<Self, Failure> {
        let channel = dial(endpoint).await.map_err(|error| unreachable(endpoint, &causes(&error)))?;
        Ok(Self { endpoint: endpoint.clone(), grpc: ControlPlaneClient::new(channel) })
    }

    /// What an answer with an error means, without a file at hand.
    pub fn failure(&self, status: &Status) -> Failure {
        self.failure_about(status, None)
    }

    /// As [`Client::failure`], with every violation at its place in `document`.
    pub fn failure_about(&self, status: &Status, document: Option<&Document>) -> Failure {
        let message = status.message();
        match status.code() {
            Code::InvalidArgument => Failure::new(Exit::Usage, invalid(status, document)),
            Code::Aborted => Failure::new(Exit::Refused, format!("refused: {message}")),
            Code::FailedPrecondition | Code::AlreadyExists => Failure::new(Exit::Refused, refused(status)),
            Code::PermissionDenied | Code::Unauthenticated => {
                Failure::new(Exit::Refused, format!("{} says: {message}", self.endpoint))
            }
            Code::Unimplemented => Failure::new(
                Exit::Unreachable,
                format!(
                    "what answers at {} is no senren control plane, or an older one: {message}",
                    self.endpoint
                ),
            ),
            Code::DeadlineExceeded => {
                Failure::new(Exit::TimedOut, format!("{} did not answer in time: {message}", self.endpoint))
            }
            // How tonic tells that our own time limit was reached.
            Code::Cancelled if message == "Timeout expired" => {
                let limit = CALL_TIMEOUT.as_secs();
                Failure::new(Exit::TimedOut, format!("{} did not answer within {limit}s", self.endpoint))
            }
            Code::Unavailable => unreachable(&self.endpoint, &transport_message(status)),
            // A transport that breaks, because what listens there speaks something else.
            Code::Unknown | Code::Internal | Code::Cancelled if status.source().is_some() => {
                let message = transport_message(status);
                unreachable(&self.endpoint, &format!("what answers there does not speak gRPC ({message})"))
            }
            code => Failure::new(Exit::Failed, format!("{} says {code:?}: {message}", self.endpoint)),
        }
    }
}

async fn dial(endpoint: &Endpoint) -> Result<Channel, tonic::transport::Error> {
    let mut transport = Transport::from(endpoint.0.clone())
        .user_agent(concat!("senren/", env!("CARGO_PKG_VERSION")))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(Duration::from_secs(20))
        .tcp_nodelay(true);
    if endpoint.0.scheme_str() == Some("https") {
        transport = transport.tls_config(ClientTlsConfig::new().with_enabled_roots())?;
    }
    transport.connect().await
}

fn unreachable(endpoint: &Endpoint, cause: &str) -> Failure {
    let mut message = format!("cannot reach a control plane at {endpoint}: {cause}\n");
    message += "  Start one (`senren dev FILE` or `senren control`), or name another with --endpoint or SENREN_ENDPOINT.";
    if endpoint.0.scheme_str() == Some("https") {
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
    format!("refused, nothing was changed: {}{}", status.message(), lines.collect::<String>())
}

fn transport_message(status: &Status) -> String {
    match status.source() {
        Some(source) => causes(source),
        None => status.message().to_owned(),
    }
}

/// The last cause says most: `connection refused`.
fn causes(error: &dyn Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        match (text.parse::<Endpoint>(), expected) {
            (Ok(endpoint), Ok(expected)) => assert_eq!(endpoint.to_string(), expected, "{text}"),
            (Err(error), Err(part)) => assert!(error.contains(part), "{error} should contain {part:?}"),
            (result, _) => panic!("{text:?} gave {result:?}"),
        }
    }

    #[test]
    fn an_endpoint_uses_tls_except_on_this_machine() {
        check("localhost:7443", Ok("http://localhost:7443"));
        check("localhost", Ok("http://localhost:7443"));
        check("127.0.0.1:9", Ok("http://127.0.0.1:9"));
        check("[::1]:9", Ok("http://[::1]:9"));
        check("senren.example.com", Ok("https://senren.example.com:7443"));
        check("http://senren.example.com:7443/", Ok("http://senren.example.com:7443"));
        check("https://senren.example.com", Ok("https://senren.example.com:443"));
        check("", Err("write host:port"));
        check("ftp://a", Err("is no scheme of ours"));
        check("a b", Err("no host"));
        check("http://localhost:7443/path", Err("more to it than host and port"));
        check("user@localhost:7443", Err("more to it than host and port"));
        check("localhost:99999", Err("no port from 1"));
    }
}
