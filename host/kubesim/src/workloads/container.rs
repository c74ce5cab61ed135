//! One container: started, watched over, probed, stopped, and started again by the pod's restart policy.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Container, ContainerStateTerminated, LifecycleHandler, Probe},
    apimachinery::pkg::apis::meta::v1::Time,
};
use tokio::{sync::mpsc, time::sleep};

use super::{
    pod::{Life, Slot},
    pod_state::{ContainerRecord, running, waiting},
    process::{
        backoff::Backoff,
        env::Place,
        probe::{Answer, Exec, Plan},
    },
    recorder::Level,
    runtime::{Executor, Exit, Instance, StartError},
};

/// Keeps one container of a pod running for as long as its pod wants it to.
pub struct Supervisor {
    life: Arc<Life>,
    slot: Slot,
    container: Container,
    place: Place,
    backoff: Backoff,
}

impl Supervisor {
    /// A supervisor for the container in this slot of the pod.
    pub fn new(life: Arc<Life>, slot: Slot, container: Container, place: Place) -> Self {
        Self { life, slot, container, place, backoff: Backoff::default() }
    }

    /// Runs the container until it is not to be started again; the exit code, unless the pod was stopped
    /// before.
    pub async fn run(&mut self) -> Option<i32> {
        let mut again = false;
        let mut runs = self.runs_already();
        loop {
            if self.life.order().deadline().is_some() {
                self.never_ran();
                return None;
            }
            let started = match runs.take() {
                Some(instance) => Ok(instance),
                None => self.start(again).await,
            };
            let exit = match started {
                Ok(mut instance) => self.watch_over(&mut instance).await,
                Err(StartError::Exited(exit)) => exit,
                Err(StartError::NotYet { reason, message }) => {
                    self.wait_for_objects(&reason, &message).await;
                    continue;
                }
            };
            let code = exit.code;
            self.ended(exit);
            if self.life.order().deadline().is_some() {
                return None;
            }
            if !self.restarts_after(code) {
                return Some(code);
            }
            self.back_off().await;
            again = true;
        }
    }

    /// The instance that runs since before this life began.
    fn runs_already(&self) -> Option<Instance> {
        let record = self.life.record(self.slot).filter(|record| record.state.running.is_some())?;
        self.life.runtime.resume(&self.life.pod, &self.container, &record)
    }

    async fn start(&self, again: bool) -> Result<Instance, StartError> {
        let image = self.container.image.as_deref().unwrap_or_default();
        let instance = self.life.runtime.start(&self.life.pod, &self.container, &self.place).await?;
        let pulled = format!("Container image {image:?} already present on machine");
        self.event(Level::Normal, "Pulled", &pulled);
        self.event(Level::Normal, "Created", &format!("Created container: {}", self.container.name));
        self.event(Level::Normal, "Started", &format!("Started container {}", self.container.name));
        let id = instance.id().to_owned();
        self.change(|record| {
            record.restarts += i32::from(again);
            record.state = running(Timestamp::now());
            record.id = id;
        });
        Ok(instance)
    }

    /// From the start of an instance to its end, whoever ends it.
    async fn watch_over(&self, instance: &mut Instance) -> Exit {
        let executor = instance.executor();
        let _registered = self.life.register(&self.container.name, instance.inside());
        enum Why {
            Ended(Exit),
            Ordered,
            Unhealthy(String),
        }
        let why = tokio::select! {
            exit = instance.wait() => Why::Ended(exit),
            () = self.life.ordered_to_stop() => Why::Ordered,
            message = self.attend(&executor) => Why::Unhealthy(message),
        };
        match why {
            Why::Ended(exit) => exit,
            Why::Ordered => {
                self.event(Level::Normal, "Killing", &format!("Stopping container {}", self.container.name));
                self.stop(instance, &executor, None).await
            }
            Why::Unhealthy(message) => {
                self.event(Level::Normal, "Killing", &message);
                self.stop(instance, &executor, Some(self.life.grace())).await
            }
        }
    }

    /// The hook after the start, then the probes; returns only with the reason to kill the instance.
    async fn attend(&self, executor: &Executor) -> String {
        let hook = self.container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref());
        if let Some(hook) = hook
            && let Err(error) = self.hook(hook, executor).await
        {
            self.event(Level::Warning, "FailedPostStartHook", &format!("PostStartHook failed: {error}"));
            return "FailedPostStartHook".into();
        }
        if let Executor::Simulated(simulated) = executor {
            simulated.becomes_ready().await;
            self.change(|record| (record.started, record.ready) = (true, true));
            return std::future::pending().await;
        }
        if let Some(probe) = &self.container.startup_probe
            && let Err(why) = self.startup(probe, executor).await
        {
            return why;
        }
        self.change(|record| record.started = true);
        tokio::select! {
            () = self.readiness(executor) => std::future::pending().await,
            why = self.liveness(executor) => why,
        }
    }

    async fn startup(&self, probe: &Probe, executor: &Executor) -> Result<(), String> {
        self.probe("Startup", probe, true, executor, |answer| match answer.message {
            None if answer.reached => Some(Ok(())),
            Some(_) if answer.reached => Some(Err(format!(
                "Container {} failed startup probe, will be restarted",
                self.container.name
            ))),
            _ => None,
        })
        .await
    }

    async fn readiness(&self, executor: &Executor) {
        let set = |ready: bool| self.change(|record| record.ready = ready);
        let Some(probe) = &self.container.readiness_probe else { return set(true) };
        let told: Option<()> = self
            .probe("Readiness", probe, true, executor, |answer| {
                if answer.reached {
                    set(answer.message.is_none());
                }
                None::<Option<()>>
            })
            .await;
        debug_assert!(told.is_none());
    }

    async fn liveness(&self, executor: &Executor) -> String {
        let Some(probe) = &self.container.liveness_probe else { return std::future::pending().await };
        self.probe("Liveness", probe, false, executor, |answer| {
            let dead = answer.reached && answer.message.is_some();
            dead.then(|| {
                format!("Container {} failed liveness probe, will be restarted", self.container.name)
            })
        })
        .await
    }

    /// Probes until `decide` has an answer.
    async fn probe<T>(
        &self,
        kind: &str,
        probe: &Probe,
        eager: bool,
        executor: &Executor,
        mut decide: impl FnMut(Answer) -> Option<T>,
    ) -> T {
        let ip = self.place.pod_ip.parse().unwrap_or(std::net::Ipv4Addr::LOCALHOST.into());
        let plan = match Plan::of(probe, &self.container, ip) {
            Ok(plan) => plan,
            Err(error) => {
                self.event(Level::Warning, "Unhealthy", &format!("{kind} probe errored: {error}"));
                return std::future::pending().await;
            }
        };
        let (tell, mut answers) = mpsc::unbounded_channel();
        let asking = plan.run(eager, executor, |answer| {
            // The receiver lives as long as this future.
            let _ = tell.send(answer);
        });
        let deciding = async {
            while let Some(answer) = answers.recv().await {
                if let Some(message) = &answer.message {
                    self.event(Level::Warning, "Unhealthy", &format!("{kind} probe failed: {message}"));
                }
                if let Some(decision) = decide(answer) {
                    return decision;
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            decision = deciding => decision,
            () = asking => std::future::pending().await,
        }
    }

    /// preStop, SIGTERM, and SIGKILL when the time is over: the pod's, or `grace` if only this container is
    /// stopped.
    async fn stop(&self, instance: &mut Instance, executor: &Executor, grace: Option<Duration>) -> Exit {
        // Looked at more than once, also when it is long over.
        let over = async {
            match grace {
                None => self.life.out_of_time().await,
                Some(grace) => tokio::select! {
                    () = sleep(grace) => {}
                    () = self.life.out_of_time() => {}
                },
            }
        }
        .shared();
        let asked = async {
            if let Some(hook) =
                self.container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref())
                && let Err(error) = self.hook(hook, executor).await
            {
                self.event(Level::Warning, "FailedPreStopHook", &format!("PreStopHook failed: {error}"));
            }
        };
        tokio::select! {
            () = asked => {}
            () = over.clone() => {}
            exit = instance.wait() => return exit,
        }
        tokio::select! {
            () = instance.settled() => {}
            () = over.clone() => {}
        }
        instance.ask_to_stop();
        tokio::select! {
            exit = instance.wait() => exit,
            () = over.clone() => {
                instance.kill();
                instance.wait().await
            }
        }
    }

    async fn hook(&self, hook: &LifecycleHandler, executor: &Executor) -> Result<(), String> {
        if let Some(exec) = &hook.exec {
            let command = exec.command.clone().unwrap_or_default();
            return executor.exec(&command, self.life.grace().max(Duration::from_secs(1))).await;
        }
        if let Some(pause) = &hook.sleep {
            sleep(Duration::from_secs(u64::try_from(pause.seconds).unwrap_or(0))).await;
            return Ok(());
        }
        Err("only exec and sleep hooks are supported here".into())
    }

    fn ended(&self, exit: Exit) {
        let policy = self.container.termination_message_policy.as_deref();
        let fallback = policy == Some("FallbackToLogsOnError") && exit.code != 0;
        let message =
            exit.message.or_else(|| fallback.then_some(exit.last_words).filter(|words| !words.is_empty()));
        self.change(|record| {
            let started_at = record.state.running.take().and_then(|running| running.started_at);
            let reason = exit.reason.unwrap_or(if exit.code == 0 { "Completed" } else { "Error" });
            record.state = waiting("", "");
            record.state.waiting = None;
            record.state.terminated = Some(ContainerStateTerminated {
                container_id: (!record.id.is_empty()).then(|| format!("senren://{}", record.id)),
                exit_code: exit.code,
                finished_at: Some(Time(Timestamp::now())),
                message,
                reason: Some(reason.into()),
                signal: None,
                started_at,
            });
            (record.ready, record.started) = (false, false);
        });
    }

    /// A pod that stops before its container ran: the container is recorded as ended, as a kubelet does.
    fn never_ran(&self) {
        self.change(|record| {
            if record.state.waiting.is_some() {
                record.state.waiting = None;
                let never =
                    ContainerStateTerminated { exit_code: 137, ..ContainerStateTerminated::default() };
                let reason = Some("ContainerStatusUnknown".to_owned());
                record.state.terminated = Some(ContainerStateTerminated { reason, ..never });
            }
        });
    }

    fn restarts_after(&self, code: i32) -> bool {
        let policy =
            self.life.pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always");
        match (policy, self.slot) {
            ("Never", _) => false,
            ("Always", Slot::Main(_)) => true,
            _ => code != 0,
        }
    }

    /// Waits as long as the restart of this container has to.
    async fn back_off(&mut self) {
        let wait = self.backoff.next(&self.life.node.backoff, Instant::now());
        let name = &self.container.name;
        let pod = self.life.pod.metadata.name.as_deref().unwrap_or_default();
        let message = format!("back-off {} restarting failed container={name} pod={pod}", seconds(wait));
        if !wait.is_zero() {
            let event = format!("Back-off restarting failed container {name} in pod {pod}");
            self.event(Level::Warning, "BackOff", &event);
        }
        self.change(|record| {
            record.last = record.state.terminated.take();
            record.state = if wait.is_zero() {
                waiting("ContainerCreating", "")
            } else {
                waiting("CrashLoopBackOff", &message)
            };
        });
        tokio::select! {
            () = sleep(wait) => {}
            () = self.life.ordered_to_stop() => {}
        }
    }

    /// Something the container refers to is missing (or its image): waits until it may be there.
    async fn wait_for_objects(&self, reason: &str, message: &str) {
        let mut objects = self.life.node.objects_changed.subscribe();
        self.event(Level::Warning, "Failed", &format!("Error: {message}"));
        self.change(|record| record.state = waiting(reason, message));
        tokio::select! {
            _ = objects.changed() => {}
            () = sleep(self.life.node.backoff.base) => {}
            () = self.life.ordered_to_stop() => {}
        }
    }

    fn change(&self, change: impl FnOnce(&mut ContainerRecord)) {
        self.life.change_container(self.slot, change);
    }

    fn event(&self, level: Level, reason: &str, message: &str) {
        self.life.event(Some((self.slot, &self.container)), level, reason, message);
    }
}

fn seconds(time: Duration) -> String {
    if time.subsec_nanos() == 0 { format!("{}s", time.as_secs()) } else { format!("{}ms", time.as_millis()) }
}
