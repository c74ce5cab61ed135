//! A custom resource as reconciling sees it: parsed once, so that nothing inside reads annotations or JSON again.

use std::fmt;

use kube::{
    ResourceExt as _,
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
};
use senren_api::SiteName;
use senren_telemetry::trace;
use serde_json::Value;
use tracing::Span;

use crate::{names, status::Status};

/// What work is keyed by: one custom resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Resource type: `redis`.
    pub type_name: String,
    /// Its namespace: `senren-default`.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.type_name, self.namespace, self.name)
    }
}

/// How to address the custom resources of a type.
pub fn api_resource(resource_type: &senren_engine::wit::ResourceType) -> ApiResource {
    let gvk = GroupVersionKind::gvk(senren_api::GROUP, senren_api::CR_VERSION, &resource_type.kind);
    ApiResource::from_gvk_with_plural(&gvk, &resource_type.plural)
}

/// An object that is no custom resource of this plane.
#[derive(Debug, thiserror::Error)]
pub enum NotOurs {
    /// It lacks what the API server always sets.
    #[error("it has no metadata.{0}")]
    Incomplete(&'static str),
    /// It lies outside this plane's namespaces.
    #[error("namespace {0:?} is no site of this plane")]
    Namespace(String),
    /// Something else wrote its status.
    #[error("its status can't be read: {0}")]
    Status(#[from] serde_json::Error),
}

/// One custom resource, as it was read.
#[derive(Debug, Clone)]
pub struct CustomResource {
    /// What it is keyed by.
    pub key: Key,
    /// How to address it.
    pub api: ApiResource,
    /// Its site.
    pub site: SiteName,
    /// Given by Kubernetes; owner references carry it.
    pub uid: String,
    /// Version that was read, for preconditions.
    pub resource_version: String,
    /// `metadata.generation`: raised by every change of the spec.
    pub generation: i64,
    /// Given by the control plane; empty where the resource was made by hand.
    pub senren_uid: String,
    /// Generation of the spec, as the control plane counts it; 0 where the resource was made by hand.
    pub senren_generation: u64,
    /// It must not be deleted.
    pub deletion_protection: bool,
    /// Its claims outlive it.
    pub retain_claims: bool,
    /// Names the last time that somebody asked for other contents of its secrets.
    pub rotation: Option<String>,
    /// Somebody has asked for its deletion.
    pub deletion_requested: bool,
    /// It carries our finalizer.
    pub finalizer: bool,
    /// The admitted spec.
    pub spec: Value,
    /// What was last written about it.
    pub status: Status,
    /// The object itself.
    pub object: DynamicObject,
}

impl CustomResource {
    /// Reads `object` as a custom resource of `resource_type` in a plane with `namespace_prefix`.
    pub fn parse(
        resource_type: &senren_engine::wit::ResourceType,
        namespace_prefix: &str,
        object: DynamicObject,
    ) -> Result<Self, NotOurs> {
        let namespace = object.namespace().ok_or(NotOurs::Incomplete("namespace"))?;
        let name = object.metadata.name.clone().ok_or(NotOurs::Incomplete("name"))?;
        let site = names::site(namespace_prefix, &namespace).ok_or(NotOurs::Namespace(namespace.clone()))?;
        let annotation = |key: &str| object.annotations().get(key).map(String::as_str);
        let status = match object.data.get("status") {
            None | Some(Value::Null) => Status::default(),
            Some(status) => serde_json::from_value(status.clone())?,
        };
        Ok(Self {
            key: Key { type_name: resource_type.name.clone(), namespace, name },
            api: api_resource(resource_type),
            site,
            uid: object.uid().ok_or(NotOurs::Incomplete("uid"))?,
            resource_version: object.resource_version().ok_or(NotOurs::Incomplete("resourceVersion"))?,
            generation: object.metadata.generation.unwrap_or_default(),
            senren_uid: annotation(names::UID).unwrap_or_default().to_owned(),
            senren_generation: annotation(names::GENERATION)
                .and_then(|text| text.parse().ok())
                .unwrap_or_default(),
            deletion_protection: annotation(names::DELETION_PROTECTION) == Some("true"),
            retain_claims: annotation(names::CLAIMS) == Some("retain"),
            rotation: annotation(names::ROTATE_SECRETS).filter(|wish| !wish.is_empty()).map(str::to_owned),
            deletion_requested: object.metadata.deletion_timestamp.is_some(),
            finalizer: object.finalizers().iter().any(|finalizer| finalizer == names::FINALIZER),
            spec: object.data.get("spec").cloned().unwrap_or_else(|| Value::Object(Default::default())),
            status,
            object,
        })
    }

    /// A part of the work that last changed it, until that has come to its end; later steps are nobody's.
    pub(crate) fn span(&self) -> Span {
        let Some(traceparent) = self.object.annotations().get(names::TRACEPARENT) else {
            return Span::none();
        };
        let reached = self.status.senren_generation == self.senren_generation && self.status.phase == "Ready";
        if reached && !self.deletion_requested {
            return Span::none();
        }
        let span =
            tracing::info_span!("reconcile", resource = %self.key, generation = self.senren_generation);
        trace::follow(&span, Some(traceparent));
        span
    }

    /// It is being deleted, and may be.
    pub fn deleting(&self) -> bool {
        self.deletion_requested && !self.deletion_protection
    }

    /// Takes over what a write of ours answered. Keeps the old view of anything that can't be read.
    pub(crate) fn refresh(&mut self, object: DynamicObject) {
        self.resource_version = object.resource_version().unwrap_or_default();
        self.finalizer = object.finalizers().iter().any(|finalizer| finalizer == names::FINALIZER);
        if let Some(status) =
            object.data.get("status").and_then(|status| serde_json::from_value(status.clone()).ok())
        {
            self.status = status;
        }
        self.object = object;
    }
}
