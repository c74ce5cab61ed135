//! Changes of one kind, for a controller: everything there is, then every change, and everything again if a
//! change was missed. A controller that looks at whole objects needs nothing else.

use std::collections::VecDeque;

use serde::de::DeserializeOwned;

use crate::{
    kinds::GroupResource,
    store::{Event, Object, Store, Verb, Watch},
};

/// An object that appeared, changed or went.
#[derive(Debug, Clone)]
pub struct Change {
    /// The object now; its last state if it is gone.
    pub object: Object,
    /// The object before, if there was one and the change was seen.
    pub previous: Option<Object>,
    /// Whether it is gone.
    pub gone: bool,
}

/// The changes of one kind in all namespaces. Starts with every object there is.
pub struct Feed {
    store: Store,
    what: GroupResource,
    pending: VecDeque<Object>,
    watch: Watch,
}

impl Feed {
    /// Opens the feed of a built-in kind.
    pub fn open(store: &Store, what: &GroupResource) -> anyhow::Result<Self> {
        let (listing, watch) =
            store.list_and_watch(what).map_err(|status| anyhow::anyhow!(status.message))?;
        Ok(Self { store: store.clone(), what: what.clone(), pending: listing.items.into(), watch })
    }

    /// The next change; `None` when the kind is served no more. Cancel safe.
    pub async fn next(&mut self) -> Option<Change> {
        loop {
            if let Some(object) = self.pending.pop_front() {
                return Some(Change { object, previous: None, gone: false });
            }
            match self.watch.next().await {
                Ok(event) => return Some(event.into()),
                Err(_) => self.reopen()?,
            }
        }
    }

    /// The next change if there is one already.
    pub fn try_next(&mut self) -> Option<Change> {
        if let Some(object) = self.pending.pop_front() {
            return Some(Change { object, previous: None, gone: false });
        }
        self.watch.try_next().ok().flatten().map(Change::from)
    }

    /// The history was faster than we: look at everything again.
    fn reopen(&mut self) -> Option<()> {
        let (listing, watch) = self.store.list_and_watch(&self.what).ok()?;
        (self.pending, self.watch) = (listing.items.into(), watch);
        Some(())
    }
}

impl From<Event> for Change {
    fn from(event: Event) -> Self {
        Self { object: event.object, previous: event.previous, gone: event.verb == Verb::Deleted }
    }
}

/// An object as its type; `None` (and a warning) if it isn't one, which admission should have refused.
pub fn typed<T: DeserializeOwned>(object: &Object) -> Option<T> {
    T::deserialize(&**object)
        .inspect_err(|error| {
            let key = crate::store::key_of(object);
            tracing::warn!(%error, namespace = key.namespace, name = key.name, "an object doesn't fit its kind");
        })
        .ok()
}

/// Reads one object as its type.
pub fn get<T: DeserializeOwned>(
    store: &Store,
    what: &GroupResource,
    namespace: &str,
    name: &str,
) -> Option<T> {
    store.get(what, namespace, name).ok().as_ref().and_then(typed)
}
