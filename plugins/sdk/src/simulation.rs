//! How a database answers where there is none: for hosts that simulate pods. Needed only by a plugin that asks.
//!
//! A simulation is a model of the database as far as the plugin's own commands look at it and change it. It must be
//! honest: what would fail in a real one, fails in it.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Controller;
use crate::wit::{ExecCall, ExecResult};

/// A model of a type's databases. What is between calls is in the state, and nowhere else.
pub trait Simulation: Controller {
    /// Of one simulated resource, all of its pods together.
    type State: Serialize + DeserializeOwned + Default;

    /// Runs a command in a pod.
    fn exec(call: &SimulatedCall<'_>, state: &mut Self::State) -> SimulatedResult;
}

/// A command in a pod of a simulated resource.
pub struct SimulatedCall<'a> {
    /// The pod the command runs in.
    pub pod: SimulatedPod,
    /// The container.
    pub container: &'a str,
    /// The command, program first.
    pub command: &'a [String],
    /// Every pod of the resource as it is now.
    pub pods: Vec<SimulatedPod>,
    /// Milliseconds since 1970.
    pub now_ms: u64,
}

/// What a simulation may know of a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SimulatedPod {
    /// Its name.
    pub name: String,
    /// Another one when it is made again.
    pub uid: String,
    /// Its address.
    pub ip: String,
    /// Its process runs.
    pub running: bool,
    /// How often its containers were started again.
    pub restarts: u64,
    /// Claims that it mounts: what is on them outlives it.
    pub claims: Vec<String>,
    /// It is on its way out.
    pub deleting: bool,
}

/// What is read of a pod: reading all of it would be most of what a command costs.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Pod {
    metadata: Metadata,
    spec: Spec,
    status: PodStatus,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    name: String,
    uid: String,
    deletion_timestamp: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    volumes: Vec<Volume>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Volume {
    persistent_volume_claim: Option<Claim>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Claim {
    claim_name: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodStatus {
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: String,
    container_statuses: Vec<Container>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    restart_count: u64,
}

/// What a command leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SimulatedResult {
    /// 0 if it succeeded.
    pub exit_code: i32,
    /// Its output.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl SimulatedResult {
    /// It succeeded and printed this.
    pub fn printed(text: impl Into<String>) -> Self {
        Self { stdout: text.into(), ..Self::default() }
    }

    /// It failed with this complaint.
    pub fn failed(exit_code: i32, words: impl Into<String>) -> Self {
        Self { exit_code, stderr: words.into(), ..Self::default() }
    }
}

impl SimulatedPod {
    fn read(text: &str) -> Self {
        let Pod { metadata, spec, status } = serde_json::from_str(text).unwrap_or_default();
        let claims = spec.volumes.into_iter().filter_map(|volume| volume.persistent_volume_claim);
        Self {
            name: metadata.name,
            uid: metadata.uid,
            ip: status.pod_ip,
            running: status.phase == "Running",
            restarts: status.container_statuses.iter().map(|one| one.restart_count).sum(),
            claims: claims.map(|claim| claim.claim_name).collect(),
            deleting: metadata.deletion_timestamp.is_some(),
        }
    }
}

/// `simulation.exec` of the contract.
pub fn exec<S: Simulation>(call: &ExecCall) -> ExecResult {
    let mut state: S::State =
        call.state.as_deref().and_then(|state| serde_json::from_str(state).ok()).unwrap_or_default();
    let typed = SimulatedCall {
        pod: SimulatedPod::read(&call.pod),
        container: &call.container,
        command: &call.command,
        pods: call.pods.iter().map(|pod| SimulatedPod::read(pod)).collect(),
        now_ms: call.now_ms,
    };
    let result = S::exec(&typed, &mut state);
    ExecResult {
        exit_code: result.exit_code,
        stdout: result.stdout,
        stderr: result.stderr,
        // A state that cannot be written is a bug of its type; starting afresh shows it soonest.
        state: serde_json::to_string(&state).unwrap_or_else(|_| "null".to_owned()),
    }
}

/// For types that ask for nothing: no command of theirs is known.
pub fn not_simulated(call: ExecCall) -> ExecResult {
    ExecResult {
        exit_code: 127,
        stdout: String::new(),
        stderr: format!("the plugin does not simulate commands of type {}", call.resource_type),
        state: call.state.unwrap_or_else(|| "null".to_owned()),
    }
}
