//! Brings guarded objects about, in order, and writes only what is not already so.
//!
//! An object is left alone where it carries the hash of what is wanted and still has every field of it as wanted; or
//! where it is exactly as our last apply left it (the API server may write a value differently than we do). Any other
//! is applied, which Kubernetes makes a no-op where nothing differs.

use std::{collections::HashMap, sync::Arc};

use futures::future::try_join_all;
use kube::{
    ResourceExt as _,
    api::{DynamicObject, PropagationPolicy},
};
use serde_json::Value;

use crate::{
    api::{Change, Kube, api_failure},
    failure::Failure,
    guard::{Guarded, Mode, empty},
    kind::ObjectId,
    names,
    observe::{Observed, controlled_by, controller},
    resource::CustomResource,
};

/// The resourceVersion that our last apply of each object left.
pub(crate) type Settled = HashMap<ObjectId, String>;

/// Applies `children` in order, and stops at the first that fails.
pub(crate) async fn apply(
    kube: &Kube,
    resource: &CustomResource,
    children: &[Guarded],
    observed: &Observed,
    settled: &mut Settled,
) -> Result<Change, Failure> {
    let live = look_up(kube, resource, children, observed).await?;
    let mut changed = Change::None;
    for child in children {
        let existing = observed.get(&child.id).or_else(|| live.get(&child.id)).map(Arc::as_ref);
        if apply_one(kube, resource, child, existing, settled).await? == Change::Made {
            changed = Change::Made;
        }
    }
    Ok(changed)
}

/// Reads the children that were not observed from the API server: an object of that name may be somebody else's, whom
/// no watch of ours shows. Fails on the first that is.
async fn look_up(
    kube: &Kube,
    resource: &CustomResource,
    children: &[Guarded],
    observed: &Observed,
) -> Result<HashMap<ObjectId, Arc<DynamicObject>>, Failure> {
    let unseen = children.iter().filter(|child| observed.get(&child.id).is_none());
    let found = try_join_all(unseen.map(|child| async {
        let id = &child.id;
        let object = match observed.stranger(id) {
            Some(stranger) => Some(stranger.clone()),
            None => kube
                .get(&resource.key.namespace, id)
                .await
                .map_err(|source| api_failure(format!("{id} can't be read"), source))?
                .map(Arc::new),
        };
        match object {
            Some(object) if !controlled_by(&object, &resource.uid) => {
                Err(Failure::Foreign { id: id.clone(), owner: owner(&object) })
            }
            object => Ok(object.map(|object| (id.clone(), object))),
        }
    }))
    .await?;
    Ok(found.into_iter().flatten().collect())
}

fn owner(object: &DynamicObject) -> String {
    match controller(object) {
        Some(owner) => format!("belongs to {} {} (uid {})", owner.kind, owner.name, owner.uid),
        None => "was not made by senren".into(),
    }
}

async fn apply_one(
    kube: &Kube,
    resource: &CustomResource,
    child: &Guarded,
    existing: Option<&DynamicObject>,
    settled: &mut Settled,
) -> Result<Change, Failure> {
    let namespace = &resource.key.namespace;
    let failed = |source| Failure::Apply { id: child.id.clone().into(), source };
    match (existing, child.mode) {
        // Once it is gone there is news, and it is created again.
        (Some(existing), _) if existing.metadata.deletion_timestamp.is_some() => return Ok(Change::None),
        (Some(_), Mode::CreateOnly) => return Ok(Change::None),
        (Some(existing), _) if is_so(existing, child, resource, settled) => return Ok(Change::None),
        (None, Mode::CreateOnly) => {
            return kube
                .create(namespace, &child.id, &child.object)
                .await
                .map(|_| Change::Made)
                .map_err(failed);
        }
        _ => {}
    }
    match kube.apply(namespace, &child.id, &child.object).await {
        Ok(applied) => {
            let version = applied.resource_version().unwrap_or_default();
            let same = existing
                .is_some_and(|existing| existing.metadata.resource_version.as_ref() == Some(&version));
            settled.insert(child.id.clone(), version);
            Ok(if same { Change::None } else { Change::Made })
        }
        Err(error) if child.mode == Mode::RecreateOrphan && existing.is_some() && is_immutable(&error) => {
            orphan(kube, resource, &child.id).await
        }
        Err(source) => Err(failed(source)),
    }
}

/// Deletes an object whose immutable fields must change, without its dependents. Its successor adopts them.
async fn orphan(kube: &Kube, resource: &CustomResource, id: &ObjectId) -> Result<Change, Failure> {
    let namespace = &resource.key.namespace;
    let failed = |source| api_failure(format!("{id} can't be replaced"), source);
    // Its resourceVersion changes often: read it now, past the caches.
    let live = kube.get(namespace, id).await.map_err(failed)?;
    if let Some(live) = live.filter(|live| controlled_by(live, &resource.uid)) {
        kube.delete(namespace, id, &live, PropagationPolicy::Orphan).await.map_err(failed)?;
    }
    Ok(Change::Made)
}

/// True where the API server refuses because a field can't be changed, rather than because it is wrong.
fn is_immutable(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let says = |text: &str| text.contains("immutable") || text.contains("Forbidden: updates to");
    status.code == 422 && (causes.into_iter().any(|cause| says(&cause.message)) || says(&status.message))
}

/// True where `existing` is what `child` wants.
fn is_so(existing: &DynamicObject, child: &Guarded, resource: &CustomResource, settled: &Settled) -> bool {
    existing.annotations().get(names::APPLIED) == Some(&child.hash)
        && (settled
            .get(&child.id)
            .is_some_and(|version| existing.metadata.resource_version.as_ref() == Some(version))
            || has_all(existing, &child.object, &resource.uid))
}

fn has_all(existing: &DynamicObject, wanted: &Value, owner_uid: &str) -> bool {
    let has = |key: &str, map: &std::collections::BTreeMap<String, String>| {
        let wanted = wanted["metadata"][key].as_object().into_iter().flatten();
        wanted.into_iter().all(|(key, value)| map.get(key).map(String::as_str) == value.as_str())
    };
    let fields = wanted.as_object().into_iter().flatten();
    let mut content = fields.filter(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind" | "metadata"));
    has("labels", existing.labels())
        && has("annotations", existing.annotations())
        && controlled_by(existing, owner_uid)
        && content.all(|(key, value)| covers(existing.data.get(key), value))
}

/// True where `existing` has every field of `wanted`, with its value. More fields are others' business.
fn covers(existing: Option<&Value>, wanted: &Value) -> bool {
    match (existing, wanted) {
        (None, wanted) => empty(wanted),
        (Some(Value::Object(existing)), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| covers(existing.get(key), wanted))
        }
        (Some(Value::Array(existing)), Value::Array(wanted)) => {
            existing.len() == wanted.len() && existing.iter().zip(wanted).all(|(e, w)| covers(Some(e), w))
        }
        (Some(existing), wanted) => existing == wanted,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(existing: Value, wanted: Value, expected: bool) {
        assert_eq!(covers(Some(&existing), &wanted), expected, "{existing} covers {wanted}");
    }

    #[test]
    fn defaults_that_the_server_adds_are_no_difference() {
        check(json!({"a": 1, "b": 2}), json!({"a": 1}), true);
        check(json!([{"name": "x", "protocol": "TCP"}]), json!([{"name": "x"}]), true);
        check(json!({}), json!({"a": {}, "b": null, "c": []}), true);
    }

    #[test]
    fn anything_wanted_that_is_otherwise_is_a_difference() {
        check(json!({"a": 2}), json!({"a": 1}), false);
        check(json!({}), json!({"a": 0}), false);
        check(json!([1, 2]), json!([1]), false);
        check(json!({"a": null}), json!({"a": {"b": 1}}), false);
    }
}
