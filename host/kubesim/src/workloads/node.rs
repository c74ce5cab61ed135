//! The node: takes every pod there is, gives it a life, and passes on what it is told.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    exec::Containers,
    feed::{Change, Feed, typed},
    names::is_terminating,
    pod::{Life, Order},
    pod_state::is_finished,
    process::{Processes, backoff::Policy},
    recorder::Recorder,
    runtime::Runtime,
    simulated::SimulatedRuntime,
};
use crate::{
    kinds::{CLAIMS, CONFIG_MAPS, PODS, SECRETS},
    network::addresses::Addresses,
    store::{DeleteOptions, Store, key_of, uid_of},
};

/// The only node of the cluster.
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its address.
    pub host_ip: IpAddr,
    /// Where the objects are.
    pub store: Store,
    /// Writes the kubelet's events.
    pub recorder: Recorder,
    /// The pods' addresses.
    pub addresses: Arc<Addresses>,
    /// Containers whose status says that they run do run: the machine was not started anew.
    pub goes_on: bool,
    /// How long containers wait between restarts.
    pub backoff: Policy,
    /// Counts changes of what pods refer to (ConfigMaps, Secrets, claims).
    pub objects_changed: watch::Sender<u64>,
    /// Runs pods as processes, if asked to.
    pub processes: Option<Arc<Processes>>,
    /// Where commands can be run now.
    pub containers: Arc<Containers>,
    /// Simulates pods: all, or those no program stands in for.
    pub simulated: Arc<SimulatedRuntime>,
}

impl Node {
    /// What runs this pod; and why it is simulated, if processes were asked for.
    #[must_use]
    pub fn runtime_for(&self, pod: &Pod) -> (Runtime, Option<String>) {
        let simulated = Runtime::Simulated(self.simulated.clone());
        let Some(processes) = &self.processes else { return (simulated, None) };
        match processes.refuses(pod) {
            Some(why) => (simulated, Some(why)),
            None => (Runtime::Processes(processes.clone()), None),
        }
    }
}

/// How long everything may take to stop when the cluster shuts down.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// Runs all pods until stopped; returns when the last of them has stopped.
pub async fn run(node: Arc<Node>, stop: CancellationToken) -> anyhow::Result<()> {
    let mut pods = Feed::open(&node.store, &PODS)?;
    let mut lives = Lives { node, orders: HashMap::new(), tasks: JoinSet::new() };
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(change) = pods.next() => lives.pod_changed(&change),
            Some(ended) = lives.tasks.join_next(), if !lives.tasks.is_empty() => {
                match ended {
                    Ok(uid) => { lives.orders.remove(&uid); }
                    Err(error) => tracing::error!(%error, "the life of a pod broke off"),
                }
            }
            else => break,
        }
    }
    lives.shut_down().await;
    Ok(())
}

struct Lives {
    node: Arc<Node>,
    orders: HashMap<String, watch::Sender<Order>>,
    tasks: JoinSet<String>,
}

impl Lives {
    fn pod_changed(&mut self, change: &Change) {
        let uid = uid_of(&change.object).unwrap_or_default().to_owned();
        if change.gone {
            // Removed by force, or by us: whatever still runs has no time left.
            self.order(&uid, Order::Delete(Instant::now()));
            return;
        }
        if !self.orders.contains_key(&uid) {
            self.begin(change, &uid);
        }
        if is_terminating(&change.object) {
            let grace = change.object["metadata"]["deletionGracePeriodSeconds"].as_u64().unwrap_or(0);
            self.order(&uid, Order::Delete(Instant::now() + Duration::from_secs(grace)));
        }
    }

    fn begin(&mut self, change: &Change, uid: &str) {
        let key = key_of(&change.object);
        let there = self.node.store.get(&PODS, &key.namespace, &key.name);
        if there.map_or(true, |there| uid_of(&there) != Some(uid)) {
            // A late change of a pod whose life is over.
            return;
        }
        let Some(pod) = typed::<Pod>(&change.object) else { return };
        if is_finished(&pod) {
            if is_terminating(&change.object) {
                self.forget(change, uid);
            }
            return;
        }
        let (orders, receiver) = watch::channel(Order::Live);
        let life = Arc::new(Life::new(self.node.clone(), change.object.clone(), pod, receiver));
        self.orders.insert(uid.to_owned(), orders);
        let uid = uid.to_owned();
        self.tasks.spawn(async move {
            life.live().await;
            uid
        });
    }

    /// A pod that ended before we started, and that is deleted now: nothing is left to stop.
    fn forget(&self, change: &Change, uid: &str) {
        let key = key_of(&change.object);
        let options = DeleteOptions {
            uid: Some(uid.to_owned()),
            grace_period_seconds: Some(0),
            ..DeleteOptions::default()
        };
        if let Err(status) = self.node.store.delete(&PODS, &key.namespace, &key.name, &options) {
            tracing::debug!(error = status.message, pod = key.name, "a finished pod was gone already");
        }
    }

    /// Orders may only shorten the time that is left.
    fn order(&self, uid: &str, order: Order) {
        let Some(orders) = self.orders.get(uid) else { return };
        orders.send_if_modified(|current| {
            let sooner =
                current.deadline().is_none_or(|deadline| order.deadline().is_some_and(|new| new < deadline));
            if sooner {
                *current = order;
            }
            sooner
        });
    }

    async fn shut_down(mut self) {
        let deadline = Instant::now() + SHUTDOWN_GRACE;
        for uid in self.orders.keys().cloned().collect::<Vec<_>>() {
            let order = match *self.orders[&uid].borrow() {
                Order::Delete(at) => Order::Delete(at.min(deadline)),
                _ => Order::ShutDown(deadline),
            };
            self.order(&uid, order);
        }
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(SHUTDOWN_GRACE + Duration::from_secs(5), all).await.is_err() {
            tracing::error!("some pods did not stop in time; what they run is killed");
        }
    }
}

/// Counts the changes of objects that pods refer to, so that those who wait for one try again.
pub async fn notice_objects(node: Arc<Node>, stop: CancellationToken) -> anyhow::Result<()> {
    let mut maps = Feed::open(&node.store, &CONFIG_MAPS)?;
    let mut secrets = Feed::open(&node.store, &SECRETS)?;
    let mut claims = Feed::open(&node.store, &CLAIMS)?;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Some(_) = maps.next() => {}
            Some(_) = secrets.next() => {}
            Some(_) = claims.next() => {}
            else => return Ok(()),
        }
        node.objects_changed.send_modify(|count| *count += 1);
    }
}
