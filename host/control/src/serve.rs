//! The gRPC server: the API, and beside it health and reflection, so that any gRPC tool finds its way.

use std::time::Duration;

use anyhow::Context as _;
use futures::FutureExt as _;
use senren_api::v1::{FILE_DESCRIPTOR_SET, control_plane_server::ControlPlaneServer};
use senren_telemetry::{Readiness, trace};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::TcpIncoming};
use tonic_health::server::HealthReporter;

use crate::{api::Api, store::Store, tls::Tls};

/// The largest request.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;
/// How often an idle connection is asked whether it is still there: a watch may have nothing to say for hours.
const KEEPALIVE: Duration = Duration::from_secs(20);
const HEALTH_CHECK: Duration = Duration::from_secs(5);
/// How long calls may take to end after shutdown has begun.
const DRAIN: Duration = Duration::from_secs(5);
/// What a control plane can't do without: while the bus is away it still takes in what sites want.
const DATABASE: &str = "database";
/// Calls that one connection may have in flight.
const CONCURRENCY: usize = 256;

/// Serves until `shutdown`, then lets calls end.
pub(crate) async fn run(
    listener: TcpListener,
    api: Api,
    store: Store,
    readiness: Readiness,
    tls: Option<Tls>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<ControlPlaneServer<Api>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .context("cannot describe the API")?;
    let api = ControlPlaneServer::new(api)
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(usize::MAX);
    let server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .concurrency_limit_per_connection(CONCURRENCY)
        .trace_fn(|request| {
            let span = tracing::info_span!("grpc", method = request.uri().path());
            let traceparent = request.headers().get(trace::TRACEPARENT).and_then(|value| value.to_str().ok());
            trace::follow(&span, traceparent);
            span
        })
        .add_service(health)
        .add_service(reflection)
        .add_service(api);
    let until = shutdown.clone().cancelled_owned();
    let server = match tls {
        Some(tls) => {
            let incoming = tls.accept(listener, shutdown.clone());
            server.serve_with_incoming_shutdown(incoming, until).boxed()
        }
        None => {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            server.serve_with_incoming_shutdown(incoming, until).boxed()
        }
    };
    let serving =
        async { tokio::join!(server, report_health(reporter, store, readiness, shutdown.clone())).0 };
    let patience = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = serving => served.context("the gRPC server failed"),
        () = patience => {
            tracing::warn!("some calls did not end in time");
            Ok(())
        }
    }
}

/// Not serving while the database is away: a load balancer then tries another control plane.
async fn report_health(
    reporter: HealthReporter,
    store: Store,
    readiness: Readiness,
    shutdown: CancellationToken,
) {
    readiness.ready(DATABASE);
    let mut serving = true;
    while tokio::time::timeout(HEALTH_CHECK, shutdown.cancelled()).await.is_err() {
        let alive = store.is_alive().await;
        if alive != serving {
            tracing::info!(serving = alive, "health has changed");
            serving = alive;
        }
        if alive {
            readiness.ready(DATABASE);
            reporter.set_serving::<ControlPlaneServer<Api>>().await;
        } else {
            readiness.wait(DATABASE, "it does not answer");
            reporter.set_not_serving::<ControlPlaneServer<Api>>().await;
        }
    }
    readiness.wait(DATABASE, "shutting down");
    reporter.set_not_serving::<ControlPlaneServer<Api>>().await;
}
