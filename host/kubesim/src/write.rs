//! Create, update and read-modify-write, with all that an API server does around them: identity, optimistic
//! concurrency, generation, ownership, finalizers.
//!
//! Every write ends in `insert` or `rewrite`, whatever it started as.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use crate::admit;
use crate::apply::managed::{Actor, Managed, now};
use crate::crd;
use crate::kinds::{self, GroupResource, Kind};
use crate::status::{self, Cause, Result};
use crate::store::{Key, Object, State, Store, key_of, uid_of};

/// The field manager of everything that a cluster's controllers write.
pub(crate) const CONTROLLERS: &str = "kube-controller-manager";

/// Which part of an object a write is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Everything but `.status`, for kinds that have a status subresource.
    Main,
    /// `.status` alone.
    Status,
    /// The number of replicas, through `scale`; otherwise as the main part.
    Scale,
}

/// Who writes, and how.
#[derive(Debug, Clone)]
pub struct Write {
    /// The field manager that owns what is written.
    pub manager: String,
    /// Go through every check, answer as if, and change nothing.
    pub dry_run: bool,
    /// Refuse fields that the kind does not have instead of dropping them.
    pub strict: bool,
    /// What the author should be told although the write succeeds.
    pub told: Told,
}

/// Words for the author of a write, beside the answer. Clones are the same words.
#[derive(Debug, Clone, Default)]
pub struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    pub(crate) fn tell(&self, words: Vec<String>) {
        if !words.is_empty() {
            *self.0.lock() = words;
        }
    }

    /// What has been said.
    pub fn words(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}

impl Write {
    /// An ordinary write of this field manager.
    pub fn by(manager: impl Into<String>) -> Write {
        Write { manager: manager.into(), dry_run: false, strict: false, told: Told::default() }
    }
}

impl Store {
    /// Makes the namespaces every cluster has, complete from the beginning.
    pub(crate) fn bootstrap(&self) -> anyhow::Result<()> {
        for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            if self.get(&kinds::NAMESPACES, "", name).is_err() {
                let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
                self.create(&kinds::NAMESPACES, "", namespace, &Write::by("kube-apiserver"))?;
                crate::collect::give_account(self, name)?;
            }
        }
        Ok(())
    }

    /// Creates an object; its `metadata` says the name, or `generateName`.
    pub fn create(&self, what: &GroupResource, namespace: &str, object: Value, by: &Write) -> Result<Object> {
        self.transact(|state| {
            let kind = state.table(what)?.kind.clone();
            state.insert(&kind, namespace, object, by, None)
        })
    }

    /// Replaces a part of an object. A `resourceVersion` in it is a precondition (409).
    pub fn update(&self, what: &GroupResource, part: Part, object: Value, by: &Write) -> Result<Object> {
        let key = key_of(&object);
        self.replace(what, part, &key, object, by)
    }

    /// Replaces a part of the object at `key`, which the object must agree with.
    pub fn replace(
        &self,
        what: &GroupResource,
        part: Part,
        key: &Key,
        mut object: Value,
        by: &Write,
    ) -> Result<Object> {
        self.transact(|state| {
            let kind = state.table(what)?.kind.clone();
            check_identity(&kind, key, &object)?;
            if object["metadata"]["resourceVersion"].as_str().is_none_or(str::is_empty)
                && needs_revision(&kind)
            {
                state.table(what)?.get(what, key)?;
                let detail = "must be specified for an update";
                let cause = Cause {
                    reason: "FieldValueInvalid",
                    field: "metadata.resourceVersion".into(),
                    message: format!("Invalid value: 0: {detail}"),
                };
                return Err(status::invalid(
                    &kind.resource.plural,
                    &kind.resource.group,
                    &key.name,
                    &[cause],
                ));
            }
            admit::undefaulted(&kind, &mut object, by)?;
            state.rewrite(what, part, key, by, |_, _| Ok(Made::Written(object)))
        })
    }

    /// Changes a part of an object in place; alone on the store, so that it never conflicts. Changing nothing
    /// keeps the resourceVersion. The closure sees the object without `managedFields`.
    pub fn modify(
        &self,
        what: &GroupResource,
        part: Part,
        namespace: &str,
        name: &str,
        by: &Write,
        change: impl FnOnce(&mut Value),
    ) -> Result<Object> {
        self.try_modify(what, part, &Key::new(namespace, name), by, |object| {
            change(object);
            Ok(())
        })
    }

    /// [`Store::modify`] by a change that may refuse.
    pub fn try_modify(
        &self,
        what: &GroupResource,
        part: Part,
        key: &Key,
        by: &Write,
        change: impl FnOnce(&mut Value) -> Result<()>,
    ) -> Result<Object> {
        self.transact(|state| {
            state.rewrite(what, part, key, by, |before, _| {
                let mut object = before.clone();
                change(&mut object)?;
                Ok(Made::Written(object))
            })
        })
    }
}

/// What a write makes of an object.
pub(crate) enum Made {
    /// This; the writer comes to own what is different.
    Written(Value),
    /// This, and the ownership is settled.
    Applied(Value),
}

impl State {
    /// Stores a new object. `applied` is who owns it when it comes from server-side apply.
    pub(crate) fn insert(
        &mut self,
        kind: &Kind,
        namespace: &str,
        mut object: Value,
        by: &Write,
        applied: Option<Managed>,
    ) -> Result<Object> {
        let what = &kind.resource;
        if !object["metadata"].is_object() {
            object["metadata"] = json!({});
        }
        object["metadata"].as_object_mut().map(|meta| meta.remove("managedFields"));
        admit::undefaulted(kind, &mut object, by)?;
        if object["metadata"]["resourceVersion"].as_str().is_some_and(|v| !v.is_empty()) {
            return Err(status::internal_plain("resourceVersion should not be set on objects to be created"));
        }
        let key = self.place_new(kind, namespace, &mut object)?;
        self.check_namespace(kind, &key)?;
        crd::check_open(self, kind, &key.name)?;
        begin(kind, &mut object);
        admit::default(kind, &mut object);
        let managed = applied.unwrap_or_else(|| {
            let api_version = object["apiVersion"].as_str().unwrap_or_default();
            let empty = json!({"apiVersion": api_version, "kind": kind.kind});
            let mut managed = Managed::default();
            managed.update(
                &empty,
                &object,
                kind,
                Actor { manager: &by.manager, part: Part::Main, api_version },
            );
            managed
        });
        admit::check(self, kind, &key, None, &mut object, Part::Main)?;
        if self.table(what)?.objects.contains_key(&key) {
            return Err(status::already_exists(what, &key.name));
        }
        managed.give(&mut object);
        if by.dry_run {
            return Ok(object.into());
        }
        self.put(what, object)
    }

    /// Changes an object that is there. `make` gets it, without managedFields, and returns what it is to be.
    pub(crate) fn rewrite(
        &mut self,
        what: &GroupResource,
        part: Part,
        key: &Key,
        by: &Write,
        make: impl FnOnce(&Value, &mut Managed) -> Result<Made>,
    ) -> Result<Object> {
        let table = self.table(what)?;
        let kind = table.kind.clone();
        if part == Part::Status && !kind.status {
            return Err(status::no_such_path());
        }
        let old = table.get(what, key)?.clone();
        let mut before = (*old).clone();
        let former = Managed::take(&mut before);
        let mut managed = former.clone();
        let (mut object, settled) = match make(&before, &mut managed)? {
            Made::Written(object) => (object, false),
            Made::Applied(object) => (object, true),
        };
        check_preconditions(&kind, key, &before, &object)?;
        if !settled && part != Part::Status {
            managed = managed.replaced_by(&mut object);
        }
        keep(&kind, part, &before, &mut object);
        admit::default(&kind, &mut object);
        if !settled {
            let api_version = object["apiVersion"].as_str().unwrap_or_default().to_owned();
            let actor = Actor { manager: &by.manager, part, api_version: &api_version };
            managed.update(&before, &object, &kind, actor);
        }
        admit::check(self, &kind, key, Some(&before), &mut object, part)?;
        if object == before && managed.same_owners(&former) {
            return Ok(old);
        }
        count(&kind, part, &before, &mut object);
        managed.give(&mut object);
        if by.dry_run {
            return Ok(object.into());
        }
        if is_finished(&kind, &object) {
            // It goes as it was stored; only the answer knows of the last change.
            self.remove(what, key)?;
            return Ok(object.into());
        }
        self.put(what, object)
    }

    /// Settles namespace and name of a new object.
    fn place_new(&self, kind: &Kind, namespace: &str, object: &mut Value) -> Result<Key> {
        let meta = &mut object["metadata"];
        if kind.namespaced {
            let own = meta["namespace"].as_str().unwrap_or_default();
            if !own.is_empty() && own != namespace {
                return Err(status::bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
            meta["namespace"] = namespace.into();
        } else if let Some(meta) = meta.as_object_mut() {
            meta.remove("namespace");
        }
        if meta["name"].as_str().is_none_or(str::is_empty) {
            let Some(prefix) = meta["generateName"].as_str().filter(|p| !p.is_empty()) else {
                let cause = Cause::required("metadata.name", "name or generateName is required");
                return Err(status::invalid(&kind.kind, &kind.resource.group, "", &[cause]));
            };
            meta["name"] = generate_name(prefix).into();
        }
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        Ok(Key::new(if kind.namespaced { namespace } else { "" }, name))
    }

    fn check_namespace(&self, kind: &Kind, key: &Key) -> Result<()> {
        if !kind.namespaced {
            return Ok(());
        }
        let table = self.table(&kinds::NAMESPACES)?;
        let Some(namespace) = table.objects.get(&Key::new("", &key.namespace)) else {
            return Err(status::no_namespace(&key.namespace));
        };
        if namespace["metadata"].get("deletionTimestamp").is_some() {
            return Err(status::namespace_terminating(&kind.resource, &key.name, &key.namespace));
        }
        Ok(())
    }
}

/// The object in a request must be the one its path names, and of the kind that is served there.
pub(crate) fn check_identity(kind: &Kind, key: &Key, object: &Value) -> Result<()> {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    if text("name").is_empty() {
        return Err(status::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            key.name
        )));
    }
    if text("name") != key.name {
        return Err(status::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({})",
            text("name"),
            key.name
        )));
    }
    if kind.namespaced && !text("namespace").is_empty() && text("namespace") != key.namespace {
        return Err(status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// Kinds that refuse an update which doesn't say what it rests on.
fn needs_revision(kind: &Kind) -> bool {
    kind.custom.is_some()
        || [kinds::LEASES, kinds::DISRUPTION_BUDGETS, kinds::DEFINITIONS].contains(&kind.resource)
}

fn check_preconditions(kind: &Kind, key: &Key, before: &Value, object: &Value) -> Result<()> {
    let wanted = |field: &str| object["metadata"][field].as_str().filter(|v| !v.is_empty());
    if let Some(uid) = wanted("uid")
        && Some(uid) != uid_of(before)
    {
        let detail = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            uid_of(before).unwrap_or_default()
        );
        return Err(status::conflict(&kind.resource, &key.name, &detail));
    }
    if wanted("resourceVersion").is_some_and(|v| before["metadata"]["resourceVersion"] != v) {
        return Err(status::modified(&kind.resource, &key.name));
    }
    Ok(())
}

/// What only the server sets on a new object.
fn begin(kind: &Kind, object: &mut Value) {
    if let Some(meta) = object["metadata"].as_object_mut() {
        for field in ["selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion"] {
            meta.remove(field);
        }
        meta.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
        meta.insert("creationTimestamp".into(), now().into());
        if kind.generation || kind.custom.is_some() {
            meta.insert("generation".into(), 1.into());
        }
    }
    if kind.status
        && let Some(fields) = object.as_object_mut()
    {
        fields.remove("status");
    }
}

/// What a write of this part leaves as it was.
fn keep(kind: &Kind, part: Part, before: &Value, object: &mut Value) {
    object["apiVersion"] = before["apiVersion"].clone();
    object["kind"] = before["kind"].clone();
    if part == Part::Status {
        let status = object.get("status").cloned();
        let meta = object["metadata"].clone();
        *object = before.clone();
        set_or_remove(object, "status", status);
        if kind.custom.is_none() {
            for field in ["labels", "annotations", "finalizers"] {
                set_or_remove(&mut object["metadata"], field, meta.get(field).cloned());
            }
        }
    } else if kind.status {
        set_or_remove(object, "status", before.get("status").cloned());
    }
    const SERVER: [&str; 9] = [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "resourceVersion",
        "selfLink",
        "name",
        "namespace",
    ];
    for field in SERVER {
        let value = before["metadata"].get(field).cloned();
        set_or_remove(&mut object["metadata"], field, value);
    }
    if let Some(meta) = object["metadata"].as_object_mut() {
        meta.remove("managedFields");
    }
    admit::tidy_meta(&mut object["metadata"]);
}

fn set_or_remove(object: &mut Value, field: &str, value: Option<Value>) {
    match value.filter(|v| !v.is_null()) {
        Some(value) => object[field] = value,
        None => {
            if let Some(fields) = object.as_object_mut() {
                fields.remove(field);
            }
        }
    }
}

/// Counts a change of what is wanted.
fn count(kind: &Kind, part: Part, before: &Value, object: &mut Value) {
    if part == Part::Status || !(kind.generation || kind.custom.is_some()) {
        return;
    }
    let ignored = |field: &str| {
        matches!(field, "metadata" | "apiVersion" | "kind") || (kind.status && field == "status")
    };
    let none = Map::new();
    let was = before.as_object().unwrap_or(&none);
    let is = object.as_object().unwrap_or(&none);
    let same =
        was.iter().filter(|(field, _)| !ignored(field)).all(|(field, value)| is.get(field) == Some(value))
            && is.keys().filter(|field| !ignored(field)).all(|field| was.contains_key(field));
    if !same {
        let generation = before["metadata"]["generation"].as_i64().unwrap_or_default();
        object["metadata"]["generation"] = (generation + 1).into();
    }
}

/// Being deleted, with nothing left to wait for.
pub(crate) fn is_finished(kind: &Kind, object: &Value) -> bool {
    let meta = &object["metadata"];
    let holders = meta["finalizers"].as_array().is_some_and(|f| !f.is_empty());
    let namespaced_content = kind.resource == kinds::NAMESPACES
        && object["spec"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
    let graceful = meta["deletionGracePeriodSeconds"].as_i64().unwrap_or_default() > 0;
    meta.get("deletionTimestamp").is_some() && !holders && !graceful && !namespaced_content
}

/// A prefix and five random characters, of those that never spell a word.
fn generate_name(prefix: &str) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    const LONGEST_PREFIX: usize = 58;
    let prefix: String = prefix.chars().take(LONGEST_PREFIX).collect();
    let suffix = (0..5).map(|_| char::from(ALPHABET[rand::random_range(0..ALPHABET.len())]));
    prefix.chars().chain(suffix).collect()
}
