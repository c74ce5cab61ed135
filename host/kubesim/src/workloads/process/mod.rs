//! Pods as processes of this machine: bubblewrap makes the sandbox, one thread spawns, tokio reaps.
//!
//! Nothing here survives us: every process is in a PID namespace that dies with its bubblewrap, which dies
//! with the spawner's thread; and a watchdog ends what was not that far yet.

pub mod backoff;
mod enter;
pub mod env;
pub mod images;
mod instance;
pub mod join;
pub mod logs;
mod pidfd;
pub mod probe;
pub mod quantity;
mod sandbox;
mod spawner;
mod terminal;
pub mod volumes;
mod watchdog;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub use self::instance::{Process, ProcessExecutor};
use self::{
    env::{Place, Sources, Unresolved, environment, expand_all},
    images::{ImageRule, Program, command_line},
    logs::LogFiles,
    probe::Exec,
    sandbox::{Mount, Sandbox},
    spawner::Spawner,
    volumes::PodDirs,
    watchdog::Watchdog,
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
use anyhow::{Context, bail};
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Container, Pod, Secret},
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
    mark: String,
    watchdog: tokio::sync::Mutex<Watchdog>,
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
        let mark = uuid::Uuid::new_v4().to_string();
        let watchdog = Watchdog::start(&mark).context("starting the watchdog")?.into();
        let store = store.clone();
        let processes = Self { store, spawner, bwrap, rules, data, log_cap, hosts, mark, watchdog };
        processes.try_a_sandbox().await?;
        Ok(processes)
    }

    async fn try_a_sandbox(&self) -> anyhow::Result<()> {
        let tmp = tempdir_in(&self.data.join("pods"))?;
        let sandbox = self.sandbox(
            "senren",
            Vec::new(),
            "/".into(),
            tmp.clone(),
            BTreeMap::new().into_iter().collect(),
        );
        let executor = ProcessExecutor::new(&self.spawner, sandbox);
        let tried =
            executor.exec(&["/bin/sh".into(), "-c".into(), ":".into()], Duration::from_secs(10)).await;
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
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
            let Some(claim) = &volume.persistent_volume_claim else { continue };
            if !super::claims::is_bound(&self.store, namespace, &claim.claim_name) {
                return Err(NotYet(format!(
                    "persistentvolumeclaim \"{}\" not found or not bound",
                    claim.claim_name
                )));
            }
        }
        volumes::set_up(pod, &self.dirs(pod), place, &self.sources(pod))
            .map_err(|error| NotYet(error.to_string()))
    }

    /// Starts one container.
    pub async fn start_container(
        &self,
        pod: &Pod,
        container: &Container,
        place: &Place,
    ) -> Result<Process, StartError> {
        let program = self.program(container).map_err(|error| not_yet("ErrImagePull", &error.to_string()))?;
        let environment = environment(pod, container, place, &self.sources(pod))
            .map_err(|Unresolved(message)| not_yet("CreateContainerConfigError", &message))?;
        let machine = |what: &str, error: &dyn std::fmt::Display| exited(format!("{what}: {error}"));
        let dirs = self.dirs(pod);
        let mut mounts = volumes::mounts(pod, container, &dirs, &environment)
            .map_err(|error| not_yet("CreateContainerConfigError", &error.to_string()))?;
        let hosts =
            self.hosts.file_of(pod, &dirs.pod, place).map_err(|error| machine("/etc/hosts", &error))?;
        mounts.push(Mount { source: hosts, target: "/etc/hosts".into(), read_only: true });
        let tmp = dirs.fresh_tmp(&container.name).map_err(|error| machine("/tmp", &error))?;
        let words =
            |words: &Option<Vec<String>>| expand_all(words.as_deref().unwrap_or_default(), &environment);
        let command = command_line(&program, &words(&container.command), &words(&container.args));
        let working_dir =
            container.working_dir.clone().filter(|dir| !dir.is_empty()).unwrap_or(program.working_dir);
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
        Process::launch(&self.spawner, sandbox, command, logs)
            .await
            .map_err(|error| machine("starting bubblewrap", &error))
    }

    fn sandbox(
        &self,
        hostname: &str,
        mounts: Vec<Mount>,
        working_dir: PathBuf,
        tmp: PathBuf,
        environment: Vec<(String, String)>,
    ) -> Sandbox {
        let (bwrap, mark, hostname) = (self.bwrap.clone(), self.mark.clone(), hostname.into());
        Sandbox { bwrap, hostname, mounts, working_dir, tmp, environment, mark }
    }

    /// When all pods have stopped: makes sure that nothing is left.
    pub async fn shut_down(&self) {
        self.watchdog.lock().await.dismiss().await;
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
    StartError::Exited(Exit {
        code: 128,
        reason: Some("StartError"),
        message: Some(message),
        last_words: String::new(),
    })
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
        let binary =
            map.binary_data.unwrap_or_default().into_iter().map(|(key, ByteString(value))| (key, value));
        Some(text.chain(binary).collect())
    }

    fn secret(&self, name: &str) -> Option<BTreeMap<String, Vec<u8>>> {
        let secret: Secret = get(self.store, &SECRETS, self.namespace, name)?;
        Some(
            secret
                .data
                .unwrap_or_default()
                .into_iter()
                .map(|(key, ByteString(value))| (key, value))
                .collect(),
        )
    }
}
