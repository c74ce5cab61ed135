//! Serves the services' own addresses: a TCP listener per (cluster IP, port), open while there is someone
//! behind it.
//!
//! A service without ready endpoints refuses connections, as kube-proxy makes it. Connections that exist are
//! never cut by a change of endpoints. An address that is in use is reported on the service and tried again.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::core::v1::{Endpoints, Service};
use parking_lot::RwLock;
use tokio::{
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};
use tokio_util::sync::CancellationToken;

use super::touched::Touched;
use crate::{
    kinds::{ENDPOINTS, SERVICES},
    store::{Key, Object, Store, key_of},
    workloads::{
        feed::typed,
        recorder::{Level, Recorder},
    },
};

/// How long until an address that was in use is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Serves all services until stopped.
pub async fn run(store: Store, stop: CancellationToken) -> anyhow::Result<()> {
    let mut changes = Touched::open(&store)?;
    let recorder = Recorder::new(&store, "kube-proxy");
    let mut proxies = Proxies { recorder, stop: stop.clone(), ports: BTreeMap::new() };
    while let Some(touched) = changes.next(&stop).await {
        for key in touched {
            let service = store.get(&SERVICES, &key.namespace, &key.name).ok();
            let endpoints = store.get(&ENDPOINTS, &key.namespace, &key.name).ok();
            proxies.update(&key, service, endpoints);
        }
    }
    Ok(())
}

struct Proxies {
    recorder: Recorder,
    stop: CancellationToken,
    ports: BTreeMap<Key, BTreeMap<SocketAddr, Proxy>>,
}

impl Proxies {
    fn update(&mut self, key: &Key, service: Option<Object>, endpoints: Option<Object>) {
        let wanted =
            service.as_ref().map(|service| backends(service, endpoints.as_ref())).unwrap_or_default();
        let current = self.ports.entry(key.clone()).or_default();
        current.retain(|address, _| wanted.contains_key(address));
        for (address, backends) in wanted {
            match (current.get(&address), &service) {
                (Some(proxy), _) => *proxy.backends.write() = backends,
                (None, Some(service)) => {
                    let proxy = Proxy::open(address, backends, service.clone(), &self.recorder, &self.stop);
                    current.insert(address, proxy);
                }
                (None, None) => {}
            }
        }
        if current.is_empty() {
            self.ports.remove(key);
        }
    }
}

/// The listening addresses of a service, each with what is ready behind it. Those with nothing behind are
/// left out.
fn backends(service: &Object, endpoints: Option<&Object>) -> BTreeMap<SocketAddr, Vec<SocketAddr>> {
    let Some(spec) = typed::<Service>(service).and_then(|service| service.spec) else {
        return BTreeMap::new();
    };
    let Some(ip) = spec.cluster_ip.and_then(|ip| ip.parse::<IpAddr>().ok()) else { return BTreeMap::new() };
    let subsets =
        endpoints.and_then(typed::<Endpoints>).and_then(|endpoints| endpoints.subsets).unwrap_or_default();
    let mut all = BTreeMap::new();
    for port in spec.ports.unwrap_or_default() {
        if port.protocol.as_deref().is_some_and(|protocol| protocol != "TCP") {
            continue;
        }
        let Ok(number) = u16::try_from(port.port) else { continue };
        let mut behind = Vec::new();
        for subset in &subsets {
            let mut ports = subset.ports.iter().flatten();
            let target = ports
                .find(|target| target.name == port.name)
                .and_then(|target| u16::try_from(target.port).ok());
            let addresses =
                subset.addresses.iter().flatten().filter_map(|address| address.ip.parse::<IpAddr>().ok());
            behind.extend(
                target
                    .into_iter()
                    .flat_map(|target| addresses.clone().map(move |ip| SocketAddr::new(ip, target))),
            );
        }
        if !behind.is_empty() {
            all.insert(SocketAddr::new(ip, number), behind);
        }
    }
    all
}

/// One listening address.
struct Proxy {
    backends: Arc<RwLock<Vec<SocketAddr>>>,
    listening: AbortHandle,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Proxy {
    fn open(
        address: SocketAddr,
        backends: Vec<SocketAddr>,
        service: Object,
        recorder: &Recorder,
        stop: &CancellationToken,
    ) -> Self {
        let backends = Arc::new(RwLock::new(backends));
        let listening = listen(address, backends.clone(), service, recorder.clone(), stop.clone());
        Self { backends, listening: tokio::spawn(listening).abort_handle() }
    }
}

async fn listen(
    address: SocketAddr,
    backends: Arc<RwLock<Vec<SocketAddr>>>,
    service: Object,
    recorder: Recorder,
    stop: CancellationToken,
) {
    let next = AtomicUsize::new(0);
    loop {
        let error = match TcpListener::bind(address).await {
            Ok(listener) => accept(&listener, &backends, &next, &stop).await,
            Err(error) => error,
        };
        let key = key_of(&service);
        let message = format!("cannot serve {address}: {error}; trying again every {} s", RETRY.as_secs());
        tracing::warn!(namespace = key.namespace, service = key.name, "{message}");
        recorder.record(("v1", "Service"), &service, None, Level::Warning, "AddressNotAvailable", &message);
        tokio::time::sleep(RETRY).await;
    }
}

async fn accept(
    listener: &TcpListener,
    backends: &RwLock<Vec<SocketAddr>>,
    next: &AtomicUsize,
    stop: &CancellationToken,
) -> std::io::Error {
    loop {
        let client = match listener.accept().await {
            Ok((client, _)) => client,
            // The client was gone before it was accepted.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => continue,
            Err(error) => return error,
        };
        let order: Vec<_> = {
            let backends = backends.read();
            let first = next.fetch_add(1, Ordering::Relaxed);
            (0..backends.len()).map(|n| backends[(first + n) % backends.len()]).collect()
        };
        let stop = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = forward(client, &order) => {}
            }
        });
    }
}

/// Connects a client to the first endpoint that takes it.
async fn forward(mut client: TcpStream, backends: &[SocketAddr]) {
    for backend in backends {
        match TcpStream::connect(backend).await {
            Ok(mut server) => {
                // Small requests and answers, as databases have, must not wait for more.
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                // Either side may hang up as it likes.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                return;
            }
            Err(error) => tracing::debug!(%error, %backend, "an endpoint doesn't take connections"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    #[test]
    fn only_ready_endpoints_of_the_same_port_are_behind_an_address() {
        let service = Arc::new(json!({"spec": {"clusterIP": "127.1.0.5", "ports": [
            {"name": "redis", "port": 6379}, {"name": "metrics", "port": 9121}, {"name": "udp", "port": 1, "protocol": "UDP"}]}}));
        let endpoints = Arc::new(json!({"subsets": [{"addresses": [{"ip": "127.1.64.1"}],
            "notReadyAddresses": [{"ip": "127.1.64.2"}], "ports": [{"name": "redis", "port": 6380}]}]}));
        let wanted =
            BTreeMap::from([("127.1.0.5:6379".parse().unwrap(), vec!["127.1.64.1:6380".parse().unwrap()])]);
        assert_eq!(backends(&service, Some(&endpoints)), wanted);
        let headless =
            Arc::new(json!({"spec": {"clusterIP": "None", "ports": [{"name": "redis", "port": 6379}]}}));
        assert!(backends(&headless, Some(&endpoints)).is_empty());
        assert!(backends(&service, None).is_empty());
    }
}
