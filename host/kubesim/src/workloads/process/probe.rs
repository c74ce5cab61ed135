//! Probes: what a kubelet asks a container, how often, and what the answers add up to.
//!
//! The first question comes right after the start (and `initialDelaySeconds`), as a kubelet's does. Until the
//! first success of a startup or readiness probe the next ones follow within milliseconds, not within the
//! period: a container is noticed to be ready sooner than in a cluster, never later, and these extra
//! questions don't count as failures.

use std::{net::IpAddr, time::Duration};

use k8s_openapi::{
    api::core::v1::{Container, HTTPHeader, Probe},
    apimachinery::pkg::util::intstr::IntOrString,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};

/// How soon a container that isn't ready yet is asked again at first; each further time waits half as long
/// again.
const EAGER: Duration = Duration::from_millis(8);

/// What a probe asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Runs a command in the container; success is exit code 0.
    Exec(Vec<String>),
    /// Connects.
    Tcp(IpAddr, u16),
    /// Asks for a page; success is 2xx or 3xx.
    Http {
        /// Where to connect.
        address: (IpAddr, u16),
        /// Path and query.
        path: String,
        /// Additional headers, `Host` among them.
        headers: Vec<(String, String)>,
    },
}

/// A probe with its numbers.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What to ask.
    pub question: Question,
    initial_delay: Duration,
    period: Duration,
    timeout: Duration,
    success_threshold: u32,
    failure_threshold: u32,
}

/// Runs a command in a container's sandbox; the error is the message for the event.
pub trait Exec: Send + Sync {
    /// Whether the command ended well within the time.
    fn exec(&self, command: &[String], limit: Duration) -> impl Future<Output = Result<(), String>> + Send;
}

impl Plan {
    /// Reads a probe of a container; the error names what isn't supported.
    pub fn of(probe: &Probe, container: &Container, pod_ip: IpAddr) -> Result<Self, String> {
        let seconds = |value: Option<i32>, default: u64| {
            Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default))
        };
        let count = |value: Option<i32>, default: u32| {
            value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default)
        };
        Ok(Self {
            question: question(probe, container, pod_ip)?,
            initial_delay: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds.filter(|period| *period > 0), 10),
            timeout: seconds(probe.timeout_seconds.filter(|timeout| *timeout > 0), 1),
            success_threshold: count(probe.success_threshold, 1),
            failure_threshold: count(probe.failure_threshold, 3),
        })
    }

    /// Asks for as long as it is polled, and tells each result that counts: success or failure with a
    /// message, and whether the threshold is reached by it. `eager` probes don't wait for their period until
    /// the first success.
    pub async fn run(&self, eager: bool, exec: &impl Exec, mut tell: impl FnMut(Answer)) {
        let began = Instant::now() + self.initial_delay;
        sleep_until(began).await;
        let (mut successes, mut failures) = (0, 0);
        let (mut soon, mut seen_success) = (EAGER, !eager);
        let mut next_regular = began;
        loop {
            let asked = Instant::now();
            let counts = asked >= next_regular;
            if counts {
                next_regular = asked + self.period;
            }
            match self.ask(exec).await {
                Ok(()) => {
                    seen_success = true;
                    (successes, failures) = (successes + 1, 0);
                    tell(Answer { message: None, reached: successes >= self.success_threshold });
                }
                Err(message) if counts => {
                    (successes, failures) = (0, failures + 1);
                    tell(Answer { message: Some(message), reached: failures >= self.failure_threshold });
                }
                Err(_) => {}
            }
            let soonest = Instant::now() + soon;
            soon += soon / 2;
            sleep_until(if seen_success { next_regular } else { soonest.min(next_regular) }).await;
        }
    }

    async fn ask(&self, exec: &impl Exec) -> Result<(), String> {
        let late = || format!("no answer within {} s", self.timeout.as_secs());
        match &self.question {
            Question::Exec(command) => exec.exec(command, self.timeout).await,
            Question::Tcp(ip, port) => match timeout(self.timeout, TcpStream::connect((*ip, *port))).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(format!("dial tcp {ip}:{port}: {error}")),
                Err(_) => Err(format!("dial tcp {ip}:{port}: {}", late())),
            },
            Question::Http { address, path, headers } => {
                let url = format!("http://{}:{}{path}", address.0, address.1);
                match timeout(self.timeout, get(*address, path, headers)).await {
                    Ok(Ok(code)) if (200..400).contains(&code) => Ok(()),
                    Ok(Ok(code)) => Err(format!("HTTP probe failed with statuscode: {code}")),
                    Ok(Err(error)) => Err(format!("Get {url:?}: {error}")),
                    Err(_) => Err(format!("Get {url:?}: {}", late())),
                }
            }
        }
    }
}

/// One result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Why it failed; `None` is a success.
    pub message: Option<String>,
    /// Whether the threshold of consecutive results is reached.
    pub reached: bool,
}

fn question(probe: &Probe, container: &Container, pod_ip: IpAddr) -> Result<Question, String> {
    if let Some(exec) = &probe.exec {
        return Ok(Question::Exec(exec.command.clone().unwrap_or_default()));
    }
    let ip = |host: Option<&String>| match host.map(|host| host.parse::<IpAddr>()) {
        None => Ok(pod_ip),
        Some(Ok(ip)) => Ok(ip),
        Some(Err(_)) => Err("a probe's host must be an address here".to_owned()),
    };
    if let Some(tcp) = &probe.tcp_socket {
        return Ok(Question::Tcp(ip(tcp.host.as_ref())?, port(&tcp.port, container)?));
    }
    if let Some(http) = &probe.http_get {
        if http.scheme.as_deref().is_some_and(|scheme| scheme != "HTTP") {
            return Err("httpGet probes with a scheme other than HTTP are not supported here".into());
        }
        let address = (ip(http.host.as_ref())?, port(&http.port, container)?);
        let given = http.http_headers.iter().flatten();
        let mut headers: Vec<_> =
            given.map(|HTTPHeader { name, value }| (name.clone(), value.clone())).collect();
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            headers.push(("Host".into(), format!("{}:{}", address.0, address.1)));
        }
        let path = http.path.as_deref().unwrap_or("/");
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        return Ok(Question::Http { address, path, headers });
    }
    Err("only exec, tcpSocket and httpGet probes are supported here".into())
}

fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let (number, shown) = match port {
        IntOrString::Int(number) => (Some(*number), number.to_string()),
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            let named = ports.find(|port| port.name.as_ref() == Some(name)).map(|port| port.container_port);
            (named.or_else(|| name.parse().ok()), name.clone())
        }
    };
    number.and_then(|number| u16::try_from(number).ok()).ok_or_else(|| format!("couldn't find port: {shown}"))
}

/// A GET whose only interesting part is the status code.
async fn get(address: (IpAddr, u16), path: &str, headers: &[(String, String)]) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect(address).await?;
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nUser-Agent: kube-probe/senren\r\nAccept: */*\r\nConnection: close\r\n"
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::with_capacity(64);
    let mut chunk = [0; 64];
    // "HTTP/1.1 200" is all that is needed.
    while head.len() < 12 {
        match stream.read(&mut chunk).await? {
            0 => break,
            read => head.extend_from_slice(&chunk[..read]),
        }
    }
    let code =
        head.get(9..12).and_then(|code| std::str::from_utf8(code).ok()).and_then(|code| code.parse().ok());
    code.filter(|_| head.starts_with(b"HTTP/1."))
        .ok_or_else(|| std::io::Error::other("malformed HTTP response"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

    use super::*;

    /// Succeeds from the n-th question on.
    struct From(usize, AtomicUsize);
    impl Exec for From {
        async fn exec(&self, _: &[String], _: Duration) -> Result<(), String> {
            if self.1.fetch_add(1, Ordering::SeqCst) + 1 >= self.0 { Ok(()) } else { Err("not yet".into()) }
        }
    }

    /// What a probe told within `run`, and how often it asked. Times in milliseconds.
    async fn answers(
        initial_delay: u64,
        period: u64,
        threshold: u32,
        from: usize,
        run: u64,
    ) -> (Vec<Answer>, usize) {
        let plan = Plan {
            question: Question::Exec(vec!["true".into()]),
            initial_delay: Duration::from_millis(initial_delay),
            period: Duration::from_millis(period),
            timeout: Duration::from_secs(1),
            success_threshold: 1,
            failure_threshold: threshold,
        };
        let exec = From(from, AtomicUsize::new(0));
        let mut answers = Vec::new();
        let _ =
            timeout(Duration::from_millis(run), plan.run(true, &exec, |answer| answers.push(answer))).await;
        (answers, exec.1.into_inner())
    }

    #[tokio::test]
    async fn a_container_is_noticed_to_be_ready_long_before_its_period() {
        let (told, asked) = answers(0, 60_000, 3, 5, 3000).await;
        assert_eq!(told.last(), Some(&Answer { message: None, reached: true }));
        assert_eq!(asked, 5);
        assert_eq!(
            told.iter().filter(|answer| answer.message.is_some()).count(),
            1,
            "extra questions don't count"
        );
    }

    #[tokio::test]
    async fn the_threshold_counts_one_failure_per_period() {
        let (told, asked) = answers(0, 200, 3, usize::MAX, 500).await;
        assert_eq!(told.iter().map(|answer| answer.reached).collect::<Vec<_>>(), [false, false, true]);
        assert!(asked > 3);
    }

    #[tokio::test]
    async fn the_initial_delay_is_waited_for() {
        assert_eq!(answers(60_000, 1000, 1, 1, 100).await.1, 0);
        assert_eq!(answers(50, 60_000, 1, 1, 2000).await.1, 1);
    }

    #[test]
    fn a_probe_has_the_numbers_of_its_manifest_or_the_defaults() {
        let container: Container = serde_json::from_value(json!({"name": "c"})).unwrap();
        let check = |probe: serde_json::Value, wanted: [u64; 3]| {
            let probe: Probe = serde_json::from_value(probe).unwrap();
            let plan = Plan::of(&probe, &container, [127, 0, 0, 1].into()).unwrap();
            assert_eq!([plan.initial_delay, plan.period, plan.timeout].map(|time| time.as_secs()), wanted);
        };
        check(json!({"tcpSocket": {"port": 1}}), [0, 10, 1]);
        let all = json!({"tcpSocket": {"port": 1}, "initialDelaySeconds": 2, "periodSeconds": 3, "timeoutSeconds": 4});
        check(all, [2, 3, 4]);
    }

    #[tokio::test]
    async fn a_page_is_judged_by_its_status_code() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            for answer in
                ["HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 503 Busy\r\n\r\n", "nonsense, and more of it"]
            {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 1024]).await;
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let address = ([127, 0, 0, 1].into(), port);
        assert_eq!(get(address, "/", &[]).await.unwrap(), 204);
        assert_eq!(get(address, "/", &[]).await.unwrap(), 503);
        assert!(get(address, "/", &[]).await.is_err());
    }

    #[test]
    fn a_port_is_found_by_its_name() {
        let container = json!({"name": "c", "ports": [{"name": "redis", "containerPort": 6379}]});
        let container: Container = serde_json::from_value(container).unwrap();
        assert_eq!(port(&IntOrString::String("redis".into()), &container), Ok(6379));
        assert!(port(&IntOrString::String("other".into()), &container).is_err());
    }
}
