//! A cluster at one moment, from which others go on: many futures of one past, without living that past again.
//!
//! Invariants: a frozen cluster never changes, and nothing that one of its futures does is seen by it or by another. What
//! the API knows is the same to the last revision. Pods whose containers run go on running as the same instances, with
//! the same addresses; what was on its way (to start, to become ready, to end) begins that stretch of its way anew; a
//! pod that was about to go is gone at once.
//!
//! What it must never do: pretend to copy a process. Only pods that are simulated can be frozen.

use crate::{
    Config, KubeSim, Workloads,
    network::addresses::Addresses,
    store::Store,
    workloads::{Past, Simulated},
};

/// See the module. Belongs to no runtime and to no thread.
pub struct Frozen {
    store: Store,
    addresses: Addresses,
}

impl std::fmt::Debug for Frozen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frozen").field("store", &self.store).finish_non_exhaustive()
    }
}

impl KubeSim {
    /// The cluster as it is now; shares every object with it. Fails where pods are processes.
    pub fn freeze(&self) -> anyhow::Result<Frozen> {
        anyhow::ensure!(!self.running.has_processes(), "pods that are processes can't be frozen");
        Ok(Frozen { store: self.store.copy(), addresses: self.running.addresses().copy() })
    }

    /// Starts a cluster that goes on from where another was frozen, with pods that behave so from now on.
    pub async fn resume(frozen: &Frozen, simulated: Simulated) -> anyhow::Result<KubeSim> {
        let config = Config { workloads: Workloads::Simulated(simulated), ..Config::default() };
        Self::run(frozen.store.copy(), &config, Past::Frozen(frozen.addresses.copy())).await
    }
}
