//! What is wrong with the plane itself, in words, for the heartbeat. Problems of one resource are on the resource.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Problems by what they are about, so that they can be withdrawn.
#[derive(Default)]
pub(crate) struct Problems {
    by_subject: Mutex<BTreeMap<String, String>>,
    /// Rung when they change.
    pub changed: Notify,
}

/// A heartbeat must stay small, whatever goes wrong.
const SHOWN: usize = 50;

impl Problems {
    /// There is this problem with `subject`, in place of the one before.
    pub fn set(&self, subject: &str, problem: String) {
        self.is_news(subject, problem);
    }

    /// As [`Self::set`]. True: nobody knew of it.
    pub fn is_news(&self, subject: &str, problem: String) -> bool {
        let before = self.by_subject.lock().insert(subject.to_owned(), problem.clone());
        let news = before.as_ref() != Some(&problem);
        if news {
            self.changed.notify_one();
        }
        news
    }

    /// There is no problem with `subject` any more.
    pub fn clear(&self, subject: &str) {
        if self.by_subject.lock().remove(subject).is_some() {
            self.changed.notify_one();
        }
    }

    /// All of them, as far as they fit.
    pub fn list(&self) -> Vec<String> {
        let problems = self.by_subject.lock();
        let mut list: Vec<String> = problems.values().take(SHOWN).cloned().collect();
        if problems.len() > SHOWN {
            list.push(format!("and {} more, see the log", problems.len() - SHOWN));
        }
        list
    }
}
