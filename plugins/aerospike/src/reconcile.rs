//! One step for an Aerospike cluster: all objects that shall be, and how it is now.
//!
//! Ready means: the nodes that run are one cluster with the wanted configuration. That some are missing, or records
//! lack some of their copies, makes it less than `Ready` as a phase, but clients can use it.

use senren_plugin::prelude::*;
use senren_plugin::wit::Event;
use senren_plugin::{Pod, Trouble};
use serde::Deserialize;

use crate::conf::SERVICE_PORT;
use crate::config::EndpointKind;
use crate::nodes::{Round, View};
use crate::objects::{self, Names, Template};
use crate::steps::{self, Cluster, Node, Seen, Set, Step, Wait};
use crate::{Config, Spec};

/// See the module.
pub(crate) fn reconcile(input: &Input<Spec, Config>) -> Result<Outcome, Fault> {
    let names = Names::of(input);
    let template = Template::of(input, &names);
    let pods = Pods::of(input, &template);
    let round = Round::of(input, &pods.live());
    let seen = Seen { set: pods.set, nodes: &pods.nodes, leaving: pods.leaving, cluster: round.fresh() };
    let step = steps::next(input.spec.nodes, input.spec.redundant(), &seen);

    let view = view(input, &round);
    let at_rest = step.waits_for.is_none() && view.cluster == Cluster::Settled;
    let outcome = Outcome::new(status(input, &pods, view, &step));
    let outcome = round.asks(at_rest).fold(outcome, Outcome::ask);
    let outcome = objects::around(input, &names, &template).into_iter().fold(outcome, Outcome::child);
    let outcome = outcome.child(objects::stateful_set(input, &names, template, &step));
    Ok(match pods.trouble(input) {
        Some(trouble) => outcome.event(Event::warning(&trouble.reason, trouble.message)),
        None => outcome,
    })
}

/// What is observed of the StatefulSet and its pods.
struct Pods {
    set: Option<Set>,
    /// By number, up to that of the StatefulSet.
    pods: Vec<Option<Pod>>,
    nodes: Vec<Node>,
    /// There are pods beyond that.
    leaving: bool,
}

impl Pods {
    fn of(input: &Input<Spec, Config>, template: &Template) -> Self {
        let set = stateful_set(input, template);
        let prefix = input.child("");
        let number = |name: &str| name.strip_prefix(&prefix)?.parse::<u32>().ok();
        let names = input.observed.of_kind("Pod").filter_map(|pod| number(&pod.metadata.name));
        let there = names.max().map_or(0, |highest| highest.saturating_add(1));
        // Someone may have scaled it by hand, but nobody can have that many.
        let count = set.map_or(there, |set| set.replicas).min(100);
        let pods: Vec<_> = (0..count).map(|n| input.observed.pod(&objects::pod(input, n))).collect();
        // A pod says by itself what it was made from, so that nothing hangs on how far Kubernetes is with the set.
        let made_from = |n: u32| {
            input
                .observed
                .find("Pod", &objects::pod(input, n))
                .and_then(|pod| pod.annotation(objects::TEMPLATE))
        };
        let node = |(n, pod): (u32, &Option<Pod>)| Node {
            live: pod.as_ref().is_some_and(Pod::ready),
            current: made_from(n).is_some_and(|made_from| made_from == template.checksum),
        };
        Self { set, nodes: (0..).zip(&pods).map(node).collect(), pods, leaving: there > count }
    }

    /// Those that run, with their numbers.
    fn live(&self) -> Vec<(u32, &Pod)> {
        let numbered = (0..).zip(&self.pods);
        numbered.filter_map(|(n, pod)| Some((n, pod.as_ref().filter(|pod| pod.ready())?))).collect()
    }

    /// Some node that runs has an older configuration.
    fn outdated(&self) -> bool {
        self.nodes.iter().any(|node| node.live && !node.current)
    }

    fn trouble(&self, input: &Input<Spec, Config>) -> Option<Trouble> {
        let pods = (0..).zip(&self.pods);
        pods.filter_map(|(n, pod)| pod.as_ref()?.trouble(&objects::pod(input, n))).next()
    }
}

fn stateful_set(input: &Input<Spec, Config>, template: &Template) -> Option<Set> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct SetSpec {
        replicas: u32,
        #[serde(default)]
        update_strategy: Strategy,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Strategy {
        rolling_update: Partition,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Partition {
        partition: u32,
    }
    let object = input.observed.find("StatefulSet", input.name)?;
    let spec: SetSpec = object.spec()?;
    let made_from = object.annotation(objects::TEMPLATE);
    Some(Set {
        replicas: spec.replicas,
        partition: spec.update_strategy.rolling_update.partition,
        wanted_template: made_from.is_some_and(|made_from| made_from == template.checksum),
    })
}

/// What the nodes last said. Their word is awaited anew whenever one of them comes or goes, and when the host has
/// started again and forgotten it; until then it is as it was. That is a hint: it decides about what is shown, and about
/// no step.
fn view(input: &Input<Spec, Config>, round: &Round) -> View {
    let said = round.last();
    let was = |field: &str| input.last_status.as_ref().map(|status| &status[field]);
    if said.formed.is_some() || was("ready").is_none_or(|ready| *ready != true) {
        return said;
    }
    let ready = was("phase").is_some_and(|phase| phase == Phase::Ready.as_str());
    View { cluster: if ready { Cluster::Settled } else { said.cluster }, formed: Some(true) }
}

fn status(input: &Input<Spec, Config>, pods: &Pods, view: View, step: &Step) -> Status {
    let (wanted, live) = (input.spec.nodes, pods.live().len());
    let phase = phase(input, pods, step);
    let formed = view.formed == Some(true);
    let host = match input.config.endpoint {
        EndpointKind::Dns => input.observed.find("Service", input.name).map(|_| input.dns(input.name)),
        EndpointKind::ClusterIp => input.observed.service_ip(input.name),
    };
    // A new one is not used before it is whole. Later, those that run serve whatever happens to others.
    let whole = live == wanted as usize;
    let enough = if phase == Phase::Creating { whole } else { live > 0 };
    let ready = enough && formed && !pods.outdated() && host.is_some();

    let done = step.waits_for.is_none() && view.cluster == Cluster::Settled;
    let mut status = if ready && whole && done {
        Status::ready("AllReady")
    } else {
        match pods.trouble(input) {
            Some(trouble) if ready => Status::new(Phase::Degraded, true, trouble.reason, trouble.message),
            Some(trouble) if trouble.may_pass => Status::new(phase, false, trouble.reason, trouble.message),
            Some(trouble) => Status::new(Phase::Failed, false, trouble.reason, trouble.message),
            None => {
                let (reason, message) = under_way(input, pods, view, step);
                Status::new(phase, ready, reason, message)
            }
        }
    };
    if let Some(host) = host {
        status = status.endpoint("service", host, SERVICE_PORT);
    }
    if let Some(formed) = view.formed {
        let reason = if formed { "OneCluster" } else { "NodesDisagree" };
        status = status.condition("Formed", formed, reason, format!("{live} of {wanted} nodes run"));
    }
    status.details(&json!({"version": input.spec.version, "nodes": live}))
}

/// What is going on, for programs and for people.
fn under_way(input: &Input<Spec, Config>, pods: &Pods, view: View, step: &Step) -> (&'static str, String) {
    let (wanted, live) = (input.spec.nodes, pods.live().len());
    let replicas = pods.set.map_or(wanted, |set| set.replicas);
    let pod = |number: u32| objects::pod(input, number);
    let doing = if replicas > wanted {
        format!("{} of {replicas} nodes are to go, one by one: ", replicas - wanted)
    } else if pods.outdated() && live > 0 {
        let old = pods.nodes.iter().filter(|node| !node.current).count();
        format!("{old} of {replicas} nodes are to be replaced, one by one: ")
    } else {
        String::new()
    };
    let (reason, what) = match (step.waits_for, view.cluster) {
        (Some(Wait::SecondNode), _) => (
            "OnlyCopy",
            "the only node that runs has the only copy of all records, and stays until another runs"
                .to_owned(),
        ),
        (Some(Wait::Partitions(count)), _) | (None, Cluster::Moving(count)) => {
            ("Migrating", format!("{count} partitions have yet to arrive where they belong"))
        }
        (Some(Wait::Node(number)), _) => ("RollingRestart", format!("waiting for {} to serve", pod(number))),
        _ if live < wanted.min(replicas) as usize => {
            ("NodesNotReady", format!("{live} of {wanted} nodes run"))
        }
        (Some(Wait::Cluster), _) | (None, Cluster::Apart) => {
            ("ClusterNotFormed", format!("the {live} nodes that run don't see each other as one cluster"))
        }
        (Some(Wait::Answers), _) | (None, Cluster::Unknown | Cluster::Settled) => {
            ("AskingNodes", "waiting for the nodes to say how their cluster is".to_owned())
        }
        (Some(Wait::Kubernetes), _) => {
            ("WaitingForKubernetes", "Kubernetes has yet to take notice".to_owned())
        }
    };
    (reason, doing + &what)
}

/// The word for what is not as it should be, where no pod is in trouble. An update lasts until all is well again.
fn phase(input: &Input<Spec, Config>, pods: &Pods, step: &Step) -> Phase {
    let scaling = pods.set.is_some_and(|set| set.replicas != input.spec.nodes);
    match input.last_phase() {
        None | Some("Pending" | "Creating") => Phase::Creating,
        Some("Updating") => Phase::Updating,
        _ if scaling || pods.outdated() || step.replicas != input.spec.nodes => Phase::Updating,
        _ => Phase::Degraded,
    }
}
