//! Which control plane is meant: what a user writes, as an address and whether it is spoken to with TLS.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use senren_api::DEFAULT_PORT;
use tonic::{codegen::http::uri::Authority, transport::Uri};

use crate::exit::{Exit, Failure};

const FORM: &str = "write host:port, http://host:port or https://host:port, e.g. localhost:7443";

/// Where a control plane is, as `http://` or `https://`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    uri: Uri,
    /// The user wrote the scheme: nothing else may be used.
    scheme_told: bool,
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |problem: &str| format!("{problem}; {FORM}");
        let (scheme, authority) = match text.split_once("://") {
            Some((scheme @ ("http" | "https"), authority)) => (Some(scheme), authority),
            Some((scheme, _)) => return Err(wrong(&format!("{scheme:?} is no scheme of ours"))),
            None => (None, text),
        };
        let authority = authority.trim_end_matches('/');
        if authority.contains(['/', '?', '#', '@']) {
            return Err(wrong("there is more to it than host and port"));
        }
        let authority: Authority = authority.parse().map_err(|_| wrong("it has no host"))?;
        if authority.host().is_empty() {
            return Err(wrong("it has no host"));
        }
        let port = authority.port_u16();
        if authority.as_str() != authority.host() && port.is_none_or(|port| port == 0) {
            return Err(wrong("what follows its host is no port from 1 to 65535"));
        }
        let (scheme, default_port) = match scheme {
            Some("http") => ("http", 80),
            Some(_) => ("https", 443),
            None if is_local(authority.host()) => ("http", DEFAULT_PORT),
            None => ("https", DEFAULT_PORT),
        };
        Self::of(scheme, authority.host(), port.unwrap_or(default_port), text.contains("://"))
            .ok_or_else(|| wrong("it is no address"))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.uri.to_string().trim_end_matches('/'))
    }
}

impl Endpoint {
    /// The plaintext endpoint of a control plane in this process.
    pub fn local(addr: SocketAddr) -> Result<Self, Failure> {
        let host = match addr.ip() {
            ip if ip.is_unspecified() => "127.0.0.1".to_owned(),
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        Self::of("http", &host, addr.port(), true)
            .ok_or_else(|| Failure::new(Exit::Failed, format!("{addr} is no address")))
    }

    fn of(scheme: &str, host: &str, port: u16, scheme_told: bool) -> Option<Self> {
        let uri = format!("{scheme}://{host}:{port}").parse().ok()?;
        Some(Self { uri, scheme_told })
    }

    /// As a transport takes it.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Whether it is spoken to with TLS.
    pub fn is_tls(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    /// The same with TLS, also on this machine; `None` where the user wrote `http://`.
    pub fn secured(&self) -> Option<Self> {
        if self.scheme_told && !self.is_tls() {
            return None;
        }
        Self::of("https", self.uri.host()?, self.uri.port_u16()?, self.scheme_told)
    }
}

fn is_local(host: &str) -> bool {
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

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

    #[test]
    fn with_certificates_this_machine_uses_tls_too_unless_told_otherwise() {
        let secured = |text: &str| text.parse::<Endpoint>().unwrap().secured().map(|e| e.to_string());
        assert_eq!(secured("localhost").as_deref(), Some("https://localhost:7443"));
        assert_eq!(secured("[::1]:9").as_deref(), Some("https://[::1]:9"));
        assert_eq!(secured("https://localhost:9").as_deref(), Some("https://localhost:9"));
        assert_eq!(secured("http://localhost:9"), None);
    }
}
