//! Pods as processes of this machine: bubblewrap makes the sandbox, one thread spawns, tokio reaps.
//!
//! Nothing here survives us: every process is in a PID namespace that dies with its bubblewrap, which dies with the
//! spawner's thread. (A bubblewrap that is killed by someone else within its first few milliseconds, before its child
//! has bound its own life to it, is the one exception that the kernel leaves.)

pub mod backoff;
pub mod env;
pub mod images;
pub mod logs;
mod pidfd;
pub mod probe;
pub mod quantity;
mod sandbox;
mod spawner;
pub mod volumes;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Container, Pod, Secret},
};
use tokio::{io::AsyncReadExt, net::unix::pipe, process::Child, task::JoinHandle};

use self::{
    env::{Place, Sources, Unresolved, environment, expand_all},
    images::{ImageRule, Program, command_line},
    logs::LogFiles,
    pidfd::Pidfd,
    probe::Exec,
    sandbox::{Mount, Sandbox},
    spawner::{Launch, Spawner},
    volumes::PodDirs,
};
use super::{
    feed::get,
    runtime::{Exit, NotYet, StartError},
};
use crate::{
    kinds::{CONFIG_MAPS, SECRETS},
    network::hosts::Hosts,
    store::Store,
};

/// Runs pods as local processes.
pub struct Processes {
    store: Store,
    spawner: Spawner,
    bwrap: PathBuf,
    rules: Vec<ImageRule>,
    data: PathBuf,
    log_cap: u64,
    hosts: Arc<Hosts>,
}

/// What local processes need to know.
pub struct Setup {
    /// Which programs stand in for which images.
    pub rules: Vec<ImageRule>,
    /// Where pods, claims and logs are kept.
    pub data: PathBuf,
    /// Size at which a log file is rotated.
    pub log_cap: u64,
    /// The names that pods see.
    pub hosts: Arc<Hosts>,
}

impl Processes {
    /// Checks that this machine can sandbox at all, and starts the spawner.
    pub async fn start(store: &Store, setup: Setup) -> anyhow::Result<Self> {
        let Some(bwrap) = images::on_path("bwrap") else {
            bail!("bwrap is not on PATH; pods as local processes need it: install the package `bubblewrap`");
        };
        let spawner = Spawner::start()?;
        let Setup { rules, data, log_cap, hosts } = setup;
        let pods = data.join("pods");
        // What an earlier run left of its pods: they start afresh, and nobody runs in there any more.
        if pods.exists() {
            std::fs::remove_dir_all(&pods).with_context(|| format!("removing {}", pods.display()))?;
        }
        std::fs::create_dir_all(&pods).with_context(|| format!("creating {}", pods.display()))?;
        let data = data.canonicalize().with_context(|| format!("opening {}", data.display()))?;
        let processes = Self { store: store.clone(), spawner, bwrap, rules, data, log_cap, hosts };
        processes.try_a_sandbox().await?;
        Ok(processes)
    }

    async fn try_a_sandbox(&self) -> anyhow::Result<()> {
        let tmp = tempdir_in(&self.data.join("pods"))?;
        let sandbox = self.sandbox("senren", Vec::new(), "/".into(), tmp.clone(), BTreeMap::new().into_iter().collect());
        let executor = ProcessExecutor { spawner: self.spawner.clone(), sandbox };
        let tried = executor.exec(&["/bin/sh".into(), "-c".into(), ":".into()], Duration::from_secs(10)).await;
        std::fs::remove_dir_all(&tmp).with_context(|| format!("removing {}", tmp.display()))?;
        tried.map_err(|error| {
            anyhow::anyhow!(
                "bubblewrap cannot make a sandbox here: {error}\nAn ordinary user needs unprivileged user namespaces: \
                 `sysctl kernel.unprivileged_userns_clone=1` on old Debian, `sysctl \
                 kernel.apparmor_restrict_unprivileged_userns=0` on Ubuntu 24.04 and later; in a container they may \
                 be forbidden altogether. As root none of this is needed, or simulate the pods."
            )
        })
    }

    /// Why a pod cannot run as processes, if so.
    pub fn refuses(&self, pod: &Pod) -> Option<String> {
        let spec = pod.spec.as_ref()?;
        let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let mut errors = containers.filter_map(|container| self.program(container).err());
        errors.next().map(|error| error.to_string())
    }

    fn program(&self, container: &Container) -> Result<Program, images::NoProgram> {
        images::resolve(&self.rules, container.image.as_deref().unwrap_or_default())
    }

    fn dirs(&self, pod: &Pod) -> PodDirs {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        PodDirs { pod: self.data.join("pods").join(uid), claims: self.data.join("claims").join(namespace) }
    }

    /// The logs of a pod's container.
    pub fn log_files(&self, namespace: &str, pod: &str, container: &str) -> LogFiles {
        LogFiles::new(&self.data.join("logs"), namespace, pod, container, self.log_cap)
    }

    fn sources<'a>(&'a self, pod: &'a Pod) -> StoreSources<'a> {
        StoreSources { store: &self.store, namespace: pod.metadata.namespace.as_deref().unwrap_or_default() }
    }

    /// Makes the pod's volumes, or brings them up to date.
    pub async fn set_up(&self, pod: &Pod, place: &Place) -> Result<(), NotYet> {
        if let Some(why) = unsupported(pod) {
            return Err(NotYet(why));
        }
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
            let Some(claim) = &volume.persistent_volume_claim else { continue };
            if !super::claims::is_bound(&self.store, namespace, &claim.claim_name) {
                return Err(NotYet(format!("persistentvolumeclaim \"{}\" not found or not bound", claim.claim_name)));
            }
        }
        volumes::set_up(pod, &self.dirs(pod), place, &self.sources(pod)).map_err(|error| NotYet(error.to_string()))
    }

    /// Starts one container.
    pub async fn start_container(&self, pod: &Pod, container: &Container, place: &Place) -> Result<Process, StartError> {
        let program = self.program(container).map_err(|error| not_yet("ErrImagePull", &error.to_string()))?;
        let environment = environment(pod, container, place, &self.sources(pod))
            .map_err(|Unresolved(message)| not_yet("CreateContainerConfigError", &message))?;
        let machine = |what: &str, error: &dyn std::fmt::Display| exited(format!("{what}: {error}"));
        let dirs = self.dirs(pod);
        let mut mounts = volumes::mounts(pod, container, &dirs, &environment)
            .map_err(|error| not_yet("CreateContainerConfigError", &error.to_string()))?;
        let hosts = self.hosts.file_of(pod, &dirs.pod, place).map_err(|error| machine("/etc/hosts", &error))?;
        mounts.push(Mount { source: hosts, target: "/etc/hosts".into(), read_only: true });
        let tmp = dirs.fresh_tmp(&container.name).map_err(|error| machine("/tmp", &error))?;
        let words = |words: &Option<Vec<String>>| expand_all(words.as_deref().unwrap_or_default(), &environment);
        let command = command_line(&program, &words(&container.command), &words(&container.args));
        let working_dir = container.working_dir.clone().filter(|dir| !dir.is_empty()).unwrap_or(program.working_dir);
        let hostname = pod.spec.as_ref().and_then(|spec| spec.hostname.as_deref());
        let hostname = hostname.or(pod.metadata.name.as_deref()).unwrap_or("pod");
        let sandbox = self.sandbox(hostname, mounts, working_dir.into(), tmp, environment);
        let first = command.first().map_or("", String::as_str);
        if sandbox.finds(first) == Some(false) {
            return Err(exited(format!("exec: {first:?}: executable file not found in $PATH")));
        }
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let logs = self.log_files(namespace, name, &container.name);
        self.launch(sandbox, command, logs).await.map_err(|error| machine("starting bubblewrap", &error))
    }

    async fn launch(&self, sandbox: Sandbox, command: Vec<String>, logs: LogFiles) -> std::io::Result<Process> {
        let log = logs.begin()?;
        let executor = Arc::new(ProcessExecutor { spawner: self.spawner.clone(), sandbox });
        let mut started = self.spawner.spawn(executor.launch(command)).await?;
        let logging = tokio::spawn(log.copy(started.output));
        let mut report = Report::default();
        let init = report.child_pid(&mut started.status).await.and_then(|pid| Pidfd::open(pid).ok());
        Ok(Process {
            id: uuid::Uuid::new_v4().to_string(),
            executor,
            child: started.child,
            status: started.status,
            report,
            init,
            logging: Some(logging),
            logs,
        })
    }

    fn sandbox(
        &self,
        hostname: &str,
        mounts: Vec<Mount>,
        working_dir: PathBuf,
        tmp: PathBuf,
        environment: Vec<(String, String)>,
    ) -> Sandbox {
        Sandbox { bwrap: self.bwrap.clone(), hostname: hostname.into(), mounts, working_dir, tmp, environment }
    }

    /// Removes what was the pod's alone.
    pub async fn tear_down(&self, pod: &Pod) {
        self.hosts.forget(pod);
        if let Err(error) = self.dirs(pod).remove() {
            tracing::warn!(%error, pod = pod.metadata.name, "a pod's directory cannot be removed");
        }
    }
}

fn not_yet(reason: &str, message: &str) -> StartError {
    StartError::NotYet { reason: reason.into(), message: message.into() }
}

fn exited(message: String) -> StartError {
    StartError::Exited(Exit { code: 128, reason: Some("StartError"), message: Some(message), last_words: String::new() })
}

/// What a pod asks for that local processes cannot give faithfully.
fn unsupported(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let sidecar = spec.init_containers.iter().flatten().find(|container| container.restart_policy.is_some());
    sidecar.map(|container| format!("init container {:?} with a restartPolicy is not supported here", container.name))
}

fn tempdir_in(parent: &Path) -> anyhow::Result<PathBuf> {
    let dir = parent.join(format!("try-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&dir).with_context(|| format!("creating {}", dir.display()))?;
    Ok(dir)
}

struct StoreSources<'a> {
    store: &'a Store,
    namespace: &'a str,
}

impl Sources for StoreSources<'_> {
    fn config_map(&self, name: &str) -> Option<BTreeMap<String, Vec<u8>>> {
        let map: ConfigMap = get(self.store, &CONFIG_MAPS, self.namespace, name)?;
        let text = map.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
        let binary = map.binary_data.unwrap_or_default().into_iter().map(|(key, ByteString(value))| (key, value));
        Some(text.chain(binary).collect())
    }

    fn secret(&self, name: &str) -> Option<BTreeMap<String, Vec<u8>>> {
        let secret: Secret = get(self.store, &SECRETS, self.namespace, name)?;
        Some(secret.data.unwrap_or_default().into_iter().map(|(key, ByteString(value))| (key, value)).collect())
    }
}

/// A container that runs as a process.
pub struct Process {
    /// Identity of the instance.
    pub id: String,
    /// Runs something beside it.
    pub executor: Arc<ProcessExecutor>,
    child: Child,
    status: pipe::Receiver,
    report: Report,
    init: Option<Pidfd>,
    logging: Option<JoinHandle<()>>,
    logs: LogFiles,
}

impl Process {
    /// Waits for its end, until its last output is in the log.
    pub async fn wait(&mut self) -> Exit {
        self.report.rest(&mut self.status).await;
        let ended = self.child.wait().await;
        if let Some(logging) = &mut self.logging {
            // The writer of the pipe is gone with the namespace; a panic there must not stop the pod.
            let _ = logging.await;
            self.logging = None;
        }
        // Without a report of ours, bubblewrap itself failed and said why on its output.
        match self.report.exit_code() {
            Some(0) => Exit::default(),
            Some(code) => Exit { code, last_words: self.logs.tail(20), ..Exit::default() },
            None => {
                let words = self.logs.tail(5);
                let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                let message = if words.is_empty() { format!("the sandbox ended: {how}") } else { words.clone() };
                let code = if self.report.killed { 137 } else { 128 };
                let reason = if self.report.killed { "Error" } else { "StartError" };
                Exit { code, reason: Some(reason), message: Some(message), last_words: words }
            }
        }
    }

    /// Sends a signal to the container's first process.
    pub fn signal(&mut self, signal: i32) {
        if let Some(init) = &self.init {
            // Gone already: its end is being waited for.
            let _ = init.signal(signal);
        }
    }

    /// Kills everything in the container.
    pub fn kill(&mut self) {
        self.report.killed = true;
        match &self.init {
            Some(init) if init.signal(libc::SIGKILL).is_ok() => {}
            _ => {
                let _ = self.child.start_kill();
            }
        }
    }
}

/// What bubblewrap reports about its child: JSON documents, one a line.
#[derive(Debug, Default)]
struct Report {
    text: Vec<u8>,
    ended: bool,
    killed: bool,
}

impl Report {
    fn field(&self, name: &str) -> Option<i32> {
        let lines = self.text.split(|byte| *byte == b'\n');
        let mut documents = lines.filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
        documents.find_map(|document| document[name].as_i64()).and_then(|value| value.try_into().ok())
    }

    fn exit_code(&self) -> Option<i32> {
        self.field("exit-code")
    }

    /// The process id of the container's first process, as soon as it is known; `None` if bubblewrap ended before.
    async fn child_pid(&mut self, status: &mut pipe::Receiver) -> Option<i32> {
        while self.field("child-pid").is_none() && !self.ended {
            self.read(status).await;
        }
        self.field("child-pid")
    }

    async fn rest(&mut self, status: &mut pipe::Receiver) {
        while !self.ended {
            self.read(status).await;
        }
    }

    async fn read(&mut self, status: &mut pipe::Receiver) {
        match status.read_buf(&mut self.text).await {
            Ok(0) | Err(_) => self.ended = true,
            Ok(_) => {}
        }
    }
}

/// Runs commands in a container's sandbox, beside its own process: the same mounts and environment, and a PID
/// namespace of their own.
pub struct ProcessExecutor {
    spawner: Spawner,
    sandbox: Sandbox,
}

impl ProcessExecutor {
    fn launch(&self, command: Vec<String>) -> Launch {
        let sandbox = self.sandbox.clone();
        Launch {
            program: sandbox.bwrap.clone(),
            environment: sandbox.environment.clone(),
            arguments: Box::new(move |status| sandbox.arguments(status, &command)),
        }
    }
}

impl Exec for ProcessExecutor {
    async fn exec(&self, command: &[String], limit: Duration) -> Result<(), String> {
        const KEPT: u64 = 10 * 1024;
        let run = async {
            let mut started = self.spawner.spawn(self.launch(command.to_vec())).await.map_err(|e| e.to_string())?;
            let mut output = Vec::new();
            let mut kept = (&mut started.output).take(KEPT);
            // What is beyond is read and dropped, so that the command doesn't block on it.
            let read = async {
                kept.read_to_end(&mut output).await?;
                tokio::io::copy(kept.get_mut(), &mut tokio::io::sink()).await
            };
            read.await.map_err(|error: std::io::Error| error.to_string())?;
            let status = started.child.wait().await.map_err(|error| error.to_string())?;
            let output = String::from_utf8_lossy(&output).trim_end().to_owned();
            if status.success() { Ok(()) } else if output.is_empty() { Err(status.to_string()) } else { Err(output) }
        };
        // Out of time, the future is dropped and kills what it started.
        let late = || Err(format!("command timed out: {:?} timed out after {}s", command.join(" "), limit.as_secs()));
        tokio::time::timeout(limit, run).await.unwrap_or_else(|_| late())
    }
}
