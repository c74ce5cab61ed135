//! The proof that a Redis is one: PING, SET and GET over TCP, as any client would, with the password from the
//! region's Secret where there is one. It also tells whether the value of an earlier run is still there.

use std::{io, time::Duration};

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, ListParams};
use senren_api::v1::{Endpoint, ResourceStatus};
use senren_kubesim::workloads::pod_state::SIMULATED;
use senren_reconcile::names;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::{Instant, timeout},
};

/// The key that is written and read.
pub const KEY: &str = "senren:dev:proof";

const STEP: Duration = Duration::from_millis(20);
const ONE_TRY: Duration = Duration::from_secs(2);
const MAX_REPLY: usize = 1 << 20;

/// What was found out about one database.
#[derive(Debug, Clone)]
pub struct Proof {
    /// Round trip of PING.
    pub ping: Duration,
    /// What [`KEY`] held before.
    pub before: Option<String>,
    /// Where replicas are read, the new value was there.
    pub replicated: bool,
    /// Needed to connect.
    pub password: Option<String>,
}

/// Where the objects of a database are.
pub struct Place {
    /// Its region's Kubernetes API.
    pub cluster: kube::Client,
    /// Its site's namespace.
    pub namespace: String,
}

/// Name of the endpoint that replicas are read at.
const READS: &str = "reads";

/// Tries until it succeeds or `deadline` has come: a ready database may have lost its processes with the previous
/// run, and be on its way back. Of one that is only simulated nothing can be proven, ever.
pub async fn prove(
    place: &Place,
    status: &ResourceStatus,
    value: &str,
    deadline: Instant,
) -> anyhow::Result<Proof> {
    // Read by the first attempt that gets so far; a later one would see what that one wrote.
    let mut before = None;
    if let Some(why) = simulated(place, status).await? {
        bail!("it is only simulated: {why}");
    }
    loop {
        match within(ONE_TRY, once(place, status, value, &mut before)).await {
            Err(_) if Instant::now() + STEP < deadline => tokio::time::sleep(STEP).await,
            result => return result,
        }
    }
}

async fn once(
    place: &Place,
    status: &ResourceStatus,
    value: &str,
    before: &mut Option<Option<String>>,
) -> anyhow::Result<Proof> {
    let primary = status.endpoints.first().context("it has no endpoint")?;
    let password = password(place, status).await?;
    let mut redis = Redis::connect(primary, password.as_deref()).await?;
    let begin = std::time::Instant::now();
    redis.expect(&["PING"], "PONG").await?;
    let ping = begin.elapsed();
    if before.is_none() {
        *before = Some(redis.call(&["GET", KEY]).await?);
    }
    redis.expect(&["SET", KEY, value], "OK").await?;
    redis.expect(&["GET", KEY], value).await?;
    Ok(Proof { ping, before: before.clone().flatten(), replicated: false, password })
}

/// Waits until the value is where replicas are read; false where there is no such place.
pub async fn prove_replicas(
    place: &Place,
    status: &ResourceStatus,
    value: &str,
    deadline: Instant,
) -> anyhow::Result<bool> {
    let Some(reads) = status.endpoints.iter().find(|endpoint| endpoint.name == READS) else {
        return Ok(false);
    };
    let password = password(place, status).await?;
    loop {
        let found = within(ONE_TRY, async {
            Redis::connect(reads, password.as_deref()).await?.expect(&["GET", KEY], value).await
        });
        match found.await {
            Ok(()) => return Ok(true),
            Err(_) if Instant::now() + STEP < deadline => tokio::time::sleep(STEP).await,
            Err(error) => return Err(error.context(format!("reads at {}", address(reads)))),
        }
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    timeout(limit, work).await.context("no answer in time").and_then(|result| result)
}

/// Why its pods are no processes, where that is so.
async fn simulated(place: &Place, status: &ResourceStatus) -> anyhow::Result<Option<String>> {
    let selector = format!("{}={},{}={}", names::APP_NAME, status.r#type, names::APP_INSTANCE, status.name);
    let pods: Api<Pod> = Api::namespaced(place.cluster.clone(), &place.namespace);
    let pods = pods.list(&ListParams::default().labels(&selector)).await.context("cannot list pods")?;
    let mut conditions = pods.into_iter().filter_map(|pod| pod.status?.conditions).flatten();
    Ok(conditions.find(|condition| condition.type_ == SIMULATED).and_then(|condition| condition.message))
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

fn address(endpoint: &Endpoint) -> String {
    format!("{}:{}", endpoint.host, endpoint.port)
}

/// A connection that speaks RESP.
struct Redis {
    stream: BufReader<TcpStream>,
}

impl Redis {
    async fn connect(endpoint: &Endpoint, password: Option<&str>) -> anyhow::Result<Self> {
        let address = address(endpoint);
        let stream =
            TcpStream::connect(&address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        let mut redis = Self { stream: BufReader::new(stream) };
        if let Some(password) = password {
            redis.expect(&["AUTH", password], "OK").await.context("its password is refused")?;
        }
        Ok(redis)
    }

    async fn expect(&mut self, command: &[&str], wanted: &str) -> anyhow::Result<()> {
        match self.call(command).await? {
            Some(reply) if reply == wanted => Ok(()),
            reply => bail!("{} was answered with {reply:?} instead of {wanted:?}", command[0]),
        }
    }

    /// The reply to one command; `None` is Redis' nil. A reply with an error is an error.
    async fn call(&mut self, command: &[&str]) -> anyhow::Result<Option<String>> {
        let mut request = format!("*{}\r\n", command.len());
        for word in command {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.stream.get_mut().write_all(request.as_bytes()).await?;
        let line = self.line().await?;
        match line.split_at_checked(1).context("an empty reply")? {
            ("+" | ":", text) => Ok(Some(text.to_owned())),
            ("-", error) => bail!("{} was answered with {error}", command[0]),
            ("$", "-1") => Ok(None),
            ("$", length) => {
                let length = length.parse::<usize>().ok().filter(|length| *length <= MAX_REPLY);
                let mut bytes = vec![0; length.context("a reply of no sensible length")? + 2];
                self.stream.read_exact(&mut bytes).await?;
                bytes.truncate(bytes.len() - 2);
                Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
            }
            _ => bail!("{} was answered with {line:?}, which is no Redis", command[0]),
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        let read = (&mut self.stream).take(4096).read_line(&mut line).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::net::TcpListener;

    use super::*;

    /// A server that reads one command and answers `reply`.
    async fn check(reply: &'static str, expected: Result<Option<&str>, &str>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 64];
            let read = stream.read(&mut request).await.unwrap();
            assert_eq!(&request[..read], b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
            stream.write_all(reply.as_bytes()).await.unwrap();
        });
        let endpoint = Endpoint { name: "primary".into(), host: "127.0.0.1".into(), port: port.into() };
        let mut redis = Redis::connect(&endpoint, None).await.unwrap();
        match (redis.call(&["GET", "k"]).await, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found.as_deref(), expected),
            (Err(error), Err(part)) => assert!(format!("{error:#}").contains(part), "{error:#}"),
            (result, expected) => unreachable!("{result:?} instead of {expected:?}"),
        }
    }

    #[tokio::test]
    async fn replies_are_read_as_redis_writes_them() {
        check("+OK\r\n", Ok(Some("OK"))).await;
        check(":7\r\n", Ok(Some("7"))).await;
        check("$5\r\na\r\nbc\r\n", Ok(Some("a\r\nbc"))).await;
        check("$-1\r\n", Ok(None)).await;
        check("-NOAUTH Authentication required.\r\n", Err("NOAUTH")).await;
        check("HTTP/1.1 400 Bad Request\r\n", Err("no Redis")).await;
        check("", Err("end of file")).await;
    }
}
