//! Connections: the API over HTTP/1.1, also to itself over memory.
//!
//! A request that asks to change the protocol needs a connection to change it on. A client in our own process has
//! none, so such a request goes over one in memory to the same service, and `kube::Api::exec` needs to know nothing
//! of it.

use std::convert::Infallible;
use std::time::Duration;

use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{client, server};
use hyper_util::rt::{TokioIo, TokioTimer};
use kube::client::Body;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{ApiResponse, ApiService, full, refuse};
use crate::status::{self, Result};

/// What an API server takes in one request.
const LONGEST_BODY: usize = 3 * 1024 * 1024;
/// What a connection in memory holds in each direction.
const IN_FLIGHT: usize = 64 * 1024;

/// How long the head of a request may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Serves one connection until it ends, or until it has changed its protocol. What `check` refuses is not read.
pub(crate) async fn serve_connection<S>(
    api: ApiService,
    stream: S,
    check: fn(&Parts) -> Result<()>,
) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request| {
        let api = api.clone();
        async move {
            let answer = receive(&api, request, check).await;
            Ok::<_, Infallible>(answer.unwrap_or_else(|refusal| refuse(&refusal)))
        }
    });
    server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await
}

async fn receive(
    api: &ApiService,
    request: Request<Incoming>,
    check: fn(&Parts) -> Result<()>,
) -> Result<ApiResponse> {
    let (head, body) = request.into_parts();
    check(&head)?;
    let body = Limited::new(body, LONGEST_BODY).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            status::too_large(LONGEST_BODY)
        } else {
            status::bad_request(format!("reading the request: {error}"))
        }
    })?;
    Ok(api.answer(Request::from_parts(head, Body::from(body.to_bytes().to_vec()))).await)
}

/// Sends a request to the API over a connection in memory.
pub(crate) async fn over_memory(api: ApiService, request: Request<Body>) -> ApiResponse {
    match send(api, request).await {
        Ok(response) => response,
        Err(error) => refuse(&status::internal(error)),
    }
}

async fn send(api: ApiService, request: Request<Body>) -> hyper::Result<ApiResponse> {
    let (near, far) = tokio::io::duplex(IN_FLIGHT);
    tokio::spawn(async move {
        if let Err(error) = serve_connection(api, far, |_| Ok(())).await {
            tracing::debug!(%error, "a connection in memory broke off");
        }
    });
    let (mut sender, connection) = client::conn::http1::handshake(TokioIo::new(near)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection in memory broke off");
        }
    });
    let (head, body) = sender.send_request(request).await?.into_parts();
    // There is a body only where the protocol was not changed, and then it is a Status.
    let body = if head.status == StatusCode::SWITCHING_PROTOCOLS {
        Vec::new()
    } else {
        body.collect().await?.to_bytes().to_vec()
    };
    Ok(Response::from_parts(head, full(body)))
}
