//! The templates a set has had, as `ControllerRevision`s: which one is wanted, and which one old pods still
//! have.

use serde_json::{Value, json};

use crate::{
    kinds::CONTROLLER_REVISIONS,
    status::Result,
    store::{DeleteOptions, Object, Part, Store, Write, key_of, uid_of},
    workloads::names::{controller_of, controller_reference, short_hash},
    write::CONTROLLERS,
};

const HASH_LABEL: &str = "controller.kubernetes.io/hash";

/// The revisions that matter now.
#[derive(Clone, Debug)]
pub struct Revisions {
    /// What pods below the partition have.
    pub current: Object,
    /// The set's template.
    pub update: Object,
    /// How often a hash belonged to something else.
    pub collisions: i64,
}

impl Revisions {
    /// The template of the revision with this name.
    #[must_use]
    pub fn template(&self, name: &str) -> &Value {
        let revision = if name_of(&self.current) == name { &self.current } else { &self.update };
        &revision["data"]["spec"]["template"]
    }
}

/// The name of a revision.
#[must_use]
pub fn name_of(revision: &Object) -> &str {
    revision["metadata"]["name"].as_str().unwrap_or_default()
}

/// Finds the revisions of a set, making the one for its template if it is new.
pub fn of(store: &Store, set: &Object) -> Result<Revisions> {
    let mut known = owned(store, set)?;
    known.sort_by_key(number);
    let data = json!({"spec": {"template": set["spec"]["template"]}});
    let next = known.last().map_or(1, |newest| number(newest) + 1);
    let mut collisions = set["status"]["collisionCount"].as_i64().unwrap_or(0);
    let update = match known.iter().rev().find(|revision| revision["data"] == data) {
        Some(same) if number(same) + 1 == next => same.clone(),
        Some(older) => renumber(store, older, next)?,
        None => create(store, set, &data, next, &mut collisions)?,
    };
    let current = set["status"]["currentRevision"].as_str().unwrap_or_default();
    let current = known.iter().find(|revision| name_of(revision) == current).unwrap_or(&update).clone();
    Ok(Revisions { current, update, collisions })
}

/// Deletes the oldest revisions beyond the limit that no pod has.
pub fn prune(store: &Store, set: &Object, live: &[String]) -> Result<()> {
    let limit = set["spec"]["revisionHistoryLimit"].as_u64().unwrap_or(10);
    let mut idle = owned(store, set)?;
    idle.retain(|revision| !live.iter().any(|name| name == name_of(revision)));
    idle.sort_by_key(number);
    let surplus = idle.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
    for revision in &idle[..surplus] {
        let key = key_of(revision);
        store.delete(&CONTROLLER_REVISIONS, &key.namespace, &key.name, &DeleteOptions::default())?;
    }
    Ok(())
}

/// Takes the revisions of a former set of the same name that nobody controls.
pub fn adopt(store: &Store, set: &Object) -> Result<()> {
    let key = key_of(set);
    let prefix = format!("{}-", key.name);
    for revision in store.list_prefixed(&CONTROLLER_REVISIONS, &key.namespace, &prefix)? {
        let name = name_of(&revision);
        let named_so =
            name.strip_prefix(&prefix).is_some_and(|hash| revision["metadata"]["labels"][HASH_LABEL] == hash);
        if named_so && controller_of(&revision).is_none() {
            let owner = controller_reference("apps/v1", "StatefulSet", set);
            store.modify(
                &CONTROLLER_REVISIONS,
                Part::Main,
                &key.namespace,
                name,
                &Write::by(CONTROLLERS),
                |revision| {
                    super::add_owner(revision, owner);
                },
            )?;
        }
    }
    Ok(())
}

fn owned(store: &Store, set: &Object) -> Result<Vec<Object>> {
    let uid = uid_of(set).unwrap_or_default();
    let places = store.inspect(|state| state.dependents_of(uid));
    let mine = places.into_iter().filter(|place| place.resource == CONTROLLER_REVISIONS);
    // One that has gone since is none of ours any more.
    Ok(mine
        .filter_map(|place| store.get(&place.resource, &place.key.namespace, &place.key.name).ok())
        .collect())
}

fn number(revision: &Object) -> i64 {
    revision["revision"].as_i64().unwrap_or(0)
}

fn renumber(store: &Store, revision: &Object, number: i64) -> Result<Object> {
    let key = key_of(revision);
    store.modify(
        &CONTROLLER_REVISIONS,
        Part::Main,
        &key.namespace,
        &key.name,
        &Write::by(CONTROLLERS),
        |revision| {
            revision["revision"] = json!(number);
        },
    )
}

fn create(store: &Store, set: &Object, data: &Value, number: i64, collisions: &mut i64) -> Result<Object> {
    let key = key_of(set);
    loop {
        let hash = short_hash(&format!("{data}{collisions}"), 10);
        let mut labels =
            json!(set["spec"]["template"]["metadata"]["labels"].as_object().cloned().unwrap_or_default());
        labels[HASH_LABEL] = json!(hash);
        let revision = json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision",
            "metadata": {
                "name": format!("{}-{hash}", key.name), "namespace": key.namespace, "labels": labels,
                "ownerReferences": [controller_reference("apps/v1", "StatefulSet", set)],
            },
            "data": data, "revision": number,
        });
        match store.create(&CONTROLLER_REVISIONS, &key.namespace, revision, &Write::by(CONTROLLERS)) {
            // Somebody else's, or of a former set that is still being collected.
            Err(status) if status.reason == "AlreadyExists" && *collisions < 100 => *collisions += 1,
            result => return result,
        }
    }
}
