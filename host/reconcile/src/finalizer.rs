//! The beginning and the end of a resource in a region.
//!
//! The finalizer is there before the first object is made and goes after the last one is gone, so that a resource
//! whose custom resource is gone has left nothing behind. The end has an order: first the objects, as the plugin says;
//! then, once no pod can write any more, the claims and the secrets.

use std::collections::BTreeSet;

use kube::{ResourceExt as _, api::PropagationPolicy};

use crate::{
    api::{Kube, api_failure},
    claims,
    failure::{Failure, listed},
    kind::ObjectId,
    names,
    observe::{Observed, controlled_by},
    prune::{self, Pruned},
    resource::CustomResource,
    secrets,
};

/// How far a deletion is.
#[derive(Debug)]
pub(crate) enum End {
    /// Nothing is left, and the finalizer is gone.
    Gone,
    /// Objects are on their way out.
    Waiting {
        /// What is still in the inventory.
        pruned: Pruned,
        /// For people.
        message: String,
    },
}

/// Makes sure that the resource can't vanish before its objects.
pub(crate) async fn hold(kube: &Kube, resource: &mut CustomResource) -> Result<(), Failure> {
    if resource.finalizer {
        return Ok(());
    }
    let mut finalizers = resource.object.finalizers().to_vec();
    finalizers.push(names::FINALIZER.to_owned());
    kube.write_finalizers(resource, &finalizers).await
}

/// Deletes what is left of a resource whose plugin wants nothing any more.
pub(crate) async fn finish(
    kube: &Kube,
    resource: &mut CustomResource,
    observed: &Observed,
) -> Result<End, Failure> {
    let secret = secrets::kind();
    let last = |id: &ObjectId| id.kind == secret || id.kind == claims::kind();
    let pruned = prune::prune(kube, resource, observed, |id| id.kind == secret).await?;
    sweep(kube, resource, observed, &pruned, |id| !last(id)).await?;
    // Pods, and whatever else was made from a template of ours.
    let waiting = waiting_for(&pruned, observed, |id| !last(id));
    if !waiting.is_empty() {
        return Ok(End::Waiting { message: format!("waiting for the end of {}", listed(&waiting)), pruned });
    }
    let pruned = prune::prune(kube, resource, observed, |_| false).await?;
    sweep(kube, resource, observed, &pruned, |id| id.kind == secret).await?;
    if !resource.retain_claims {
        claims::delete(kube, &resource.key.namespace, observed).await?;
    }
    let waiting = waiting_for(&pruned, observed, |id| id.kind != claims::kind() || !resource.retain_claims);
    if !waiting.is_empty() {
        return Ok(End::Waiting { message: format!("waiting for the end of {}", listed(&waiting)), pruned });
    }
    let finalizers = resource.object.finalizers().iter().filter(|finalizer| *finalizer != names::FINALIZER);
    let finalizers: Vec<String> = finalizers.cloned().collect();
    kube.write_finalizers(resource, &finalizers).await?;
    Ok(End::Gone)
}

/// What is left among the pruned and the observed objects.
fn waiting_for(pruned: &Pruned, observed: &Observed, counts: impl Fn(&ObjectId) -> bool) -> Vec<ObjectId> {
    let seen = observed.iter().map(|(id, _)| id).filter(|id| counts(id));
    let all: BTreeSet<ObjectId> = pruned.leaving.iter().chain(seen).cloned().collect();
    all.into_iter().collect()
}

/// Deletes what the resource controls and its inventory has lost, as when somebody edits its status.
async fn sweep(
    kube: &Kube,
    resource: &CustomResource,
    observed: &Observed,
    pruned: &Pruned,
    which: impl Fn(&ObjectId) -> bool,
) -> Result<(), Failure> {
    for (id, object) in observed.iter().filter(|(id, _)| which(id) && !pruned.leaving.contains(id)) {
        if object.metadata.deletion_timestamp.is_none() && controlled_by(object, &resource.uid) {
            let deleted =
                kube.delete(&resource.key.namespace, id, object, PropagationPolicy::Background).await;
            deleted.map_err(|source| api_failure(format!("{id} can't be deleted"), source))?;
        }
    }
    Ok(())
}
