//! The control plane: takes what sites want, tells every region, and knows what regions report.
//!
//! The walk, in the order of the modules: [`api`] parses and applies in one transaction of the [`store`], [`relay`]
//! publishes the regions that it touched, [`ingest`] takes in what they report, `watch` and `status` say so to
//! whoever asks. A step (`relay::publish_next`, `ingest::handle`, `upkeep::beat`) handles one unit and can run again
//! harmlessly; a driver of a few lines loops over it.
//!
//! It runs no plugin code, knows no cloud, and holds no state outside of PostgreSQL: any number of control planes may
//! share a database.

pub mod api;
mod catalog;
mod config;
mod effects;
mod gauges;
mod hash;
pub mod heads;
mod hub;
pub mod ingest;
mod plan;
pub mod relay;
mod serve;
mod sources;
mod status;
pub mod store;
pub mod tls;
pub mod upkeep;
mod watch;

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use senren_bus::Bus;
use senren_telemetry::Readiness;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub use config::ControlConfig;
pub use hub::{Hub, Signal};
pub use sources::Sources;

use api::Api;
use heads::Heads;
use ingest::Ingest;
use relay::Relay;
use store::Store;
use tls::Tls;
use upkeep::Upkeep;

/// A running control plane.
pub struct Control {
    addr: SocketAddr,
    store: Store,
    readiness: Readiness,
    shutdown: CancellationToken,
    tasks: JoinSet<anyhow::Result<()>>,
}

impl Control {
    /// Brings the database up to date, starts to listen, and runs until `shutdown`. Returns when the API answers.
    pub async fn start(
        config: ControlConfig,
        bus: Arc<dyn Bus>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Control> {
        let tls = Tls::read(&config.tls)?;
        let sources = Sources::default();
        let hub = Hub::default();
        let connections = config.database_connections.max(config::MIN_CONNECTIONS);
        let store = Store::connect(&config.database_url, connections).await?;
        let notifications =
            hub::listener(&config.database_url).await.context("cannot listen to PostgreSQL")?;
        let listener = TcpListener::bind(config.listen_addr).await;
        let listener = listener.with_context(|| format!("cannot listen on {}", config.listen_addr))?;
        let addr = listener.local_addr().context("the listener has no address")?;

        let mut tasks = JoinSet::new();
        let api = Api::new(store.clone(), hub.clone(), sources.clone(), config.api, shutdown.clone());
        let readiness = Readiness::default();
        tasks.spawn(serve::run(listener, api, store.clone(), readiness.clone(), tls, shutdown.clone()));
        let relay = Relay::new(store.clone(), bus.clone(), hub.clone(), sources.clone());
        let heads = Heads::new(store.clone(), bus.clone(), hub.clone(), sources.clone());
        tasks.spawn(endless(publish(heads, relay, shutdown.clone())));
        let ingest = Ingest::new(store.clone(), hub.clone(), sources.clone());
        tasks.spawn(endless(ingest::run(ingest, bus, shutdown.clone())));
        let upkeep = Upkeep::new(store.clone(), hub.clone(), sources, config.upkeep);
        tasks.spawn(endless(upkeep::run(upkeep, shutdown.clone())));
        tasks.spawn(endless(gauges::run(store.clone(), shutdown.clone())));
        tasks.spawn(endless(hub.listen(notifications, shutdown.clone())));
        tracing::info!(%addr, "control plane is up");
        Ok(Control { addr, store, readiness, shutdown, tasks })
    }

    /// Where the API listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Whether it can serve.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Until it has stopped: because of `shutdown`, or because a part of it failed, which stops the rest.
    pub async fn join(mut self) -> anyhow::Result<()> {
        let mut result = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            let ended = ended.context("a part of the control plane was cut short").flatten();
            if !self.shutdown.is_cancelled() {
                self.shutdown.cancel();
                result = ended.and(Err(anyhow::anyhow!("a part of the control plane ended by itself")));
            } else if result.is_ok() {
                result = ended;
            }
        }
        self.store.close().await;
        result
    }
}

/// Publishes nothing before it is known which versions the topics have. That needs the bus, as publishing does; the API
/// does not wait for it.
async fn publish(heads: Heads, relay: Relay, shutdown: CancellationToken) {
    if heads::look_surely(&heads, &shutdown).await {
        tokio::join!(relay::run(relay, shutdown.clone()), heads::run(heads, shutdown));
    }
}

/// A driver ends only by shutdown.
async fn endless(driver: impl Future<Output = ()>) -> anyhow::Result<()> {
    driver.await;
    Ok(())
}
