//! Whose work it is that a resource changes: from the state that brings the change to the report of its end.
//!
//! A hint for whoever looks at traces; nothing else depends on it, it costs nothing where nobody records them, and a
//! restart forgets it.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use senren_api::ResourceKey;
use senren_telemetry::trace;
use tracing::Span;

/// States that have come and were not yet taken in. More are not kept.
const MOST_STATES: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By version.
    arrived: BTreeMap<u64, String>,
    under_way: HashMap<ResourceKey, String>,
}

impl Traces {
    /// A state of this version came with this identity.
    pub fn arrived(&self, version: u64, traceparent: Option<&str>) {
        let Some(traceparent) = traceparent else { return };
        let mut state = self.state.lock();
        state.arrived.insert(version, traceparent.to_owned());
        if state.arrived.len() > MOST_STATES {
            state.arrived.pop_first();
        }
    }

    /// That state changes these. One that nobody records ends what was recorded of them.
    pub fn changes<'a>(&self, version: u64, keys: impl Iterator<Item = &'a ResourceKey>) {
        let mut state = self.state.lock();
        let later = state.arrived.split_off(&(version + 1));
        let traceparent = std::mem::replace(&mut state.arrived, later).remove(&version);
        for key in keys {
            match &traceparent {
                Some(traceparent) => drop(state.under_way.insert(key.clone(), traceparent.clone())),
                None => drop(state.under_way.remove(key)),
            }
        }
    }

    /// A part of the work on this resource; none where nobody records any.
    pub fn span(&self, key: &ResourceKey, span: impl FnOnce() -> Span) -> Span {
        let Some(traceparent) = self.state.lock().under_way.get(key).cloned() else { return Span::none() };
        let span = span();
        trace::follow(&span, Some(&traceparent));
        span
    }

    /// The work on this resource has come to its end.
    pub fn end(&self, key: &ResourceKey) {
        self.state.lock().under_way.remove(key);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn key(name: &str) -> ResourceKey {
        ResourceKey { site: Default::default(), name: name.parse().unwrap() }
    }

    fn under_way(traces: &Traces, name: &str) -> Option<String> {
        traces.state.lock().under_way.get(&key(name)).cloned()
    }

    #[test]
    fn a_change_is_whose_state_brought_it() {
        let traces = Traces::default();
        traces.arrived(1, Some("one"));
        traces.arrived(2, Some("two"));
        traces.arrived(3, Some("three"));
        traces.changes(2, [key("a"), key("b")].iter());
        assert_eq!(under_way(&traces, "a").as_deref(), Some("two"));
        assert_eq!(traces.state.lock().arrived.keys().collect::<Vec<_>>(), [&3], "older ones never come");
        traces.end(&key("a"));
        assert_eq!(under_way(&traces, "a"), None);
        traces.changes(4, [key("b")].iter());
        assert_eq!(under_way(&traces, "b"), None, "nobody records this one");
    }
}
