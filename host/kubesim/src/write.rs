//! Create, update and read-modify-write, with all that an API server does around them.

use serde_json::Value;

use crate::kinds::GroupResource;
use crate::status::Result;
use crate::store::{Object, Store};

/// Which part of an object a write is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Everything but `.status`, for kinds that have a status subresource.
    Main,
    /// `.status` alone.
    Status,
}

/// Who writes, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The field manager that owns what is written.
    pub manager: String,
    /// Go through every check, answer as if, and change nothing.
    pub dry_run: bool,
    /// Refuse fields that the kind does not have instead of dropping them.
    pub strict: bool,
}

impl Write {
    /// An ordinary write of this field manager.
    pub fn by(manager: impl Into<String>) -> Write {
        Write { manager: manager.into(), dry_run: false, strict: false }
    }
}

impl Store {
    /// Makes the objects every cluster has.
    pub(crate) fn bootstrap(&self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Creates an object; its `metadata` says the name, or `generateName`.
    pub fn create(&self, _what: &GroupResource, _namespace: &str, _object: Value, _by: &Write) -> Result<Object> {
        todo!()
    }

    /// Replaces a part of an object. A `resourceVersion` in it is a precondition (409).
    pub fn update(&self, _what: &GroupResource, _part: Part, _object: Value, _by: &Write) -> Result<Object> {
        todo!()
    }

    /// Changes a part of an object in place; alone on the store, so that it never conflicts. Changing nothing
    /// keeps the resourceVersion.
    pub fn modify(
        &self,
        _what: &GroupResource,
        _part: Part,
        _namespace: &str,
        _name: &str,
        _by: &Write,
        _change: impl FnOnce(&mut Value),
    ) -> Result<Object> {
        todo!()
    }
}
