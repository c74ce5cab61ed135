//! What lives behind StatefulSets, Jobs and Pods.
//!
//! Controllers turn sets and jobs into pods ([`statefulset`], [`job`]), give claims their volumes
//! ([`claims`]) and services their endpoints, names and proxies ([`crate::network`]). The [`node`] gives
//! every pod a life ([`pod`]), whose containers are local processes ([`process`]) or nothing but time
//! ([`simulated`]). All of them follow changes of the store and write back into it; none knows another.

pub mod claims;
mod container;
pub(crate) mod exec;
pub(crate) mod feed;
mod job;
pub(crate) mod names;
mod node;
mod pod;
pub mod pod_state;
pub mod process;
pub(crate) mod recorder;
mod runtime;
mod simulated;
mod statefulset;

use std::{future::Future, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use self::{
    exec::{Containers, ExecError, ExecRequest, Session},
    node::Node,
    process::{
        Setup,
        logs::{LogFiles, Tail, last_lines},
    },
    recorder::Recorder,
    simulated::SimulatedRuntime,
};
pub use self::{
    exec::{ExecSimulator, SimulatedExec, SimulatedResult},
    process::{backoff::Policy as BackoffPolicy, images::ImageRule},
    simulated::{Failure, FailureKind, Simulated},
};
use crate::{
    Config,
    network::{self, addresses::Addresses, hosts::Hosts},
    store::Store,
};

/// What lives behind StatefulSets, Jobs and Pods.
#[derive(Debug, Clone, Default)]
pub enum Workloads {
    /// Nothing: objects stay as they were written.
    #[default]
    None,
    /// Pods that are nothing but delays and planned failures.
    Simulated(Simulated),
    /// Pods that are processes of this machine.
    Processes(Processes),
}

/// How pods run as processes.
#[derive(Debug, Clone)]
pub struct Processes {
    /// Which programs stand in for which images; the first rule that matches counts.
    pub images: Vec<ImageRule>,
    /// How long containers that keep ending wait before they start again.
    pub backoff: BackoffPolicy,
    /// Size in bytes at which a container's log is rotated; twice as much is kept.
    pub log_cap: u64,
    /// How pods behave that no program stands in for.
    pub simulated: Simulated,
}

impl Default for Processes {
    fn default() -> Self {
        Self {
            images: process::images::default_rules(),
            backoff: BackoffPolicy::default(),
            log_cap: 4 * 1024 * 1024,
            simulated: Simulated::default(),
        }
    }
}

/// Which part of a container's log is asked for (`GET …/pods/<name>/log`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// The container; the only one when absent.
    pub container: Option<String>,
    /// Of the previous, terminated instance.
    pub previous: bool,
    /// Only this many lines from the end.
    pub tail_lines: Option<usize>,
}

impl LogQuery {
    fn part_of(&self, log: Vec<u8>) -> Vec<u8> {
        match self.tail_lines {
            Some(lines) => last_lines(&String::from_utf8_lossy(&log), lines).as_bytes().to_vec(),
            None => log,
        }
    }
}

/// A container's log as it grows.
pub(crate) struct Follower {
    first: Option<Vec<u8>>,
    tail: Tail,
    containers: Arc<Containers>,
    uid: String,
    container: String,
    stop: CancellationToken,
}

impl Follower {
    /// What comes next; `None` when the container has ended and all of it was read. Looks now and then: a file tells
    /// nobody that it grows.
    pub async fn next(&mut self) -> Option<Bytes> {
        const NOW_AND_THEN: Duration = Duration::from_millis(50);
        if let Some(first) = self.first.take().filter(|first| !first.is_empty()) {
            return Some(first.into());
        }
        loop {
            // Before reading: what the container wrote before it ended is there by now.
            let over = !self.containers.runs(&self.uid, &self.container) || self.stop.is_cancelled();
            match self.tail.more() {
                Ok(Some(bytes)) if !bytes.is_empty() => return Some(bytes.into()),
                Ok(Some(_)) if !over => tokio::time::sleep(NOW_AND_THEN).await,
                Ok(_) => return None,
                Err(error) => {
                    tracing::debug!(%error, container = self.container, "a log cannot be followed any more");
                    return None;
                }
            }
        }
    }
}

/// The running controllers, pods and proxies of a cluster.
pub struct Running {
    store: Store,
    processes: Option<Arc<process::Processes>>,
    containers: Arc<Containers>,
    /// The addresses of pods.
    addresses: Arc<Addresses>,
    stop: CancellationToken,
    tasks: Mutex<JoinSet<()>>,
    /// Of a cluster that keeps nothing.
    _scratch: Option<Scratch>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("processes", &self.processes.is_some()).finish_non_exhaustive()
    }
}

impl Running {
    /// The log of a pod's container, or why there is none.
    pub async fn logs(&self, namespace: &str, pod: &str, query: &LogQuery) -> Result<Vec<u8>, String> {
        let (files, container, _) = self.log_of(namespace, pod, query)?;
        let log = files.read(query.previous).map_err(|error| {
            let which = if query.previous { "previous terminated container" } else { "container" };
            format!("{which} \"{container}\" in pod \"{pod}\" has no log: {error}")
        })?;
        Ok(query.part_of(log))
    }

    /// The log of a pod's container from now on, until the container ends.
    pub(crate) async fn follow(
        &self,
        namespace: &str,
        pod: &str,
        query: &LogQuery,
    ) -> Result<Follower, String> {
        let (files, container, uid) = self.log_of(namespace, pod, query)?;
        let (log, tail) = files
            .follow()
            .map_err(|error| format!("container \"{container}\" in pod \"{pod}\" has no log: {error}"))?;
        let (containers, stop) = (self.containers.clone(), self.stop.clone());
        Ok(Follower { first: Some(query.part_of(log)), tail, containers, uid, container, stop })
    }

    /// The files of a pod's container, its name, and the pod's uid.
    fn log_of(
        &self,
        namespace: &str,
        pod: &str,
        query: &LogQuery,
    ) -> Result<(LogFiles, String, String), String> {
        let Some(processes) = &self.processes else {
            return Err("pods have no processes in this cluster".into());
        };
        let object: k8s_openapi::api::core::v1::Pod =
            feed::get(&self.store, &crate::kinds::PODS, namespace, pod)
                .ok_or_else(|| format!("pods \"{pod}\" not found"))?;
        let spec = object.spec.unwrap_or_default();
        let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let names: Vec<_> = all.map(|container| container.name.as_str()).collect();
        let container = match query.container.as_deref() {
            Some(name) if names.contains(&name) => name,
            Some(name) => return Err(format!("container {name} is not valid for pod {pod}")),
            None if spec.containers.len() == 1 => spec.containers[0].name.as_str(),
            None => {
                return Err(format!(
                    "a container name must be specified for pod {pod}, choose one of: {names:?}"
                ));
            }
        };
        let files = processes.log_files(namespace, pod, container);
        Ok((files, container.to_owned(), object.metadata.uid.unwrap_or_default()))
    }

    /// Starts a command in a pod's container.
    pub(crate) async fn exec(
        &self,
        namespace: &str,
        pod: &str,
        request: &ExecRequest,
    ) -> Result<Session, ExecError> {
        exec::start(&self.store, &self.containers, namespace, pod, request).await
    }

    /// Pods may be processes.
    pub(crate) fn has_processes(&self) -> bool {
        self.processes.is_some()
    }

    /// The addresses that pods have now.
    pub(crate) fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Ends when the cluster stops.
    pub(crate) fn stopped(&self) -> &CancellationToken {
        &self.stop
    }

    /// Stops everything and waits until it is gone.
    pub async fn stop(&self) {
        self.stop.cancel();
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        while tasks.join_next().await.is_some() {}
        if let Some(processes) = &self.processes {
            processes.shut_down().await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Everything that is spawned kills what it started when it is dropped or told to stop.
        self.stop.cancel();
    }
}

/// What the pods of a store were before.
pub(crate) enum Past {
    /// The machine that they ran on has started anew, and none of them runs.
    Machine,
    /// They go on where they were, with these addresses.
    Frozen(Addresses),
}

/// Starts what `config.workloads` names. Must not block on pods becoming ready.
pub(crate) async fn start(store: &Store, config: &Config, past: Past) -> anyhow::Result<Running> {
    let stop = CancellationToken::new();
    let (addresses, goes_on) = match past {
        Past::Machine => (Addresses::new(config.network), false),
        Past::Frozen(addresses) => (addresses, true),
    };
    let mut running = Running {
        store: store.clone(),
        processes: None,
        containers: Arc::default(),
        addresses: Arc::new(addresses),
        stop: stop.clone(),
        tasks: Mutex::default(),
        _scratch: None,
    };
    let (simulated, backoff) = match &config.workloads {
        Workloads::None => return Ok(running),
        Workloads::Simulated(simulated) => (simulated.clone(), BackoffPolicy::default()),
        Workloads::Processes(processes) => (processes.simulated.clone(), processes.backoff),
    };
    let mut tasks = JoinSet::new();
    let mut claim_directories = None;
    if let Workloads::Processes(wanted) = &config.workloads {
        let data = match &config.data_dir {
            Some(dir) => dir.clone(),
            None => running._scratch.insert(Scratch::new()?).0.clone(),
        };
        let hosts = Arc::new(Hosts::default());
        let setup = Setup {
            rules: wanted.images.clone(),
            data: data.clone(),
            log_cap: wanted.log_cap,
            hosts: hosts.clone(),
        };
        running.processes = Some(Arc::new(process::Processes::start(store, setup).await?));
        claim_directories = Some(data.join("claims"));
        watch_over(&mut tasks, "names", network::hosts::run(store.clone(), hosts, stop.clone()));
        watch_over(&mut tasks, "proxies", network::proxy::run(store.clone(), stop.clone()));
    }
    let node = Arc::new(Node {
        name: "senren".into(),
        host_ip: IpAddr::from([127, 0, 0, 1]),
        store: store.clone(),
        recorder: Recorder::new(store, "kubelet"),
        addresses: running.addresses.clone(),
        goes_on,
        backoff,
        objects_changed: watch::Sender::new(0),
        processes: running.processes.clone(),
        containers: running.containers.clone(),
        simulated: Arc::new(SimulatedRuntime::new(simulated)),
    });
    watch_over(&mut tasks, "claims", claims::run(store.clone(), claim_directories, stop.clone()));
    watch_over(&mut tasks, "endpoints", network::endpoints::run(store.clone(), stop.clone()));
    watch_over(&mut tasks, "objects", node::notice_objects(node.clone(), stop.clone()));
    watch_over(&mut tasks, "node", node::run(node, stop.clone()));
    watch_over(&mut tasks, "jobs", job::run(store.clone(), backoff, stop.clone()));
    watch_over(&mut tasks, "stateful sets", statefulset::run(store.clone(), stop));
    running.tasks = Mutex::new(tasks);
    Ok(running)
}

fn watch_over(
    tasks: &mut JoinSet<()>,
    name: &'static str,
    controller: impl Future<Output = anyhow::Result<()>> + Send + 'static,
) {
    tasks.spawn(async move {
        if let Err(error) = controller.await {
            tracing::error!(
                error = format!("{error:#}"),
                controller = name,
                "a controller of the cluster ended"
            );
        }
    });
}

/// A directory that goes when we do.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("senren-kubesim-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, directory = %self.0.display(), "a scratch directory stays");
        }
    }
}
