//! Every call that reconciling makes of the Kubernetes API, in one place: each has a time limit, is counted, and what
//! it wrote is remembered until the watches deliver it.
//!
//! Deletes always carry uid and resourceVersion preconditions, and updates of a custom resource its resourceVersion:
//! a plane that is no longer the leader, or reads stale state, can't undo what another did.

use std::{future::Future, sync::Arc, time::Duration};

use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy},
};
use serde_json::{Value, json};

use crate::{
    cache::Cache, failure::Failure, kind::ObjectId, names, resource::CustomResource, status::Status,
};

/// After this time without an answer a call has failed.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The Kubernetes API, as far as reconciling uses it.
#[derive(Clone)]
pub(crate) struct Kube {
    client: Client,
    cache: Arc<Cache>,
}

/// What an apply did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// The object is as it was.
    None,
    /// The object was created or changed.
    Made,
}

impl Kube {
    pub(crate) fn new(client: Client, cache: Arc<Cache>) -> Self {
        Self { client, cache }
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    fn objects(&self, namespace: &str, id: &ObjectId) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &id.kind.resource())
    }

    fn resources(&self, resource: &CustomResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &resource.key.namespace, &resource.api)
    }

    /// Reads one object, past all caches.
    pub(crate) async fn get(
        &self,
        namespace: &str,
        id: &ObjectId,
    ) -> Result<Option<DynamicObject>, kube::Error> {
        within(self.objects(namespace, id).get_opt(&id.name)).await
    }

    /// Server-side apply, taking over every field that `object` has.
    pub(crate) async fn apply(
        &self,
        namespace: &str,
        id: &ObjectId,
        object: &Value,
    ) -> Result<DynamicObject, kube::Error> {
        let api = self.objects(namespace, id);
        let params = PatchParams::apply(names::MANAGER).force();
        self.written("apply", &id.kind.kind, api.patch(&id.name, &params, &Patch::Apply(object))).await
    }

    /// Merges `patch` into an object.
    pub(crate) async fn merge(
        &self,
        namespace: &str,
        id: &ObjectId,
        patch: &Value,
    ) -> Result<DynamicObject, kube::Error> {
        let api = self.objects(namespace, id);
        let params = PatchParams { field_manager: Some(names::MANAGER.into()), ..PatchParams::default() };
        self.written("patch", &id.kind.kind, api.patch(&id.name, &params, &Patch::Merge(patch))).await
    }

    /// Creates an object; 409 where it exists.
    pub(crate) async fn create(
        &self,
        namespace: &str,
        id: &ObjectId,
        object: &Value,
    ) -> Result<DynamicObject, kube::Error> {
        let object: DynamicObject =
            serde_json::from_value(object.clone()).map_err(kube::Error::SerdeError)?;
        let params = PostParams { field_manager: Some(names::MANAGER.into()), ..PostParams::default() };
        let api = self.objects(namespace, id);
        self.written("create", &id.kind.kind, api.create(&params, &object)).await
    }

    /// Replaces exactly the object that was read as `before`; 409 where somebody changed it since.
    pub(crate) async fn replace(
        &self,
        namespace: &str,
        id: &ObjectId,
        object: &Value,
        before: &DynamicObject,
    ) -> Result<DynamicObject, kube::Error> {
        let mut object: DynamicObject =
            serde_json::from_value(object.clone()).map_err(kube::Error::SerdeError)?;
        object.metadata.uid = before.uid();
        object.metadata.resource_version = before.resource_version();
        let params = PostParams { field_manager: Some(names::MANAGER.into()), ..PostParams::default() };
        let api = self.objects(namespace, id);
        self.written("replace", &id.kind.kind, api.replace(&id.name, &params, &object)).await
    }

    /// Deletes exactly the object that was read as `object`. One that is already gone is fine.
    pub(crate) async fn delete(
        &self,
        namespace: &str,
        id: &ObjectId,
        object: &DynamicObject,
        policy: PropagationPolicy,
    ) -> Result<(), kube::Error> {
        let preconditions = Preconditions { uid: object.uid(), resource_version: object.resource_version() };
        let params = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        count("delete", &id.kind.kind);
        match within(self.objects(namespace, id).delete(&id.name, &params)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Replaces the status of `resource`, if nobody changed the resource since it was read.
    pub(crate) async fn write_status(
        &self,
        resource: &mut CustomResource,
        status: &Status,
    ) -> Result<(), Failure> {
        let mut object = resource.object.clone();
        object.metadata.managed_fields = None;
        let api = self.resources(resource);
        let params = PostParams { field_manager: Some(names::MANAGER.into()), ..PostParams::default() };
        let write = async {
            object.data["status"] = serde_json::to_value(status).map_err(kube::Error::SerdeError)?;
            api.replace_status(&resource.key.name, &params, &object).await
        };
        let written = self.written("status", &resource.api.kind, write).await;
        let written = written.map_err(|source| api_failure("its status can't be written", source))?;
        resource.refresh(written);
        Ok(())
    }

    /// Replaces the finalizers of `resource`, if nobody changed the resource since it was read.
    pub(crate) async fn write_finalizers(
        &self,
        resource: &mut CustomResource,
        finalizers: &[String],
    ) -> Result<(), Failure> {
        let patch = Patch::Merge(json!({
            "metadata": {"resourceVersion": resource.resource_version, "finalizers": finalizers},
        }));
        let api = self.resources(resource);
        let params = PatchParams { field_manager: Some(names::MANAGER.into()), ..PatchParams::default() };
        let write = api.patch(&resource.key.name, &params, &patch);
        match self.written("patch", &resource.api.kind, write).await {
            Ok(object) => resource.refresh(object),
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(source) => return Err(api_failure("its finalizer can't be written", source)),
        }
        Ok(())
    }

    /// Counts a write, limits its time and remembers its answer.
    async fn written(
        &self,
        verb: &'static str,
        kind: &str,
        write: impl Future<Output = Result<DynamicObject, kube::Error>>,
    ) -> Result<DynamicObject, kube::Error> {
        count(verb, kind);
        let object = within(write).await?;
        self.cache.wrote(object.clone());
        Ok(object)
    }
}

pub(crate) fn api_failure(what: impl Into<String>, source: kube::Error) -> Failure {
    Failure::Api { what: what.into(), source }
}

fn count(verb: &'static str, kind: &str) {
    metrics::counter!("senren_kubernetes_writes_total", "verb" => verb, "kind" => kind.to_owned())
        .increment(1);
}

/// `call`, which fails where there is no answer in time: a connection that is dead but not closed must hold up nobody.
pub async fn within<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    match tokio::time::timeout(TIMEOUT, call).await {
        Ok(result) => result,
        Err(_) => Err(kube::Error::Service(format!("no answer within {} s", TIMEOUT.as_secs()).into())),
    }
}
