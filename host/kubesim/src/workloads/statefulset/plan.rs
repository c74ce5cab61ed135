//! What to do next for a StatefulSet. Pure: the rules of ordering and nothing else.
//!
//! With `OrderedReady` at most one thing happens at a time, and only when everything before it is healthy;
//! with `Parallel` creation and scale-down happen at once, and only the rolling update goes pod by pod.

use std::collections::BTreeMap;

/// What the set asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// First ordinal.
    pub start: i32,
    /// How many.
    pub replicas: i32,
    /// Does not wait for one pod before the next.
    pub parallel: bool,
    /// How pods of an old revision are replaced.
    pub strategy: Strategy,
    /// The revision pods below the partition have.
    pub current: String,
    /// The revision all others have.
    pub update: String,
}

/// The update strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Whoever deletes a pod updates it.
    OnDelete,
    /// From the top down to this ordinal (relative to the first).
    RollingUpdate {
        /// Pods below keep the current revision.
        partition: i32,
    },
}

/// A pod of the set, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its revision.
    pub revision: String,
    /// Running and ready.
    pub ready: bool,
    /// Being deleted.
    pub terminating: bool,
    /// Succeeded or Failed, which no pod of a StatefulSet stays.
    pub finished: bool,
}

impl Member {
    fn healthy(&self) -> bool {
        self.ready && !self.terminating
    }
}

/// A step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make the pod with this ordinal from this revision.
    Create(i32, String),
    /// Delete the pod with this ordinal; `for_good` when it is scaled away.
    Delete {
        /// The ordinal.
        ordinal: i32,
        /// It will not come back.
        for_good: bool,
    },
}

/// The next steps, in order.
#[must_use]
pub fn next(wanted: &Wanted, members: &BTreeMap<i32, Member>) -> Vec<Action> {
    let mut plan = Vec::new();
    let goes_on = fill(wanted, members, &mut plan) && scale_down(wanted, members, &mut plan);
    if goes_on {
        roll(wanted, members, &mut plan);
    }
    plan
}

/// Every ordinal has a pod. Returns whether the next phase may begin.
fn fill(wanted: &Wanted, members: &BTreeMap<i32, Member>, plan: &mut Vec<Action>) -> bool {
    for ordinal in wanted.ordinals() {
        let settled = match members.get(&ordinal) {
            None => {
                plan.push(Action::Create(ordinal, wanted.revision_of(ordinal).to_owned()));
                false
            }
            Some(member) if member.finished => {
                if !member.terminating {
                    plan.push(Action::Delete { ordinal, for_good: false });
                }
                false
            }
            Some(member) => member.healthy(),
        };
        if !settled && !wanted.parallel {
            return false;
        }
    }
    true
}

/// Pods beyond the wanted ones go, the highest first.
fn scale_down(wanted: &Wanted, members: &BTreeMap<i32, Member>, plan: &mut Vec<Action>) -> bool {
    let condemned = || members.iter().filter(|(ordinal, _)| !wanted.ordinals().contains(ordinal));
    // Unless one pod is unhealthy anyway, an unhealthy one above doesn't let a healthy one go.
    let wanted_unhealthy =
        members.iter().any(|(o, member)| wanted.ordinals().contains(o) && !member.healthy());
    let first_unhealthy = condemned().find(|(_, member)| !member.healthy()).map(|(ordinal, _)| *ordinal);
    for (ordinal, member) in condemned().rev() {
        if !member.terminating {
            let spared = !member.ready && (wanted_unhealthy || first_unhealthy != Some(*ordinal));
            if spared && !wanted.parallel {
                return false;
            }
            plan.push(Action::Delete { ordinal: *ordinal, for_good: true });
        }
        if !wanted.parallel {
            return false;
        }
    }
    true
}

/// The highest pod of an old revision goes, once all above it are healthy.
fn roll(wanted: &Wanted, members: &BTreeMap<i32, Member>, plan: &mut Vec<Action>) {
    let Strategy::RollingUpdate { partition } = wanted.strategy else { return };
    let lowest = wanted.start.saturating_add(partition);
    for ordinal in wanted.ordinals().rev().take_while(|ordinal| *ordinal >= lowest) {
        let Some(member) = members.get(&ordinal) else { return };
        if member.revision != wanted.update && !member.terminating {
            if !member.finished {
                plan.push(Action::Delete { ordinal, for_good: false });
            }
            return;
        }
        if !member.healthy() {
            return;
        }
    }
}

impl Wanted {
    /// The ordinals that are to have a pod.
    #[must_use]
    pub fn ordinals(&self) -> std::ops::Range<i32> {
        self.start..self.start.saturating_add(self.replicas)
    }

    fn revision_of(&self, ordinal: i32) -> &str {
        match self.strategy {
            Strategy::RollingUpdate { partition } if ordinal < self.start.saturating_add(partition) => {
                &self.current
            }
            _ => &self.update,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    /// One letter per pod: `r` ready, `p` not ready yet, `t` terminating, `f` failed, `-` missing; capital:
    /// new revision.
    fn members(pods: &str) -> BTreeMap<i32, Member> {
        let pods = pods.chars().enumerate().filter(|(_, pod)| *pod != '-');
        pods.map(|(ordinal, pod)| {
            let revision = if pod.is_uppercase() { "new" } else { "old" };
            let pod = pod.to_ascii_lowercase();
            let member = Member {
                revision: revision.into(),
                ready: pod == 'r',
                terminating: pod == 't',
                finished: pod == 'f',
            };
            (i32::try_from(ordinal).unwrap(), member)
        })
        .collect()
    }

    fn check(replicas: i32, parallel: bool, strategy: Strategy, pods: &str, steps: &str) {
        let (current, update) = ("old".into(), "new".into());
        let wanted = Wanted { start: 0, replicas, parallel, strategy, current, update };
        let shown = next(&wanted, &members(pods)).into_iter().map(|action| match action {
            Action::Create(ordinal, revision) => format!("+{ordinal}{}", &revision[..1]),
            Action::Delete { ordinal, for_good: false } => format!("-{ordinal}"),
            Action::Delete { ordinal, for_good: true } => format!("x{ordinal}"),
        });
        assert_eq!(shown.collect::<Vec<_>>().join(" "), steps, "{replicas} {parallel} {strategy:?} {pods}");
    }

    const ROLL: Strategy = Strategy::RollingUpdate { partition: 0 };

    #[test]
    fn ordered_sets_go_one_pod_at_a_time() {
        let check = |replicas, pods, steps| check(replicas, false, Strategy::OnDelete, pods, steps);
        check(3, "", "+0n");
        check(3, "p", "");
        check(3, "r", "+1n");
        check(3, "rp", "");
        check(3, "rr", "+2n");
        check(3, "r-r", "+1n");
        check(3, "rfr", "-1");
        check(3, "trr", "");
        check(1, "rrr", "x2");
        check(1, "rrt", "");
        check(1, "prr", "");
        check(1, "rpr", "x2");
        check(1, "rrp", "x2");
        check(1, "rpp", "");
    }

    #[test]
    fn parallel_sets_do_not_wait() {
        let check = |replicas, pods, steps| check(replicas, true, Strategy::OnDelete, pods, steps);
        check(3, "", "+0n +1n +2n");
        check(3, "p-f", "+1n -2");
        check(1, "pppt", "x2 x1");
    }

    #[test]
    fn an_update_rolls_from_the_top_and_stops_at_what_is_unhealthy() {
        let check = |parallel, partition, pods, steps| {
            check(3, parallel, Strategy::RollingUpdate { partition }, pods, steps);
        };
        check(false, 0, "rrr", "-2");
        check(false, 0, "rrt", "");
        check(false, 0, "rr-", "+2n");
        check(false, 0, "rrP", "");
        check(false, 0, "rrR", "-1");
        check(false, 0, "RRR", "");
        check(false, 2, "rrR", "");
        check(false, 2, "r-R", "+1o");
        check(true, 0, "rrP", "");
        check(true, 0, "prr", "-2");
        check(true, 0, "r-R", "+1n");
    }

    #[test]
    fn on_delete_never_deletes_what_is_wanted() {
        check(3, false, Strategy::OnDelete, "rrr", "");
        check(3, false, Strategy::OnDelete, "rr-", "+2n");
        check(0, false, ROLL, "", "");
    }
}
