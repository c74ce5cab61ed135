//! Which objects belong to a resource, and what its plugin is shown of them.
//!
//! An object belongs where its controller is the resource (by uid) or where it carries the resource's uid in a label
//! that only the guard sets: pods and claims of a StatefulSet, which are made from its templates. A reading may be
//! stale; whoever acts on it must be harmless then.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{
    Api, ResourceExt as _,
    api::{DynamicObject, ListParams, TypeMeta},
};
use senren_engine::wit;

use crate::{
    cache::Group,
    kind::{ApiKind, ObjectId},
    names,
    resource::CustomResource,
};

/// What was observed of one resource.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Objects that belong to it.
    own: BTreeMap<ObjectId, Arc<DynamicObject>>,
    /// Objects that carry its name and belong to something else, such as an earlier resource of that name.
    strangers: BTreeMap<ObjectId, Arc<DynamicObject>>,
}

impl Observed {
    /// Sorts `group` by whom its objects belong to.
    pub(crate) fn sort(group: Group, resource: &CustomResource) -> Self {
        let (own, strangers) = group
            .into_iter()
            .filter(|(id, _)| id.kind.group() != senren_api::GROUP)
            .partition(|(_, object)| belongs(object, &resource.uid));
        Self { own, strangers }
    }

    /// Reads the objects of `resource` from the API server: for callers without watches.
    pub async fn list(
        client: &kube::Client,
        kinds: &[ApiKind],
        resource: &CustomResource,
    ) -> Result<Self, kube::Error> {
        let selector = ListParams::default().labels(&format!("{}={}", names::NAME, resource.key.name));
        let mut group = Group::new();
        for kind in kinds {
            let api: Api<DynamicObject> =
                Api::namespaced_with(client.clone(), &resource.key.namespace, &kind.resource());
            for mut object in api.list(&selector).await? {
                object.metadata.managed_fields = None;
                object.types =
                    Some(TypeMeta { api_version: kind.api_version.clone(), kind: kind.kind.clone() });
                group.insert(ObjectId::new(kind.clone(), object.name_any()), Arc::new(object));
            }
        }
        Ok(Self::sort(group, resource))
    }

    /// The resource's object `id`.
    pub fn get(&self, id: &ObjectId) -> Option<&Arc<DynamicObject>> {
        self.own.get(id)
    }

    /// The object `id` where it belongs to something else.
    pub(crate) fn stranger(&self, id: &ObjectId) -> Option<&Arc<DynamicObject>> {
        self.strangers.get(id)
    }

    /// Everything that belongs to the resource.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectId, &Arc<DynamicObject>)> {
        self.own.iter()
    }

    /// Everything of one kind.
    pub(crate) fn of_kind(&self, api_version: &str, kind: &str) -> impl Iterator<Item = &Arc<DynamicObject>> {
        let wanted = ApiKind::new(api_version, kind);
        self.own.iter().filter(move |(id, _)| id.kind == wanted).map(|(_, object)| object)
    }

    /// What the plugin is shown: objects of the kinds it may see, never a secret.
    pub(crate) fn shown_to(&self, resource_type: &wit::ResourceType) -> Vec<String> {
        let kinds = kinds_of(resource_type);
        let shown = self.own.iter().filter(|(id, _)| kinds.contains(&id.kind) && id.kind.kind != "Secret");
        shown.filter_map(|(_, object)| serde_json::to_string(object.as_ref()).ok()).collect()
    }
}

/// The kinds that a type owns or observes.
pub(crate) fn kinds_of(resource_type: &wit::ResourceType) -> Vec<ApiKind> {
    resource_type.owns.iter().chain(&resource_type.observes).map(ApiKind::from).collect()
}

/// The owner that controls `object`.
pub(crate) fn controller(object: &DynamicObject) -> Option<&OwnerReference> {
    object.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// True where the resource with `uid` controls `object`, directly.
pub(crate) fn controlled_by(object: &DynamicObject, uid: &str) -> bool {
    controller(object).is_some_and(|owner| owner.uid == uid)
}

fn belongs(object: &DynamicObject, uid: &str) -> bool {
    controlled_by(object, uid) || object.labels().get(names::OWNER_UID).is_some_and(|owner| owner == uid)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn check(metadata: Value, belongs_to_it: bool) {
        let object: DynamicObject =
            serde_json::from_value(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})).unwrap();
        assert_eq!(belongs(&object, "u1"), belongs_to_it, "{metadata}");
    }

    #[test]
    fn an_object_belongs_by_its_controller_or_by_the_uid_that_only_the_guard_sets() {
        let owner = |uid: &str, controller: bool| json!({"apiVersion": "senren.io/v1", "kind": "R", "name": "a", "uid": uid, "controller": controller});
        check(json!({"ownerReferences": [owner("u1", true)]}), true);
        check(json!({"ownerReferences": [owner("u1", false)]}), false);
        check(json!({"ownerReferences": [owner("u2", true)]}), false);
        check(json!({"labels": {names::OWNER_UID: "u1"}}), true);
        check(json!({"labels": {names::OWNER_UID: "u2"}}), false);
        check(json!({"labels": {names::NAME: "a"}}), false);
    }
}
