//! What is observed of a cluster, put together: its pods, what their nodes say, and what follows from that.
//!
//! The rule of all of it: a node's word about itself counts, another's word only where a node itself says nothing. So
//! a slot is only ever taken for nobody's when nobody claims it and nobody says that somebody does.

use std::collections::{BTreeMap, BTreeSet};

use senren_plugin::prelude::*;
use senren_plugin::{Object, Trouble};

use super::Spec;
use super::look::{Look, Node, State};
use super::objects::{self, Names};
use super::sets::SetSeen;
use super::slots::Slots;
use crate::Config;

/// A cluster, as far as it is known.
pub(crate) struct Cluster {
    /// Every pod that there is or shall be, in order of shard and ordinal.
    pub members: Vec<Member>,
    /// Nodes that others know and that no pod says it is.
    pub ghosts: Vec<Ghost>,
    /// Slots that nobody claims and nobody is said to have.
    pub unowned: Slots,
    /// Slots that more than one node claims.
    pub contested: Slots,
    /// Everyone who was asked agrees on who owns what.
    pub settled: bool,
    /// Which of the members says that it is this node.
    ids: BTreeMap<String, usize>,
}

/// A pod, and the node in it.
#[derive(Default)]
pub(crate) struct Member {
    pub pod: String,
    pub shard: u32,
    pub ordinal: u32,
    pub uid: String,
    /// It exists and its process runs.
    pub running: bool,
    pub ready: bool,
    /// From which template it was made, and which password that had.
    pub revision: String,
    pub password: String,
    pub trouble: Option<Trouble>,
    /// What its node says.
    pub look: Option<Look>,
    /// When it said so, or when it was last asked in vain.
    pub looked_at: u64,
    /// Why it says nothing.
    pub silence: Option<String>,
}

/// A node that others know and that no pod says it is.
pub(crate) struct Ghost {
    pub id: String,
    pub fate: Fate,
    /// What it has, as others say, less what anyone claims.
    pub slots: Slots,
    /// The shard of the pod that it was in.
    pub shard: Option<u32>,
    /// Of a replica.
    pub primary: Option<String>,
}

/// Whether a node may come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its pod is not there now, or says nothing.
    Absent,
    /// Its pod is there and is another node: what it stored is lost.
    Lost,
    /// Its pod is not there and shall not be.
    Retired,
}

/// Who owns a shard's slots, or is to.
pub(crate) enum Primary<'a> {
    Member(&'a Member),
    Ghost(&'a Ghost),
    Nobody,
}

/// Id of the ask for a look. A pod's successor is asked anew.
pub(crate) fn look_id(pod: &str, uid: &str) -> String {
    format!("look/{pod}/{uid}")
}

impl Cluster {
    /// Reads what is observed.
    pub(crate) fn seen(input: &Input<Spec, Config>, names: &Names, sets: &BTreeMap<u32, SetSeen>) -> Self {
        let mut members = places(input, names, sets);
        for object in input.observed.of_kind("Pod") {
            if let Some(member) = names.place(&object.metadata.name).and_then(|place| members.get_mut(&place))
            {
                member.read(input, object);
            }
        }
        Self::of(members.into_values().collect(), names)
    }

    pub(crate) fn of(members: Vec<Member>, names: &Names) -> Self {
        let mut cluster = Self {
            members,
            ghosts: Vec::new(),
            unowned: Slots::all(),
            contested: Slots::default(),
            settled: true,
            ids: BTreeMap::new(),
        };
        let answered = cluster.members.iter().enumerate().filter(|(_, member)| member.look.is_some());
        cluster.ids = answered.map(|(at, member)| (member.id().to_owned(), at)).collect();
        let mut claimed = Slots::default();
        for member in &cluster.members {
            let own = member.slots();
            cluster.contested = cluster.contested.union(&claimed.common(&own));
            claimed = claimed.union(&own);
        }
        cluster.ghosts = cluster.find_ghosts(names, &claimed);
        // Looks are not of the same moment: a slot that moved in between may be claimed in none of them.
        let said = cluster.looks().flat_map(|(_, look)| &look.nodes).map(|node| &node.slots);
        cluster.unowned = Slots::all().minus(&said.fold(Slots::default(), |said, slots| said.union(slots)));
        cluster.settled = cluster.contested.is_empty() && cluster.agree();
        cluster
    }

    fn find_ghosts(&self, names: &Names, claimed: &Slots) -> Vec<Ghost> {
        let mut ghosts: BTreeMap<&str, Ghost> = BTreeMap::new();
        let known = self.looks().flat_map(|(_, look)| look.others());
        for node in known.filter(|node| node.state != State::Unknown && !self.ids.contains_key(&node.id)) {
            let ghost = ghosts.entry(&node.id).or_insert_with(|| Ghost {
                id: node.id.clone(),
                fate: Fate::Absent,
                slots: Slots::default(),
                shard: None,
                primary: None,
            });
            ghost.slots = ghost.slots.union(&node.slots.minus(claimed));
            ghost.primary = ghost.primary.take().or_else(|| node.primary.clone());
            // A name may not have got around to everyone yet.
            if let Some((shard, ordinal)) = names.place(&node.pod) {
                ghost.shard = Some(shard);
                ghost.fate = match self.members.iter().find(|m| (m.shard, m.ordinal) == (shard, ordinal)) {
                    Some(member) if member.look.is_some() => Fate::Lost,
                    Some(_) => Fate::Absent,
                    None => Fate::Retired,
                };
            }
        }
        ghosts.into_values().collect()
    }

    /// Each who was asked says of every other what that says of itself.
    fn agree(&self) -> bool {
        self.looks().all(|(_, look)| {
            look.others().iter().filter(|node| node.state != State::Unknown).all(|node| {
                let own = self.by_id(&node.id).map(Member::slots);
                own.is_none_or(|own| own == node.slots)
            })
        })
    }

    /// Those who answered, with what they say.
    pub(crate) fn looks(&self) -> impl Iterator<Item = (&Member, &Look)> {
        self.members.iter().filter_map(|member| Some((member, member.look.as_ref()?)))
    }

    /// The pod that says it is this node.
    pub(crate) fn by_id(&self, id: &str) -> Option<&Member> {
        self.ids.get(id).and_then(|at| self.members.get(*at))
    }

    pub(crate) fn of_shard(&self, shard: u32) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| member.shard == shard)
    }

    /// The shards that there are or shall be.
    pub(crate) fn shards(&self) -> BTreeSet<u32> {
        self.members.iter().map(|member| member.shard).collect()
    }

    /// Everyone who could say something has.
    pub(crate) fn complete(&self) -> bool {
        self.members.iter().all(|member| member.look.is_some() || !member.running)
    }

    /// Who owns a shard's slots, or where nobody has any, who is to.
    pub(crate) fn primary(&self, shard: u32) -> Primary<'_> {
        let answered = || self.of_shard(shard).filter(|member| member.look.is_some());
        // Of several, the first of those with most.
        if let Some(member) = answered()
            .filter(|member| !member.slots().is_empty())
            .min_by_key(|member| usize::MAX - member.slots().len())
        {
            return Primary::Member(member);
        }
        let ghost = self.ghosts.iter().find(|ghost| ghost.shard == Some(shard) && !ghost.slots.is_empty());
        if let Some(ghost) = ghost {
            return Primary::Ghost(ghost);
        }
        match answered().find(|member| member.node().is_some_and(|node| !node.is_replica)) {
            Some(member) => Primary::Member(member),
            None => Primary::Nobody,
        }
    }

    /// Slots that are open at a node that answered: on their way from it or to it.
    pub(crate) fn any_open(&self) -> bool {
        self.looks().any(|(_, look)| !look.me().leaving.is_empty() || !look.me().coming.is_empty())
    }

    /// Slots that clients can use: those who own them say that they work, or nobody doubts them.
    pub(crate) fn served(&self) -> Slots {
        let mut served = Slots::default();
        for member in &self.members {
            match &member.look {
                Some(look) if member.running && look.works => served = served.union(&member.slots()),
                _ => {}
            }
        }
        for ghost in self.ghosts.iter().filter(|ghost| ghost.fate == Fate::Absent) {
            // It runs, but could not be asked: its neighbours are in touch with it all the time.
            let running =
                self.members.iter().any(|member| member.running && member.ready && member.is(ghost, self));
            let trusted = self.looks().all(|(_, look)| {
                look.works && look.node(&ghost.id).is_none_or(|node| node.state == State::Up)
            });
            if running && trusted {
                served = served.union(&ghost.slots);
            }
        }
        served.minus(&self.contested)
    }
}

/// The pods that there are or shall be, still empty.
fn places(
    input: &Input<Spec, Config>,
    names: &Names,
    sets: &BTreeMap<u32, SetSeen>,
) -> BTreeMap<(u32, u32), Member> {
    let wanted = (0..input.spec.shards).map(|shard| (shard, input.spec.pods()));
    let there = sets.iter().map(|(shard, set)| (*shard, set.replicas));
    let counts = wanted.chain(there).flat_map(|(shard, pods)| (0..pods).map(move |pod| (shard, pod)));
    let pods = input.observed.of_kind("Pod").filter_map(|pod| names.place(&pod.metadata.name));
    let member = |(shard, ordinal): (u32, u32)| {
        let pod = names.pod(shard, ordinal);
        ((shard, ordinal), Member { pod, shard, ordinal, ..Member::default() })
    };
    counts.chain(pods).map(member).collect()
}

impl Member {
    fn read(&mut self, input: &Input<Spec, Config>, object: &Object<'_>) {
        let Some(pod) = input.observed.pod(&self.pod) else { return };
        self.uid = object.metadata.uid.to_string();
        self.password = object.annotation(objects::PASSWORD).unwrap_or_default().into_owned();
        self.running = pod.running() && pod.ip().is_some();
        self.ready = pod.ready();
        self.trouble = pod.trouble(&self.pod);
        self.revision = pod.revision;
        let Some(answer) = input.answer(&look_id(&self.pod, &self.uid)) else { return };
        self.looked_at = answer.observed_at_ms;
        if self.running {
            self.look = answer.text().and_then(Look::parse);
        }
        if self.look.is_none() {
            self.silence = Some(answer.problem().unwrap_or_else(|| "it has no answer yet".to_owned()));
        }
    }

    /// Its node, as it describes itself.
    pub(crate) fn node(&self) -> Option<&Node> {
        self.look.as_ref().map(Look::me)
    }

    pub(crate) fn id(&self) -> &str {
        self.node().map(|node| node.id.as_str()).unwrap_or_default()
    }

    /// What it says that it owns.
    pub(crate) fn slots(&self) -> Slots {
        self.node().map(|node| node.slots.clone()).unwrap_or_default()
    }

    pub(crate) fn is_primary(&self) -> bool {
        self.node().is_some_and(|node| !node.is_replica)
    }

    /// As a replica, it has what `primary` has.
    pub(crate) fn follows(&self, primary: &Member) -> bool {
        let Some(look) = &self.look else { return false };
        look.in_sync && look.works && look.me().primary.as_deref() == Some(primary.id())
    }

    /// It neither serves nor says anything.
    pub(crate) fn is_broken(&self) -> bool {
        !self.ready && self.look.is_none()
    }

    /// A ghost that was last in this pod, whose node could not be asked.
    fn is(&self, ghost: &Ghost, cluster: &Cluster) -> bool {
        let named = |look: &Look| look.node(&ghost.id).is_some_and(|node| node.pod == self.pod);
        self.look.is_none() && cluster.looks().any(|(_, look)| named(look))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn names() -> Names {
        let shard = "x-shard-".to_owned();
        Names { config: String::new(), nodes: String::new(), secret: String::new(), shard }
    }

    /// Pods 0, 1, … of as many shards; each says what it owns, and what it believes that all own.
    fn cluster(says: &[(&str, &[&str])]) -> Cluster {
        let id = |n: usize| format!("{n:040}");
        let line = |n: usize, flags: &str, slots: &str| {
            format!("{} 10.0.0.{n}:6379@16379,x-shard-{n}-0.x {flags} - 0 connected {slots}\n", id(n))
        };
        let member = |(n, (own, others)): (usize, &(&str, &[&str]))| {
            let mut text = format!("cluster_state:ok\n{}", line(n, "myself,master", own));
            for (other, slots) in others.iter().enumerate().filter(|(other, _)| *other != n) {
                text.push_str(&line(other, "master", slots));
            }
            Member {
                pod: format!("x-shard-{n}-0"),
                shard: u32::try_from(n).unwrap(),
                running: true,
                look: Look::parse(&text),
                ..Member::default()
            }
        };
        Cluster::of(says.iter().enumerate().map(member).collect(), &names())
    }

    #[test]
    fn a_slot_is_nobodys_only_if_nobody_says_that_somebody_has_it() {
        let unowned = |says: &[(&str, &[&str])]| cluster(says).unowned.to_string();
        assert_eq!(unowned(&[("0-99", &["", ""]), ("100-16383", &["", ""])]), "");
        assert_eq!(unowned(&[("0-99", &["", ""]), ("100-16000", &["", ""])]), "16001-16383");
        // 50-99 moved to the second after that was asked and before the first was.
        let mixed = cluster(&[("0-49", &["", "50-16383"]), ("100-16383", &["0-99", ""])]);
        assert_eq!((mixed.unowned.to_string().as_str(), mixed.settled), ("", false));
        // Of one that is no longer there, the others' word is all there is.
        assert_eq!(unowned(&[("0-99", &["", "", "200-16383"]), ("100-199", &["", "", ""])]), "");
    }

    #[test]
    fn what_two_claim_is_served_by_nobody() {
        let both = cluster(&[("0-99", &["", "50-16383"]), ("50-16383", &["0-99", ""])]);
        assert_eq!((both.contested.to_string().as_str(), both.settled), ("50-99", false));
        assert_eq!(both.served(), Slots::all().minus(&both.contested));
    }
}
