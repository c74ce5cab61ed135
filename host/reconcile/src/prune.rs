//! Deletes what was once applied and is no longer wanted.
//!
//! What to delete is what the inventory in the resource's status lists *and* the resource controls by uid; never what
//! merely carries a label. The inventory is written before what it lists is created, and an entry leaves it only when
//! the API server itself says that the object is gone, so a crash or a stale reading loses track of nothing.

use std::{collections::BTreeSet, sync::Arc};

use kube::{
    ResourceExt as _,
    api::{DynamicObject, PropagationPolicy},
};

use crate::{
    api::{Kube, api_failure},
    failure::Failure,
    kind::ObjectId,
    observe::{Observed, controlled_by},
    resource::CustomResource,
    status::InventoryEntry,
};

/// What pruning left behind.
#[derive(Debug, Default)]
pub(crate) struct Pruned {
    /// What must stay in the inventory: wanted, or not yet gone.
    pub inventory: Vec<InventoryEntry>,
    /// Objects that were deleted and are not yet gone.
    pub leaving: Vec<ObjectId>,
}

/// Deletes every object of the inventory that `keep` does not name.
pub(crate) async fn prune(
    kube: &Kube,
    resource: &CustomResource,
    observed: &Observed,
    keep: impl Fn(&ObjectId) -> bool,
) -> Result<Pruned, Failure> {
    let mut pruned = Pruned::default();
    for entry in &resource.status.inventory {
        let seen = observed.get(&entry.id);
        let uid = seen.and_then(|object| object.uid()).unwrap_or_else(|| entry.uid.clone());
        let entry = InventoryEntry { id: entry.id.clone(), uid };
        if keep(&entry.id) {
            pruned.inventory.push(entry);
        } else if leave(kube, resource, &entry.id, seen).await? {
            pruned.leaving.push(entry.id.clone());
            pruned.inventory.push(entry);
        }
    }
    Ok(pruned)
}

/// Deletes one object. False once it is gone, or was never the resource's.
async fn leave(
    kube: &Kube,
    resource: &CustomResource,
    id: &ObjectId,
    seen: Option<&Arc<DynamicObject>>,
) -> Result<bool, Failure> {
    let namespace = &resource.key.namespace;
    let live;
    let object = match seen {
        Some(object) => object.as_ref(),
        None => {
            let read = kube.get(namespace, id).await;
            let read = read.map_err(|source| api_failure(format!("{id} can't be read"), source))?;
            let Some(object) = read else { return Ok(false) };
            live = object;
            &live
        }
    };
    if !controlled_by(object, &resource.uid) {
        return Ok(false);
    }
    if object.metadata.deletion_timestamp.is_none() {
        let deleted = kube.delete(namespace, id, object, PropagationPolicy::Background).await;
        deleted.map_err(|source| api_failure(format!("{id} can't be deleted"), source))?;
    }
    Ok(true)
}

/// `inventory` with every one of `ids` in it; `None` where it has them all.
pub(crate) fn extended<'a>(
    inventory: &[InventoryEntry],
    ids: impl Iterator<Item = &'a ObjectId>,
) -> Option<Vec<InventoryEntry>> {
    let listed: BTreeSet<&ObjectId> = inventory.iter().map(|entry| &entry.id).collect();
    let missing: BTreeSet<&ObjectId> = ids.filter(|id| !listed.contains(id)).collect();
    let new = missing.into_iter().map(|id| InventoryEntry { id: id.clone(), uid: String::new() });
    let extended: Vec<InventoryEntry> = inventory.iter().cloned().chain(new).collect();
    (extended.len() > inventory.len()).then_some(extended)
}
