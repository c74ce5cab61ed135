//! The API on an address of this machine, for `kubectl` and whatever else speaks to Kubernetes over HTTP.
//!
//! There is no authentication: who can connect can do everything, run commands included. So only loopback addresses
//! are served, and no browser is: a page that somebody visits can reach this machine's addresses too, under a name
//! of its own that it makes point to them. A request whose `Host` isn't an address of loopback, or that a page made,
//! is refused before it is read.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use http::request::Parts;
use http::{HeaderName, header};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::service::{ApiService, serve_connection};
use crate::status::{self, Result};

/// How long to wait when no connection can be accepted (too many open files).
const BREATH: Duration = Duration::from_millis(100);

/// An address that serves the API. Dropping it, or the cluster's end, ends it and its connections.
#[derive(Debug)]
pub struct Served {
    address: SocketAddr,
    _stop: DropGuard,
}

impl Served {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A kubeconfig whose only context has this name, and this default namespace.
    pub fn kubeconfig(&self, name: &str, namespace: &str) -> String {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": name,
            "clusters": [{"name": name, "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": name, "user": {}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}],
        });
        // JSON is YAML, and names may hold what YAML gives a meaning to.
        format!("{config:#}\n")
    }

    /// Writes the kubeconfig to a file, at once and not in part.
    pub fn write_kubeconfig(&self, path: &Path, name: &str, namespace: &str) -> anyhow::Result<()> {
        let fresh = path.with_extension("new");
        std::fs::write(&fresh, self.kubeconfig(name, namespace))
            .with_context(|| format!("writing {}", fresh.display()))?;
        std::fs::rename(&fresh, path).with_context(|| format!("replacing {}", path.display()))
    }
}

/// Serves the API on a loopback address until what is returned is dropped, or `stop`.
pub(crate) async fn serve(
    api: ApiService,
    address: SocketAddr,
    stop: &CancellationToken,
) -> anyhow::Result<Served> {
    if !address.ip().is_loopback() {
        bail!(
            "{address} can be reached from other machines, and this API asks nobody who he is; serve it on 127.0.0.1"
        );
    }
    let listener = TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))?;
    let address = listener.local_addr().context("the address that is listened on")?;
    let stop = stop.child_token();
    tokio::spawn(stop.clone().run_until_cancelled_owned(accept(api, listener, stop.clone())));
    Ok(Served { address, _stop: stop.drop_guard() })
}

async fn accept(api: ApiService, listener: TcpListener, stop: CancellationToken) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let connection = connection(api.clone(), stream);
                tokio::spawn(stop.clone().run_until_cancelled_owned(connection));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the embedded API was not accepted");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

async fn connection(api: ApiService, stream: TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection stays slow");
    }
    if let Err(error) = serve_connection(api, stream, check).await {
        tracing::debug!(%error, "a connection to the embedded API broke off");
    }
}

/// Refuses what a browser may have been made to send.
pub(crate) fn check(head: &Parts) -> Result<()> {
    let text = |name: &HeaderName| head.headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let refuse = |why: String| Err(status::forbidden_request(&why));
    let named = head.uri.authority().map(|authority| authority.as_str());
    match named.or_else(|| text(&header::HOST)) {
        Some(host) if is_loopback(host) => {}
        Some(host) => return refuse(format!("the Host {host:?} is not an address of this machine")),
        None => return refuse("the request names no Host".into()),
    }
    if let Some(origin) = text(&header::ORIGIN) {
        return refuse(format!("a page of {origin:?} has no access"));
    }
    match text(&HeaderName::from_static("sec-fetch-site")) {
        None | Some("none") => Ok(()),
        Some(site) => refuse(format!("browsers have no access ({site})")),
    }
}

/// Whether a `Host` is loopback's: an address, or `localhost`, which no resolver asks anybody about.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_addresses_of_loopback_are_a_host() {
        let check = |host: &str, wanted| assert_eq!(is_loopback(host), wanted, "{host}");
        for host in
            ["127.0.0.1", "127.0.0.1:8001", "localhost", "LOCALHOST:1", "127.80.3.4:9", "[::1]:80", "[::1]"]
        {
            check(host, true);
        }
        for host in [
            "example.com",
            "example.com:80",
            "localhost.example.com",
            "10.0.0.1",
            "0.0.0.0",
            "",
            ":80",
            "127.0.0.1.example.com",
            "[::2]:80",
        ] {
            check(host, false);
        }
    }
}
