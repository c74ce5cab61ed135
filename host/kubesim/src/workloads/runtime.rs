//! What containers are made of: local processes or nothing but time. The life around them is the same.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Container, Pod};

use super::{
    exec::Inside,
    pod_state::ContainerRecord,
    process::{Process, ProcessExecutor, Processes, env::Place, probe::Exec},
    simulated::{SimulatedContainer, SimulatedExecutor, SimulatedRuntime},
};

/// Runs containers.
#[derive(Clone)]
pub enum Runtime {
    /// As processes of this machine.
    Processes(Arc<Processes>),
    /// As delays and planned failures.
    Simulated(Arc<SimulatedRuntime>),
}

/// Why a pod cannot be set up yet; it is tried again when objects of its namespace change.
#[derive(Debug, PartialEq, Eq)]
pub struct NotYet(pub String);

/// Why a container did not start.
#[derive(Debug, PartialEq, Eq)]
pub enum StartError {
    /// Something is missing; the container waits for it with this reason.
    NotYet {
        /// `CreateContainerConfigError`, `ErrImagePull`, …
        reason: String,
        /// What is missing.
        message: String,
    },
    /// It failed at once, which counts as a run.
    Exited(Exit),
}

/// How an instance ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// Exit code; 128 + n after signal n.
    pub code: i32,
    /// If it is neither `Completed` nor `Error`.
    pub reason: Option<&'static str>,
    /// What there is to say about it.
    pub message: Option<String>,
    /// The end of its log, if it failed.
    pub last_words: String,
}

/// A running container.
pub enum Instance {
    /// A process.
    Process(Box<Process>),
    /// A simulated one.
    Simulated(SimulatedContainer),
}

/// Runs something beside a container, in what the container sees.
#[derive(Clone)]
pub enum Executor {
    /// In the sandbox of a process.
    Process(Arc<ProcessExecutor>),
    /// Nowhere.
    Simulated(SimulatedExecutor),
}

impl Runtime {
    /// Why no node takes this pod, if so.
    #[must_use]
    pub fn unschedulable(&self, pod: &Pod) -> Option<String> {
        match self {
            Self::Processes(_) => None,
            Self::Simulated(simulated) => simulated.unschedulable(pod),
        }
    }

    /// Takes as long as it takes to find a node.
    pub async fn scheduling(&self, pod: &Pod) {
        if let Self::Simulated(simulated) = self {
            simulated.scheduling(pod).await;
        }
    }

    /// Makes the pod's volumes; may be called again.
    pub async fn set_up(&self, pod: &Pod, place: &Place) -> Result<(), NotYet> {
        match self {
            Self::Processes(processes) => processes.set_up(pod, place).await,
            Self::Simulated(_) => Ok(()),
        }
    }

    /// Starts a container of a pod that is set up.
    pub async fn start(
        &self,
        pod: &Pod,
        container: &Container,
        place: &Place,
    ) -> Result<Instance, StartError> {
        match self {
            Self::Processes(processes) => {
                let process = processes.start_container(pod, container, place).await?;
                Ok(Instance::Process(Box::new(process)))
            }
            Self::Simulated(simulated) => simulated.start(pod, container).await.map(Instance::Simulated),
        }
    }

    /// A container that runs already, as its account says. `None` where that can't be.
    #[must_use]
    pub fn resume(&self, pod: &Pod, container: &Container, record: &ContainerRecord) -> Option<Instance> {
        match self {
            // What runs in a process can't be had a second time.
            Self::Processes(_) => None,
            Self::Simulated(simulated) => Some(Instance::Simulated(simulated.resume(pod, container, record))),
        }
    }

    /// Removes what was the pod's alone. All its containers have ended.
    pub async fn tear_down(&self, pod: &Pod) {
        if let Self::Processes(processes) = self {
            processes.tear_down(pod).await;
        }
    }
}

impl Instance {
    /// Identity of this instance.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Process(process) => &process.id,
            Self::Simulated(simulated) => &simulated.id,
        }
    }

    /// How to run something beside it.
    #[must_use]
    pub fn executor(&self) -> Executor {
        match self {
            Self::Process(process) => Executor::Process(process.executor.clone()),
            Self::Simulated(simulated) => Executor::Simulated(simulated.executor()),
        }
    }

    /// How to run what others ask to run in it.
    #[must_use]
    pub fn inside(&self) -> Inside {
        match self {
            Self::Process(process) => Inside::Process(process.joinable.clone()),
            Self::Simulated(simulated) => Inside::Simulated(simulated.exec.clone()),
        }
    }

    /// Waits for its end. Cancel safe; may be called again after it ended.
    pub async fn wait(&mut self) -> Exit {
        match self {
            Self::Process(process) => process.wait().await,
            Self::Simulated(simulated) => simulated.wait().await,
        }
    }

    /// Waits until it can be asked to stop.
    pub async fn settled(&self) {
        if let Self::Process(process) = self {
            process.settled().await;
        }
    }

    /// SIGTERM.
    pub fn ask_to_stop(&mut self) {
        match self {
            Self::Process(process) => process.signal(libc::SIGTERM),
            Self::Simulated(simulated) => simulated.stop(),
        }
    }

    /// SIGKILL, to everything in it.
    pub fn kill(&mut self) {
        match self {
            Self::Process(process) => process.kill(),
            Self::Simulated(simulated) => simulated.kill(),
        }
    }
}

impl Exec for Executor {
    async fn exec(&self, command: &[String], limit: Duration) -> Result<(), String> {
        match self {
            Self::Process(executor) => executor.exec(command, limit).await,
            Self::Simulated(_) => Ok(()),
        }
    }
}
