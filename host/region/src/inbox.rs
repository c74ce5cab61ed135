//! Between the state topic and intake: the latest state of each range of slots, so that a burst of versions costs
//! intake one.
//!
//! Closed until the topic was read to its end once: a plane that starts takes in the latest state of each key, never
//! the history that leads to it.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use senren_api::{state::slots, v1::RegionalState};
use senren_bus::{BusError, Event, From};
use tokio::sync::Notify;

use crate::{STATE_TOPIC, intake, plane::Plane};

/// States that wait for intake.
#[derive(Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Default)]
struct State {
    by_range: BTreeMap<(u32, u32), RegionalState>,
    open: bool,
}

impl Inbox {
    fn offer(&self, state: RegionalState) {
        let range = slots(&state);
        let mut inner = self.state.lock();
        let waiting = inner.by_range.entry((range.first, range.last));
        // A late one doesn't push out the newer one that waits.
        waiting
            .and_modify(|waiting| {
                if waiting.version <= state.version {
                    *waiting = state.clone()
                }
            })
            .or_insert(state);
        if inner.open {
            self.arrived.notify_one();
        }
    }

    fn open(&self) {
        self.state.lock().open = true;
        self.arrived.notify_one();
    }

    /// The oldest of those that wait, once the topic was read to its end.
    pub fn take(&self) -> Option<RegionalState> {
        let mut inner = self.state.lock();
        if !inner.open {
            return None;
        }
        let range = inner.by_range.iter().min_by_key(|(_, state)| state.version).map(|(range, _)| *range)?;
        inner.by_range.remove(&range)
    }

    /// Waits until there may be one to take.
    pub async fn arrived(&self) {
        if self.take_would_succeed() {
            return;
        }
        self.arrived.notified().await;
    }

    fn take_would_succeed(&self) -> bool {
        let inner = self.state.lock();
        inner.open && !inner.by_range.is_empty()
    }
}

/// Reads the state topic from its start, and on, until the bus fails.
pub(crate) async fn read(plane: &Arc<Plane>, inbox: &Inbox) -> Result<std::convert::Infallible, BusError> {
    let topic = plane.bus.topics().state_topic(&plane.region);
    let mut subscription = plane.bus.subscribe(&topic, From::Earliest).await?;
    tracing::debug!(topic, "reading states");
    loop {
        let event = subscription.next().await?;
        plane.problems.clear("state topic");
        match event {
            Event::CaughtUp => {
                tracing::debug!(topic, "caught up");
                plane.config.readiness.ready(STATE_TOPIC);
                inbox.open();
            }
            Event::Record(delivery) => {
                // What can't be decoded has been dealt with.
                if let Ok(Some(state)) = intake::accept(plane, &delivery.record) {
                    inbox.offer(state);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn state(version: u64) -> RegionalState {
        RegionalState { version, ..Default::default() }
    }

    #[test]
    fn a_burst_becomes_its_latest_state_whatever_the_order() {
        let inbox = Inbox::default();
        for version in [1, 4, 2] {
            inbox.offer(state(version));
        }
        assert_eq!(inbox.take(), None, "the topic was not read to its end");
        inbox.open();
        assert_eq!(inbox.take().unwrap().version, 4);
        assert_eq!(inbox.take(), None);
    }
}
