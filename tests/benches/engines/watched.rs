//! What a cluster has, and since when, as a watch tells it.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use futures::StreamExt as _;
use kube::{
    Api, ResourceExt as _,
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
    runtime::watcher::{self, Event},
};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Notify;

/// Custom resources of type `template`, and the ConfigMaps of their names.
pub struct Watched {
    resources: Arc<Objects>,
    config_maps: Arc<Objects>,
}

#[derive(Default)]
struct Objects {
    known: Mutex<BTreeMap<Key, Object>>,
    gone: Mutex<BTreeMap<Key, Instant>>,
    news: Notify,
}

/// Namespace and name.
type Key = (String, String);

struct Object {
    uid: String,
    port: Option<u64>,
    ready: bool,
    /// The watch told of this port, of this object.
    since: Instant,
}

impl Watched {
    /// In the namespaces that begin with `prefix`.
    pub fn start(client: kube::Client, prefix: &str) -> Self {
        let resource = GroupVersionKind::gvk(senren_api::GROUP, senren_api::CR_VERSION, "TemplateDatabase");
        let config_map = GroupVersionKind::gvk("", "v1", "ConfigMap");
        Self {
            resources: Objects::watch(client.clone(), &resource, prefix, |object| {
                object.data["spec"]["port"].as_u64()
            }),
            config_maps: Objects::watch(client, &config_map, prefix, |object| {
                object.data["data"]["port"].as_str()?.parse().ok()
            }),
        }
    }

    /// When the custom resource with that port was told of.
    pub async fn resource(&self, namespace: &str, name: &str, port: u16) -> Instant {
        self.resources.with_port(namespace, name, port).await
    }

    /// When the ConfigMap with that port was told of.
    pub async fn config_map(&self, namespace: &str, name: &str, port: u16) -> Instant {
        self.config_maps.with_port(namespace, name, port).await
    }

    /// When the last of both was told to be gone.
    pub async fn gone(&self, namespace: &str, name: &str) -> Instant {
        let (resource, config_map) =
            tokio::join!(self.resources.gone(namespace, name), self.config_maps.gone(namespace, name));
        resource.max(config_map)
    }

    /// Of a ConfigMap.
    pub fn uid(&self, namespace: &str, name: &str) -> String {
        let key = (namespace.to_owned(), name.to_owned());
        self.config_maps.known.lock().get(&key).expect("it is there").uid.clone()
    }

    /// When a ConfigMap of another uid was told of.
    pub async fn replaced(&self, namespace: &str, name: &str, before: &str) -> Instant {
        self.config_maps.when(namespace, name, |object| object.uid != before).await
    }

    /// Custom resources whose status says that they are ready.
    pub fn count_ready(&self) -> usize {
        self.resources.known.lock().values().filter(|object| object.ready).count()
    }
}

impl Objects {
    fn watch(
        client: kube::Client,
        kind: &GroupVersionKind,
        prefix: &str,
        port: impl Fn(&DynamicObject) -> Option<u64> + Send + 'static,
    ) -> Arc<Self> {
        let objects = Arc::new(Self::default());
        let (here, prefix) = (Arc::clone(&objects), prefix.to_owned());
        let api: Api<DynamicObject> = Api::all_with(client, &ApiResource::from_gvk(kind));
        tokio::spawn(async move {
            let mut events = watcher::watcher(api, watcher::Config::default()).boxed();
            while let Some(event) = events.next().await {
                let at = Instant::now();
                match event {
                    Ok(Event::Apply(object) | Event::InitApply(object)) => {
                        here.is(&prefix, &object, port(&object), at)
                    }
                    Ok(Event::Delete(object)) => here.is_gone(&object, at),
                    Ok(Event::Init | Event::InitDone) => {}
                    // The plane may not have made the definition yet; it is tried again.
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
                }
                here.news.notify_waiters();
            }
        });
        objects
    }

    fn is(&self, prefix: &str, object: &DynamicObject, port: Option<u64>, at: Instant) {
        let key = key(object);
        if !key.0.starts_with(prefix) {
            return;
        }
        let uid = object.uid().unwrap_or_default();
        let ready = object.data.pointer("/status/ready").and_then(Value::as_bool).unwrap_or_default();
        let mut known = self.known.lock();
        let before = known.get(&key).filter(|before| before.uid == uid && before.port == port);
        let since = before.map_or(at, |before| before.since);
        known.insert(key, Object { uid, port, ready, since });
    }

    fn is_gone(&self, object: &DynamicObject, at: Instant) {
        self.known.lock().remove(&key(object));
        self.gone.lock().insert(key(object), at);
    }

    async fn with_port(&self, namespace: &str, name: &str, port: u16) -> Instant {
        self.when(namespace, name, |object| object.port == Some(u64::from(port))).await
    }

    async fn when(&self, namespace: &str, name: &str, wanted: impl Fn(&Object) -> bool) -> Instant {
        let key = (namespace.to_owned(), name.to_owned());
        self.until(|objects| {
            objects.known.lock().get(&key).filter(|object| wanted(object)).map(|object| object.since)
        })
        .await
    }

    async fn gone(&self, namespace: &str, name: &str) -> Instant {
        let key = (namespace.to_owned(), name.to_owned());
        self.until(|objects| objects.gone.lock().get(&key).copied()).await
    }

    async fn until(&self, found: impl Fn(&Self) -> Option<Instant>) -> Instant {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            if let Some(at) = found(self) {
                return at;
            }
            news.await;
        }
    }
}

fn key(object: &DynamicObject) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}
