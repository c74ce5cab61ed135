//! How a cluster is, in the words of a status.
//!
//! Ready means: every slot is served, by primaries that were made from the current spec. That replicas are still
//! missing, or that slots are on their way, makes it less than `Ready` as a phase, but clients can use it.

use std::collections::BTreeMap;

use senren_plugin::prelude::*;
use senren_plugin::{Trouble, Value};

use super::Spec;
use super::objects::Names;
use super::plan::Plan;
use super::seen::{Cluster, Member, Primary};
use super::sets::{SetSeen, SetsPlan};
use super::slots::{ALL, Slots};
use crate::Config;
use crate::pods::PORT;

/// All that a status is made of.
pub(crate) struct Facts<'a> {
    pub input: &'a Input<'a, Spec, Config>,
    pub names: &'a Names,
    pub cluster: &'a Cluster,
    pub sets: &'a BTreeMap<u32, SetSeen>,
    pub plan: &'a Plan,
    pub sets_plan: &'a SetsPlan,
    pub memory_mb: u64,
}

impl Facts<'_> {
    /// The status.
    pub(crate) fn status(&self) -> Status {
        // A host that has just started has asked nobody yet: what was so is so until somebody says otherwise.
        if let (true, Some(last)) = (self.nobody_asked(), self.input.last()) {
            return last;
        }
        let host = self.input.config.host(self.input, self.input.name);
        let unserved = Slots::all().minus(&self.cluster.served());
        let reachable = host.is_some() && self.cluster.members.iter().any(|member| member.ready);
        let mut status = if unserved.is_empty() && reachable && !self.outdated() {
            self.usable()
        } else {
            self.unusable(&unserved)
        };
        if let Some(host) = host {
            status = status.endpoint("cluster", host, PORT);
        }
        let (served, all) = (usize::from(ALL) - unserved.len(), unserved.is_empty());
        let reason = if all { "AllServed" } else { "SlotsMissing" };
        status = status.condition("SlotsServed", all, reason, format!("{served} of {ALL} slots are served"));
        if self.input.spec.replicas > 0 {
            let (synced, wanted) = (self.in_sync().count(), self.wanted().count());
            let wanted = wanted.saturating_sub(self.input.spec.shards as usize);
            let reason = if synced == wanted { "InSync" } else { "ReplicasMissing" };
            let message = format!("{synced} of {wanted} replicas are in sync");
            status = status.condition("Replicated", synced == wanted, reason, message);
        }
        status.details(&self.details())
    }

    fn nobody_asked(&self) -> bool {
        self.wanted().all(|member| member.ready && member.looked_at == 0)
    }

    /// What keeps a pod from running, if anything does.
    pub(crate) fn trouble(&self) -> Option<&Trouble> {
        self.wanted().find_map(|member| member.trouble.as_ref())
    }

    /// Nothing more is to be done, and nothing is missing.
    pub(crate) fn all_well(&self) -> bool {
        self.at_work().is_none()
            && self.wanted().all(|member| member.ready)
            && self.in_sync().count() + self.input.spec.shards as usize == self.wanted().count()
            && self.cluster.served() == Slots::all()
            && self.cluster.settled
            && self.cluster.complete()
    }

    fn wanted(&self) -> impl Iterator<Item = &Member> {
        let spec = &self.input.spec;
        let wanted = |member: &&Member| member.shard < spec.shards && member.ordinal < spec.pods();
        self.cluster.members.iter().filter(wanted)
    }

    fn primaries(&self) -> impl Iterator<Item = (u32, &Member)> {
        self.cluster.shards().into_iter().filter_map(|shard| match self.cluster.primary(shard) {
            Primary::Member(member) => Some((shard, member)),
            _ => None,
        })
    }

    fn in_sync(&self) -> impl Iterator<Item = &Member> {
        self.wanted().filter(|member| match self.cluster.primary(member.shard) {
            Primary::Member(primary) => primary.pod != member.pod && member.follows(primary),
            _ => false,
        })
    }

    /// A primary is not yet from the current template.
    fn outdated(&self) -> bool {
        let updated = |(shard, member): (u32, &Member)| {
            shard >= self.input.spec.shards || self.sets.get(&shard).is_some_and(|set| set.updated(member))
        };
        (self.sets_plan.rolling && !self.primaries().all(updated)) || self.sets_plan.template_changes
    }

    /// What is going on.
    fn at_work(&self) -> Option<(&'static str, String)> {
        if let Some((reason, message)) = &self.plan.doing {
            return Some((reason, message.clone()));
        }
        if self.sets_plan.rolling {
            let updated =
                |member: &&Member| self.sets.get(&member.shard).is_some_and(|set| set.updated(member));
            let (done, all) = (self.wanted().filter(updated).count(), self.wanted().count());
            return Some(("RollingRestart", format!("{done} of {all} pods are as the spec says")));
        }
        self.sets_plan.shrinking.then(|| ("Shrinking", "pods that are no longer needed go".to_owned()))
    }

    /// Clients can use it; what of the rest?
    fn usable(&self) -> Status {
        if self.all_well() {
            return Status::ready("AllReady");
        }
        if let Some((reason, message)) = &self.plan.stuck {
            return Status::new(Phase::Degraded, true, *reason, message);
        }
        if let Some(trouble) = self.trouble() {
            return Status::new(Phase::Degraded, true, &trouble.reason, &trouble.message);
        }
        let phase = self.phase();
        if let Some((reason, message)) = self.at_work() {
            return Status::new(phase, true, reason, message);
        }
        if let Some((pod, why)) = self.silent() {
            return Status::new(phase, true, "PodSilent", format!("pod {pod}: {why}"));
        }
        let message = match self.wanted().find(|member| !member.ready) {
            Some(member) => format!("pod {} is not ready", member.pod),
            None => "replicas are not in sync yet".to_owned(),
        };
        Status::new(phase, true, "ReplicasNotReady", message)
    }

    /// Clients cannot use it, or not as the spec says; why?
    fn unusable(&self, unserved: &Slots) -> Status {
        if let Some((reason, message)) = &self.plan.stuck {
            return Status::new(Phase::Failed, false, *reason, message);
        }
        let phase = self.phase();
        match self.trouble() {
            Some(trouble) if trouble.may_pass => {
                return Status::new(phase, false, &trouble.reason, &trouble.message);
            }
            Some(trouble) => return Status::new(Phase::Failed, false, &trouble.reason, &trouble.message),
            None => {}
        }
        if let Some((reason, message)) = self.at_work() {
            return Status::new(phase, false, reason, message);
        }
        if self.wanted().any(|member| !member.running) {
            return Status::new(phase, false, "PodsNotRunning", "waiting for pods to run");
        }
        if let Some((pod, why)) = self.silent() {
            return Status::new(phase, false, "PodSilent", format!("pod {pod}: {why}"));
        }
        let message = match unserved.is_empty() {
            true => "waiting for pods to be ready".to_owned(),
            false => format!("slots {unserved} are not served"),
        };
        Status::new(phase, false, "SlotsMissing", message)
    }

    fn silent(&self) -> Option<(&str, &str)> {
        self.wanted().find_map(|member| Some((member.pod.as_str(), member.silence.as_deref()?)))
    }

    /// The word for what is not as it should be. An update lasts until all is well again.
    fn phase(&self) -> Phase {
        match self.input.last_phase() {
            Some("Updating") => Phase::Updating,
            Some("Ready" | "Degraded" | "Failed") => {
                let changing = self.sets_plan.rolling
                    || self.sets_plan.shrinking
                    || matches!(self.plan.doing, Some(("Rebalancing", _)))
                    || self.wanted().any(|member| !self.sets.contains_key(&member.shard));
                if changing { Phase::Updating } else { Phase::Degraded }
            }
            _ => Phase::Creating,
        }
    }

    fn details(&self) -> Value {
        let shard = |shard: u32| {
            let (primary, slots) = match self.cluster.primary(shard) {
                Primary::Member(primary) => (Some(primary.pod.clone()), primary.slots()),
                Primary::Ghost(ghost) => (None, ghost.slots.clone()),
                Primary::Nobody => (None, Slots::default()),
            };
            let replicas: Vec<&str> =
                self.in_sync().filter(|one| one.shard == shard).map(|one| one.pod.as_str()).collect();
            json!({"shard": shard, "primary": primary, "slots": slots.to_string(), "replicas": replicas})
        };
        let mut details = json!({
            "version": self.input.spec.version,
            "shardMemoryMb": self.memory_mb,
            "shards": self.cluster.shards().into_iter().map(shard).collect::<Vec<_>>(),
        });
        if self.input.spec.password {
            details["secret"] = json!(self.names.secret);
        }
        details
    }
}
