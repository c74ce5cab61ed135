//! The proof that a database is one, with a client's eyes: values go in and come out over TCP, as any client would do
//! it, with the password from the region's Secret where there is one. It also tells whether the value of an earlier
//! run is still there.

mod cluster;
mod standalone;

use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, ListParams};
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo};
use senren_api::v1::{Endpoint, ResourceStatus};
use senren_kubesim::workloads::pod_state::SIMULATED;
use senren_reconcile::names;
use tokio::time::{Instant, timeout};

/// The key that is written and read.
const KEY: &str = "senren:dev:proof";

const STEP: Duration = Duration::from_millis(20);
const ONE_TRY: Duration = Duration::from_secs(2);

/// What was found out about one database.
#[derive(Debug)]
pub enum Finding {
    /// It works.
    Proven(Proof),
    /// It should work, and doesn't.
    Failed(anyhow::Error),
    /// Its program is missing on this machine: there is nothing to connect to.
    Simulated {
        /// What is missing.
        why: String,
        /// It could be proven if it were there.
        provable: bool,
    },
    /// We have no client for its type.
    NoProof,
    /// It is in a cluster that is not ours, at an address that only that cluster knows.
    Elsewhere,
}

/// That a database works.
#[derive(Debug)]
pub struct Proof {
    /// Round trip of PING.
    pub ping: Duration,
    /// What was tried, in words.
    pub works: String,
    /// What the key held before.
    pub before: Option<String>,
    /// Where replicas are read, the new value was there.
    pub replicated: bool,
    /// How a user sees the same, with redis-cli.
    pub look: String,
    /// Needed to connect.
    pub password: Option<String>,
}

/// Where the objects of a database are.
pub struct Place {
    /// Its region's Kubernetes API.
    pub cluster: kube::Client,
    /// Whether that is an embedded one, whose addresses are this machine's.
    pub embedded: bool,
    /// Its site's namespace.
    pub namespace: String,
}

/// How the databases of a type are proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// One primary, and perhaps replicas.
    Standalone,
    /// Slots on several primaries.
    Cluster,
}

impl Method {
    /// Of a type, if we have a client for it.
    pub fn of(type_name: &str) -> Option<Self> {
        match type_name {
            "redis" => Some(Self::Standalone),
            "redis-cluster" => Some(Self::Cluster),
            _ => None,
        }
    }
}

/// Tries until it succeeds or `deadline` has come: a ready database may have lost its processes with the previous
/// run, and be on its way back. Of one that is only simulated nothing can be proven, ever.
pub async fn prove(place: &Place, status: &ResourceStatus, value: &str, deadline: Instant) -> Finding {
    if !place.embedded {
        return Finding::Elsewhere;
    }
    let method = Method::of(&status.r#type);
    match (simulated(place, status).await, method) {
        (Err(error), _) => return Finding::Failed(error),
        (Ok(Some(why)), _) => return Finding::Simulated { why, provable: method.is_some() },
        (Ok(None), None) => return Finding::NoProof,
        (Ok(None), Some(_)) => {}
    }
    // Read by the first attempt that gets so far; a later one would see what that one wrote.
    let mut before = None;
    loop {
        let tried = within(ONE_TRY, async {
            let access = Access::of(place, status).await?;
            match method {
                Some(Method::Cluster) => cluster::prove(&access, value, &mut before).await,
                _ => standalone::prove(&access, value, &mut before).await,
            }
        });
        match tried.await {
            Ok(proof) => return Finding::Proven(proof),
            Err(_) if Instant::now() + STEP < deadline => tokio::time::sleep(STEP).await,
            Err(error) => return Finding::Failed(error),
        }
    }
}

/// Waits until the value is where replicas are read; false where there is no such place.
pub async fn prove_replicas(
    place: &Place,
    status: &ResourceStatus,
    value: &str,
    deadline: Instant,
) -> anyhow::Result<bool> {
    let access = Access::of(place, status).await?;
    loop {
        let tried = within(ONE_TRY, async {
            match Method::of(&status.r#type) {
                Some(Method::Cluster) => {
                    let nodes = pods(place, status).await?.len();
                    cluster::prove_replicas(&access, nodes, value).await
                }
                _ => standalone::prove_replicas(&access, value).await,
            }
        });
        match tried.await {
            Err(_) if Instant::now() + STEP < deadline => tokio::time::sleep(STEP).await,
            result => return result,
        }
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    timeout(limit, work).await.context("no answer in time").and_then(|result| result)
}

/// Why its pods are no processes, where that is so.
async fn simulated(place: &Place, status: &ResourceStatus) -> anyhow::Result<Option<String>> {
    let mut conditions =
        pods(place, status).await?.into_iter().filter_map(|pod| pod.status?.conditions).flatten();
    Ok(conditions.find(|condition| condition.type_ == SIMULATED).and_then(|condition| condition.message))
}

/// Those that run it, without any that are being deleted.
async fn pods(place: &Place, status: &ResourceStatus) -> anyhow::Result<Vec<Pod>> {
    let selector = format!("{}={},{}={}", names::APP_NAME, status.r#type, names::APP_INSTANCE, status.name);
    let pods: Api<Pod> = Api::namespaced(place.cluster.clone(), &place.namespace);
    let pods = pods.list(&ListParams::default().labels(&selector)).await.context("cannot list pods")?;
    Ok(pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect())
}

/// What a client needs: where, and with which password.
struct Access {
    endpoints: Vec<Endpoint>,
    password: Option<String>,
}

impl Access {
    async fn of(place: &Place, status: &ResourceStatus) -> anyhow::Result<Self> {
        Ok(Self { endpoints: status.endpoints.clone(), password: password(place, status).await? })
    }

    fn main(&self) -> anyhow::Result<&Endpoint> {
        self.endpoints.first().context("it has no endpoint")
    }

    fn info(&self, host: &str, port: u16) -> anyhow::Result<ConnectionInfo> {
        let mut settings = RedisConnectionInfo::default();
        if let Some(password) = &self.password {
            settings = settings.set_password(password);
        }
        let info = ConnectionAddr::Tcp(host.to_owned(), port).into_connection_info()?;
        Ok(info.set_redis_settings(settings))
    }

    async fn connect(&self, host: &str, port: u16) -> anyhow::Result<redis::aio::MultiplexedConnection> {
        let client = redis::Client::open(self.info(host, port)?)?;
        let connection = client.get_multiplexed_async_connection().await;
        connection.with_context(|| format!("cannot connect to {host}:{port}"))
    }

    /// The words that every `redis-cli` needs.
    fn cli(&self) -> anyhow::Result<String> {
        let main = self.main()?;
        Ok(format!("-h {} -p {}", main.host, main.port))
    }
}

fn port(endpoint: &Endpoint) -> anyhow::Result<u16> {
    endpoint.port.try_into().with_context(|| format!("{} is no port", endpoint.port))
}

/// The password in the Secret of that resource, where it has one.
async fn password(place: &Place, status: &ResourceStatus) -> anyhow::Result<Option<String>> {
    let selector = format!("{}={},{}={}", names::TYPE, status.r#type, names::NAME, status.name);
    let secrets: Api<Secret> = Api::namespaced(place.cluster.clone(), &place.namespace);
    let found =
        secrets.list(&ListParams::default().labels(&selector)).await.context("cannot list secrets")?;
    let password = found.items.into_iter().find_map(|secret| secret.data?.remove("password"));
    password.map(|bytes| String::from_utf8(bytes.0).context("the password is no text")).transpose()
}

/// One command, whose answer must be `wanted`.
async fn expect(
    connection: &mut impl redis::aio::ConnectionLike,
    command: &[&str],
    wanted: &str,
) -> anyhow::Result<()> {
    match ask(connection, command).await? {
        Some(answer) if answer == wanted => Ok(()),
        answer => anyhow::bail!("{} was answered with {answer:?} instead of {wanted:?}", command.join(" ")),
    }
}

/// One command, whose answer is a text or nothing.
async fn ask(
    connection: &mut impl redis::aio::ConnectionLike,
    command: &[&str],
) -> anyhow::Result<Option<String>> {
    let mut words = command.iter();
    let mut asked = redis::cmd(words.next().copied().unwrap_or_default());
    asked.arg(words.as_slice());
    asked.query_async(connection).await.with_context(|| format!("{} failed", command.join(" ")))
}
