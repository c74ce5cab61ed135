//! How a Redis Cluster answers where there are no pods: `scripts/node.sh` over a [model] of the nodes.
//!
//! It models what the plan relies on: who knows whom at which address, who owns which slots and follows whom, what is
//! on a volume and what goes with a pod, that failed primaries are replaced by their replicas once a majority has
//! noticed, and that slots move a part at a time. It has no keys, and messages between nodes take no time.

mod model;

use senren_plugin::{SimulatedCall, SimulatedResult, Simulation};

use super::RedisCluster;
use super::command::Command;
use super::objects::NODE_SCRIPT;

pub use model::Nodes;

impl Simulation for RedisCluster {
    type State = Nodes;

    fn exec(call: &SimulatedCall<'_>, state: &mut Nodes) -> SimulatedResult {
        let words: Vec<&str> = call.command.iter().map(String::as_str).collect();
        let ["sh", script, verb, commands @ ..] = words.as_slice() else { return unknown(&words) };
        if *script != NODE_SCRIPT {
            return unknown(&words);
        }
        state.live(&call.pods, call.now_ms);
        let Some(node) = state.in_pod(&call.pod) else {
            return SimulatedResult::failed(1, "Could not connect to Redis: Connection refused");
        };
        match (*verb, commands) {
            ("look", []) => SimulatedResult::printed(state.look(&node)),
            ("do", commands) => {
                for text in commands {
                    let done = text.parse::<Command>().and_then(|command| state.run(&node, command));
                    // Each command sees what the one before it led to.
                    state.live(&call.pods, call.now_ms);
                    if let Err(why) = done {
                        return SimulatedResult::failed(1, why);
                    }
                }
                SimulatedResult::default()
            }
            _ => unknown(&words),
        }
    }
}

fn unknown(words: &[&str]) -> SimulatedResult {
    SimulatedResult::failed(127, format!("a simulated pod does not know how to run {words:?}"))
}
