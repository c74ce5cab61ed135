//! The way to the Kubernetes API and to the bus of a replica that works only while it holds the Lease: what would
//! write is refused from the moment that its tenure is over, whichever task still wants it. That is what makes a leader
//! harmless that was frozen, or cut off, and finds itself in the middle of something.
//!
//! What was sent before that moment may still arrive. Deletions and statuses carry the versions that they were decided
//! on, reports a sequence that orders them, and anything else is put right by the next look at it.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, Request};
use kube::{Client, client::Body};
use senren_bus::{Bus, BusError, From, Record, Subscription, Topics};
use tower::BoxError;

use crate::lease::Tenure;

/// A write that came too late.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("this replica no longer holds the Lease, and writes nothing")]
pub(crate) struct Over;

/// `client`, which writes during `tenure` only.
pub(crate) fn client(client: Client, tenure: Tenure) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, tenure) = (client.clone(), tenure.clone());
        async move {
            if writes(&request) && !tenure.lasts() {
                return Err(BoxError::from(Over));
            }
            client.send(request).await.map_err(BoxError::from)
        }
    });
    Client::new(service, namespace)
}

/// Whatever may change something. A command in a pod is asked for by GET.
fn writes(request: &Request<Body>) -> bool {
    request.method() != Method::GET || request.uri().path().ends_with("/exec")
}

/// `bus`, on which is published during `tenure` only.
pub(crate) fn bus(bus: Arc<dyn Bus>, tenure: Tenure) -> Arc<dyn Bus> {
    Arc::new(FencedBus { bus, tenure })
}

struct FencedBus {
    bus: Arc<dyn Bus>,
    tenure: Tenure,
}

#[async_trait]
impl Bus for FencedBus {
    fn topics(&self) -> &Topics {
        self.bus.topics()
    }

    async fn reach(&self, topic: &str) -> Result<(), BusError> {
        self.bus.reach(topic).await
    }

    async fn publish(&self, record: Record) -> Result<(), BusError> {
        if !self.tenure.lasts() {
            let what = format!("publish {:?}", record.key);
            return Err(BusError::Unavailable { what, cause: Over.to_string() });
        }
        self.bus.publish(record).await
    }

    async fn subscribe(&self, topic: &str, from: From) -> Result<Box<dyn Subscription>, BusError> {
        self.bus.subscribe(topic, from).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::time::Duration;

    use k8s_openapi::api::core::v1::{ConfigMap, Pod};
    use kube::{
        Api,
        api::{AttachParams, DeleteParams, ObjectMeta, PostParams},
    };
    use senren_bus::MemoryBus;
    use senren_kubesim::{Config, KubeSim};
    use tokio::time::Instant;

    use super::*;

    fn named(name: &str) -> ConfigMap {
        let metadata = ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() };
        ConfigMap { metadata, ..ConfigMap::default() }
    }

    #[tokio::test]
    async fn when_the_tenure_is_over_what_reads_goes_on_and_what_writes_is_refused() {
        let sim = KubeSim::start(Config::default()).await.unwrap();
        let tenure = Tenure::until(Instant::now() + Duration::from_secs(600));
        let fenced = client(sim.client(), tenure.clone());
        let api = Api::<ConfigMap>::namespaced(fenced.clone(), "default");
        api.create(&PostParams::default(), &named("a")).await.unwrap();

        tenure.end();
        api.get("a").await.unwrap();
        let refused = [
            api.create(&PostParams::default(), &named("b")).await.err(),
            api.delete("a", &DeleteParams::default()).await.err(),
            Api::<Pod>::namespaced(fenced, "default")
                .exec("p", ["true"], &AttachParams::default())
                .await
                .err(),
        ];
        for error in refused {
            let error = error.unwrap();
            assert!(error.to_string().contains(&Over.to_string()), "{error}");
        }
        assert_eq!(
            Api::<ConfigMap>::namespaced(sim.client(), "default")
                .list(&Default::default())
                .await
                .unwrap()
                .items
                .len(),
            1
        );
    }

    #[tokio::test]
    async fn when_the_tenure_is_over_nothing_is_published() {
        let memory = MemoryBus::default();
        let tenure = Tenure::until(Instant::now() + Duration::from_secs(600));
        let fenced = bus(Arc::new(memory.clone()), tenure.clone());
        let record =
            |key: &str| Record { topic: "t".into(), key: key.into(), headers: Vec::new(), payload: None };
        fenced.publish(record("a")).await.unwrap();
        tenure.end();
        assert!(fenced.publish(record("b")).await.unwrap_err().retryable(), "another replica says it");
        assert_eq!(memory.records("t").len(), 1);
    }
}
