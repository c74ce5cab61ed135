//! The life of one pod on our node, from its address to its last breath.
//!
//! One task per pod and one per container, all of them waiting for something to happen; nothing polls. What
//! happens goes into one [`PodState`]; a publisher writes it to the pod's status, as often as it changes and
//! not more often than the store takes it. A life ends in one of three ways: the pod is deleted (then it
//! removes the object), it has run to completion (then it waits to be deleted), or the cluster shuts down
//! (then the object stays as it is, and the next start goes on from there).

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodStatus};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    container::Supervisor,
    exec::{Inside, Registered},
    node::Node,
    pod_state::{ContainerRecord, PodState},
    process::env::Place,
    recorder::Level,
    runtime::{NotYet, Runtime},
};
use crate::{
    kinds::PODS,
    store::{DeleteOptions, Key, Object, Part, Write, key_of, uid_of},
};

/// What a pod is told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Live.
    Live,
    /// The pod is being deleted: its containers may take until then.
    Delete(Instant),
    /// The cluster stops: the same, but the pod stays.
    ShutDown(Instant),
}

impl Order {
    /// Until when containers may take to stop, if they are to.
    #[must_use]
    pub fn deadline(self) -> Option<Instant> {
        match self {
            Self::Live => None,
            Self::Delete(at) | Self::ShutDown(at) => Some(at),
        }
    }
}

/// Which container of a pod.
#[derive(Clone, Copy, Debug)]
pub enum Slot {
    /// The n-th init container.
    Init(usize),
    /// The n-th container.
    Main(usize),
}

/// One pod while it lives here.
pub struct Life {
    /// The node it lives on.
    pub node: Arc<Node>,
    /// The pod as it was when its life began; containers never change after that.
    pub pod: Pod,
    /// The same, for events.
    pub object: Object,
    /// What runs its containers.
    pub runtime: Runtime,
    key: Key,
    uid: String,
    state: Mutex<PodState>,
    changed: Notify,
    orders: watch::Receiver<Order>,
}

impl Life {
    /// Prepares a life; [`Life::live`] lives it.
    pub fn new(node: Arc<Node>, object: Object, pod: Pod, orders: watch::Receiver<Order>) -> Self {
        let (runtime, simulated) = node.runtime_for(&pod);
        let mut state = PodState::of(&pod, node.host_ip);
        if node.goes_on {
            state.go_on(&pod);
        }
        state.simulated = simulated;
        let uid = uid_of(&object).unwrap_or_default().to_owned();
        let key = key_of(&object);
        Self {
            node,
            pod,
            object,
            runtime,
            key,
            uid,
            state: Mutex::new(state),
            changed: Notify::new(),
            orders,
        }
    }

    /// Lives until the pod is deleted or the cluster shuts down.
    pub async fn live(self: Arc<Self>) {
        tokio::select! {
            () = self.clone().run() => {}
            () = self.publish_changes() => {}
        }
        self.publish();
        self.ordered_to_stop().await;
        self.runtime.tear_down(&self.pod).await;
        self.node.addresses.release(&self.uid);
        if matches!(self.order(), Order::Delete(_)) {
            let options = DeleteOptions {
                uid: Some(self.uid.clone()),
                grace_period_seconds: Some(0),
                ..DeleteOptions::default()
            };
            if let Err(status) = self.node.store.delete(&PODS, &self.key.namespace, &self.key.name, &options)
            {
                tracing::debug!(
                    error = status.message,
                    pod = self.key.name,
                    "a stopped pod was gone already"
                );
            }
        }
    }

    async fn run(self: Arc<Self>) {
        if self.order() != Order::Live {
            return;
        }
        if let Some(why) = self.runtime.unschedulable(&self.pod) {
            self.event(None, Level::Warning, "FailedScheduling", &why);
            self.change(|state| state.unschedulable = Some(why));
            return self.ordered_to_stop().await;
        }
        if !self.is_bound() {
            tokio::select! {
                () = self.runtime.scheduling(&self.pod) => {}
                () = self.ordered_to_stop() => return,
            }
        }
        let Some(place) = self.settle().await else { return };
        if !self.set_up(&place).await {
            return;
        }
        let spec = self.pod.spec.clone().unwrap_or_default();
        for (index, container) in spec.init_containers.iter().flatten().enumerate() {
            let slot = Slot::Init(index);
            if self.record(slot).is_some_and(|record| record.exit_code() == Some(0)) {
                continue;
            }
            let mut supervisor = Supervisor::new(self.clone(), slot, container.clone(), place.clone());
            if supervisor.run().await != Some(0) {
                return;
            }
        }
        let mut containers = JoinSet::new();
        for (index, container) in spec.containers.into_iter().enumerate() {
            let mut supervisor = Supervisor::new(self.clone(), Slot::Main(index), container, place.clone());
            containers.spawn(async move { supervisor.run().await });
        }
        let ended = async { while containers.join_next().await.is_some() {} };
        tokio::select! {
            () = ended => {}
            () = self.refresh_volumes(&place) => {}
        }
    }

    /// Shows running containers what changes in the ConfigMaps and Secrets they mount. Never returns.
    async fn refresh_volumes(&self, place: &Place) {
        if matches!(self.runtime, Runtime::Simulated(_)) {
            return std::future::pending().await;
        }
        let mut objects = self.node.objects_changed.subscribe();
        while objects.changed().await.is_ok() {
            if let Err(NotYet(why)) = self.runtime.set_up(&self.pod, place).await {
                // Containers that run keep what they had when something they mount goes.
                tracing::debug!(why, pod = self.key.name, "volumes were not refreshed");
            }
        }
        std::future::pending().await
    }

    /// It has its node since before this life began.
    fn is_bound(&self) -> bool {
        self.pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
    }

    /// Binds the pod to the node and gives it an address.
    async fn settle(&self) -> Option<Place> {
        let before = self.pod.status.as_ref().and_then(|status| status.pod_ip.as_ref());
        let before = before.and_then(|ip| ip.parse().ok());
        let Some(ip) = self.node.addresses.allocate(&self.uid, before) else {
            self.change(|state| state.unschedulable = Some("the network has no free address".into()));
            self.ordered_to_stop().await;
            return None;
        };
        let bind = |pod: &mut serde_json::Value| {
            if uid_of(pod) == Some(&self.uid) {
                pod["spec"]["nodeName"] = json!(self.node.name);
            }
        };
        let by = Write::by("kube-scheduler");
        if !self.is_bound() {
            let (namespace, name) = (&self.key.namespace, &self.key.name);
            if let Err(status) = self.node.store.modify(&PODS, Part::Main, namespace, name, &by, bind) {
                // Gone before it began: the order to stop is on its way.
                tracing::debug!(error = status.message, pod = name, "a pod was not bound");
                self.ordered_to_stop().await;
                return None;
            }
            let assigned = format!("Successfully assigned {namespace}/{name} to {}", self.node.name);
            self.event(None, Level::Normal, "Scheduled", &assigned);
        }
        self.change(|state| {
            state.ip = Some(ip.into());
            state.started = state.started.or_else(|| Some(Timestamp::now()));
        });
        Some(Place { pod_ip: ip.to_string(), host_ip: self.node.host_ip.to_string() })
    }

    /// Sets up volumes, again whenever what they lack may have come. False if the pod is to stop before.
    async fn set_up(&self, place: &Place) -> bool {
        loop {
            let mut objects = self.node.objects_changed.subscribe();
            let Err(NotYet(why)) = self.runtime.set_up(&self.pod, place).await else { return true };
            self.event(None, Level::Warning, "FailedMount", &why);
            tokio::select! {
                _ = objects.changed() => {}
                () = self.ordered_to_stop() => return false,
            }
        }
    }

    /// Changes the state; the status follows.
    pub fn change(&self, change: impl FnOnce(&mut PodState)) {
        change(&mut self.state.lock());
        self.changed.notify_one();
    }

    /// The account of one container.
    #[must_use]
    pub fn record(&self, slot: Slot) -> Option<ContainerRecord> {
        let state = self.state.lock();
        match slot {
            Slot::Init(index) => state.init.get(index).cloned(),
            Slot::Main(index) => state.containers.get(index).cloned(),
        }
    }

    /// Changes the account of one container.
    pub fn change_container(&self, slot: Slot, change: impl FnOnce(&mut ContainerRecord)) {
        self.change(|state| {
            let record = match slot {
                Slot::Init(index) => state.init.get_mut(index),
                Slot::Main(index) => state.containers.get_mut(index),
            };
            if let Some(record) = record {
                change(record);
            }
        });
    }

    /// From now on commands can be run in a container, until what is returned is dropped.
    #[must_use]
    pub fn register(&self, container: &str, inside: Inside) -> Registered {
        self.node.containers.register(&self.uid, container, inside)
    }

    /// What the pod is told now.
    #[must_use]
    pub fn order(&self) -> Order {
        *self.orders.borrow()
    }

    /// Waits until the pod is to stop.
    pub async fn ordered_to_stop(&self) {
        let mut orders = self.orders.clone();
        if orders.wait_for(|order| *order != Order::Live).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the time to stop is over, however often it is shortened.
    pub async fn out_of_time(&self) {
        let mut orders = self.orders.clone();
        loop {
            let order = *orders.borrow_and_update();
            let deadline = match order {
                // No longer than the pod would be given by a deletion.
                Order::ShutDown(at) => Some(at.min(Instant::now() + self.grace())),
                order => order.deadline(),
            };
            let over = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => return,
                changed = orders.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Seconds that the manifest gives containers to stop.
    #[must_use]
    pub fn grace(&self) -> Duration {
        let seconds =
            self.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }

    /// Records an event on the pod, or on one of its containers.
    pub fn event(&self, container: Option<(Slot, &Container)>, level: Level, reason: &str, message: &str) {
        let field = container.map(|(slot, container)| match slot {
            Slot::Init(_) => format!("spec.initContainers{{{}}}", container.name),
            Slot::Main(_) => format!("spec.containers{{{}}}", container.name),
        });
        self.node.recorder.record(("v1", "Pod"), &self.object, field.as_deref(), level, reason, message);
    }

    async fn publish_changes(&self) {
        loop {
            self.changed.notified().await;
            self.publish();
        }
    }

    fn publish(&self) {
        if matches!(self.order(), Order::ShutDown(_)) {
            // How it was is what the next start goes on from.
            return;
        }
        let now = Timestamp::now();
        let change = |pod: &mut serde_json::Value| {
            if uid_of(pod) != Some(&self.uid) {
                return;
            }
            let before = PodStatus::deserialize(&pod["status"]).ok();
            let mut current = self.pod.clone();
            current.metadata.generation = pod["metadata"]["generation"].as_i64();
            let status = self.state.lock().status(&current, before.as_ref(), now);
            match serde_json::to_value(status) {
                Ok(status) => pod["status"] = status,
                Err(error) => {
                    tracing::error!(%error, pod = self.key.name, "a pod's status cannot be written")
                }
            }
        };
        let by = Write::by("kubelet");
        if let Err(status) =
            self.node.store.modify(&PODS, Part::Status, &self.key.namespace, &self.key.name, &by, change)
        {
            tracing::debug!(error = status.message, pod = self.key.name, "a pod's status was not written");
        }
    }
}
