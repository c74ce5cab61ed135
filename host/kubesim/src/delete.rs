//! Deletion: preconditions, finalizers, grace, and what is to happen to dependents.
//!
//! Deleting only ever removes an object that nothing holds; otherwise it marks it, and the controllers in
//! `collect`, who runs the pod, or the owners of finalizers take the next step.

use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use crate::apply::managed::now;
use crate::crd;
use crate::kinds::{self, GroupResource, Kind};
use crate::status::{self, Result};
use crate::store::{Key, Object, State, Store};
use crate::write::is_finished;

/// What happens to the dependents of a deleted object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// They are deleted after it.
    Background,
    /// It stays, being deleted, until they are gone.
    Foreground,
    /// They lose their owner and stay.
    Orphan,
}

/// How an object is to be deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Only if this is its uid (409 otherwise).
    pub uid: Option<String>,
    /// Only if this is its resourceVersion (409 otherwise).
    pub resource_version: Option<String>,
    /// What happens to dependents; in the background when absent.
    pub propagation: Option<Propagation>,
    /// Seconds a pod is given to stop; 0 removes it at once.
    pub grace_period_seconds: Option<i64>,
    /// Go through every check and change nothing.
    pub dry_run: bool,
}

/// What a deletion led to.
#[derive(Debug, Clone)]
pub enum Deletion {
    /// It is gone; this was its last state.
    Gone(Object),
    /// It is being deleted and waits for finalizers, or for its pod to stop.
    Pending(Object),
}

impl Deletion {
    /// The object, gone or not.
    pub fn object(&self) -> &Object {
        match self {
            Deletion::Gone(object) | Deletion::Pending(object) => object,
        }
    }
}

/// The finalizer of an object that goes only after its dependents.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of an object whose dependents are to lose it first.
pub(crate) const ORPHAN: &str = "orphan";

/// Kinds whose deletion a real server begins in a way of their own: without a grace period, and not counted as a change
/// of what is wanted.
const OWN_WAY: [GroupResource; 2] = [kinds::NAMESPACES, kinds::DEFINITIONS];

impl Store {
    /// Deletes an object, or marks it as being deleted.
    ///
    /// A pod that is bound to a node is only marked (`deletionTimestamp`, `deletionGracePeriodSeconds`); who
    /// runs it deletes it again with `grace_period_seconds: Some(0)` once its processes are gone.
    pub fn delete(
        &self,
        what: &GroupResource,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deletion> {
        self.transact(|state| state.delete(what, &Key::new(namespace, name), options))
    }
}

impl State {
    pub(crate) fn delete(
        &mut self,
        what: &GroupResource,
        key: &Key,
        options: &DeleteOptions,
    ) -> Result<Deletion> {
        let table = self.table(what)?;
        let kind = table.kind.clone();
        let old = table.get(what, key)?.clone();
        check_preconditions(&kind, key, &old, options)?;
        check_protected(what, key)?;
        let mut object = (*old).clone();
        set_finalizers(&mut object, options.propagation);
        let own = OWN_WAY.contains(what);
        let grace = if *what == kinds::PODS { pod_grace(&old, options) } else { 0 };
        mark(&mut object, (!own).then_some(grace));
        if *what == kinds::DEFINITIONS && old["metadata"].get("deletionTimestamp").is_none() {
            crd::hold(&mut object);
        }
        if *what == kinds::NAMESPACES {
            object["status"]["phase"] = "Terminating".into();
        }
        if is_finished(&kind, &object) {
            return Ok(Deletion::Gone(if options.dry_run { old } else { self.remove(what, key)? }));
        }
        if options.dry_run {
            return Ok(Deletion::Pending(object.into()));
        }
        if object == *old {
            return Ok(Deletion::Pending(old));
        }
        if !own
            && old["metadata"].get("deletionTimestamp").is_none()
            && let Some(generation) = object["metadata"]["generation"].as_i64()
        {
            object["metadata"]["generation"] = (generation + 1).into();
        }
        self.put(what, object).map(Deletion::Pending)
    }
}

fn check_preconditions(kind: &Kind, key: &Key, old: &Value, options: &DeleteOptions) -> Result<()> {
    let what = &kind.resource;
    let checks = [
        ("UID", "uid", &options.uid, "deleted and then recreated"),
        ("ResourceVersion", "resourceVersion", &options.resource_version, "modified"),
    ];
    for (label, field, wanted, guess) in checks {
        let found = old["metadata"][field].as_str().unwrap_or_default();
        if let Some(wanted) = wanted
            && wanted != found
        {
            let detail = format!(
                "the {label} in the precondition ({wanted}) does not match the {label} in record ({found}). \
                 The object might have been {guess}"
            );
            // Here, and only here, a real server names the kind and not the resource.
            let named = GroupResource::new(what.group.clone(), kind.kind.clone());
            return Err(status::conflict(&named, &key.name, &detail));
        }
    }
    Ok(())
}

fn check_protected(what: &GroupResource, key: &Key) -> Result<()> {
    let protected = ["default", "kube-system", "kube-public"];
    if *what == kinds::NAMESPACES && protected.contains(&key.name.as_str()) {
        return Err(status::forbidden(what, &key.name, "this namespace may not be deleted"));
    }
    Ok(())
}

/// The finalizers by which the garbage collector knows what to do first.
fn set_finalizers(object: &mut Value, propagation: Option<Propagation>) {
    let Some(propagation) = propagation else { return };
    let meta = &mut object["metadata"];
    let mut finalizers = meta["finalizers"].as_array().cloned().unwrap_or_default();
    finalizers.retain(|f| f != FOREGROUND && f != ORPHAN);
    match propagation {
        Propagation::Background => (),
        Propagation::Foreground => finalizers.push(FOREGROUND.into()),
        Propagation::Orphan => finalizers.push(ORPHAN.into()),
    }
    if finalizers.is_empty() {
        meta.as_object_mut().map(|meta| meta.remove("finalizers"));
    } else {
        meta["finalizers"] = finalizers.into();
    }
}

/// A pod gets time to stop if it may be running.
fn pod_grace(pod: &Value, options: &DeleteOptions) -> i64 {
    let ended = pod["status"]["phase"] == "Succeeded" || pod["status"]["phase"] == "Failed";
    if pod["spec"]["nodeName"].as_str().is_none_or(str::is_empty) || ended {
        return 0;
    }
    let own = pod["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
    // No clock here goes further than a hundred years.
    let wanted = options.grace_period_seconds.unwrap_or(own).clamp(0, 100 * 365 * 24 * 60 * 60);
    // Deleting again can only shorten the time that is left.
    pod["metadata"]["deletionGracePeriodSeconds"].as_i64().map_or(wanted, |given| given.min(wanted))
}

fn mark(object: &mut Value, grace: Option<i64>) {
    let meta = &mut object["metadata"];
    let given = meta["deletionGracePeriodSeconds"].as_i64();
    if meta.get("deletionTimestamp").is_some() && given == grace {
        return;
    }
    let when = Timestamp::now().checked_add(grace.unwrap_or_default().seconds());
    meta["deletionTimestamp"] = match when {
        Ok(when) => when.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into(),
        Err(_) => now().into(),
    };
    if let Some(grace) = grace {
        meta["deletionGracePeriodSeconds"] = json!(grace);
    }
}
