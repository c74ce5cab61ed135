//! One step for a Redis: all objects that shall be, and how it is now.
//!
//! Ready means: the primary, made from the current spec, answers. That replicas are still missing makes it less than
//! `Ready` as a phase, but clients can use it.

use senren_plugin::prelude::*;
use senren_plugin::wit::Event;
use senren_plugin::{Pod, StatefulSetStatus, Trouble};

use super::Spec;
use super::objects::{self, Names};
use crate::Config;
use crate::pods::PORT;

/// What is observed of the pods, set against the StatefulSet that is wanted now.
struct Seen {
    /// The StatefulSet, if the one that is wanted is what Kubernetes has and has taken notice of.
    current: Option<StatefulSetStatus>,
    pods: Vec<Option<Pod>>,
}

/// See the module.
pub(crate) fn reconcile(input: &Input<Spec, Config>) -> Result<Outcome, Fault> {
    let names = Names::of(input);
    // The host keeps a Secret that is no longer asked for; nothing may depend on that.
    let secret_version = input.secret_version(&names.secret).filter(|_| input.spec.password);
    let redis_conf = objects::redis_conf(&input.spec);
    let waits_for_secret = input.spec.password && secret_version.is_none();

    let config_map = objects::config_map(&names.config, redis_conf.clone());
    let with = |status: Status| {
        let outcome = Outcome::new(status).child(config_map);
        let outcome = objects::services(input, &names).into_iter().fold(outcome, Outcome::child);
        if input.spec.password { outcome.random_secret(&names.secret, ["password"]) } else { outcome }
    };
    if waits_for_secret && !has_pods(input) {
        return Ok(with(Status::new(Phase::Pending, false, "WaitingForSecret", "")));
    }
    let (set, checksum) = objects::stateful_set(input, &names, &redis_conf, secret_version);
    let seen = Seen::of(input, &checksum);
    let outcome = with(status(input, &names, &seen));
    // Left out, pods that are there would be deleted; without the version of their password they would be replaced for
    // nothing. So they stay as they are until the host has made the Secret, which it does only for an answer.
    let outcome = if waits_for_secret { outcome.child_once(set) } else { outcome.child_recreated(set) };
    Ok(match seen.trouble(input) {
        Some(trouble) => outcome.event(Event::warning(&trouble.reason, trouble.message)),
        None => outcome,
    })
}

/// Two signs, because what is observed may be stale.
fn has_pods(input: &Input<Spec, Config>) -> bool {
    let beyond_pending = input.last_phase().is_some_and(|phase| phase != Phase::Pending.as_str());
    beyond_pending || input.observed.find("StatefulSet", input.name).is_some()
}

impl Seen {
    fn of(input: &Input<Spec, Config>, checksum: &str) -> Self {
        let set = input.observed.find("StatefulSet", input.name);
        let applied =
            set.and_then(|set| set.annotation(objects::CHECKSUM)).is_some_and(|seen| seen == checksum);
        let current = input.observed.stateful_set(input.name).filter(|set| applied && set.current);
        let pods = (0..=input.spec.replicas).map(|n| input.observed.pod(&objects::pod(input, n))).collect();
        Self { current, pods }
    }

    /// The pod serves, and was made from the current template.
    fn ready(&self, pod: Option<&Pod>) -> bool {
        let (Some(set), Some(pod)) = (&self.current, pod) else { return false };
        pod.ready() && !set.update_revision.is_empty() && pod.revision == set.update_revision
    }

    fn primary_ready(&self) -> bool {
        self.ready(self.pods.first().and_then(Option::as_ref))
    }

    fn ready_replicas(&self) -> usize {
        self.pods.iter().skip(1).filter(|pod| self.ready(pod.as_ref())).count()
    }

    /// Some pods are still those of an older template.
    fn rolling(&self) -> bool {
        self.current.as_ref().is_none_or(|set| (set.updated_replicas as usize) < self.pods.len())
    }

    fn trouble(&self, input: &Input<Spec, Config>) -> Option<Trouble> {
        let pods = (0..).zip(&self.pods);
        pods.filter_map(|(n, pod)| pod.as_ref()?.trouble(&objects::pod(input, n))).next()
    }
}

fn status(input: &Input<Spec, Config>, names: &Names, seen: &Seen) -> Status {
    let wanted = input.spec.replicas as usize;
    let ready_replicas = seen.ready_replicas();
    let host = |service: &str| input.config.host(input, service);
    let (primary, reads) = (host(input.name), host(&names.reads));

    let mut status = if seen.primary_ready() && primary.is_some() {
        usable(input, seen, ready_replicas)
    } else {
        unusable(input, seen)
    };
    if let Some(host) = primary {
        status = status.endpoint("primary", host, PORT);
    }
    if wanted > 0 {
        if let Some(host) = reads {
            status = status.endpoint("reads", host, PORT);
        }
        let message = format!("{ready_replicas} of {wanted} replicas are in sync");
        let all = ready_replicas == wanted;
        status = status.condition("Replicated", all, if all { "InSync" } else { "ReplicasMissing" }, message);
    }
    let mut details = json!({"version": input.spec.version, "readyReplicas": ready_replicas});
    if input.spec.password {
        details["secret"] = json!(names.secret);
    }
    status.details(&details)
}

/// The primary serves; what of the rest?
fn usable(input: &Input<Spec, Config>, seen: &Seen, ready_replicas: usize) -> Status {
    let wanted = input.spec.replicas as usize;
    if ready_replicas == wanted {
        return Status::ready("AllReady");
    }
    if let Some(trouble) = seen.trouble(input) {
        return Status::new(Phase::Degraded, true, trouble.reason, trouble.message);
    }
    let phase = phase(input, seen);
    let message = format!("{ready_replicas} of {wanted} replicas are in sync");
    Status::new(phase, true, "ReplicasNotReady", message)
}

/// The primary does not serve the current spec; why?
fn unusable(input: &Input<Spec, Config>, seen: &Seen) -> Status {
    let phase = phase(input, seen);
    match seen.trouble(input) {
        Some(trouble) if trouble.may_pass => Status::new(phase, false, trouble.reason, trouble.message),
        Some(trouble) => Status::new(Phase::Failed, false, trouble.reason, trouble.message),
        None => {
            let reason = if phase == Phase::Updating { "RollingRestart" } else { "PrimaryNotReady" };
            Status::new(phase, false, reason, "waiting for the primary to answer")
        }
    }
}

/// The word for what is not as it should be, where no pod is in trouble. An update lasts until all is ready again.
fn phase(input: &Input<Spec, Config>, seen: &Seen) -> Phase {
    match input.last_phase() {
        _ if !existed(input) => Phase::Creating,
        Some("Updating") => Phase::Updating,
        _ if seen.rolling() => Phase::Updating,
        _ => Phase::Degraded,
    }
}

/// It was up before, or at least tried to be. A hint: it decides on nothing but the word for the phase.
fn existed(input: &Input<Spec, Config>) -> bool {
    matches!(input.last_phase(), Some("Ready" | "Updating" | "Degraded" | "Failed"))
}
