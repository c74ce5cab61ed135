//! The StatefulSets of the shards: what is observed of them, and how many pods each is to have and how far its pods may
//! be replaced by ones from a changed template.
//!
//! A set replaces pods from its last ordinal down to its partition. This plugin moves the partition: up out of the way
//! when the template changes, and then down by one when the next pod may go. So it is it, not Kubernetes, who decides
//! when; and what it decided is there to be observed, in the set.

use std::collections::BTreeMap;

use senren_plugin::StatefulSetStatus;
use senren_plugin::prelude::*;
use serde::Deserialize;

use super::Spec;
use super::command::Command;
use super::objects::{self, Names, PodTemplate};
use super::seen::{Cluster, Member, Primary};
use super::slots::Slots;
use crate::Config;

/// What a node said longer ago is no reason to take a pod away.
const RECENT_MS: u64 = 10_000;

/// What is observed of a shard's StatefulSet.
pub(crate) struct SetSeen {
    /// How many pods it shall have.
    pub replicas: u32,
    partition: u32,
    template: String,
    pub memory_mb: Option<u64>,
    /// Size of its volumes, in bytes and as Kubernetes writes it.
    pub volume: Option<(u64, String)>,
    /// Nothing if Kubernetes has not yet taken notice of its latest spec.
    status: Option<StatefulSetStatus>,
}

/// What a shard's StatefulSet is to be like.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SetPlan {
    pub shard: u32,
    pub replicas: u32,
    pub partition: u32,
    /// Pods are taken away for good.
    pub shrinks: bool,
}

/// What all sets are to be like.
#[derive(Default)]
pub(crate) struct SetsPlan {
    pub sets: Vec<SetPlan>,
    /// What has to happen before a pod may go: pod and command.
    pub first: Option<(String, Command)>,
    /// Not all pods are from the current template.
    pub rolling: bool,
    /// A set does not have the current template yet.
    pub template_changes: bool,
    /// Pods or shards are still to go.
    pub shrinking: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct SetSpec {
    replicas: u32,
    update_strategy: Strategy,
    volume_claim_templates: Vec<Claim>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Strategy {
    rolling_update: Rolling,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Rolling {
    partition: u32,
}

#[derive(Deserialize)]
struct Claim {
    spec: ClaimSpec,
}

#[derive(Deserialize)]
struct ClaimSpec {
    resources: Resources,
}

#[derive(Deserialize)]
struct Resources {
    requests: BTreeMap<String, String>,
}

impl SetSeen {
    /// Those that are observed, by shard.
    pub(crate) fn all(input: &Input<Spec, Config>, names: &Names) -> BTreeMap<u32, Self> {
        let sets = input.observed.of_kind("StatefulSet");
        sets.filter_map(|set| Some((names.shard_of(&set.metadata.name)?, Self::read(input, set)))).collect()
    }

    fn read(input: &Input<Spec, Config>, set: &senren_plugin::Object<'_>) -> Self {
        let text = |name: &str| set.annotation(name).unwrap_or_default().into_owned();
        let spec: SetSpec = set.spec().unwrap_or_default();
        let size = spec
            .volume_claim_templates
            .first()
            .and_then(|claim| claim.spec.resources.requests.get("storage"));
        Self {
            replicas: spec.replicas,
            partition: spec.update_strategy.rolling_update.partition,
            template: text(objects::TEMPLATE),
            memory_mb: text(objects::MEMORY).parse().ok(),
            volume: size.and_then(|size| Some((senren_plugin::bytes(size)?, size.clone()))),
            status: input.observed.stateful_set(&set.metadata.name).filter(|status| status.current),
        }
    }

    /// A pod is from the current template.
    pub(crate) fn updated(&self, member: &Member) -> bool {
        self.status.as_ref().is_some_and(|status| {
            !status.update_revision.is_empty() && member.revision == status.update_revision
        })
    }
}

/// Whether a pod may be taken away or replaced: every slot is served, and every pod does what it should, save those that
/// don't work with the template they were made from, which a changed one may be meant to mend.
pub(crate) fn calm(input: &Input<Spec, Config>, sets: &BTreeMap<u32, SetSeen>, cluster: &Cluster) -> bool {
    let fine = |member: &Member| {
        let recent = input.raw.now_ms.saturating_sub(member.looked_at) <= RECENT_MS;
        let works = member.ready && recent && member.look.as_ref().is_some_and(|look| look.works);
        let follows = || match cluster.primary(member.shard) {
            Primary::Member(primary) => primary.pod == member.pod || member.follows(primary),
            _ => false,
        };
        works && (!member.slots().is_empty() || follows())
    };
    let outdated = |member: &Member| sets.get(&member.shard).is_some_and(|set| !set.updated(member));
    let wanted = |member: &&Member| member.shard < input.spec.shards && member.ordinal < input.spec.pods();
    cluster.complete()
        && cluster.settled
        && !cluster.any_open()
        && cluster.served() == Slots::all()
        && cluster.members.iter().filter(wanted).all(|one| fine(one) || (one.is_broken() && outdated(one)))
}

/// Decides what the sets are to be like. `calm`: pods may be taken away, and nothing else is going on.
pub(crate) fn plan(
    input: &Input<Spec, Config>,
    template: &PodTemplate,
    sets: &BTreeMap<u32, SetSeen>,
    cluster: &Cluster,
    calm: bool,
) -> SetsPlan {
    let mut plan = SetsPlan::default();
    let mut roll = Roll { cluster, calm, busy: false };
    roll.busy = sets.iter().any(|(shard, set)| roll.under_way(*shard, set));
    for shard in shards(input, sets, cluster) {
        let set = sets.get(&shard);
        let Some(replicas) = replicas(input, shard, set, cluster, calm, &mut plan) else { continue };
        let shrinks = set.is_some_and(|set| {
            replicas < set.replicas || set.status.as_ref().is_none_or(|status| status.replicas > replicas)
        });
        plan.shrinking |= shrinks || shard >= input.spec.shards;
        let partition = match set {
            None => 0,
            Some(set) if set.template != template.checksum => {
                (plan.rolling, plan.template_changes) = (true, true);
                set.replicas.max(replicas)
            }
            Some(set) => roll.partition(shard, set, &template.password, &mut plan),
        };
        plan.sets.push(SetPlan { shard, replicas, partition, shrinks });
    }
    plan
}

/// The shards that shall be, and those that there still are.
fn shards(input: &Input<Spec, Config>, sets: &BTreeMap<u32, SetSeen>, cluster: &Cluster) -> Vec<u32> {
    let owned = cluster.ghosts.iter().filter(|ghost| !ghost.slots.is_empty()).filter_map(|ghost| ghost.shard);
    let mut shards: Vec<u32> = (0..input.spec.shards).chain(sets.keys().copied()).collect();
    shards.extend(cluster.shards());
    shards.extend(owned);
    shards.sort_unstable();
    shards.dedup();
    shards
}

/// How many pods a shard is to have; nothing if it is to go altogether.
fn replicas(
    input: &Input<Spec, Config>,
    shard: u32,
    set: Option<&SetSeen>,
    cluster: &Cluster,
    calm: bool,
    plan: &mut SetsPlan,
) -> Option<u32> {
    let wanted = input.spec.pods();
    if shard >= input.spec.shards {
        let pods = cluster.of_shard(shard).any(|member| !member.uid.is_empty());
        let there = set.map_or(if pods { wanted } else { 0 }, |set| set.replicas);
        let owned = cluster.ghosts.iter().any(|ghost| ghost.shard == Some(shard) && !ghost.slots.is_empty());
        if owned {
            // Somebody took it away while it had slots: it must come back first.
            return Some(there.max(wanted));
        }
        if there == 0 {
            return pods.then_some(0);
        }
        let drained = cluster.of_shard(shard).all(|member| member.slots().is_empty());
        return Some(if calm && drained { 0 } else { there });
    }
    let there = set.map_or(wanted, |set| set.replicas);
    if there <= wanted {
        return Some(wanted);
    }
    // Its last pods go: none of them may be the one that owns the slots.
    let Primary::Member(primary) = cluster.primary(shard) else { return Some(there) };
    if primary.ordinal < wanted {
        return Some(if calm { wanted } else { there });
    }
    plan.shrinking = true;
    if calm {
        let mut heirs = cluster.of_shard(shard).filter(|member| member.ordinal < wanted);
        plan.first = plan
            .first
            .take()
            .or(heirs.find(|heir| heir.follows(primary)).map(|heir| (heir.pod.clone(), Command::TakeOver)));
    }
    Some(there)
}

/// Replacing pods by ones from the current template, one at a time in the whole cluster.
struct Roll<'a> {
    cluster: &'a Cluster,
    calm: bool,
    /// A pod that may go has not been replaced yet.
    busy: bool,
}

impl Roll<'_> {
    fn under_way(&self, shard: u32, set: &SetSeen) -> bool {
        self.cluster.of_shard(shard).any(|member| {
            member.ordinal >= set.partition && member.ordinal < set.replicas && !set.updated(member)
        })
    }

    /// Where the partition of a set with the current template is to be.
    fn partition(&mut self, shard: u32, set: &SetSeen, password: &str, plan: &mut SetsPlan) -> u32 {
        let at = set.partition.min(set.replicas);
        if at == 0 {
            // One that is missing is not old.
            plan.rolling |= self.cluster.of_shard(shard).any(|member| {
                !member.uid.is_empty() && member.ordinal < set.replicas && !set.updated(member)
            });
            return 0;
        }
        plan.rolling = true;
        if self.busy || set.status.is_none() {
            return set.partition;
        }
        let next = at - 1;
        let Some(member) = self.cluster.of_shard(shard).find(|member| member.ordinal == next) else {
            return set.partition;
        };
        // With another password than its primary's no replica is in sync before all have the same.
        let free = set.updated(member) || member.is_broken() || member.password != password;
        if free || self.may_go(member, set, plan) {
            self.busy = true;
            return next;
        }
        set.partition
    }

    /// Whether a pod that serves may be replaced now.
    fn may_go(&self, member: &Member, set: &SetSeen, plan: &mut SetsPlan) -> bool {
        if !self.calm {
            return false;
        }
        let others = || self.cluster.of_shard(member.shard).filter(|other| other.ordinal != member.ordinal);
        // Where nobody can take over, clients have to wait while it restarts; it keeps its data.
        if member.slots().is_empty() || others().all(Member::is_broken) {
            return true;
        }
        // A primary hands over first, to one that need not be replaced itself, if there is one.
        let heirs: Vec<&Member> = others().filter(|heir| heir.follows(member)).collect();
        let heir = heirs.iter().find(|heir| set.updated(heir)).or(heirs.first());
        if let (Some(heir), None) = (heir, &plan.first) {
            plan.first = Some((heir.pod.clone(), Command::TakeOver));
        }
        false
    }
}
