//! The way to a control plane: the connection, and its calls. Never retries on its own: a command that fails says so.

mod endpoint;
mod errors;

use std::{path::Path, time::Duration};

use senren_api::v1::control_plane_client::ControlPlaneClient;
use tokio::time::timeout;
use tonic::{
    Request, Response, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint as Transport, Identity},
};

pub use self::endpoint::Endpoint;
use crate::{
    cli::Connection,
    document::Document,
    exit::{Exit, Failure},
};

/// How long one address may take to answer at all, and how long until there is a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one answer may take; a stream has no limit.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A site with tens of thousands of resources fits.
const MAX_MESSAGE: usize = 64 << 20;

/// What is generated from the API.
pub type Grpc = ControlPlaneClient<Channel>;

/// A connection to the control plane at an endpoint.
#[derive(Clone)]
pub struct Client {
    /// For messages.
    pub endpoint: Endpoint,
    /// For streams; everything else goes through [`Client::call`].
    pub grpc: Grpc,
}

impl Client {
    /// Connects as the command line says.
    pub async fn open(connection: &Connection) -> Result<Self, Failure> {
        let (endpoint, tls) = secure(connection)?;
        Self::connect(endpoint, tls).await
    }

    /// Connects to a control plane in this process.
    pub async fn local(addr: std::net::SocketAddr) -> Result<Self, Failure> {
        Self::connect(Endpoint::local(addr)?, ClientTlsConfig::new()).await
    }

    async fn connect(endpoint: Endpoint, tls: ClientTlsConfig) -> Result<Self, Failure> {
        let channel = match timeout(DIAL_TIMEOUT, dial(&endpoint, tls)).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(errors::unreachable(&endpoint, &errors::last_cause(&error))),
            Err(_) => {
                let cause = format!("no connection within {}s", DIAL_TIMEOUT.as_secs());
                return Err(errors::unreachable(&endpoint, &cause));
            }
        };
        let grpc = ControlPlaneClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
        Ok(Self { endpoint, grpc })
    }

    /// One call that is answered once.
    pub async fn call<Q, A>(
        &self,
        request: Q,
        call: impl AsyncFnOnce(Grpc, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, Failure> {
        self.answer(request, call).await.map_err(|status| self.failure(&status))
    }

    /// As [`Client::call`], with every violation at its place in `document`.
    pub async fn call_about<Q, A>(
        &self,
        document: &Document,
        request: Q,
        call: impl AsyncFnOnce(Grpc, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, Failure> {
        let answer = self.answer(request, call).await;
        answer.map_err(|status| errors::failure(&self.endpoint, &status, Some(document)))
    }

    async fn answer<Q, A>(
        &self,
        request: Q,
        call: impl AsyncFnOnce(Grpc, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, Status> {
        let mut request = Request::new(request);
        request.set_timeout(CALL_TIMEOUT);
        call(self.grpc.clone(), request).await.map(Response::into_inner)
    }

    /// What an answer with an error means.
    pub fn failure(&self, status: &Status) -> Failure {
        errors::failure(&self.endpoint, status, None)
    }
}

/// The endpoint and what its TLS needs. Certificates ask for TLS: they never go unused.
fn secure(connection: &Connection) -> Result<(Endpoint, ClientTlsConfig), Failure> {
    let mut tls = ClientTlsConfig::new();
    tls = match &connection.ca_cert {
        Some(file) => tls.ca_certificate(Certificate::from_pem(pem(file)?)),
        None => tls.with_enabled_roots(),
    };
    if let (Some(cert), Some(key)) = (&connection.cert, &connection.key) {
        tls = tls.identity(Identity::from_pem(pem(cert)?, pem(key)?));
    }
    if connection.ca_cert.is_none() && connection.cert.is_none() {
        return Ok((connection.endpoint.clone(), tls));
    }
    let endpoint = connection.endpoint.secured().ok_or_else(|| {
        let message = format!("certificates are of no use at {}: write https://", connection.endpoint);
        Failure::new(Exit::Usage, message)
    })?;
    Ok((endpoint, tls))
}

fn pem(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file)
        .map_err(|error| Failure::new(Exit::Usage, format!("cannot read {}: {error}", file.display())))
}

async fn dial(endpoint: &Endpoint, tls: ClientTlsConfig) -> Result<Channel, tonic::transport::Error> {
    let mut transport = Transport::from(endpoint.uri().clone())
        .user_agent(concat!("senren/", env!("CARGO_PKG_VERSION")))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    if endpoint.is_tls() {
        transport = transport.tls_config(tls)?;
    }
    transport.connect().await
}
