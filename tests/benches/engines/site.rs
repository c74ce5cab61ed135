//! One site, as its team sees it: what it declares, and what WatchStatus tells.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use parking_lot::Mutex;
use senren_api::v1::{
    ApplyStateRequest, Database, GetStatusRequest, WatchStatusRequest,
    control_plane_client::ControlPlaneClient, watch_status_response::Kind,
};
use senren_tests::real::Real;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tonic::transport::Channel;

pub struct Site {
    pub name: String,
    region: String,
    client: ControlPlaneClient<Channel>,
    declared: BTreeMap<String, u16>,
    told: Arc<Told>,
}

/// What is ready, by name: the port of its spec and when that was told.
#[derive(Default)]
struct Told {
    ready: Mutex<BTreeMap<String, (u64, Instant)>>,
    news: Notify,
}

/// Sends states.
pub struct Applying(ControlPlaneClient<Channel>);

impl Site {
    /// A site that is watched from now on.
    pub async fn open(real: &Real, name: &str, region: &str) -> Self {
        let site = Self::unwatched(real, name, region).await;
        let request = WatchStatusRequest { site: name.to_owned(), ..Default::default() };
        let mut events = site.client.clone().watch_status(request).await.unwrap().into_inner();
        let told = Arc::clone(&site.told);
        tokio::spawn(async move {
            // Ends with the control plane.
            while let Ok(Some(event)) = events.message().await {
                let at = Instant::now();
                let kind = event.kind();
                let Some(status) = event.resource else { continue };
                let spec: Value = serde_json::from_str(&status.spec_json).unwrap();
                let mut ready = told.ready.lock();
                match (kind, spec["port"].as_u64()) {
                    (Kind::Removed, _) => drop(ready.remove(&status.name)),
                    (_, Some(port)) if status.ready => drop(ready.insert(status.name, (port, at))),
                    _ => {}
                }
                drop(ready);
                told.news.notify_waiters();
            }
        });
        site
    }

    /// A site that nobody watches.
    pub async fn unwatched(real: &Real, name: &str, region: &str) -> Self {
        Self {
            name: name.to_owned(),
            region: region.to_owned(),
            client: real.client().await,
            declared: BTreeMap::new(),
            told: Arc::default(),
        }
    }

    pub fn declare(&mut self, name: &str, port: u16) {
        self.declared.insert(name.to_owned(), port);
    }

    pub fn undeclare(&mut self, name: &str) {
        self.declared.remove(name);
    }

    /// All that it should have.
    pub fn state(&self) -> ApplyStateRequest {
        let databases = self.declared.iter().map(|(name, port)| Database {
            name: name.clone(),
            r#type: "template".into(),
            spec_json: json!({"host": "db.example.com", "port": port}).to_string(),
            regions: vec![self.region.clone()],
            deletion_protection: false,
        });
        let databases = databases.collect();
        ApplyStateRequest {
            site: self.name.clone(),
            databases,
            confirm_data_loss: true,
            ..Default::default()
        }
    }

    pub fn client(&self) -> Applying {
        Applying(self.client.clone())
    }

    /// When WatchStatus told that it is ready with that port.
    pub async fn ready(&self, name: &str, port: u16) -> Instant {
        loop {
            let news = self.told.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            if let Some((ready, at)) = self.told.ready.lock().get(name)
                && *ready == u64::from(port)
            {
                return *at;
            }
            news.await;
        }
    }

    /// When GetStatus no longer listed it.
    pub async fn gone(&self, name: &str) -> Instant {
        loop {
            let request = GetStatusRequest {
                site: self.name.clone(),
                names: vec![name.to_owned()],
                ..Default::default()
            };
            let status = self.client.clone().get_status(request).await.unwrap().into_inner();
            if status.resources.is_empty() {
                return Instant::now();
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
}

impl Applying {
    pub async fn apply(mut self, state: ApplyStateRequest) {
        self.0.apply_state(state).await.unwrap();
    }
}
