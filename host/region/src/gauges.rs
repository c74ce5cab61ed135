//! What a regional plane has, as gauges.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use parking_lot::Mutex;

use crate::cr::Cr;

/// Type and phase.
type Class = (String, String);

/// What a phase may be; see `state.proto`.
const PHASES: [&str; 7] = ["Pending", "Creating", "Updating", "Ready", "Degraded", "Failed", "Deleting"];

/// See the module. Remembers what it has shown, because a gauge that nobody sets any more keeps its value.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    shown: Mutex<BTreeSet<Class>>,
}

impl Gauges {
    /// This version is wholly taken in.
    #[allow(clippy::cast_precision_loss)] // exact up to 2^53
    pub fn applied(&self, version: u64) {
        metrics::gauge!("senren_region_applied_version").set(version as f64);
    }

    /// These are all there are.
    pub fn resources(&self, crs: &[Arc<Cr>]) {
        let mut counts: BTreeMap<Class, u32> = BTreeMap::new();
        for cr in crs {
            let phase = cr.status.as_ref().map_or("", |status| status.phase.as_str());
            let phase = match phase {
                "" => "Pending",
                phase if PHASES.contains(&phase) => phase,
                // A plugin's own words are as many as it likes.
                _ => "Other",
            };
            *counts.entry((cr.type_name.clone(), phase.to_owned())).or_default() += 1;
        }
        let mut shown = self.shown.lock();
        for gone in shown.iter().filter(|class| !counts.contains_key(*class)) {
            set(gone, 0);
        }
        counts.iter().for_each(|(class, count)| set(class, *count));
        shown.extend(counts.into_keys());
    }
}

fn set((type_name, phase): &Class, count: u32) {
    metrics::gauge!("senren_resources", "type" => type_name.clone(), "phase" => phase.clone()).set(count);
}
