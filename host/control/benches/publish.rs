//! The control plane's part of the walk: from a call of ApplyState to its answer, and to the state on the topic.
//! PostgreSQL waits for its disk, the bus is in memory. Prints one JSON object per measure; `make bench` makes a table of
//! them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use senren_api::v1::{ApplyStateRequest, Database, control_plane_client::ControlPlaneClient};
use senren_bus::{Bus, Event, From, MemoryBus, Subscription, codec};
use senren_control::{Control, ControlConfig};
use senren_localpg::LocalPostgres;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

const REGION: &str = "aws:us-east-1";
const APPLIES: usize = 300;
/// Each apply names the whole site, so its size counts.
const SITE_SIZE: usize = 20;
/// Time for what comes after an apply to end, so that the next one is measured by itself.
const SETTLED: Duration = Duration::from_millis(20);

struct Bench {
    client: ControlPlaneClient<Channel>,
    states: Box<dyn Subscription>,
}

#[tokio::main]
async fn main() {
    let data = tempfile::tempdir().unwrap();
    let postgres = LocalPostgres::start(data.path()).unwrap();
    let shutdown = CancellationToken::new();
    let bus = MemoryBus::default();
    let config = ControlConfig {
        database_url: postgres.url("senren").unwrap(),
        listen_addr: ([127, 0, 0, 1], 0).into(),
        ..ControlConfig::default()
    };
    let control = Control::start(config, Arc::new(bus.clone()), shutdown.clone()).await.unwrap();
    let client = ControlPlaneClient::connect(format!("http://{}", control.addr())).await.unwrap();
    let states = bus.subscribe("senren-state", From::Earliest).await.unwrap();
    let mut bench = Bench { client, states };
    bench.measure("apply", "a small region").await;
    let standing = (0..1000).map(|index| database(&format!("standing-{index}"))).collect();
    bench.apply("standing", standing).await;
    bench.measure("beside", "a region of 1000 databases").await;
    shutdown.cancel();
    control.join().await.unwrap();
}

impl Bench {
    async fn measure(&mut self, site: &str, region: &str) {
        let (mut answered, mut published) = (Vec::new(), Vec::new());
        let mut databases = Vec::new();
        for index in 0..APPLIES {
            if index % SITE_SIZE == 0 {
                databases.clear();
            }
            databases.push(database(&format!("db-{index}")));
            let site = format!("{site}-{}", index / SITE_SIZE);
            let times = self.apply(&site, databases.clone()).await;
            answered.push(times.0);
            published.push(times.1);
            tokio::time::sleep(SETTLED).await;
        }
        report(&format!("apply → answer, {region}"), answered);
        report(&format!("apply → state published, {region}"), published);
    }

    /// Until the answer, and until the state is published that has the last of `databases`.
    async fn apply(&mut self, site: &str, databases: Vec<Database>) -> (Duration, Duration) {
        let last = databases.last().unwrap().name.clone();
        let request = ApplyStateRequest { site: site.to_owned(), databases, ..Default::default() };
        let begin = Instant::now();
        let answered = async {
            self.client.apply_state(request).await.unwrap();
            begin.elapsed()
        };
        let published = async {
            loop {
                if let Event::Record(delivery) = self.states.next().await.unwrap() {
                    let elapsed = begin.elapsed();
                    let state = codec::decode_state(&delivery.record).unwrap();
                    // A state may be published again at any time.
                    if state.resources.iter().any(|resource| resource.site == site && resource.name == last) {
                        return elapsed;
                    }
                }
            }
        };
        tokio::join!(answered, published)
    }
}

fn database(name: &str) -> Database {
    Database {
        name: name.to_owned(),
        r#type: "redis".into(),
        spec_json: r#"{"memory_mb":64}"#.into(),
        regions: vec![REGION.into()],
        deletion_protection: false,
    }
}

fn report(measure: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| {
        let index = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len()) - 1;
        times[index].as_secs_f64() * 1000.0
    };
    let line = json!({
        "measure": measure, "unit": "ms", "n": times.len(), "p50": at(0.5), "p90": at(0.9), "p99": at(0.99),
        "max": at(1.0), "goal": {},
    });
    println!("{line}");
}
