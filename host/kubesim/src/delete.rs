//! Deletion: preconditions, finalizers, grace, propagation.

use crate::kinds::GroupResource;
use crate::status::Result;
use crate::store::{Object, Store};

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
    /// What happens to dependents; the kind's default when absent.
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

impl Store {
    /// Deletes an object, or marks it as being deleted.
    ///
    /// A pod that is bound to a node is only marked (`deletionTimestamp`, `deletionGracePeriodSeconds`); who
    /// runs it deletes it again with `grace_period_seconds: Some(0)` once its processes are gone.
    pub fn delete(
        &self,
        _what: &GroupResource,
        _namespace: &str,
        _name: &str,
        _options: &DeleteOptions,
    ) -> Result<Deletion> {
        todo!()
    }
}
