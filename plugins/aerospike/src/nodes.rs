//! What the nodes say about their cluster, asked with `asinfo` in their own pods.
//!
//! An answer counts only for the very pods that ran when it was asked for: they are part of the question's id. So
//! what a node said before another one went, came or restarted can't let the next one go. As long as all is well it
//! is asked now and then, because a mesh can fall apart between pods that are all ready, and more often as long as
//! something is under way; what lets a node go is always a fresh answer.

use std::time::Duration;

use senren_plugin::objects::checksum;
use senren_plugin::prelude::*;
use senren_plugin::{Exec, Pod};

use crate::objects::{self, CONTAINER};
use crate::steps::Cluster;
use crate::{Config, Spec};

/// What is run in a pod. All that the server says in one go, so that it is of one moment; less than a tenth of it is
/// wanted.
pub(crate) const COMMAND: &str = "asinfo -h \"$POD_IP\" -v statistics -l | \
     grep -E '^(cluster_(size|key)|migrate_(allowed|partitions_remaining))='";

const TIMEOUT: Duration = Duration::from_secs(5);
/// How old an answer gets before it is asked for again: while something is under way, and otherwise.
const SOON: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_secs(30);
/// How old it may be to let a node go, in milliseconds.
const FRESH_MS: u64 = 5_000;

/// What a node says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Report {
    cluster_key: String,
    cluster_size: usize,
    migrations_allowed: bool,
    partitions_remaining: u64,
}

/// How the nodes that run see their cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub cluster: Cluster,
    /// At least one has answered, and none contradicts: good enough to say that clients are served.
    pub formed: Option<bool>,
}

/// The questions of one round, and what of it was answered.
pub(crate) struct Round<'a> {
    input: &'a Input<'a, Spec, Config>,
    /// Names of the pods that run.
    live: Vec<String>,
    /// Tells these pods, with these lives, from all others.
    instances: String,
}

impl<'a> Round<'a> {
    /// Of the pods that run, with their numbers.
    pub(crate) fn of(input: &'a Input<'_, Spec, Config>, live: &[(u32, &Pod)]) -> Self {
        let life = |pod: &Pod| {
            let restarts: u32 = pod.containers().iter().map(|container| container.restart_count).sum();
            format!("{}#{restarts}", pod.uid)
        };
        let lives: Vec<_> = live.iter().map(|(_, pod)| life(pod)).collect();
        let lives: Vec<_> = lives.iter().map(String::as_str).collect();
        let names = live.iter().map(|(number, _)| objects::pod(input, *number)).collect();
        Self { input, live: names, instances: checksum(&lives) }
    }

    /// What the nodes last said.
    pub(crate) fn last(&self) -> View {
        self.seen(u64::MAX)
    }

    /// What they just said: what decides who may go.
    pub(crate) fn fresh(&self) -> Cluster {
        self.seen(FRESH_MS).cluster
    }

    fn seen(&self, max_age_ms: u64) -> View {
        let now = self.input.raw.now_ms;
        let report = |pod: &String| {
            let answer = self.input.answer(&self.id(pod))?;
            let counts = now.saturating_sub(answer.observed_at_ms) <= max_age_ms;
            counts.then(|| Report::parse(answer.text()?)).flatten()
        };
        let reports: Vec<_> = self.live.iter().filter_map(report).collect();
        view(&reports, self.live.len())
    }

    /// Asks every pod that runs.
    pub(crate) fn asks(&self, at_rest: bool) -> impl Iterator<Item = Exec> {
        let max_age = if at_rest { LATER } else { SOON };
        self.live.iter().map(move |pod| {
            let command = ["sh", "-c", COMMAND];
            Exec::new(self.id(pod), pod, CONTAINER, command).timeout(TIMEOUT).max_age(max_age)
        })
    }

    fn id(&self, pod: &str) -> String {
        format!("cluster/{pod}/{}", self.instances)
    }
}

fn view(reports: &[Report], live: usize) -> View {
    let Some(first) = reports.first() else {
        return View { cluster: Cluster::Unknown, formed: None };
    };
    let agrees = |report: &Report| report.cluster_size == live && report.cluster_key == first.cluster_key;
    if !reports.iter().all(agrees) {
        return View { cluster: Cluster::Apart, formed: Some(false) };
    }
    let remaining = reports.iter().map(|report| report.partitions_remaining).sum();
    let cluster = if reports.len() < live {
        Cluster::Unknown
    } else if remaining > 0 {
        Cluster::Moving(remaining)
    } else if reports.iter().all(|report| report.migrations_allowed) {
        Cluster::Settled
    } else {
        Cluster::Apart
    };
    View { cluster, formed: Some(true) }
}

impl Report {
    fn parse(statistics: &str) -> Option<Self> {
        let value = |name: &str| {
            statistics.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='))
        };
        Some(Self {
            cluster_key: value("cluster_key")?.to_owned(),
            cluster_size: value("cluster_size")?.parse().ok()?,
            migrations_allowed: value("migrate_allowed")? == "true",
            partitions_remaining: value("migrate_partitions_remaining")?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn report(key: &str, size: usize, allowed: bool, remaining: u64) -> Report {
        Report {
            cluster_key: key.to_owned(),
            cluster_size: size,
            migrations_allowed: allowed,
            partitions_remaining: remaining,
        }
    }

    #[test]
    fn what_a_server_says_is_read() {
        let said = "cluster_size=3\ncluster_key=65D2A86A7C3E\nmigrate_allowed=true\nmigrate_partitions_remaining=12\n";
        assert_eq!(Report::parse(said), Some(report("65D2A86A7C3E", 3, true, 12)));
        for incomplete in ["", "ERROR:4:bad", "cluster_size=3\ncluster_key=A\nmigrate_allowed=true"] {
            assert_eq!(Report::parse(incomplete), None, "{incomplete:?}");
        }
    }

    #[test]
    fn nodes_are_settled_when_all_say_so_of_the_same_cluster() {
        let done = |key: &str, size| report(key, size, true, 0);
        for (reports, live, cluster, formed) in [
            (vec![], 2, Cluster::Unknown, None),
            (vec![done("A", 2)], 2, Cluster::Unknown, Some(true)),
            (vec![done("A", 2), done("A", 2)], 2, Cluster::Settled, Some(true)),
            (vec![done("A", 2), done("B", 2)], 2, Cluster::Apart, Some(false)),
            (vec![done("A", 1), done("B", 1)], 2, Cluster::Apart, Some(false)),
            (vec![done("A", 3), done("A", 3)], 2, Cluster::Apart, Some(false)),
            (vec![done("A", 2), report("A", 2, false, 0)], 2, Cluster::Apart, Some(true)),
            (vec![report("A", 2, true, 5), report("A", 2, true, 6)], 2, Cluster::Moving(11), Some(true)),
            (vec![report("A", 2, true, 5)], 2, Cluster::Unknown, Some(true)),
        ] {
            assert_eq!(view(&reports, live), View { cluster, formed }, "{reports:?}");
        }
    }
}
