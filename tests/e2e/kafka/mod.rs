//! Kafka in every shape that it is met in, and what these tests share: an installation of several control planes, and
//! regions that are this test's own.

mod backup;
mod broker;
mod compaction;
mod foreign;
mod outage;
mod routing;
mod secure;
mod stub;

use std::{
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use senren_api::v1::{
    ApplyStateRequest, Database, GetStatusRequest, ListRegionsRequest, Region, ResourceStatus,
    control_plane_client::ControlPlaneClient,
};
use senren_bus::{Bus, BusConfig, Event, From, KafkaBus, Record, Routing};
use senren_localpg::TestDatabase;
use senren_tests::real::{PATIENCE, Process, client_of, compiled, kafka, kubernetes, plugins, port, spawn};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{Status, transport::Channel};

pub use broker::{Broker, Mirror, secure};
pub use stub::Stub;

/// Control planes that share a database and a Kafka, where the regions are stubs.
pub struct Hub {
    pub prefix: String,
    pub database: TestDatabase,
    /// Of every process of ours.
    pub settings: Vec<(&'static str, String)>,
}

/// One control plane.
pub struct Control {
    process: Process,
    address: String,
    metrics: String,
}

/// Of kill(1).
pub fn signal(name: &str, process: &Process) {
    let done = Command::new("kill").args(["-s", name, &process.id().to_string()]).status().unwrap();
    assert!(done.success(), "it runs");
}

impl Hub {
    /// On the Kafka that all tests share, or on the one that `settings` name.
    pub fn new(settings: &[(&'static str, &str)]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("k{}-{}", std::process::id() % 100_000, COUNT.fetch_add(1, Ordering::Relaxed));
        let given = settings.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let mut settings = vec![("KAFKA_TOPIC_PREFIX", prefix.clone())];
        settings.extend(given);
        if settings.iter().all(|(name, _)| *name != "KAFKA_BOOTSTRAP_SERVERS") {
            settings.push(("KAFKA_BOOTSTRAP_SERVERS", kafka().to_owned()));
        }
        Self { prefix, database: senren_localpg::test_database(), settings }
    }

    /// One more control plane; returns when it answers.
    pub async fn control(&self) -> Control {
        let (address, metrics) = (free_address(), free_address());
        let own = [
            ("MODE", "control"),
            ("DATABASE_URL", &self.database.url),
            ("LISTEN_ADDR", &address),
            ("METRICS_ADDR", &metrics),
        ];
        let shared = self.settings.iter().map(|(name, value)| (*name, value.as_str()));
        let environment: Vec<(&str, &str)> = own.into_iter().chain(shared).collect();
        let name = format!("{}-control-{}", self.prefix, address.rsplit(':').next().unwrap());
        let control = Control { process: spawn(&name, &environment), address, metrics };
        control.client().await;
        control
    }

    /// A real plane of a region, in the first cluster, with more settings. It serves all plugins.
    pub fn plane(&self, id: &str, settings: &[(&'static str, &str)]) -> Process {
        let (kubeconfig, plugins, compiled) = (kubernetes(0), plugins(), compiled());
        let own = [
            ("MODE", "regional"),
            ("REGION_ID", id),
            ("NAMESPACE_PREFIX", &self.prefix),
            ("KUBECONFIG", kubeconfig.to_str().unwrap()),
            ("PLUGIN_DIR", plugins.to_str().unwrap()),
            ("PLUGIN_CACHE_DIR", compiled.to_str().unwrap()),
            ("HEARTBEAT_INTERVAL", "1s"),
        ];
        let shared = self.settings.iter().map(|(name, value)| (*name, value.as_str()));
        let environment: Vec<(&str, &str)> =
            own.into_iter().chain(shared).chain(settings.iter().copied()).collect();
        spawn(&format!("{}-{}", self.prefix, id.replace(':', ".")), &environment)
    }

    /// One that every process has.
    pub fn setting(&self, name: &str) -> &str {
        self.settings.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    /// As the planes reach it.
    pub fn bus(&self) -> KafkaBus {
        let config = BusConfig {
            bootstrap_servers: self.setting("KAFKA_BOOTSTRAP_SERVERS").into(),
            topic_prefix: self.prefix.clone(),
            routing: match self.setting("KAFKA_ROUTING") {
                "per-region" => Routing::PerRegion,
                "local" => Routing::Local,
                _ => Routing::Keyed,
            },
            topic_partitions: 4,
            topic_replicas: None,
        };
        let passed_on = self.settings.iter().filter_map(|(name, value)| {
            let passed_on =
                ["KAFKA_SECURITY", "KAFKA_SASL", "KAFKA_SSL"].iter().any(|start| name.starts_with(start));
            let setting = name.strip_prefix("KAFKA_")?.to_ascii_lowercase().replace('_', ".");
            passed_on.then(|| (setting, value.clone()))
        });
        KafkaBus::new(&config, config.topics().unwrap(), passed_on.collect()).unwrap()
    }
}

impl Control {
    /// Ends it as the kernel would.
    pub fn kill(&self) {
        signal("KILL", &self.process);
    }

    /// Where it serves its metrics.
    pub fn metrics(&self) -> &str {
        &self.metrics
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until it answers.
    pub async fn client(&self) -> ControlPlaneClient<Channel> {
        let url = format!("http://{}", self.address);
        let connect = async || ControlPlaneClient::connect(url.clone()).await.ok();
        until("the control plane listens", connect).await.max_decoding_message_size(64 << 20)
    }

    /// Waits until all regions are as `wanted`.
    pub async fn until_regions(&self, what: &str, wanted: impl Fn(&[Region]) -> bool) -> Vec<Region> {
        let mut client = self.client().await;
        until(what, async || {
            let answer = client.list_regions(ListRegionsRequest {}).await.unwrap().into_inner();
            Some(answer.regions).filter(|regions| wanted(regions))
        })
        .await
    }

    /// Declares all of a site, whatever is lost by it; returns its revision.
    pub async fn try_apply(&self, site: &str, databases: &[Database]) -> Result<u64, Status> {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        let channel = endpoint.connect().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let request = ApplyStateRequest {
            site: site.into(),
            databases: databases.to_vec(),
            confirm_data_loss: true,
            ..Default::default()
        };
        let answer = ControlPlaneClient::new(channel).apply_state(request).await?;
        Ok(answer.into_inner().revision)
    }

    /// As [`Control::try_apply`].
    pub async fn apply(&self, site: &str, databases: &[Database]) -> u64 {
        self.try_apply(site, databases).await.unwrap()
    }

    /// What is known of a site.
    pub async fn status(&self, site: &str) -> Vec<ResourceStatus> {
        let request = GetStatusRequest { site: site.into(), ..Default::default() };
        self.client().await.get_status(request).await.unwrap().into_inner().resources
    }

    /// Waits until the regions of a site have looked at what it is at this revision. Nobody runs pods there.
    pub async fn until_observed(&self, site: &str, revision: u64) {
        until(&format!("site {site} is known in its regions at {revision}"), async || {
            let all = self.status(site).await;
            let observed =
                |status: &ResourceStatus| status.observed_generation >= revision && status.phase != "Unknown";
            (!all.is_empty() && all.iter().all(observed)).then_some(())
        })
        .await;
    }

    /// Waits until all of a site is ready as desired, and that at this revision or a later one.
    pub async fn until_ready(&self, site: &str, revision: u64) {
        until(&format!("site {site} is ready at {revision}"), async || {
            let all = self.status(site).await;
            let ready = |status: &ResourceStatus| status.ready && status.generation >= revision;
            (!all.is_empty() && all.iter().all(ready)).then_some(())
        })
        .await;
    }
}

/// The first cluster, as its administrator.
pub async fn cluster() -> kube::Client {
    client_of(&kubernetes(0)).await
}

/// Where nobody listens now.
pub fn free_address() -> String {
    format!("127.0.0.1:{}", port())
}

/// The value of a counter with this reason, as a plane shows it.
pub async fn counted(metrics: &str, name: &str, reason: &str) -> Option<usize> {
    let mut stream = TcpStream::connect(metrics).await.ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    let reason = format!("reason=\"{reason}\"");
    let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")) && line.contains(&reason))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// What a topic has, to its end.
pub async fn records(bus: &dyn Bus, topic: &str) -> Vec<Record> {
    let mut subscription = bus.subscribe(topic, From::Earliest).await.unwrap();
    let mut records = Vec::new();
    while let Event::Record(delivery) = subscription.next().await.unwrap() {
        records.push(delivery.record);
    }
    records
}

/// Asks until there is an answer.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begin.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A database of type `redis`.
pub fn database(name: &str, regions: &[&str], memory_mb: u64) -> Database {
    senren_tests::database(name, "redis", regions, serde_json::json!({"memory_mb": memory_mb}))
}
