//! The gRPC server: the API, and beside it health and reflection, so that any gRPC tool finds its way.

use std::time::Duration;

use anyhow::Context as _;
use senren_api::v1::{FILE_DESCRIPTOR_SET, control_plane_server::ControlPlaneServer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::TcpIncoming};
use tonic_health::server::HealthReporter;

use crate::{api::Api, store::Store};

/// The largest request.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;
/// How often an idle connection is asked whether it is still there: a watch may have nothing to say for hours.
const KEEPALIVE: Duration = Duration::from_secs(20);
const HEALTH_CHECK: Duration = Duration::from_secs(5);
/// How long calls may take to end after shutdown has begun.
const DRAIN: Duration = Duration::from_secs(5);
/// Calls that one connection may have in flight.
const CONCURRENCY: usize = 256;

/// Serves until `shutdown`, then lets calls end.
pub(crate) async fn run(
    listener: TcpListener,
    api: Api,
    store: Store,
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
        .trace_fn(|request| tracing::info_span!("grpc", method = request.uri().path()))
        .add_service(health)
        .add_service(reflection)
        .add_service(api)
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            shutdown.clone().cancelled_owned(),
        );
    let serving = async { tokio::join!(server, report_health(reporter, store, shutdown.clone())).0 };
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
async fn report_health(reporter: HealthReporter, store: Store, shutdown: CancellationToken) {
    let mut serving = true;
    while tokio::time::timeout(HEALTH_CHECK, shutdown.cancelled()).await.is_err() {
        let alive = store.is_alive().await;
        if alive != serving {
            tracing::info!(serving = alive, "health has changed");
            serving = alive;
        }
        if alive {
            reporter.set_serving::<ControlPlaneServer<Api>>().await;
        } else {
            reporter.set_not_serving::<ControlPlaneServer<Api>>().await;
        }
    }
    reporter.set_not_serving::<ControlPlaneServer<Api>>().await;
}
