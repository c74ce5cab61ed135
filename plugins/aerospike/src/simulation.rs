//! How the nodes answer where there are none: a model of an Aerospike cluster as far as this plugin looks at it.
//!
//! Nodes that run form a cluster at once. Whenever one of them came, went or started again, it has another key, and
//! partitions move for a while; the first nodes of all have nothing to move.

use senren_plugin::objects::checksum;
use senren_plugin::{SimulatedCall, SimulatedPod, SimulatedResult, Simulation};
use serde::{Deserialize, Serialize};

use crate::Aerospike;
use crate::nodes::COMMAND;

/// How long partitions move after each change, and how many at its beginning.
const MIGRATION_MS: u64 = 400;
const PARTITIONS: u64 = 4096;

/// What is kept of a cluster.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct State {
    /// The lives of those who were in it when it was last looked at.
    members: Vec<String>,
    /// When migrations end, on the clock of the calls.
    settles_at_ms: u64,
}

impl Simulation for Aerospike {
    type State = State;

    fn exec(call: &SimulatedCall<'_>, state: &mut State) -> SimulatedResult {
        let ["sh", "-c", COMMAND] = call.command.iter().map(String::as_str).collect::<Vec<_>>()[..] else {
            return SimulatedResult::failed(127, format!("{:?} is not simulated", call.command));
        };
        if !call.pod.running {
            return SimulatedResult::failed(1, "Error: Could not connect to node");
        }
        let mut members: Vec<_> = call.pods.iter().filter(|pod| serves(pod)).map(life).collect();
        members.sort();
        if state.members != members {
            let first = state.members.is_empty();
            state.settles_at_ms = if first { call.now_ms } else { call.now_ms + MIGRATION_MS };
            state.members = members;
        }
        let remaining = state.settles_at_ms.saturating_sub(call.now_ms) * PARTITIONS / MIGRATION_MS;
        let key = checksum(&state.members.iter().map(String::as_str).collect::<Vec<_>>());
        SimulatedResult::printed(format!(
            "cluster_size={}\ncluster_key={}\nmigrate_allowed=true\nmigrate_partitions_remaining={remaining}\n",
            state.members.len(),
            key[..12].to_uppercase(),
        ))
    }
}

/// On its way out a server leaves its cluster.
fn serves(pod: &SimulatedPod) -> bool {
    pod.running && !pod.deleting
}

/// One that started again is another one: nothing of its memory is left.
fn life(pod: &SimulatedPod) -> String {
    format!("{}#{}", pod.uid, pod.restarts)
}
