//! Pods made of time: they start, become ready and end after delays, and fail where they are told to.
//!
//! Deterministic: no randomness, and a failure is chosen by image and pod name alone. Costs a few sleeping
//! tasks.

use std::{fmt, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    exec::ExecSimulator,
    pod_state::ContainerRecord,
    process::images::glob,
    runtime::{Exit, StartError},
};

/// How simulated pods behave.
#[derive(Clone)]
pub struct Simulated {
    /// From the pod's creation until it has a node and an address.
    pub scheduling: Duration,
    /// Until a container runs.
    pub start: Duration,
    /// From there until it is ready.
    pub ready: Duration,
    /// From being asked to stop until a container has ended (or the pod's grace period, if that is shorter).
    pub termination: Duration,
    /// How long containers of pods run that are to end by themselves (`restartPolicy` other than `Always`).
    pub completion: Duration,
    /// What goes wrong; the first that matches counts.
    pub failures: Vec<Failure>,
    /// What answers commands in simulated pods (`exec`); without, each is refused.
    pub exec: Option<Arc<dyn ExecSimulator>>,
}

impl fmt::Debug for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheduling, start, ready, termination, completion, failures, exec } = self;
        let times = [scheduling, start, ready, termination, completion];
        let exec = exec.is_some();
        f.debug_struct("Simulated")
            .field("times", &times)
            .field("failures", failures)
            .field("exec", &exec)
            .finish()
    }
}

impl Default for Simulated {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            scheduling: ms(1),
            start: ms(5),
            ready: ms(5),
            termination: ms(5),
            completion: ms(20),
            failures: Vec::new(),
            exec: None,
        }
    }
}

/// Something that goes wrong with the pods it names.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Containers with such an image; `*` stands for any text.
    pub image: String,
    /// In pods with such a name.
    pub pod: String,
    /// What happens to them.
    pub kind: FailureKind,
}

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// No node takes the pod.
    Unschedulable,
    /// The image cannot be pulled.
    ImagePull,
    /// The container ends with this code after this time, again and again.
    CrashLoop {
        /// How long it runs.
        after: Duration,
        /// Its exit code.
        code: i32,
    },
    /// It runs and never becomes ready.
    NeverReady,
}

/// Runs containers by doing nothing at the right time.
#[derive(Debug)]
pub struct SimulatedRuntime {
    plan: Simulated,
}

impl SimulatedRuntime {
    /// A runtime that behaves so.
    #[must_use]
    pub fn new(plan: Simulated) -> Self {
        Self { plan }
    }

    fn failure(&self, pod: &Pod, container: &Container) -> Option<FailureKind> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let image = container.image.as_deref().unwrap_or_default();
        let found =
            self.plan.failures.iter().find(|failure| glob(&failure.pod, name) && glob(&failure.image, image));
        found.map(|failure| failure.kind)
    }

    /// Why no node takes the pod.
    #[must_use]
    pub fn unschedulable(&self, pod: &Pod) -> Option<String> {
        let mut containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let fails =
            containers.any(|container| self.failure(pod, container) == Some(FailureKind::Unschedulable));
        fails.then(|| "0/1 nodes are available: 1 node(s) were told to refuse this pod.".to_owned())
    }

    /// Takes the time of a scheduler.
    pub async fn scheduling(&self, _pod: &Pod) {
        sleep(self.plan.scheduling).await;
    }

    /// Starts a container, or fails as planned.
    pub async fn start(&self, pod: &Pod, container: &Container) -> Result<SimulatedContainer, StartError> {
        sleep(self.plan.start).await;
        let image = container.image.as_deref().unwrap_or_default();
        if self.failure(pod, container) == Some(FailureKind::ImagePull) {
            let message = format!("failed to pull and unpack image {image:?}: not found");
            return Err(StartError::NotYet { reason: "ErrImagePull".into(), message });
        }
        Ok(self.instance(pod, container, uuid::Uuid::new_v4().to_string()))
    }

    /// A container that runs already. What remains of its time is all of it, but that it is ready at once if it was.
    #[must_use]
    pub fn resume(&self, pod: &Pod, container: &Container, record: &ContainerRecord) -> SimulatedContainer {
        let mut instance = self.instance(pod, container, record.id.clone());
        if record.ready {
            instance.ready = Some(Instant::now());
        }
        instance
    }

    /// A container that begins to run now.
    fn instance(&self, pod: &Pod, container: &Container, id: String) -> SimulatedContainer {
        let failure = self.failure(pod, container);
        let policy = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always");
        let init = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
        let completes = policy != "Always" || init.into_iter().any(|init| init.name == container.name);
        let ends = match failure {
            Some(FailureKind::CrashLoop { after, code }) => Some((Instant::now() + after, code)),
            _ => completes.then(|| (Instant::now() + self.plan.completion, 0)),
        };
        let ready = (failure != Some(FailureKind::NeverReady)).then(|| Instant::now() + self.plan.ready);
        SimulatedContainer {
            id,
            ends,
            ready,
            termination: self.plan.termination,
            exec: self.plan.exec.clone(),
        }
    }
}

/// A container that isn't there.
pub struct SimulatedContainer {
    /// Identity of the instance.
    pub id: String,
    ends: Option<(Instant, i32)>,
    ready: Option<Instant>,
    termination: Duration,
    /// What answers commands in it.
    pub exec: Option<Arc<dyn ExecSimulator>>,
}

impl SimulatedContainer {
    /// What its supervisor asks instead of probing.
    #[must_use]
    pub fn executor(&self) -> SimulatedExecutor {
        SimulatedExecutor { ready: self.ready }
    }

    /// Waits for its end.
    pub async fn wait(&mut self) -> Exit {
        let Some((at, code)) = self.ends else { return std::future::pending().await };
        sleep_until(at).await;
        Exit { code, ..Exit::default() }
    }

    /// It ends after its time to terminate, as if it had handled the signal.
    pub fn stop(&mut self) {
        let stopped = Instant::now() + self.termination;
        if self.ends.is_none_or(|(at, _)| at > stopped) {
            self.ends = Some((stopped, 0));
        }
    }

    /// It ends now.
    pub fn kill(&mut self) {
        self.ends = Some((Instant::now(), 137));
    }
}

/// The readiness of a simulated container.
#[derive(Clone, Debug)]
pub struct SimulatedExecutor {
    ready: Option<Instant>,
}

impl SimulatedExecutor {
    /// Returns when the container is ready; never, if it never is.
    pub async fn becomes_ready(&self) {
        match self.ready {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}
