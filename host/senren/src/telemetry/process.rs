//! What this process takes, under the names that Prometheus has for it.

use std::sync::LazyLock;

use metrics_process::Collector;

static COLLECTOR: LazyLock<Collector> = LazyLock::new(|| {
    let collector = Collector::default();
    collector.describe();
    collector
});

/// Looks, and sets the gauges.
pub fn measure() {
    COLLECTOR.collect();
}
