//! What a kubelet would say: pods of this test's namespaces are scheduled nowhere, yet run and are ready.

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::json;
use tokio::task::JoinHandle;

/// Says so until it is dropped.
pub(super) struct Pods(JoinHandle<()>);

impl Pods {
    /// For the namespaces that begin with `prefix`.
    pub fn start(client: kube::Client, prefix: String) -> Self {
        Self(tokio::spawn(async move {
            let all = Api::<Pod>::all(client.clone());
            let mut pods =
                watcher(all, watcher::Config::default()).default_backoff().applied_objects().boxed();
            while let Some(pod) = pods.next().await {
                let Ok(pod) = pod else { continue };
                let namespace = pod.namespace().unwrap_or_default();
                if namespace.starts_with(&format!("{prefix}-")) && !is_running(&pod) {
                    run(&Api::namespaced(client.clone(), &namespace), &pod).await;
                }
            }
        }))
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn is_running(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
        || pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
}

async fn run(pods: &Api<Pod>, pod: &Pod) {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let statuses = containers.map(|container| {
        json!({
            "name": container.name, "image": container.image, "imageID": "", "ready": true, "started": true,
            "restartCount": 0, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
        })
    });
    let condition = |kind: &str| json!({"type": kind, "status": "True"});
    let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"].map(condition);
    let status = json!({
        "phase": "Running",
        "podIP": "10.1.2.3",
        "podIPs": [{"ip": "10.1.2.3"}],
        "containerStatuses": statuses.collect::<Vec<_>>(),
        "conditions": conditions,
    });
    // One that is gone or changed meanwhile comes again.
    let patch = Patch::Strategic(json!({"status": status}));
    let _ = pods.patch_status(&pod.name_any(), &PatchParams::default(), &patch).await;
}
