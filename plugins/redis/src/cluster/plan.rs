//! The next thing to do in a cluster: a pure function of what is seen, called again with what that led to.
//!
//! Each step looks only at what there is, so it can be interrupted anywhere. What keeps data safe:
//! - slots are given to a node only when nobody has them and everyone who could know has said so;
//! - a slot that is on its way is always finished in the direction it was going, or closed where that has no end;
//! - a node is forgotten only when its own pod says that it is another one now, or is gone for good;
//! - only a node without slots, that nobody of the others knows, is made to start anew.

use std::collections::BTreeMap;

use super::balance;
use super::command::Command;
use super::look::{Node, State};
use super::seen::{Cluster, Fate, Ghost, Member, Primary};
use super::slots::{ALL, Slots};

/// What to do now.
#[derive(Default)]
pub(crate) struct Plan {
    /// Commands by pod, each pod's in order.
    pub acts: BTreeMap<String, Vec<Command>>,
    /// What is going on, for people: reason and message.
    pub doing: Option<(&'static str, String)>,
    /// Slots whose data is lost, and which are served again empty.
    pub lost: Slots,
    /// What only people can mend.
    pub stuck: Option<(&'static str, String)>,
}

/// Up to so many pods, each gets to know all others by itself; beyond, word gets around.
const ACQUAINTED: usize = 12;
/// Up to so many slots are in one command to move them.
const AT_ONCE: usize = 2048;

/// Everything but moving slots to balance the shards. `shards` and `pods` (of a shard) are what is wanted.
pub(crate) fn repair(cluster: &Cluster, shards: u32, pods: u32) -> Plan {
    let mut plan = Plan::default();
    let strangers = plan.reset(cluster);
    if strangers {
        return plan;
    }
    plan.inherit(cluster);
    plan.own(cluster, shards);
    plan.meet(cluster);
    plan.follow(cluster, pods);
    if plan.doing.is_none() {
        plan.finish_moves(cluster);
    }
    plan
}

/// Moves slots so that each of the first `shards` has its equal part, and the others none.
pub(crate) fn rebalance(cluster: &Cluster, shards: u32) -> Plan {
    let mut plan = Plan::default();
    let mut owners = BTreeMap::new();
    for shard in cluster.shards() {
        match cluster.primary(shard) {
            Primary::Member(primary) if primary.is_primary() => {
                owners.insert(shard, primary);
            }
            _ if shard < shards => return plan,
            _ => {}
        }
    }
    let parts = owners.iter().map(|(shard, owner)| (*shard, owner.slots())).collect();
    let moves = balance::moves(&parts, shards);
    let total: usize = moves.iter().map(|step| step.slots.len()).sum();
    for mut step in moves {
        let (Some(from), Some(to)) = (owners.get(&step.from), owners.get(&step.to)) else { continue };
        plan.hand_over(from, to, step.slots.take(AT_ONCE));
    }
    if total > 0 {
        plan.doing = Some(("Rebalancing", format!("{total} of {ALL} slots are still to move")));
    }
    plan
}

impl Plan {
    fn act(&mut self, member: &Member, command: Command) {
        let commands = self.acts.entry(member.pod.clone()).or_default();
        if !commands.contains(&command) {
            commands.push(command);
        }
    }

    /// One destination at a time: the first one it is given.
    fn hand_over(&mut self, from: &Member, to: &Member, slots: Slots) {
        let Some(node) = to.node() else { return };
        let busy = self.acts.get(&from.pod).is_some_and(|acts| {
            acts.iter().any(|act| matches!(act, Command::Move { id, .. } if *id != node.id))
        });
        if !busy {
            self.act(from, Command::Move { id: node.id.clone(), ip: node.ip.clone(), slots });
        }
    }

    fn do_now(&mut self, reason: &'static str, message: impl Into<String>) {
        self.doing.get_or_insert((reason, message.into()));
    }

    /// Nodes of a former life: they know nobody of today, nobody knows them, and every slot has an owner without them.
    fn reset(&mut self, cluster: &Cluster) -> bool {
        let mut found = false;
        if cluster.served() != Slots::all() {
            return false;
        }
        for (member, look) in cluster.looks() {
            let of_today = |node: &Node| cluster.by_id(&node.id).is_some();
            let known = cluster
                .looks()
                .any(|(other, look)| other.pod != member.pod && look.node(member.id()).is_some());
            let mut past = look.others().iter().filter(|node| node.state != State::Unknown).peekable();
            if past.peek().is_none() || past.any(of_today) || known {
                continue;
            }
            if !member.slots().is_empty() || (look.has_keys && member.is_primary()) {
                let message = format!(
                    "pod {} has data of a cluster that none of the others knows: move its volume away, or delete \
                     what is on it",
                    member.pod
                );
                self.stuck.get_or_insert(("ForeignNode", message));
                continue;
            }
            self.act(member, Command::Reset);
            self.do_now("Forming", "a node forgets a former life");
            found = true;
        }
        found
    }

    /// Everyone gets to know everyone, at the addresses of now.
    fn meet(&mut self, cluster: &Cluster) {
        let looks: Vec<_> = cluster.looks().collect();
        let (mut unknown, mut moved) = (0, 0);
        for (i, (member, look)) in looks.iter().enumerate() {
            for (j, (_, theirs)) in looks.iter().enumerate().filter(|(j, _)| *j != i) {
                let them = theirs.me();
                match look.node(&them.id).map(|known| known.ip == them.ip) {
                    Some(true) => continue,
                    Some(false) => moved += 1,
                    None => {
                        unknown += 1;
                        // One of the two is enough, and with many pods one for each is.
                        let mutual = theirs.node(&look.me().id).is_none();
                        let near = looks.len() <= ACQUAINTED || i == 0 || j == i + 1;
                        if look.others().iter().any(|node| node.state == State::Unknown && node.ip == them.ip)
                            || (mutual && !(i < j && near))
                        {
                            continue;
                        }
                    }
                }
                self.act(member, Command::Meet { id: them.id.clone(), ip: them.ip.clone() });
            }
        }
        if moved > 0 {
            self.do_now("Reconnecting", "nodes tell each other their new addresses");
        } else if unknown > 0 {
            self.do_now("Forming", "nodes get to know each other");
        }
    }

    /// Gives away the slots that are nobody's.
    fn own(&mut self, cluster: &Cluster, shards: u32) {
        if cluster.unowned.is_empty() || !cluster.complete() || !cluster.contested.is_empty() {
            return;
        }
        let mut owners = Vec::new();
        for shard in 0..shards {
            match cluster.primary(shard) {
                Primary::Member(primary) if primary.is_primary() => owners.push(primary),
                _ => return,
            }
        }
        let mut left = cluster.unowned.clone();
        // What was on its way to someone when its owner was lost has keys there.
        for owner in &owners {
            let Some(node) = owner.node() else { continue };
            let coming: Slots = node.coming.iter().map(|(slot, _)| *slot).collect();
            self.give(owner, left.common(&coming), owner.shard);
            left = left.minus(&coming);
        }
        let parts: Vec<Slots> = owners.iter().map(|owner| owner.slots()).collect();
        for (owner, slots) in owners.iter().zip(balance::shares(&parts, left)) {
            self.give(owner, slots, owner.shard);
        }
        self.do_now("Forming", format!("{} slots are given to shards", cluster.unowned.len()));
    }

    fn give(&mut self, owner: &Member, slots: Slots, shard: u32) {
        if slots.is_empty() {
            return;
        }
        if owner.look.as_ref().is_some_and(|look| look.others().is_empty()) {
            self.act(owner, Command::Epoch(u64::from(shard) + 1));
        }
        self.act(owner, Command::Own(slots));
    }

    /// Within each shard, everyone follows its primary.
    fn follow(&mut self, cluster: &Cluster, pods: u32) {
        for shard in cluster.shards() {
            let Primary::Member(primary) = cluster.primary(shard) else { continue };
            if !primary.is_primary() {
                continue;
            }
            for member in cluster.of_shard(shard).filter(|member| member.pod != primary.pod) {
                let Some(look) = &member.look else { continue };
                let me = look.me();
                let astray = me.primary.as_deref() != Some(primary.id());
                if !astray || !me.slots.is_empty() || !me.coming.is_empty() || member.ordinal >= pods {
                    continue;
                }
                if member.is_primary() && look.has_keys {
                    let message = format!(
                        "pod {} has keys in slots that are not its own: look what they are, and delete them there",
                        member.pod
                    );
                    self.stuck.get_or_insert(("StrayKeys", message));
                    continue;
                }
                self.act(member, Command::Replicate(primary.id().to_owned()));
                self.do_now("Forming", "replicas get to know their primaries");
            }
        }
    }

    /// What becomes of the place of nodes that will not come back.
    fn inherit(&mut self, cluster: &Cluster) {
        for ghost in cluster.ghosts.iter().filter(|ghost| ghost.fate != Fate::Absent) {
            if ghost.slots.is_empty() {
                self.forget(cluster, ghost);
            } else if ghost.fate == Fate::Lost {
                self.succeed(cluster, ghost);
            }
        }
    }

    fn forget(&mut self, cluster: &Cluster, ghost: &Ghost) {
        for (member, look) in cluster.looks() {
            let follows = look.me().primary.as_deref() == Some(ghost.id.as_str());
            if look.node(&ghost.id).is_some() && !follows {
                self.act(member, Command::Forget(ghost.id.clone()));
            }
        }
    }

    /// A replica takes the place of a primary whose data is gone; without one, its slots begin anew.
    fn succeed(&mut self, cluster: &Cluster, ghost: &Ghost) {
        let follows = |node: &Node| node.primary.as_deref() == Some(ghost.id.as_str());
        let heirs = cluster.looks().filter(|(_, look)| follows(look.me()));
        if let Some((heir, _)) = heirs.max_by_key(|(heir, look)| (look.offset, u32::MAX - heir.ordinal)) {
            let owners = cluster.looks().filter(|(_, look)| !look.me().slots.is_empty()).count();
            let gone = cluster.ghosts.iter().filter(|ghost| !ghost.slots.is_empty()).count();
            let command = if owners > gone { Command::Succeed } else { Command::Usurp };
            self.act(heir, command);
            self.do_now(
                "Recovering",
                format!("pod {} takes the place of a primary that lost its data", heir.pod),
            );
            return;
        }
        // One that could not be asked may still have a copy.
        let maybe = cluster
            .ghosts
            .iter()
            .any(|other| other.fate == Fate::Absent && other.primary.as_deref() == Some(ghost.id.as_str()));
        if maybe || !cluster.complete() {
            self.do_now("Recovering", "a primary lost its data; waiting for its replica");
            return;
        }
        self.forget(cluster, ghost);
        self.lost = self.lost.union(&ghost.slots);
        self.do_now("Recovering", format!("{} slots lost their data and begin anew", ghost.slots.len()));
    }

    /// Slots that are on their way arrive; those that are open for nothing are closed.
    fn finish_moves(&mut self, cluster: &Cluster) {
        let mut open: BTreeMap<(&str, &str), Slots> = BTreeMap::new();
        let mut closed: BTreeMap<&str, Slots> = BTreeMap::new();
        for (member, look) in cluster.looks().filter(|(member, _)| member.is_primary()) {
            for (slot, to) in &look.me().leaving {
                match destination(cluster, to) {
                    Destination::Member(to) if to.pod != member.pod && look.me().slots.contains(*slot) => {
                        open.entry((&member.pod, &to.pod)).or_default().insert(*slot);
                    }
                    // It may come back, with keys that moved there.
                    Destination::Absent => {}
                    _ => closed.entry(&member.pod).or_default().insert(*slot),
                }
            }
            for (slot, _) in &look.me().coming {
                let owner = cluster.looks().find(|(_, look)| look.me().slots.contains(*slot));
                match owner {
                    Some((owner, _)) if owner.pod == member.pod => {
                        closed.entry(&member.pod).or_default().insert(*slot);
                    }
                    Some((owner, _)) => open.entry((&owner.pod, &member.pod)).or_default().insert(*slot),
                    None => {}
                }
            }
        }
        let find = |pod: &str| cluster.members.iter().find(|member| member.pod == pod);
        for (pod, slots) in closed {
            if let Some(member) = find(pod) {
                self.act(member, Command::Close(slots));
            }
        }
        for ((from, to), slots) in open {
            if let (Some(from), Some(to)) = (find(from), find(to)) {
                self.hand_over(from, to, slots);
            }
        }
        if !self.acts.is_empty() {
            self.do_now("Rebalancing", "slots on their way arrive");
        }
    }
}

/// Where a slot on its way to a node is to arrive.
enum Destination<'a> {
    Member(&'a Member),
    Absent,
    Nowhere,
}

/// The node itself, or who took its place, and so has what had arrived there.
fn destination<'a>(cluster: &'a Cluster, id: &str) -> Destination<'a> {
    let shard = match cluster.by_id(id) {
        Some(member) if member.is_primary() => return Destination::Member(member),
        Some(member) => Some(member.shard),
        None => match cluster.ghosts.iter().find(|ghost| ghost.id == id) {
            Some(ghost) if ghost.fate == Fate::Absent => return Destination::Absent,
            Some(ghost) => ghost.shard,
            None => None,
        },
    };
    match shard.map(|shard| cluster.primary(shard)) {
        Some(Primary::Member(heir)) if heir.is_primary() => Destination::Member(heir),
        _ => Destination::Nowhere,
    }
}
