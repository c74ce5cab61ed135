//! The nodes of a cluster that there is not. Pure; time passes when someone asks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use senren_plugin::SimulatedPod;
use senren_plugin::objects::checksum;
use serde::{Deserialize, Serialize};

use crate::cluster::command::Command;
use crate::cluster::slots::Slots;

/// `cluster-node-timeout`
const NODE_TIMEOUT_MS: u64 = 5000;
/// So many slots move in one go; the next few are left on their way, as where time runs out.
const MOVED_AT_ONCE: usize = 1500;
const LEFT_OPEN: usize = 8;

/// All nodes that there ever were and whose disks there may still be, by what their disk is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Nodes(BTreeMap<String, Node>);

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Node {
    id: String,
    /// Counts its lives: a reset begins another.
    life: u32,
    /// Its pod: name, and uid while it runs.
    pod: String,
    uid: Option<String>,
    ip: String,
    epoch: u64,
    slots: Slots,
    primary: Option<String>,
    leaving: BTreeMap<u16, String>,
    coming: BTreeMap<u16, String>,
    /// Other nodes, as it last saw them.
    knows: BTreeMap<String, Known>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Known {
    ip: String,
    pod: String,
    slots: Slots,
    primary: Option<String>,
    /// Since when there is no connection.
    lost_at: Option<u64>,
}

type Done = Result<(), String>;

impl Nodes {
    /// Which node runs in a pod.
    pub(super) fn in_pod(&self, pod: &SimulatedPod) -> Option<String> {
        let node = self.0.values().find(|node| node.uid.as_deref() == Some(pod.uid.as_str()))?;
        Some(node.id.clone())
    }

    /// Brings everything to where it is with these pods, at this time.
    pub(super) fn live(&mut self, pods: &[SimulatedPod], now_ms: u64) {
        self.start_and_stop(pods);
        // Word gets around: whoever is in touch with one is soon in touch with all that one is in touch with.
        while self.connect() {}
        self.exchange(now_ms);
        self.resolve();
        self.elect(now_ms);
        self.exchange(now_ms);
    }

    fn start_and_stop(&mut self, pods: &[SimulatedPod]) {
        self.0.values_mut().for_each(|node| node.uid = None);
        for pod in pods.iter().filter(|pod| pod.running && !pod.ip.is_empty()) {
            let disk = pod.claims.first().cloned().unwrap_or_else(|| pod.uid.clone());
            let node =
                self.0.entry(disk.clone()).or_insert_with(|| Node { id: id(&disk, 0), ..Node::default() });
            node.pod.clone_from(&pod.name);
            node.ip.clone_from(&pod.ip);
            node.uid = Some(pod.uid.clone());
        }
    }

    fn running(&self) -> impl Iterator<Item = &Node> {
        self.0.values().filter(|node| node.uid.is_some())
    }

    fn find(&self, id: &str) -> Option<&Node> {
        self.0.values().find(|node| node.id == id)
    }

    fn find_mut(&mut self, id: &str) -> Option<&mut Node> {
        self.0.values_mut().find(|node| node.id == id)
    }

    /// Two nodes can talk: both run, and one knows where the other is.
    fn linked(&self, a: &Node, b: &Node) -> bool {
        let knows = |a: &Node, b: &Node| a.knows.get(&b.id).is_some_and(|known| known.ip == b.ip);
        // One that forgot the other does not listen to it.
        let known = a.knows.contains_key(&b.id) && b.knows.contains_key(&a.id);
        a.uid.is_some() && b.uid.is_some() && known && (knows(a, b) || knows(b, a))
    }

    /// True if anyone got to know someone, or an address.
    fn connect(&mut self) -> bool {
        let mut news: Vec<(String, String, String)> = Vec::new();
        let running: Vec<&Node> = self.running().collect();
        for a in &running {
            for b in running.iter().filter(|b| b.id != a.id && self.linked(a, b)) {
                let learns = |of: &Node| a.knows.get(&of.id).is_none_or(|known| known.ip != of.ip);
                if learns(b) {
                    news.push((a.id.clone(), b.id.clone(), b.ip.clone()));
                }
                for c in running.iter().filter(|c| c.id != a.id && c.id != b.id && self.linked(b, c)) {
                    if learns(c) {
                        news.push((a.id.clone(), c.id.clone(), c.ip.clone()));
                        news.push((c.id.clone(), a.id.clone(), a.ip.clone()));
                    }
                }
            }
        }
        for (who, whom, ip) in &news {
            if let Some(node) = self.find_mut(who) {
                node.knows.entry(whom.clone()).or_default().ip.clone_from(ip);
            }
        }
        !news.is_empty()
    }

    /// Everyone sees those it is in touch with as they are, and the others as they were.
    fn exchange(&mut self, now_ms: u64) {
        let before = self.clone();
        for node in self.0.values_mut().filter(|node| node.uid.is_some()) {
            let ids: Vec<String> = node.knows.keys().cloned().collect();
            for id in ids {
                let Some(known) = node.knows.get_mut(&id) else { continue };
                let seen = before.find(&id).zip(before.find(&node.id));
                match seen.filter(|(other, me)| before.linked(me, other)) {
                    Some((other, _)) => {
                        *known = Known {
                            ip: other.ip.clone(),
                            pod: other.pod.clone(),
                            slots: other.slots.clone(),
                            primary: other.primary.clone(),
                            lost_at: None,
                        };
                    }
                    None => known.lost_at = known.lost_at.or(Some(now_ms)),
                }
            }
        }
    }

    /// Of two that claim the same slot, the later epoch has it.
    fn resolve(&mut self) {
        let claims: Vec<(String, u64, Slots)> =
            self.running().map(|node| (node.id.clone(), node.epoch, node.slots.clone())).collect();
        for (id, epoch, slots) in &claims {
            let later = claims.iter().filter(|(other, other_epoch, _)| (other_epoch, other) > (epoch, id));
            let linked = later.filter(|(other, ..)| {
                self.find(id).zip(self.find(other)).is_some_and(|(a, b)| self.linked(a, b))
            });
            let kept = linked.fold(slots.clone(), |kept, (_, _, theirs)| kept.minus(theirs));
            if let Some(node) = self.find_mut(id) {
                node.slots = kept;
            }
        }
    }

    /// Replicas of primaries that failed take their places.
    fn elect(&mut self, now_ms: u64) {
        let mut heirs: BTreeMap<String, String> = BTreeMap::new();
        for node in self.running() {
            let Some(primary) = node.primary.as_ref() else { continue };
            let failed = node.knows.get(primary).is_some_and(|known| {
                known.lost_at.is_some_and(|at| now_ms.saturating_sub(at) >= NODE_TIMEOUT_MS)
                    && !known.slots.is_empty()
            });
            if failed && self.majority(node) {
                heirs.entry(primary.clone()).or_insert_with(|| node.id.clone());
            }
        }
        for (primary, heir) in heirs {
            self.promote(&heir, &primary);
        }
    }

    /// It is in touch with more than half of the primaries.
    fn majority(&self, node: &Node) -> bool {
        let owners = node.knows.values().filter(|known| !known.slots.is_empty());
        let (here, gone): (Vec<_>, Vec<_>) = owners.partition(|known| known.lost_at.is_none());
        let own = usize::from(!node.slots.is_empty());
        here.len() + own > gone.len()
    }

    fn promote(&mut self, heir: &str, primary: &str) {
        let epoch = self.0.values().map(|node| node.epoch).max().unwrap_or_default() + 1;
        // What the heir knows counts: the other may be gone, with its disk.
        let known = self.find(heir).and_then(|heir| heir.knows.get(primary)).map(|known| known.slots.clone());
        for node in self.0.values_mut() {
            if node.id == heir {
                node.slots = known.clone().unwrap_or_default();
                (node.primary, node.epoch) = (None, epoch);
            } else if node.id == primary || node.primary.as_deref() == Some(primary) {
                (node.slots, node.primary) = (Slots::default(), Some(heir.to_owned()));
                node.leaving.clear();
            }
            if let Some(known) = node.knows.get_mut(primary) {
                (known.slots, known.primary) = (Slots::default(), Some(heir.to_owned()));
            }
        }
    }

    /// Does what the script does.
    pub(super) fn run(&mut self, me: &str, command: Command) -> Done {
        let known = |nodes: &Self, id: &str| nodes.find(me).and_then(|node| node.knows.get(id).cloned());
        let unknown = |id: &str| format!("ERR Unknown node {id}");
        match command {
            Command::Meet { id, ip } => return self.meet(me, &id, &ip),
            Command::Epoch(epoch) => self.change(me, |node| {
                if node.knows.is_empty() && node.epoch == 0 {
                    node.epoch = epoch;
                }
            }),
            Command::Own(slots) => {
                let owned = self.find(me).map(Node::view).unwrap_or_default();
                if let Some(slot) = owned.common(&slots).iter().next() {
                    return Err(format!("ERR Slot {slot} is already busy"));
                }
                self.change(me, |node| {
                    slots.iter().for_each(|slot| drop(node.coming.remove(&slot)));
                    node.slots = node.slots.union(&slots);
                });
            }
            Command::Replicate(id) => {
                known(self, &id).ok_or_else(|| unknown(&id))?;
                if self.find(me).is_some_and(|node| !node.slots.is_empty()) {
                    return Err(
                        "ERR To set a master the node must be empty and without assigned slots.".into()
                    );
                }
                self.change(me, |node| node.primary = Some(id));
            }
            Command::TakeOver | Command::Succeed | Command::Usurp => return self.inherit(me, &command),
            Command::Forget(id) => {
                if self.find(me).is_some_and(|node| node.primary.as_ref() == Some(&id)) {
                    return Err("ERR Can't forget my master!".into());
                }
                self.change(me, |node| drop(node.knows.remove(&id)));
            }
            Command::Close(slots) => self.change(me, |node| {
                node.leaving.retain(|slot, _| !slots.contains(*slot));
                node.coming.retain(|slot, _| !slots.contains(*slot));
            }),
            Command::Move { id, ip, slots } => return self.hand_over(me, &id, &ip, slots),
            Command::Reset => {
                if self.find(me).is_some_and(|node| !node.slots.is_empty()) {
                    return Err("it owns slots".into());
                }
                if let Some((disk, node)) = self.0.iter_mut().find(|(_, node)| node.id == me) {
                    let life = node.life + 1;
                    let (pod, uid, ip) = (node.pod.clone(), node.uid.clone(), node.ip.clone());
                    *node = Node { id: id(disk, life), life, pod, uid, ip, ..Node::default() };
                }
            }
        }
        Ok(())
    }

    fn change(&mut self, id: &str, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.find_mut(id) {
            change(node);
        }
    }

    fn at(&self, id: &str, ip: &str) -> Done {
        match self.running().find(|node| node.ip == ip) {
            Some(node) if node.id == id => Ok(()),
            Some(node) => Err(format!("at {ip} there is not {id}: {}", node.id)),
            None => Err(format!("at {ip} there is not {id}: Could not connect to Redis")),
        }
    }

    fn meet(&mut self, me: &str, id: &str, ip: &str) -> Done {
        self.at(id, ip)?;
        let own = self.find(me).map(|node| node.ip.clone()).unwrap_or_default();
        self.change(me, |node| ip.clone_into(&mut node.knows.entry(id.to_owned()).or_default().ip));
        self.change(id, |node| node.knows.entry(me.to_owned()).or_default().ip = own);
        Ok(())
    }

    fn inherit(&mut self, me: &str, how: &Command) -> Done {
        let Some(node) = self.find(me) else { return Ok(()) };
        let Some(primary) = node.primary.clone() else { return Ok(()) };
        let reachable = node.knows.get(&primary).is_some_and(|known| known.lost_at.is_none());
        if *how == Command::TakeOver && !reachable {
            return Err("ERR Master is down or failed, please use CLUSTER FAILOVER FORCE".into());
        }
        if *how == Command::Succeed && !self.majority(node) {
            return Err("it did not become primary in time".into());
        }
        self.promote(me, &primary);
        Ok(())
    }

    fn hand_over(&mut self, me: &str, to: &str, ip: &str, mut slots: Slots) -> Done {
        self.at(to, ip)?;
        let own = self.find(me).map(|node| node.slots.clone()).unwrap_or_default();
        if let Some(slot) = slots.minus(&own).iter().next() {
            return Err(format!("ERR I'm not the owner of hash slot {slot}"));
        }
        let moved = slots.take(MOVED_AT_ONCE);
        let open = slots.take(LEFT_OPEN);
        let epoch = self.0.values().map(|node| node.epoch).max().unwrap_or_default() + 1;
        self.change(me, |node| {
            node.slots = node.slots.minus(&moved);
            node.leaving.retain(|slot, _| !moved.contains(*slot));
            node.leaving.extend(open.iter().map(|slot| (slot, to.to_owned())));
        });
        self.change(to, |node| {
            (node.slots, node.epoch) = (node.slots.union(&moved), epoch);
            node.coming.retain(|slot, _| !moved.contains(*slot));
            node.coming.extend(open.iter().map(|slot| (slot, me.to_owned())));
        });
        Ok(())
    }

    /// What `node.sh look` prints.
    pub(super) fn look(&self, me: &str) -> String {
        let Some(node) = self.find(me) else { return String::new() };
        let owners = node.knows.values().filter(|known| !known.slots.is_empty()).count();
        let any = owners > 0 || !node.slots.is_empty();
        let state = if any && self.majority(node) { "ok" } else { "fail" };
        let mut text = format!("cluster_state:{state}\n");
        // Writing to a String does not fail.
        let _ = match &node.primary {
            None => writeln!(text, "role:master"),
            Some(primary) => {
                let up = node.knows.get(primary).is_some_and(|known| known.lost_at.is_none());
                let up = up && self.find(primary).is_some_and(|primary| primary.primary.is_none());
                writeln!(text, "role:slave\nmaster_link_status:{}", if up { "up" } else { "down" })
            }
        };
        let (leaving, coming) = (node.leaving.iter(), node.coming.iter());
        let open: BTreeSet<String> = leaving
            .map(|(slot, to)| format!("[{slot}->-{to}]"))
            .chain(coming.map(|(slot, from)| format!("[{slot}-<-{from}]")))
            .collect();
        let open: Vec<String> = open.into_iter().collect();
        let role = if node.primary.is_some() { "myself,slave" } else { "myself,master" };
        let me = Known {
            ip: node.ip.clone(),
            pod: node.pod.clone(),
            slots: node.slots.clone(),
            ..Known::default()
        };
        text.push_str("keys:none\n");
        text.push_str(&line(&node.id, &Known { primary: node.primary.clone(), ..me }, role, &open.join(" ")));
        for (id, known) in &node.knows {
            let role = if known.primary.is_some() { "slave" } else { "master" };
            let flags = if known.lost_at.is_some() { format!("{role},fail?") } else { role.to_owned() };
            text.push_str(&line(id, known, &flags, ""));
        }
        text
    }
}

impl Node {
    /// Slots that it or someone it knows owns.
    fn view(&self) -> Slots {
        self.knows.values().fold(self.slots.clone(), |all, known| all.union(&known.slots))
    }
}

fn line(id: &str, node: &Known, flags: &str, open: &str) -> String {
    let primary = node.primary.as_deref().unwrap_or("-");
    let link = if node.lost_at.is_some() { "disconnected" } else { "connected" };
    let Known { ip, pod, slots, .. } = node;
    let text = format!("{id} {ip}:6379@16379,{pod}.nodes {flags} {primary} 0 {link} {slots} {open}");
    format!("{}\n", text.trim_end())
}

/// Forty hexadecimal digits that no other disk and no other life has.
fn id(disk: &str, life: u32) -> String {
    let part = |n: &str| checksum(&[disk, &life.to_string(), n]);
    let text = format!("{}{}{}", part("a"), part("b"), part("c"));
    text.chars().take(40).collect()
}
