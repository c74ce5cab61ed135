//! The watches of this plane's custom resources, one per type: they come and go with the types that are served.

use std::{collections::HashMap, sync::Arc};

use kube::api::ApiResource;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

use crate::{crs, plane::Plane};

/// See the module.
#[derive(Default)]
pub(crate) struct Watches {
    running: Mutex<HashMap<String, Running>>,
    tasks: TaskTracker,
    /// Ends them all.
    pub stop: CancellationToken,
}

struct Running {
    resource: ApiResource,
    stop: CancellationToken,
    known: watch::Receiver<bool>,
}

impl Watches {
    /// Watches a type, unless it is watched already. Completes when all that is there is known.
    pub fn start(
        &self,
        plane: &Arc<Plane>,
        type_name: &str,
        resource: &ApiResource,
    ) -> impl Future<Output = ()> + use<> {
        let mut running = self.running.lock();
        let mut known = match running.get(type_name) {
            Some(watched) if watched.resource == *resource => watched.known.clone(),
            _ => {
                let watched = self.run(plane, type_name, resource);
                let known = watched.known.clone();
                // It had another address, under which there is nothing.
                if let Some(before) = running.insert(type_name.to_owned(), watched) {
                    before.stop.cancel();
                }
                known
            }
        };
        async move {
            if known.wait_for(|known| *known).await.is_err() {
                // It was stopped; whoever waits does so until it is, too.
                std::future::pending().await
            }
        }
    }

    fn run(&self, plane: &Arc<Plane>, type_name: &str, resource: &ApiResource) -> Running {
        let (ready, known) = watch::channel(false);
        let stop = self.stop.child_token();
        let task = {
            let (plane, stop) = (Arc::clone(plane), stop.clone());
            let (type_name, resource) = (type_name.to_owned(), resource.clone());
            async move {
                stop.run_until_cancelled(crs::watch_type(&plane, &type_name, &resource, &ready)).await;
            }
        };
        self.tasks.spawn(task.in_current_span());
        Running { resource: resource.clone(), stop, known }
    }

    /// Stops watching a type.
    pub fn stop(&self, type_name: &str) {
        if let Some(running) = self.running.lock().remove(type_name) {
            running.stop.cancel();
        }
    }

    /// Stops all, and waits until they have ended.
    pub async fn stop_all(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
