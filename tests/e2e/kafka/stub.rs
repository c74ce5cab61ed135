//! A region that is nothing but its two topics: it takes what it is told, and says at once that all of it is ready.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use futures::{FutureExt as _, future::join_all};
use senren_api::{
    RegionId,
    v1::{Heartbeat, PluginInfo, RegionalState, ResourceReport, StatusReport, status_report::Body},
};
use senren_bus::{Bus, Event, From, codec};
use tokio::{task::JoinHandle, time::timeout};

const BEAT: Duration = Duration::from_millis(500);

/// Runs until it is dropped.
pub struct Stub {
    state: Arc<Mutex<RegionalState>>,
    task: JoinHandle<()>,
}

impl Stub {
    /// Reads its topic from the start, as a plane does that is new.
    pub fn start(id: &str, bus: Arc<dyn Bus>) -> Self {
        let region: RegionId = id.parse().unwrap();
        let state = Arc::<Mutex<RegionalState>>::default();
        let task = tokio::spawn(run(region, bus, Arc::clone(&state)));
        Self { state, task }
    }

    /// The highest version that it was told.
    pub fn state(&self) -> RegionalState {
        self.state.lock().unwrap().clone()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(region: RegionId, bus: Arc<dyn Bus>, known: Arc<Mutex<RegionalState>>) {
    let topic = bus.topics().state_topic(&region);
    let mut states = bus.subscribe(&topic, From::Earliest).await.unwrap();
    let mut said = HashMap::new();
    loop {
        // As a plane does: of a burst of versions the last one counts.
        let mut event = timeout(BEAT, states.next()).await.ok();
        while let Some(next) = event {
            take(&region, next.unwrap(), &mut known.lock().unwrap());
            event = states.next().now_or_never();
        }
        let state = known.lock().unwrap().clone();
        let news = state.resources.iter().filter(|r| said.get(&r.uid) != Some(&r.generation));
        join_all(news.map(|resource| say(&*bus, &region, Body::Resource(ready(resource))))).await;
        said = state.resources.iter().map(|resource| (resource.uid.clone(), resource.generation)).collect();
        say(&*bus, &region, Body::Heartbeat(heartbeat(&state))).await;
    }
}

fn take(region: &RegionId, event: Event, known: &mut RegionalState) {
    let Event::Record(delivery) = event else { return };
    if codec::region_of(&delivery.record).as_ref() == Some(region)
        && let Ok(state) = codec::decode_state(&delivery.record)
        && state.version >= known.version
    {
        *known = state;
    }
}

/// A control plane that does not hear it hears the next one.
async fn say(bus: &dyn Bus, region: &RegionId, body: Body) {
    let micros = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros();
    let report = StatusReport {
        region: region.to_string(),
        sequence: u64::try_from(micros).unwrap(),
        body: Some(body),
    };
    let _ = bus.publish(codec::encode_report(bus.topics(), &report)).await;
}

fn ready(resource: &senren_api::v1::DesiredResource) -> ResourceReport {
    ResourceReport {
        site: resource.site.clone(),
        name: resource.name.clone(),
        r#type: resource.r#type.clone(),
        uid: resource.uid.clone(),
        generation: resource.generation,
        phase: "Ready".into(),
        ready: true,
        ..Default::default()
    }
}

fn heartbeat(state: &RegionalState) -> Heartbeat {
    let plugin = PluginInfo {
        r#type: "redis".into(),
        kind: "RedisDatabase".into(),
        plugin: "redis".into(),
        version: "0.1.0".into(),
        digest: "sha256:0".into(),
        spec_schema_json: r#"{"type": "object", "x-kubernetes-preserve-unknown-fields": true}"#.into(),
        ..Default::default()
    };
    Heartbeat {
        version: state.version,
        content_hash: state.content_hash.clone(),
        interval_ms: 1000,
        plugins: vec![plugin],
        ..Default::default()
    }
}
