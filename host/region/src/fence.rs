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

    async fn ensure_topics(&self, topics: &Topics) -> Result<(), BusError> {
        self.bus.ensure_topics(topics).await
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
