//! Simulated pods answer commands as their plugin says its database would.
//!
//! The plugin is pure; what its database remembers is kept here, for each resource, between one command and the next.
//! Commands of one resource take turns, so that none sees a state that another is about to replace.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use senren_engine::{Plugins, wit};
use senren_kubesim::workloads::{ExecSimulator, SimulatedExec, SimulatedResult};
use senren_reconcile::names;
use serde::{Serialize, Serializer};
use serde_json::Value;

/// Tells the time in milliseconds since 1970.
type Milliseconds = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Answers commands in simulated pods by the plugins that export `simulation`; for
/// [`senren_kubesim::workloads::Simulated::exec`].
pub fn simulated_exec(plugins: Plugins) -> Arc<dyn ExecSimulator> {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let now = Arc::new(move || u64::try_from(now()).unwrap_or(u64::MAX));
    Arc::new(Simulator::new(plugins, now, Remembered::default()))
}

/// Answers the commands in the simulated pods of a cluster.
pub(crate) struct Simulator {
    plugins: Plugins,
    now: Milliseconds,
    databases: Mutex<HashMap<Identity, Arc<Database>>>,
}

/// What all databases of a cluster remember.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Remembered(HashMap<Identity, Option<String>>);

/// A resource: its namespace and the uid of its custom resource, which a re-created one does not inherit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Identity {
    namespace: String,
    uid: String,
}

/// One database.
#[derive(Default)]
struct Database {
    /// Held over a command.
    turn: tokio::sync::Mutex<()>,
    /// What it remembers.
    state: Mutex<Option<String>>,
}

#[async_trait]
impl ExecSimulator for Simulator {
    async fn exec(&self, call: SimulatedExec) -> SimulatedResult {
        match self.run(call).await {
            Ok(result) => SimulatedResult {
                exit_code: result.exit_code,
                stdout: result.stdout.into_bytes(),
                stderr: result.stderr.into_bytes(),
            },
            // As a shell says that there is no such program.
            Err(why) => SimulatedResult {
                exit_code: 127,
                stdout: vec![],
                stderr: format!("senren: {why}\n").into_bytes(),
            },
        }
    }
}

impl Simulator {
    /// With this clock, and databases that remember that much.
    pub(crate) fn new(plugins: Plugins, now: Milliseconds, remembered: Remembered) -> Self {
        let database = |state| Arc::new(Database { turn: Default::default(), state: Mutex::new(state) });
        let databases = remembered.0.into_iter().map(|(identity, state)| (identity, database(state)));
        Self { plugins, now, databases: Mutex::new(databases.collect()) }
    }

    /// What the databases remember now; of one in which a command runs, what it did before that.
    pub(crate) fn remembered(&self) -> Remembered {
        let databases = self.databases.lock();
        Remembered(
            databases.iter().map(|(identity, one)| (identity.clone(), one.state.lock().clone())).collect(),
        )
    }

    async fn run(&self, call: SimulatedExec) -> Result<wit::ExecResult, String> {
        let label = |name: &str| {
            let label = call.pod["metadata"]["labels"].get(name).and_then(Value::as_str);
            label.map(str::to_owned).ok_or_else(|| format!("the pod has no label {name}"))
        };
        let resource_type = label(names::TYPE)?;
        let namespace = call.pod["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        let identity = Identity { namespace, uid: label(names::OWNER_UID)? };
        let current = self.plugins.current();
        let served =
            current.get(&resource_type).ok_or_else(|| format!("no plugin serves {resource_type:?}"))?;
        if !served.plugin.simulates() {
            return Err(format!(
                "the plugin {} does not say how its databases answer in a simulation: it exports no `simulation`",
                served.plugin.descriptor().name
            ));
        }
        let database = self.database(&identity);
        let _turn = database.turn.lock().await;
        let state = database.state.lock().clone();
        let exec = wit::ExecCall {
            resource_type,
            pod: shown(&call.pod),
            container: call.container,
            command: call.command,
            pods: call.pods.iter().map(|pod| shown(pod)).collect(),
            now_ms: (self.now)(),
            state,
        };
        let result = served.plugin.simulate(exec).await.map_err(|error| error.to_string())?;
        *database.state.lock() = Some(result.state.clone());
        Ok(result)
    }

    fn database(&self, identity: &Identity) -> Arc<Database> {
        self.databases.lock().entry(identity.clone()).or_default().clone()
    }
}

/// A pod as plugins are shown it: without what Kubernetes notes about who wrote what, which is half of it.
fn shown(pod: &Value) -> String {
    serde_json::to_string(&Shown(pod)).unwrap_or_default()
}

struct Shown<'a>(&'a Value);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(fields) = self.0.as_object() else { return self.0.serialize(serializer) };
        let shown = fields.iter().filter(|(name, _)| *name != "managedFields");
        serializer.collect_map(shown.map(|(name, value)| (name, Field { name, value })))
    }
}

struct Field<'a> {
    name: &'a str,
    value: &'a Value,
}

impl Serialize for Field<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.name {
            "metadata" => Shown(self.value).serialize(serializer),
            _ => self.value.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_is_shown_whole_but_for_its_managed_fields() {
        let mut pod = json!({
            "kind": "Pod", "metadata": {"name": "x", "managedFields": [{"manager": "y"}]},
            "spec": {"metadata": {"z": [1]}},
        });
        let shown = serde_json::from_str::<Value>(&shown(&pod)).ok();
        if let Some(metadata) = pod["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        assert_eq!(shown, Some(pod));
    }
}
