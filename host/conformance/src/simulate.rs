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
use serde_json::Value;

/// Tells the time in milliseconds since 1970.
type Milliseconds = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Answers commands in simulated pods by the plugins that export `simulation`; for
/// [`senren_kubesim::workloads::Simulated::exec`].
pub fn simulated_exec(plugins: Plugins) -> Arc<dyn ExecSimulator> {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    simulated_exec_at(plugins, Arc::new(move || u64::try_from(now()).unwrap_or(u64::MAX)))
}

/// As [`simulated_exec`], with another clock.
pub(crate) fn simulated_exec_at(plugins: Plugins, now: Milliseconds) -> Arc<dyn ExecSimulator> {
    Arc::new(Simulator { plugins, now, databases: Mutex::default() })
}

struct Simulator {
    plugins: Plugins,
    now: Milliseconds,
    databases: Mutex<HashMap<Identity, Arc<Database>>>,
}

/// A resource: its namespace and the uid of its custom resource, which a re-created one does not inherit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Identity {
    namespace: String,
    uid: String,
}

/// What a database remembers. The lock is held over a command.
#[derive(Default)]
struct Database(tokio::sync::Mutex<Option<String>>);

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
        let mut state = database.0.lock().await;
        let exec = wit::ExecCall {
            resource_type,
            pod: call.pod.to_string(),
            container: call.container,
            command: call.command,
            pods: call.pods.iter().map(Value::to_string).collect(),
            now_ms: (self.now)(),
            state: state.clone(),
        };
        let result = served.plugin.simulate(exec).await.map_err(|error| error.to_string())?;
        *state = Some(result.state.clone());
        Ok(result)
    }

    fn database(&self, identity: &Identity) -> Arc<Database> {
        self.databases.lock().entry(identity.clone()).or_default().clone()
    }
}
