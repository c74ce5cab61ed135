//! Whether a plane can do its work, by parts: what it waits for is said in words.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

/// Shared by a plane, which says so, and whoever asks. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<String, State>>>);

/// How a part is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// It can do its work.
    pub ready: bool,
    /// In words: what it waits for, or what its work is now.
    pub words: String,
}

impl Readiness {
    /// This part is not ready, for that reason.
    pub fn wait(&self, part: &str, reason: impl Into<String>) {
        self.set(part, false, reason.into());
    }

    /// This part is.
    pub fn ready(&self, part: &str) {
        self.ready_as(part, "ok");
    }

    /// This part is, in these words.
    pub fn ready_as(&self, part: &str, words: impl Into<String>) {
        self.set(part, true, words.into());
    }

    fn set(&self, part: &str, ready: bool, words: String) {
        self.0.lock().insert(part.to_owned(), State { ready, words });
    }

    /// Every part, and how it is.
    pub fn parts(&self) -> Vec<(String, State)> {
        self.0.lock().iter().map(|(part, state)| (part.clone(), state.clone())).collect()
    }

    /// There are parts, and all of them are ready.
    pub fn is_ready(&self) -> bool {
        let parts = self.0.lock();
        !parts.is_empty() && parts.values().all(|state| state.ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_when_all_of_its_parts_are() {
        let readiness = Readiness::default();
        assert!(!readiness.is_ready(), "nothing has been said yet");
        readiness.ready("database");
        assert!(readiness.is_ready());
        readiness.wait("topic", "not read yet");
        assert!(!readiness.is_ready());
        let waits = State { ready: false, words: "not read yet".to_owned() };
        assert_eq!(readiness.parts()[1], ("topic".to_owned(), waits));
        readiness.ready("topic");
        assert!(readiness.is_ready());
    }
}
