//! Whether a plane can do its work, by parts: what it waits for is said in words.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

/// Shared by a plane, which says so, and whoever asks. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<String, Option<String>>>>);

impl Readiness {
    /// This part is not ready, for that reason.
    pub fn wait(&self, part: &str, reason: impl Into<String>) {
        self.0.lock().insert(part.to_owned(), Some(reason.into()));
    }

    /// This part is.
    pub fn ready(&self, part: &str) {
        self.0.lock().insert(part.to_owned(), None);
    }

    /// Every part, with what it waits for.
    pub fn parts(&self) -> Vec<(String, Option<String>)> {
        self.0.lock().iter().map(|(part, waits)| (part.clone(), waits.clone())).collect()
    }

    /// There are parts, and all of them are ready.
    pub fn is_ready(&self) -> bool {
        let parts = self.0.lock();
        !parts.is_empty() && parts.values().all(Option::is_none)
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
        assert_eq!(readiness.parts()[1], ("topic".to_owned(), Some("not read yet".to_owned())));
        readiness.ready("topic");
        assert!(readiness.is_ready());
    }
}
