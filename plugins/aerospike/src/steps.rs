//! Which step may be taken now: how many nodes there shall be, and which of them have the current pod template.
//! Pure, and the place to look at when a node went too early.
//!
//! What a step does to data is in whether a node that runs is stopped, because its records are in its memory. A node
//! that does not run has none left to lose, so it may be replaced or taken away at any time, as long as the others
//! agree that it is not among them; that is how a broken configuration gets mended. A node that runs may be
//! stopped only as the invariant of the crate says.
//!
//! Steps are taken through two numbers of the StatefulSet. `replicas`: the highest pod goes when it shrinks.
//! `partition`: pods from that number on are replaced if they are not of the current template, so it starts above
//! them all and comes down by one.

/// The StatefulSet, as observed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Set {
    pub replicas: u32,
    pub partition: u32,
    /// It has the pod template that is wanted now.
    pub wanted_template: bool,
}

/// One of the pods that the StatefulSet should have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Node {
    /// It runs, serves, and is not on its way out.
    pub live: bool,
    /// It was made from the pod template that is wanted now.
    pub current: bool,
}

/// What the nodes that run say about their cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cluster {
    /// Not all have answered yet.
    Unknown,
    /// They don't agree, or some count others than those that run.
    Apart,
    /// They are one cluster that moves so many partitions still.
    Moving(u64),
    /// They are one cluster, and every partition is where it belongs.
    Settled,
}

/// What all this is decided on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    /// Nothing if there is no StatefulSet, or none was seen.
    pub set: Option<Set>,
    /// The pods with the numbers 0, 1, ….
    pub nodes: &'a [Node],
    /// There are pods beyond the StatefulSet's number: on their way out.
    pub leaving: bool,
    pub cluster: Cluster,
}

/// What shall be now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub replicas: u32,
    pub partition: u32,
    /// Why it is not the last step.
    pub waits_for: Option<Wait>,
}

/// What a step waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The nodes' word.
    Answers,
    /// Nodes that have not found each other, or still count one that is gone.
    Cluster,
    /// So many partitions to arrive.
    Partitions(u64),
    /// This node to run.
    Node(u32),
    /// Another node to run: the only one that does has the only copy of everything.
    SecondNode,
    /// Kubernetes.
    Kubernetes,
}

/// The next step towards `nodes` nodes with the current template. `redundant`: each record is on more than one.
pub(crate) fn next(nodes: u32, redundant: bool, seen: &Seen<'_>) -> Step {
    let Some(set) = seen.set else {
        // Either it is new, or it was taken away from under its pods: then it comes back and touches none of them.
        let pods = u32::try_from(seen.nodes.len()).unwrap_or(u32::MAX);
        return Step { replicas: nodes.max(pods), partition: pods, waits_for: Some(Wait::Kubernetes) };
    };
    let gate = Gate { seen, redundant, replicas: set.replicas };
    let held = if set.wanted_template { set.partition } else { set.replicas.max(nodes) };
    if nodes < set.replicas {
        let last = set.replicas - 1;
        let (replicas, wait) = match gate.may_stop(last) {
            Ok(()) => (last, Wait::Kubernetes),
            Err(wait) => (set.replicas, wait),
        };
        return Step { replicas, partition: held, waits_for: Some(wait) };
    }
    if !set.wanted_template {
        return Step { replicas: nodes, partition: held, waits_for: Some(Wait::Kubernetes) };
    }
    let (lowest, wait) = gate.roll();
    let wait = wait.or((nodes > set.replicas).then_some(Wait::Kubernetes));
    // What was let go stays let go: raising it would only be another change.
    Step { replicas: nodes, partition: lowest.min(set.partition), waits_for: wait }
}

struct Gate<'a> {
    seen: &'a Seen<'a>,
    redundant: bool,
    replicas: u32,
}

impl Gate<'_> {
    fn node(&self, number: u32) -> Node {
        self.seen.nodes.get(number as usize).copied().unwrap_or_default()
    }

    fn live(&self) -> usize {
        self.seen.nodes.iter().filter(|node| node.live).count()
    }

    /// The lowest node that may be of the current template now, and what keeps the next one from it.
    fn roll(&self) -> (u32, Option<Wait>) {
        let mut lowest = self.replicas;
        while let Some(next) = lowest.checked_sub(1) {
            let node = self.node(next);
            if !node.current {
                // One after the other: those that were replaced run again first.
                let above = (lowest..self.replicas).find(|above| !self.node(*above).live);
                match above.filter(|_| node.live).map(Wait::Node).map_or_else(|| self.may_stop(next), Err) {
                    Ok(()) if node.live => return (next, Some(Wait::Node(next))),
                    Ok(()) => {}
                    Err(wait) => return (lowest, Some(wait)),
                }
            }
            lowest = next;
        }
        (lowest, (0..self.replicas).rev().find(|number| !self.node(*number).current).map(Wait::Node))
    }

    /// Whether this node may be stopped, or replaced if it does not run.
    fn may_stop(&self, number: u32) -> Result<(), Wait> {
        if self.live() == 0 {
            return Ok(());
        }
        let cluster = self.seen.cluster;
        match cluster {
            Cluster::Unknown => return Err(Wait::Answers),
            Cluster::Apart => return Err(Wait::Cluster),
            Cluster::Moving(_) | Cluster::Settled => {}
        }
        if !self.node(number).live {
            return Ok(());
        }
        match cluster {
            Cluster::Moving(partitions) => Err(Wait::Partitions(partitions)),
            _ if self.seen.leaving => Err(Wait::Kubernetes),
            _ if self.redundant && self.live() < 2 => Err(Wait::SecondNode),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Node = Node { live: true, current: false };
    const NEW: Node = Node { live: true, current: true };
    const DOWN: Node = Node { live: false, current: false };
    const STARTING: Node = Node { live: false, current: true };

    fn set(replicas: u32, partition: u32) -> Set {
        Set { replicas, partition, wanted_template: true }
    }

    #[track_caller]
    fn check(nodes: u32, set: Set, seen: &[Node], cluster: Cluster, replicas: u32, partition: u32) -> Step {
        let seen = Seen { set: Some(set), nodes: seen, leaving: false, cluster };
        let step = next(nodes, true, &seen);
        assert_eq!((step.replicas, step.partition), (replicas, partition), "{step:?} from {seen:?}");
        step
    }

    #[test]
    fn a_new_cluster_starts_with_all_its_nodes() {
        let seen = Seen { set: None, nodes: &[], leaving: false, cluster: Cluster::Unknown };
        let step = next(3, true, &seen);
        assert_eq!((step.replicas, step.partition), (3, 0));
    }

    #[test]
    fn a_stateful_set_that_is_not_seen_touches_no_pod() {
        let seen = Seen { set: None, nodes: &[OLD; 5], leaving: false, cluster: Cluster::Settled };
        let step = next(3, true, &seen);
        assert_eq!((step.replicas, step.partition), (5, 5));
    }

    #[test]
    fn all_is_well() {
        let step = check(3, set(3, 0), &[NEW; 3], Cluster::Settled, 3, 0);
        assert_eq!(step.waits_for, None);
    }

    #[test]
    fn nodes_are_added_at_once() {
        check(5, set(3, 0), &[NEW; 3], Cluster::Unknown, 5, 0);
        check(5, set(3, 0), &[NEW, DOWN, NEW], Cluster::Apart, 5, 0);
    }

    #[test]
    fn the_last_node_goes_when_all_have_settled() {
        for (cluster, wait) in [
            (Cluster::Unknown, Wait::Answers),
            (Cluster::Apart, Wait::Cluster),
            (Cluster::Moving(7), Wait::Partitions(7)),
        ] {
            assert_eq!(check(3, set(5, 0), &[NEW; 5], cluster, 5, 0).waits_for, Some(wait));
        }
        check(3, set(5, 0), &[NEW; 5], Cluster::Settled, 4, 0);
    }

    #[test]
    fn a_node_on_its_way_out_is_waited_for() {
        let seen = Seen { set: Some(set(4, 0)), nodes: &[NEW; 4], leaving: true, cluster: Cluster::Settled };
        assert_eq!(next(3, true, &seen).replicas, 4);
    }

    #[test]
    fn a_node_that_does_not_run_goes_when_the_others_agree() {
        let nodes = [NEW, NEW, DOWN];
        check(2, set(3, 0), &nodes, Cluster::Moving(9), 2, 0);
        check(2, set(3, 0), &nodes, Cluster::Apart, 3, 0);
        check(2, set(3, 0), &[DOWN; 3], Cluster::Unknown, 2, 0);
    }

    #[test]
    fn the_only_copy_stays() {
        let nodes = [DOWN, OLD];
        let step = check(2, set(2, 2), &nodes, Cluster::Settled, 2, 2);
        assert_eq!(step.waits_for, Some(Wait::SecondNode));
        let seen = Seen { set: Some(set(1, 1)), nodes: &[OLD], leaving: false, cluster: Cluster::Settled };
        assert_eq!(next(1, false, &seen).partition, 0, "there is no other copy to wait for");
    }

    #[test]
    fn another_template_replaces_nobody_by_itself() {
        let other = Set { wanted_template: false, ..set(3, 0) };
        check(3, other, &[OLD; 3], Cluster::Settled, 3, 3);
        check(5, other, &[OLD; 3], Cluster::Settled, 5, 5);
    }

    #[test]
    fn nodes_are_replaced_one_by_one_from_the_last() {
        for (nodes, cluster, partition, wait) in [
            ([OLD, OLD, OLD], Cluster::Settled, 2, Wait::Node(2)),
            ([OLD, OLD, OLD], Cluster::Moving(3), 3, Wait::Partitions(3)),
            ([OLD, OLD, STARTING], Cluster::Settled, 2, Wait::Node(2)),
            ([OLD, OLD, DOWN], Cluster::Settled, 2, Wait::Node(2)),
            ([OLD, OLD, NEW], Cluster::Moving(3), 2, Wait::Partitions(3)),
            ([OLD, OLD, NEW], Cluster::Unknown, 2, Wait::Answers),
            ([OLD, OLD, NEW], Cluster::Settled, 1, Wait::Node(1)),
            ([OLD, NEW, NEW], Cluster::Settled, 0, Wait::Node(0)),
        ] {
            let step = check(3, set(3, 3), &nodes, cluster, 3, partition);
            assert_eq!(step.waits_for, Some(wait), "{nodes:?} {cluster:?}");
        }
    }

    #[test]
    fn what_was_let_go_stays_let_go() {
        check(3, set(3, 1), &[OLD, OLD, NEW], Cluster::Moving(1), 3, 1);
        check(3, set(3, 0), &[NEW, NEW, DOWN], Cluster::Apart, 3, 0);
    }

    #[test]
    fn a_configuration_that_nobody_can_run_with_is_mended_at_once() {
        check(3, set(3, 3), &[DOWN; 3], Cluster::Unknown, 3, 0);
        check(3, set(3, 3), &[OLD, OLD, DOWN], Cluster::Moving(4), 3, 2);
    }

    #[test]
    fn a_node_below_that_is_down_does_not_hold_up_the_others() {
        check(3, set(3, 3), &[DOWN, OLD, OLD], Cluster::Settled, 3, 2);
    }

    #[test]
    fn nodes_go_before_the_rest_is_replaced() {
        let other = Set { wanted_template: false, ..set(5, 0) };
        check(3, other, &[OLD; 5], Cluster::Settled, 4, 5);
        check(3, set(4, 5), &[OLD; 4], Cluster::Settled, 3, 5);
        check(3, set(3, 5), &[OLD; 3], Cluster::Settled, 3, 2);
    }
}
