//! A node of a real cluster, and what a scheduler and a kubelet would do there: the pods of one test's namespaces are
//! bound to it, are Running and Ready, answer commands ([`super::kubelet`]), and go when they are told to; their claims
//! get volumes ([`super::volumes`]).
//!
//! No container runs. What a database says of itself is what its plugin says that it would.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Node as NodeObject, Pod};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    runtime::{WatchStreamExt as _, watcher},
};
use senren_engine::Plugins;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use super::{kubelet, volumes};

/// How often it says that it is there; the node controller believes it for 40 s.
const BEAT: Duration = Duration::from_secs(10);

/// Part of its cluster until it is dropped.
pub(super) struct Node {
    _tasks: JoinSet<()>,
}

impl Node {
    /// Joins the cluster, for the namespaces that begin with `<prefix>-`. `plugins` answer commands in pods.
    pub async fn join(client: kube::Client, prefix: &str, plugins: Plugins) -> Self {
        let name = format!("{prefix}-node");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let nodes = Api::<NodeObject>::all(client.clone());
        let object = serde_json::from_value(json!({"metadata": {"name": name}})).expect("a node");
        nodes.create(&PostParams::default(), &object).await.expect("a node can be made");
        say(&nodes, &name, port).await.expect("a node's status can be written");

        volumes::install(&client).await;
        let mut tasks = JoinSet::new();
        tasks.spawn(volumes::follow(client.clone(), prefix.to_owned()));
        tasks.spawn(kubelet::serve(listener, client.clone(), senren_conformance::simulated_exec(plugins)));
        tasks.spawn(beat(nodes, name.clone(), port));
        tasks.spawn(follow(client, prefix.to_owned(), name));
        Self { _tasks: tasks }
    }
}

async fn beat(nodes: Api<NodeObject>, name: String, port: u16) {
    loop {
        tokio::time::sleep(BEAT).await;
        // The next one will do.
        let _ = say(&nodes, &name, port).await;
    }
}

/// Says where commands are taken, and that all is well.
async fn say(nodes: &Api<NodeObject>, name: &str, port: u16) -> kube::Result<()> {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let status = json!({
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        // Else kube-apiserver would translate to SPDY.
        "declaredFeatures": ["ExtendWebSocketsToKubelet"],
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": now,
            "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    });
    let patch = Patch::Strategic(json!({"status": status}));
    nodes.patch_status(name, &PatchParams::default(), &patch).await.map(|_| ())
}

/// Does with each pod what is next.
async fn follow(client: kube::Client, prefix: String, node: String) {
    let all = Api::<Pod>::all(client.clone());
    let mut pods = watcher(all, watcher::Config::default()).default_backoff().applied_objects().boxed();
    while let Some(pod) = pods.next().await {
        let Ok(pod) = pod else { continue };
        let namespace = pod.namespace().unwrap_or_default();
        if !namespace.starts_with(&format!("{prefix}-")) {
            continue;
        }
        // One that is gone or changed meanwhile comes again.
        let _ = advance(&Api::namespaced(client.clone(), &namespace), &pod, &node).await;
    }
}

async fn advance(pods: &Api<Pod>, pod: &Pod, node: &str) -> kube::Result<()> {
    let name = pod.name_any();
    if pod.metadata.deletion_timestamp.is_some() {
        // It has stopped at once.
        let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        let this = Preconditions { uid: pod.uid(), resource_version: None };
        pods.delete(&name, &now.preconditions(this)).await?;
        return Ok(());
    }
    if pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()).is_none() {
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": name}, "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let _: Value = pods.create_subresource("binding", &name, &PostParams::default(), &binding).await?;
        return Ok(());
    }
    if pod.status.as_ref().and_then(|status| status.phase.as_deref()) != Some("Running") {
        let patch = Patch::Strategic(json!({"status": running(pod)}));
        pods.patch_status(&name, &PatchParams::default(), &patch).await?;
    }
    Ok(())
}

fn running(pod: &Pod) -> Value {
    let ip = address();
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let statuses = containers.map(|container| {
        json!({
            "name": container.name, "image": container.image, "imageID": "", "ready": true, "started": true,
            "restartCount": 0, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
        })
    });
    let condition = |kind: &str| json!({"type": kind, "status": "True"});
    let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"].map(condition);
    json!({
        "phase": "Running",
        "hostIP": "127.0.0.1",
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "containerStatuses": statuses.collect::<Vec<_>>(),
        "conditions": conditions,
    })
}

/// One that no other pod of this process has.
fn address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let [_, a, b, c] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    format!("10.{a}.{b}.{c}")
}
