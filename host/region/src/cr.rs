//! One custom resource as this plane knows it: parsed once, and no more of it than is needed.

use std::sync::Arc;

use kube::{ResourceExt as _, api::DynamicObject};
use senren_api::{RegionId, ResourceKey};
use senren_reconcile::{names, status::Status};
use serde_json::Value;

/// A custom resource of this plane: it carries our region's label, and lies in a namespace of ours.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cr {
    /// Resource type: `redis`.
    pub type_name: String,
    /// Site and name.
    pub key: ResourceKey,
    /// Given by the control plane; empty where it was made by hand, and then it is never touched.
    pub uid: String,
    /// As the control plane counts it.
    pub generation: u64,
    /// It must not be deleted.
    pub protected: bool,
    /// Its deletion has begun.
    pub deleting: bool,
    /// What was admitted.
    pub spec: Arc<Value>,
    /// What reconciling says of it; `None` where it hasn't said anything.
    pub status: Option<Arc<Status>>,
    /// Given by Kubernetes.
    pub kubernetes_uid: String,
    /// For preconditions.
    pub resource_version: String,
    /// Counts changes of the spec.
    pub kubernetes_generation: i64,
}

impl Cr {
    /// Reads an object; `None` where it is none of ours.
    pub fn parse(
        type_name: &str,
        prefix: &str,
        region: &RegionId,
        mut object: DynamicObject,
    ) -> Option<Self> {
        if object.labels().get(names::REGION)? != &region.dotted() {
            return None;
        }
        let site = names::site(prefix, object.metadata.namespace.as_deref()?)?;
        let name = object.metadata.name.as_deref()?.parse().ok()?;
        let annotation = |key: &str| object.annotations().get(key).map(String::as_str);
        let (uid, generation) =
            (annotation(names::UID).unwrap_or_default().to_owned(), annotation(names::GENERATION));
        let generation = generation.and_then(|text| text.parse().ok()).unwrap_or_default();
        let protected = annotation(names::DELETION_PROTECTION) == Some("true");
        // A status that can't be read is as good as none: reconciling writes another.
        let status = object.data.get_mut("status").map(Value::take);
        let status = status.and_then(|status| serde_json::from_value(status).ok()).map(Arc::new);
        Some(Self {
            type_name: type_name.to_owned(),
            key: ResourceKey { site, name },
            uid,
            generation,
            protected,
            deleting: object.metadata.deletion_timestamp.is_some(),
            spec: Arc::new(object.data.get_mut("spec").map(Value::take).unwrap_or_default()),
            status,
            kubernetes_uid: object.metadata.uid?,
            resource_version: object.metadata.resource_version?,
            kubernetes_generation: object.metadata.generation.unwrap_or_default(),
        })
    }

    /// True where `self` was read after `other`. Resource versions of one API server are ordered numbers.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        match (self.resource_version.parse::<u64>(), other.resource_version.parse::<u64>()) {
            (Ok(mine), Ok(theirs)) => mine > theirs,
            _ => self.resource_version != other.resource_version,
        }
    }

    /// True where more than the status differs: somebody wrote what only intake should write.
    pub fn differs_in_content(&self, other: &Self) -> bool {
        self.kubernetes_generation != other.kubernetes_generation
            || self.uid != other.uid
            || self.generation != other.generation
            || self.protected != other.protected
            || self.deleting != other.deleting
    }
}
