//! A control plane taken apart: each step on a database and a bus of its own, with a clock that stands still.
#![allow(dead_code, missing_docs)]

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use async_trait::async_trait;
use chrono::DateTime;
use parking_lot::Mutex;
use senren_api::v1::{self, status_report::Body};
use senren_bus::{Bus, BusError, From, MemoryBus, Record, Subscription, Topics, codec};
use senren_control::{
    Hub, Sources,
    api::{Api, Settings},
    ingest::{self, Handled, Ingest},
    relay::{self, Relay, Step},
    store::Store,
};
use senren_localpg::{TestDatabase, test_database};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};
use uuid::Uuid;

pub const REGION: &str = "aws:us-east-1";
pub const OTHER: &str = "gcp:us-central1";

pub const REDIS_SCHEMA: &str = r#"{
    "type": "object",
    "required": ["memory_mb"],
    "properties": {
        "memory_mb": {"type": "integer", "minimum": 16, "x-senren-effect": "rolling-restart"},
        "replicas": {"type": "integer", "default": 0},
        "persistence": {"type": "boolean", "default": false, "x-senren-effect": "recreate"},
        "zone": {"type": "string", "x-senren-effect": "forbidden"}
    }
}"#;

/// Milliseconds since an epoch of its own.
#[derive(Clone, Default)]
pub struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub fn advance(&self, milliseconds: i64) {
        self.0.fetch_add(milliseconds, Ordering::SeqCst);
    }

    pub fn sources(&self) -> Sources {
        let millis = self.0.clone();
        let now = move || {
            DateTime::from_timestamp_millis(1_800_000_000_000 + millis.load(Ordering::SeqCst)).unwrap()
        };
        Sources::new(now, Uuid::now_v7)
    }
}

/// A bus that fails, or never answers, for some regions.
#[derive(Clone, Default)]
pub struct FaultyBus {
    pub memory: MemoryBus,
    pub failing: Arc<Mutex<Vec<String>>>,
    pub hanging: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Bus for FaultyBus {
    fn topics(&self) -> &Topics {
        self.memory.topics()
    }
    async fn reach(&self, topic: &str) -> Result<(), BusError> {
        self.memory.reach(topic).await
    }
    async fn publish(&self, record: Record) -> Result<(), BusError> {
        if self.failing.lock().contains(&record.key) {
            return Err(BusError::Unavailable { what: "publish".into(), cause: "broker down".into() });
        }
        let hangs = self.hanging.lock().contains(&record.key);
        if hangs {
            std::future::pending::<()>().await;
        }
        self.memory.publish(record).await
    }
    async fn subscribe(&self, topic: &str, from: From) -> Result<Box<dyn Subscription>, BusError> {
        self.memory.subscribe(topic, from).await
    }
}

pub struct Plane {
    pub database: Arc<TestDatabase>,
    pub store: Store,
    pub hub: Hub,
    pub bus: FaultyBus,
    pub clock: TestClock,
    pub api: Api,
    pub relay: Relay,
    pub ingest: Ingest,
    pub shutdown: CancellationToken,
    pub sql: sqlx::PgPool,
}

impl Plane {
    pub async fn new() -> Self {
        Self::on(Arc::new(test_database()), FaultyBus::default(), TestClock::default()).await
    }

    /// Another control plane on the same database and bus.
    pub async fn sibling(&self) -> Self {
        Self::on(self.database.clone(), self.bus.clone(), self.clock.clone()).await
    }

    /// A control plane on the same bus that knows nothing.
    pub async fn with_new_database(&self) -> Self {
        Self::on(Arc::new(test_database()), self.bus.clone(), self.clock.clone()).await
    }

    async fn on(database: Arc<TestDatabase>, bus: FaultyBus, clock: TestClock) -> Self {
        let store = Store::connect(&database.url, 12).await.unwrap();
        let (hub, sources, shutdown) = (Hub::default(), clock.sources(), CancellationToken::new());
        let shared: Arc<dyn Bus> = Arc::new(bus.clone());
        let sql = sqlx::PgPool::connect_lazy(&database.url).unwrap();
        Self {
            api: Api::new(store.clone(), hub.clone(), sources.clone(), Settings::default(), shutdown.clone()),
            relay: Relay::new(store.clone(), shared, hub.clone(), sources.clone()),
            ingest: Ingest::new(store.clone(), hub.clone(), sources),
            database,
            store,
            hub,
            bus,
            clock,
            shutdown,
            sql,
        }
    }

    pub async fn try_apply(&self, request: v1::ApplyStateRequest) -> Result<v1::ApplyStateResponse, Status> {
        self.api.apply_state(Request::new(request)).await.map(tonic::Response::into_inner)
    }

    /// Whatever is lost by it.
    pub async fn apply(&self, databases: Vec<v1::Database>) -> v1::ApplyStateResponse {
        let request = v1::ApplyStateRequest { databases, confirm_data_loss: true, ..Default::default() };
        self.try_apply(request).await.unwrap()
    }

    pub async fn status(&self) -> v1::GetStatusResponse {
        let response = ControlPlane::get_status(&self.api, Request::new(v1::GetStatusRequest::default()));
        response.await.unwrap().into_inner()
    }

    /// Without its being lost: as a client applies that confirms nothing.
    pub async fn apply_carefully(&self, databases: Vec<v1::Database>) -> v1::ApplyStateResponse {
        self.try_apply(v1::ApplyStateRequest { databases, ..Default::default() }).await.unwrap()
    }

    pub async fn plan(&self, databases: Vec<v1::Database>) -> v1::PlanStateResponse {
        self.try_plan(v1::PlanStateRequest { databases, ..Default::default() }).await.unwrap()
    }

    pub async fn try_plan(&self, request: v1::PlanStateRequest) -> Result<v1::PlanStateResponse, Status> {
        self.api.plan_state(Request::new(request)).await.map(tonic::Response::into_inner)
    }

    /// What was declared at a revision: `name regions`.
    pub async fn state(&self, revision: Option<u64>) -> Result<v1::GetStateResponse, Status> {
        let request = v1::GetStateRequest { revision, ..Default::default() };
        ControlPlane::get_state(&self.api, Request::new(request)).await.map(tonic::Response::into_inner)
    }

    pub async fn history(&self, request: v1::ListHistoryRequest) -> Vec<v1::HistoryEntry> {
        let response = ControlPlane::list_history(&self.api, Request::new(request)).await;
        response.unwrap().into_inner().entries
    }

    pub async fn try_rollback(
        &self,
        request: v1::RollbackStateRequest,
    ) -> Result<v1::ApplyStateResponse, Status> {
        self.api.rollback_state(Request::new(request)).await.map(tonic::Response::into_inner)
    }

    pub async fn confirm(&self, names: &[&str]) -> Result<v1::ConfirmHeldResponse, Status> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let request = v1::ConfirmHeldRequest { names, author: "kim".into(), ..Default::default() };
        self.api.confirm_held(Request::new(request)).await.map(tonic::Response::into_inner)
    }

    pub async fn force_delete(&self, region: &str) -> Result<v1::ForceDeleteResponse, Status> {
        let request =
            v1::ForceDeleteRequest { region: region.into(), author: "kim".into(), ..Default::default() };
        ControlPlane::force_delete(&self.api, Request::new(request)).await.map(tonic::Response::into_inner)
    }

    /// The last state that was published to a region.
    pub async fn desired(&self, region: &str) -> v1::RegionalState {
        self.publish_all().await;
        self.published(region).pop().unwrap()
    }

    /// The only resource of the default site.
    pub async fn only(&self) -> v1::ResourceStatus {
        let mut resources = self.status().await.resources;
        assert_eq!(resources.len(), 1, "{resources:#?}");
        resources.remove(0)
    }

    pub async fn regions(&self) -> Vec<v1::Region> {
        let response = ControlPlane::list_regions(&self.api, Request::new(v1::ListRegionsRequest {}));
        response.await.unwrap().into_inner().regions
    }

    pub async fn publish_next(&self) -> Step {
        relay::publish_next(&self.relay).await.unwrap()
    }

    /// Publishes until nothing is due.
    pub async fn publish_all(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        loop {
            match self.publish_next().await {
                Step::Idle => return steps,
                step => steps.push(step),
            }
        }
    }

    /// All states that were ever published to a region.
    pub fn published(&self, region: &str) -> Vec<v1::RegionalState> {
        let records = self.bus.memory.records("senren-state").into_iter().map(|delivery| delivery.record);
        records
            .filter(|record| record.key == region)
            .map(|record| codec::decode_state(&record).unwrap())
            .collect()
    }

    pub async fn report(&self, reports: Vec<v1::StatusReport>) -> Handled {
        let topics = Topics::default();
        let records: Vec<Record> =
            reports.iter().map(|report| codec::encode_report(&topics, report)).collect();
        ingest::handle(&self.ingest, &records).await.unwrap()
    }

    /// A region that serves `redis` says that it has applied `version`, with the content that was published.
    pub async fn heartbeat(&self, region: &str, sequence: u64, version: u64) -> Handled {
        let published = self.published(region);
        let hash = published.iter().rev().find(|state| state.version == version);
        let hash = hash.map(|state| state.content_hash.clone()).unwrap_or_default();
        self.report(vec![heartbeat(region, sequence, version, &hash)]).await
    }
}

pub use senren_api::v1::control_plane_server::ControlPlane;

pub fn heartbeat(region: &str, sequence: u64, version: u64, content_hash: &str) -> v1::StatusReport {
    let plugin = v1::PluginInfo {
        r#type: "redis".into(),
        kind: "RedisDatabase".into(),
        plugin: "redis".into(),
        version: "0.1.0".into(),
        spec_schema_json: REDIS_SCHEMA.into(),
        ..Default::default()
    };
    let beat = v1::Heartbeat {
        version,
        content_hash: content_hash.into(),
        interval_ms: 1000,
        plugins: vec![plugin],
        ..Default::default()
    };
    v1::StatusReport { region: region.into(), sequence, body: Some(Body::Heartbeat(beat)) }
}

/// A heartbeat of a region that serves `redis-cluster`, too.
pub fn heartbeat_of_both_types(region: &str, sequence: u64) -> v1::StatusReport {
    let mut report = heartbeat(region, sequence, 0, "");
    if let Some(Body::Heartbeat(beat)) = &mut report.body {
        let cluster = v1::PluginInfo { r#type: "redis-cluster".into(), ..beat.plugins[0].clone() };
        beat.plugins.push(cluster);
    }
    report
}

/// What a region would say of `resource`.
pub fn report_of(resource: &v1::ResourceStatus, sequence: u64, phase: &str) -> v1::StatusReport {
    let report = v1::ResourceReport {
        site: resource.site.clone(),
        name: resource.name.clone(),
        r#type: resource.r#type.clone(),
        uid: resource.uid.clone(),
        generation: resource.generation,
        phase: phase.into(),
        ready: phase == "Ready",
        ..Default::default()
    };
    v1::StatusReport { region: resource.region.clone(), sequence, body: Some(Body::Resource(report)) }
}

/// As `report_of`, changed.
pub fn report_with(
    resource: &v1::ResourceStatus,
    sequence: u64,
    phase: &str,
    change: impl FnOnce(&mut v1::ResourceReport),
) -> v1::StatusReport {
    let mut report = report_of(resource, sequence, phase);
    if let Some(Body::Resource(body)) = &mut report.body {
        change(body);
    }
    report
}

pub fn database(name: &str, regions: &[&str]) -> v1::Database {
    v1::Database {
        name: name.into(),
        r#type: "redis".into(),
        spec_json: r#"{"memory_mb": 64}"#.into(),
        regions: regions.iter().map(|region| (*region).to_owned()).collect(),
        deletion_protection: false,
    }
}

/// `region/name action` of every change.
pub fn actions(response: &v1::ApplyStateResponse) -> Vec<String> {
    response
        .changes
        .iter()
        .map(|change| format!("{}/{} {}", change.region, change.name, told(change)))
        .collect()
}

/// `action`, and whether it is held.
pub fn told(change: &v1::ResourceChange) -> String {
    let action = change.action().as_str_name().trim_start_matches("ACTION_").to_lowercase();
    let hold = change.hold.as_ref().map(|hold| format!(" held {}", hold.kind)).unwrap_or_default();
    format!("{action}{hold}")
}

/// As `database`, with another spec.
pub fn with_spec(name: &str, spec_json: &str) -> v1::Database {
    v1::Database { spec_json: spec_json.into(), ..database(name, &[REGION]) }
}
