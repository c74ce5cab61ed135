//! Site `default`, as a client of the control plane sees it.

use std::{collections::BTreeMap, time::Duration};

use senren_api::v1::{
    ApplyStateRequest, ApplyStateResponse, Database, GetStatusRequest, ListRegionsRequest, Region,
    ResourceStatus, WatchStatusRequest, control_plane_client::ControlPlaneClient,
    watch_status_response::Kind,
};
use tonic::transport::Channel;

/// What a test asks of a control plane.
pub(crate) struct Site {
    pub client: ControlPlaneClient<Channel>,
    /// How long anything may take before the test gives up; never waited out when all is well.
    pub patience: Duration,
}

impl Site {
    /// Declares everything that it should have, whatever is lost by it.
    pub async fn apply(mut self, databases: &[Database]) -> ApplyStateResponse {
        let databases = databases.to_vec();
        let request = ApplyStateRequest { databases, confirm_data_loss: true, ..Default::default() };
        self.client.apply_state(request).await.unwrap().into_inner()
    }

    /// All of it.
    pub async fn status(mut self) -> Vec<ResourceStatus> {
        let request = GetStatusRequest::default();
        self.client.get_status(request).await.unwrap().into_inner().resources
    }

    /// Watches until `wanted` holds for all its resources, and returns them.
    pub async fn until(
        mut self,
        what: &str,
        wanted: impl Fn(&[ResourceStatus]) -> bool,
    ) -> Vec<ResourceStatus> {
        let mut seen: BTreeMap<(String, String), ResourceStatus> = BTreeMap::new();
        let watched = tokio::time::timeout(self.patience, self.watch(&mut seen, wanted)).await;
        assert!(watched.is_ok(), "not in time: {what}; last seen: {seen:#?}");
        seen.into_values().collect()
    }

    async fn watch(
        &mut self,
        seen: &mut BTreeMap<(String, String), ResourceStatus>,
        wanted: impl Fn(&[ResourceStatus]) -> bool,
    ) {
        let mut events = self.client.watch_status(WatchStatusRequest::default()).await.unwrap().into_inner();
        let mut synced = false;
        while let Some(event) = events.message().await.unwrap() {
            let kind = event.kind();
            synced |= kind == Kind::Synced;
            if let Some(status) = event.resource {
                let key = (status.region.clone(), status.name.clone());
                match kind {
                    Kind::Removed => seen.remove(&key),
                    _ => seen.insert(key, status),
                };
            }
            let all: Vec<ResourceStatus> = seen.values().cloned().collect();
            if synced && wanted(&all) {
                return;
            }
        }
    }

    /// Until `count` resources are there, all ready as desired.
    pub async fn until_ready(self, count: usize) -> Vec<ResourceStatus> {
        let all_ready = |all: &[ResourceStatus]| all.len() == count && all.iter().all(|status| status.ready);
        self.until(&format!("{count} ready resources"), all_ready).await
    }

    /// Until the control plane has heard of every one of `regions`.
    pub async fn until_connected(self, regions: &[&str]) {
        self.until_serving(regions, &[]).await;
    }

    /// Until the control plane has heard from every one of `regions` that it serves `types`.
    pub async fn until_serving(mut self, regions: &[&str], types: &[String]) {
        let serving = async {
            loop {
                let known = self.client.list_regions(ListRegionsRequest {}).await.unwrap();
                let known = known.into_inner().regions;
                let serves = |region: &Region| {
                    types.iter().all(|name| region.plugins.iter().any(|plugin| plugin.r#type == *name))
                };
                let up = |id: &&str| {
                    let mut same = known.iter().filter(|region| region.id == **id);
                    same.any(|region| region.phase == "Connected" && serves(region))
                };
                if regions.iter().all(up) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let served = tokio::time::timeout(self.patience, serving).await;
        assert!(served.is_ok(), "not in time: {regions:?} serve {types:?}");
    }
}
