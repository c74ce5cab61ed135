//! What a pod's containers are doing, and the `status` that says so. Pure.
//!
//! The phase and the conditions follow from the containers alone, by the kubelet's rules; times of transition
//! are kept while a condition keeps its value.

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{
        Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
        ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

/// Why a pod is not run as a local process; also the type of the condition that says so.
pub const SIMULATED: &str = "senren.io/simulated";

/// Everything about a pod that its status tells.
#[derive(Clone, Debug)]
pub struct PodState {
    /// The pod's address, once it has one.
    pub ip: Option<IpAddr>,
    /// The machine's address.
    pub host_ip: IpAddr,
    /// When the pod was first seen by its node.
    pub started: Option<Timestamp>,
    /// Init containers, in order.
    pub init: Vec<ContainerRecord>,
    /// The containers proper.
    pub containers: Vec<ContainerRecord>,
    /// Set if the pod failed as a whole: reason and message.
    pub failed: Option<(String, String)>,
    /// Why it could not be scheduled.
    pub unschedulable: Option<String>,
    /// Why it is simulated though local processes were asked for.
    pub simulated: Option<String>,
}

/// One container's account.
#[derive(Clone, Debug)]
pub struct ContainerRecord {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// What it does now.
    pub state: ContainerState,
    /// How its former instance ended.
    pub last: Option<ContainerStateTerminated>,
    /// How often it was started again.
    pub restarts: i32,
    /// Its readiness probe succeeds (or it has none and runs).
    pub ready: bool,
    /// Its startup probe has succeeded (or it has none and runs).
    pub started: bool,
    /// Identity of the instance.
    pub id: String,
}

impl ContainerRecord {
    fn new(container: &Container, reason: &str, old: Option<&ContainerStatus>) -> Self {
        let mut record = Self {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            state: waiting(reason, ""),
            last: None,
            restarts: 0,
            ready: false,
            started: false,
            id: String::new(),
        };
        if let Some(old) = old {
            record.adopt(old);
        }
        record
    }

    /// Goes on from what an earlier life of the machine recorded: what ran then has ended since.
    fn adopt(&mut self, old: &ContainerStatus) {
        self.restarts = old.restart_count;
        let state = old.state.as_ref();
        self.last = old.last_state.as_ref().and_then(|state| state.terminated.clone());
        if let Some(running) = state.and_then(|state| state.running.as_ref()) {
            self.restarts += 1;
            self.last = Some(ContainerStateTerminated {
                container_id: old.container_id.clone(),
                exit_code: 255,
                reason: Some("Unknown".into()),
                started_at: running.started_at.clone(),
                finished_at: Some(Time(Timestamp::now())),
                ..ContainerStateTerminated::default()
            });
        } else if let Some(terminated) = state.and_then(|state| state.terminated.as_ref()) {
            self.restarts += 1;
            self.last = Some(terminated.clone());
        }
    }

    /// Takes over what the container is doing.
    fn go_on(&mut self, status: &ContainerStatus) {
        self.state = status.state.clone().unwrap_or_default();
        self.last = status.last_state.as_ref().and_then(|state| state.terminated.clone());
        self.restarts = status.restart_count;
        (self.ready, self.started) = (status.ready, status.started == Some(true));
        let id = status.container_id.as_deref().and_then(|id| id.strip_prefix("senren://"));
        self.id = id.unwrap_or_default().to_owned();
    }

    /// Its instance has ended, or was never there.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        self.state.terminated.as_ref().map(|terminated| terminated.exit_code)
    }

    fn status(&self) -> ContainerStatus {
        ContainerStatus {
            name: self.name.clone(),
            image: self.image.clone(),
            image_id: if self.id.is_empty() { String::new() } else { format!("senren://{}", self.image) },
            container_id: (!self.id.is_empty()).then(|| format!("senren://{}", self.id)),
            state: Some(self.state.clone()),
            last_state: self
                .last
                .clone()
                .map(|last| ContainerState { terminated: Some(last), ..ContainerState::default() }),
            restart_count: self.restarts,
            ready: self.ready,
            started: Some(self.started),
            ..ContainerStatus::default()
        }
    }
}

/// A container that waits, and for what.
#[must_use]
pub fn waiting(reason: &str, message: &str) -> ContainerState {
    let message = (!message.is_empty()).then(|| message.to_owned());
    let waiting = ContainerStateWaiting { reason: Some(reason.to_owned()), message };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

/// A container that runs since then.
#[must_use]
pub fn running(since: Timestamp) -> ContainerState {
    let running = ContainerStateRunning { started_at: Some(Time(since)) };
    ContainerState { running: Some(running), ..ContainerState::default() }
}

impl PodState {
    /// The state of a pod that nothing has happened to yet; or one that goes on after a restart of the
    /// machine.
    #[must_use]
    pub fn of(pod: &Pod, host_ip: IpAddr) -> Self {
        let spec = pod.spec.as_ref();
        let status = pod.status.as_ref();
        let init = spec.and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
        let containers = spec.map(|spec| spec.containers.as_slice()).unwrap_or_default();
        let reason = if init.is_empty() { "ContainerCreating" } else { "PodInitializing" };
        let old = |statuses: Option<&Vec<ContainerStatus>>, name: &str| {
            statuses.into_iter().flatten().find(|status| status.name == name).cloned()
        };
        let init_statuses = status.and_then(|status| status.init_container_statuses.as_ref());
        let statuses = status.and_then(|status| status.container_statuses.as_ref());
        Self {
            ip: None,
            host_ip,
            started: status.and_then(|status| status.start_time.as_ref()).map(|time| time.0),
            init: init
                .iter()
                .map(|container| {
                    let old = old(init_statuses, &container.name);
                    ContainerRecord::new(container, "PodInitializing", old.as_ref())
                })
                .collect(),
            containers: containers
                .iter()
                .map(|container| {
                    ContainerRecord::new(container, reason, old(statuses, &container.name).as_ref())
                })
                .collect(),
            failed: None,
            unschedulable: None,
            simulated: None,
        }
    }

    /// Takes the pod's status for what its containers do now, where [`Self::of`] takes it for what they did before the
    /// machine was started anew.
    pub fn go_on(&mut self, pod: &Pod) {
        let Some(status) = pod.status.as_ref() else { return };
        for (records, statuses) in [
            (&mut self.init, &status.init_container_statuses),
            (&mut self.containers, &status.container_statuses),
        ] {
            for record in records {
                let same = |status: &&ContainerStatus| status.name == record.name;
                if let Some(status) = statuses.iter().flatten().find(same) {
                    record.go_on(status);
                }
            }
        }
    }

    /// Whether all init containers are done.
    #[must_use]
    pub fn initialized(&self) -> bool {
        self.init.iter().all(|container| container.exit_code() == Some(0))
    }

    /// The phase, by the kubelet's rules.
    #[must_use]
    pub fn phase(&self, restart_policy: &str) -> &'static str {
        if self.failed.is_some() {
            return "Failed";
        }
        if !self.initialized() {
            let failed =
                self.init.iter().any(|container| container.exit_code().is_some_and(|code| code != 0));
            return if failed && restart_policy == "Never" { "Failed" } else { "Pending" };
        }
        let stopped = |record: &ContainerRecord| record.state.terminated.is_some() || record.last.is_some();
        let running = |record: &ContainerRecord| record.state.running.is_some();
        if self.containers.iter().any(|record| !running(record) && !stopped(record)) {
            return "Pending";
        }
        if self.containers.iter().any(running) || restart_policy == "Always" {
            return "Running";
        }
        if self.containers.iter().any(|record| record.state.terminated.is_none()) {
            return "Running";
        }
        if self.containers.iter().all(|record| record.exit_code() == Some(0)) {
            return "Succeeded";
        }
        if restart_policy == "Never" { "Failed" } else { "Running" }
    }

    /// The whole status, given the one before.
    #[must_use]
    pub fn status(&self, pod: &Pod, before: Option<&PodStatus>, now: Timestamp) -> PodStatus {
        let policy = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always");
        let phase = self.phase(policy);
        let some_ip = self.ip.map(|ip| ip.to_string());
        let bound = self.unschedulable.is_none();
        let statuses = |records: &[ContainerRecord]| {
            (bound && !records.is_empty()).then(|| records.iter().map(ContainerRecord::status).collect())
        };
        let host_ip = self.started.map(|_| self.host_ip.to_string());
        PodStatus {
            phase: Some(phase.into()),
            conditions: Some(self.conditions(pod, phase, before, now)),
            host_ip: host_ip.clone(),
            host_ips: host_ip.map(|ip| vec![HostIP { ip }]),
            pod_ip: some_ip.clone(),
            pod_ips: some_ip.map(|ip| vec![PodIP { ip }]),
            start_time: self.started.map(Time),
            init_container_statuses: statuses(&self.init),
            container_statuses: statuses(&self.containers),
            qos_class: before.and_then(|before| before.qos_class.clone()),
            reason: self.failed.as_ref().map(|(reason, _)| reason.clone()),
            message: self.failed.as_ref().map(|(_, message)| message.clone()),
            observed_generation: pod.metadata.generation,
            ..PodStatus::default()
        }
    }

    fn conditions(
        &self,
        pod: &Pod,
        phase: &str,
        before: Option<&PodStatus>,
        now: Timestamp,
    ) -> Vec<PodCondition> {
        let completed = phase == "Succeeded";
        let names = |records: &[ContainerRecord], wrong: fn(&ContainerRecord) -> bool| {
            let names: Vec<_> =
                records.iter().filter(|record| wrong(record)).map(|record| record.name.as_str()).collect();
            names.join(" ")
        };
        let uninitialized = names(&self.init, |record| record.exit_code() != Some(0));
        let unready = names(&self.containers, |record| !record.ready);
        let ready = if completed {
            Err(("PodCompleted".to_owned(), String::new()))
        } else if unready.is_empty() && self.initialized() && phase == "Running" {
            Ok(())
        } else {
            Err(("ContainersNotReady".into(), format!("containers with unready status: [{unready}]")))
        };
        let initialized = if uninitialized.is_empty() {
            Ok(())
        } else {
            Err((
                "ContainersNotInitialized".into(),
                format!("containers with incomplete status: [{uninitialized}]"),
            ))
        };
        let mut wanted: Vec<(&str, Verdict)> = Vec::new();
        match &self.unschedulable {
            Some(message) => wanted.push(("PodScheduled", Err(("Unschedulable".into(), message.clone())))),
            None => {
                wanted.push(("Initialized", initialized));
                wanted.push(("Ready", ready.clone()));
                wanted.push(("ContainersReady", ready));
                wanted.push(("PodScheduled", Ok(())));
            }
        }
        let mut conditions: Vec<_> = wanted.into_iter().map(|(kind, value)| condition(kind, value)).collect();
        if let Some(why) = &self.simulated {
            let mut simulated = condition(SIMULATED, Ok(()));
            (simulated.reason, simulated.message) = (Some("NoLocalProgram".into()), Some(why.clone()));
            conditions.push(simulated);
        }
        let old = before.and_then(|before| before.conditions.as_deref()).unwrap_or_default();
        for condition in &mut conditions {
            let same = old.iter().find(|old| old.type_ == condition.type_ && old.status == condition.status);
            let since = same.and_then(|old| old.last_transition_time.as_ref()).map_or(now, |time| time.0);
            condition.last_transition_time = Some(Time(since));
            condition.observed_generation = pod.metadata.generation;
        }
        // Conditions of others (readiness gates, disruption) are theirs.
        let foreign = old.iter().filter(|old| !OURS.contains(&old.type_.as_str()));
        conditions.extend(foreign.cloned());
        conditions
    }
}

const OURS: &[&str] = &["Initialized", "Ready", "ContainersReady", "PodScheduled", SIMULATED];

/// A condition holds, or it doesn't for a reason, with a message.
type Verdict = Result<(), (String, String)>;

fn condition(kind: &str, value: Verdict) -> PodCondition {
    let status = if value.is_ok() { "True" } else { "False" };
    let (reason, message) =
        value.err().map_or((None, None), |(reason, message)| (Some(reason), Some(message)));
    PodCondition {
        type_: kind.into(),
        status: status.into(),
        reason,
        message: message.filter(|message| !message.is_empty()),
        ..PodCondition::default()
    }
}

/// Whether a pod's status says that it is ready.
#[must_use]
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|conditions| conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

/// A pod's phase; `Pending` if it has none yet.
#[must_use]
pub fn phase_of(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// Whether a pod has ended for good.
#[must_use]
pub fn is_finished(pod: &Pod) -> bool {
    matches!(phase_of(pod), "Succeeded" | "Failed")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    fn ended(code: i32) -> ContainerState {
        let terminated = ContainerStateTerminated { exit_code: code, ..ContainerStateTerminated::default() };
        ContainerState { terminated: Some(terminated), ..ContainerState::default() }
    }

    fn pod() -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {
            "initContainers": [{"name": "i"}], "containers": [{"name": "a"}, {"name": "b"}]}}))
        .unwrap()
    }

    #[test]
    fn the_phase_follows_from_the_containers() {
        let now = Timestamp::now();
        let check = |init: ContainerState, a: ContainerState, b: ContainerState, phases: [&str; 3]| {
            let mut state = PodState::of(&pod(), [127, 0, 0, 1].into());
            state.init[0].state = init;
            state.containers[0].state = a;
            state.containers[1].state = b;
            let policies = ["Always", "OnFailure", "Never"];
            assert_eq!(policies.map(|policy| state.phase(policy)), phases);
        };
        let wait = || waiting("ContainerCreating", "");
        check(running(now), wait(), wait(), ["Pending"; 3]);
        check(ended(1), wait(), wait(), ["Pending", "Pending", "Failed"]);
        check(ended(0), running(now), wait(), ["Pending"; 3]);
        check(ended(0), running(now), running(now), ["Running"; 3]);
        check(ended(0), running(now), ended(0), ["Running"; 3]);
        check(ended(0), ended(0), ended(0), ["Running", "Succeeded", "Succeeded"]);
        check(ended(0), ended(1), ended(0), ["Running", "Running", "Failed"]);
    }

    #[test]
    fn a_condition_keeps_its_time_while_it_keeps_its_value() {
        let mut state = PodState::of(&pod(), [127, 0, 0, 1].into());
        let time = |status: &PodStatus, kind: &str| {
            let condition =
                status.conditions.as_ref().unwrap().iter().find(|c| c.type_ == kind).unwrap().clone();
            (condition.status, condition.last_transition_time.unwrap().0)
        };
        let (first, second) = (Timestamp::from_second(1).unwrap(), Timestamp::from_second(2).unwrap());
        let before = state.status(&pod(), None, first);
        state.init[0].state = ended(0);
        let after = state.status(&pod(), Some(&before), second);
        assert_eq!(time(&after, "Ready"), ("False".into(), first));
        assert_eq!(time(&after, "Initialized"), ("True".into(), second));
    }

    #[test]
    fn what_ran_before_a_restart_of_the_machine_counts_as_restarted() {
        let mut pod = pod();
        let mut state = PodState::of(&pod, [127, 0, 0, 1].into());
        state.containers[0].state = running(Timestamp::now());
        pod.status = Some(state.status(&pod, None, Timestamp::now()));
        let next = PodState::of(&pod, [127, 0, 0, 1].into());
        assert_eq!((next.containers[0].restarts, next.containers[1].restarts), (1, 0));
        assert_eq!(next.containers[0].last.as_ref().unwrap().exit_code, 255);
    }
}
