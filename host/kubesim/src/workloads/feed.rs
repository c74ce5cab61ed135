//! Changes of one kind, for a controller: everything there is, then every change. Where the history was faster
//! than the controller: everything again, and before that what went in between. A controller that looks at
//! whole objects needs nothing else.

use std::collections::{HashMap, VecDeque};

use serde::de::DeserializeOwned;

use crate::{
    kinds::GroupResource,
    store::{Event, Object, Store, Verb, Watch, uid_of},
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
    pending: VecDeque<Change>,
    /// What was passed on and has not gone, by uid.
    known: HashMap<String, Object>,
    watch: Watch,
}

impl Feed {
    /// Opens the feed of a built-in kind.
    pub fn open(store: &Store, what: &GroupResource) -> anyhow::Result<Self> {
        let (listing, watch) =
            store.list_and_watch(what).map_err(|status| anyhow::anyhow!(status.message))?;
        let pending = listing.items.into_iter().map(Change::found).collect();
        Ok(Self { store: store.clone(), what: what.clone(), pending, known: HashMap::new(), watch })
    }

    /// The next change; `None` when the kind is served no more. Cancel safe.
    pub async fn next(&mut self) -> Option<Change> {
        loop {
            if let Some(change) = self.pending.pop_front() {
                return Some(self.note(change));
            }
            match self.watch.next().await {
                Ok(event) => return Some(self.note(event.into())),
                Err(_) => self.reopen()?,
            }
        }
    }

    /// The next change if there is one already.
    pub fn try_next(&mut self) -> Option<Change> {
        let change = match self.pending.pop_front() {
            Some(change) => change,
            None => self.watch.try_next().ok().flatten()?.into(),
        };
        Some(self.note(change))
    }

    fn note(&mut self, change: Change) -> Change {
        let uid = uid_of(&change.object).unwrap_or_default();
        if change.gone {
            self.known.remove(uid);
        } else {
            self.known.insert(uid.to_owned(), change.object.clone());
        }
        change
    }

    /// The history was faster than we: look at everything again, and miss nothing that is gone.
    fn reopen(&mut self) -> Option<()> {
        let (listing, watch) = self.store.list_and_watch(&self.what).ok()?;
        let mut gone = self.known.clone();
        for object in &listing.items {
            gone.remove(uid_of(object).unwrap_or_default());
        }
        let gone = gone.into_values().map(|object| Change { object, previous: None, gone: true });
        self.pending = gone.chain(listing.items.into_iter().map(Change::found)).collect();
        self.watch = watch;
        Some(())
    }
}

impl Change {
    fn found(object: Object) -> Self {
        Self { object, previous: None, gone: false }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::net::Ipv4Addr;

    use serde_json::json;

    use super::*;
    use crate::{
        kinds::CONFIG_MAPS,
        store::{DeleteOptions, Settings, Write, key_of},
    };

    #[tokio::test]
    async fn what_went_while_the_history_was_too_fast_is_told_all_the_same() {
        let network = Ipv4Addr::new(127, 80, 0, 0);
        let store = Store::open(&Settings { data_dir: None, network, history: 2 }).unwrap();
        let create = |name: &str| {
            let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
            store.create(&CONFIG_MAPS, "default", map, &Write::by("test")).unwrap();
        };
        let delete = |name: &str| {
            store.delete(&CONFIG_MAPS, "default", name, &DeleteOptions::default()).unwrap();
        };
        create("goes");
        create("stays");
        create("comes-back");
        let mut feed = Feed::open(&store, &CONFIG_MAPS).unwrap();
        while feed.try_next().is_some() {}
        delete("goes");
        delete("comes-back");
        create("comes-back");
        create("new");
        let (mut gone, mut there) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            let change = feed.next().await.unwrap();
            let names = if change.gone { &mut gone } else { &mut there };
            names.push(key_of(&change.object).name);
        }
        gone.sort();
        assert_eq!(gone, ["comes-back", "goes"]);
        assert_eq!(there, ["comes-back", "new", "stays"]);
        assert!(feed.try_next().is_none());
    }
}
