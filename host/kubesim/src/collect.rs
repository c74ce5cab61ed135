//! The controllers that an API server needs to be one: garbage collection by owner, the furnishing and the emptying of
//! namespaces, the serving of definitions.
//!
//! Asynchronous, as in a real cluster: the store notes work as it changes (`Chore`), one task does it. Every
//! chore looks at the present state only, so that doing one twice, or late, is harmless. One that fails is done again
//! later. Events go an hour after they were last seen, as there.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::crd;
use crate::delete::{DeleteOptions, FOREGROUND, ORPHAN, Propagation};
use crate::kinds;
use crate::status::Result;
use crate::store::{Chore, Key, Object, Place, State, Store, key_of, uid_of};
use crate::write::{CONTROLLERS, Part, Write};

/// How long an event is kept after it was last seen.
const EVENTS_LAST: SignedDuration = SignedDuration::from_hours(1);
/// How often old events are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// How long work that failed waits until it is tried again.
const BREATH: Duration = Duration::from_millis(500);

/// Does chores until stopped.
pub(crate) async fn run(store: Store, stop: CancellationToken) {
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    loop {
        let chore = tokio::select! {
            () = stop.cancelled() => return,
            chore = store.next_chore() => chore,
            _ = sweep.tick() => {
                expire_events(&store, Timestamp::now());
                continue;
            }
        };
        if let Err(refusal) = perform(&store, &chore)
            && refusal.code != 404
        {
            tracing::warn!(?chore, %refusal, "a controller of the embedded cluster could not do its work yet");
            let (store, stop) = (store.clone(), stop.clone());
            tokio::spawn(async move {
                if stop.run_until_cancelled(tokio::time::sleep(BREATH)).await.is_some() {
                    store.later(chore);
                }
            });
        }
        // One chore at a time, so that a large cascade doesn't keep a runtime thread to itself.
        tokio::task::yield_now().await;
    }
}

/// Takes away the events that nobody has seen again for an hour.
fn expire_events(store: &Store, now: Timestamp) {
    let Ok(events) = store.list(&kinds::EVENTS, None) else { return };
    let last_seen = |event: &Value| {
        let told = [&event["lastTimestamp"], &event["eventTime"], &event["series"]["lastObservedTime"]];
        let all = told.into_iter().chain([&event["metadata"]["creationTimestamp"]]);
        all.filter_map(|time| time.as_str()?.parse::<Timestamp>().ok()).max()
    };
    for event in &events.items {
        if last_seen(event).is_some_and(|seen| now.duration_since(seen) > EVENTS_LAST) {
            let key = key_of(event);
            if let Err(refusal) =
                store.delete(&kinds::EVENTS, &key.namespace, &key.name, &DeleteOptions::default())
            {
                tracing::debug!(%refusal, "an old event stays for now");
            }
        }
    }
}

fn perform(store: &Store, chore: &Chore) -> Result<()> {
    match chore {
        Chore::Owners(place) => check_owners(store, place),
        Chore::Dependents(place) => release(store, place),
        Chore::Account(namespace) => give_account(store, namespace),
        Chore::Namespace(name) => empty_namespace(store, name),
        Chore::Definition(name) => crd::establish(store, name),
    }
}

/// How an owner stands.
#[derive(PartialEq)]
enum Owner {
    There,
    /// In foreground deletion: it waits for its dependents to go first.
    Waiting,
    Gone,
}

/// Deletes an object none of whose owners is there, or takes the references to missing ones out of it.
fn check_owners(store: &Store, place: &Place) -> Result<()> {
    let object = store.get(&place.resource, &place.key.namespace, &place.key.name)?;
    let owners = object["metadata"]["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
    let standing: Vec<Owner> = store.inspect(|state| owners.iter().map(|o| stand(state, o, place)).collect());
    if owners.is_empty() || standing.iter().all(|owner| *owner == Owner::There) {
        return Ok(());
    }
    if standing.contains(&Owner::There) {
        let gone: Vec<Value> = owners
            .iter()
            .zip(&standing)
            .filter(|(_, standing)| **standing != Owner::There)
            .map(|(owner, _)| owner["uid"].clone())
            .collect();
        return drop_owners(store, place, &gone);
    }
    if object["metadata"].get("deletionTimestamp").is_some() {
        return Ok(());
    }
    let options = DeleteOptions {
        uid: uid_of(&object).map(str::to_owned),
        propagation: Some(propagation(store, &object, standing.contains(&Owner::Waiting))),
        ..DeleteOptions::default()
    };
    store.delete(&place.resource, &place.key.namespace, &place.key.name, &options).map(drop)
}

fn stand(state: &State, owner: &Value, dependent: &Place) -> Owner {
    let Some(place) = owner["uid"].as_str().and_then(|uid| state.place_of(uid)) else { return Owner::Gone };
    let in_reach = place.key.namespace.is_empty() || place.key.namespace == dependent.key.namespace;
    let Ok(table) = state.table(&place.resource) else { return Owner::Gone };
    if !in_reach || owner["name"] != place.key.name.as_str() || owner["kind"] != table.kind.kind.as_str() {
        return Owner::Gone;
    }
    let waiting = table.objects.get(&place.key).is_some_and(|o| has_finalizer(o, FOREGROUND));
    if waiting { Owner::Waiting } else { Owner::There }
}

fn propagation(store: &Store, object: &Object, owner_waits: bool) -> Propagation {
    let has_dependents =
        store.inspect(|state| uid_of(object).is_some_and(|uid| !state.dependents_of(uid).is_empty()));
    if has_finalizer(object, ORPHAN) {
        Propagation::Orphan
    } else if has_finalizer(object, FOREGROUND) || (owner_waits && has_dependents) {
        Propagation::Foreground
    } else {
        Propagation::Background
    }
}

fn drop_owners(store: &Store, place: &Place, uids: &[Value]) -> Result<()> {
    change(store, place, |object| {
        let meta = &mut object["metadata"];
        if let Some(owners) = meta["ownerReferences"].as_array_mut() {
            owners.retain(|owner| !uids.contains(&owner["uid"]));
        }
    })
}

/// Goes on with an object whose deletion waits for its dependents.
fn release(store: &Store, place: &Place) -> Result<()> {
    let object = store.get(&place.resource, &place.key.namespace, &place.key.name)?;
    let uid = uid_of(&object).unwrap_or_default().to_owned();
    if object["metadata"].get("deletionTimestamp").is_none() {
        return Ok(());
    }
    let dependents = store.inspect(|state| state.dependents_of(&uid));
    if has_finalizer(&object, ORPHAN) {
        for dependent in &dependents {
            ignore_missing(drop_owners(store, dependent, &[Value::from(uid.as_str())]))?;
        }
        return drop_finalizer(store, place, ORPHAN);
    }
    if !has_finalizer(&object, FOREGROUND) {
        return Ok(());
    }
    let mut blocked = false;
    for dependent in dependents {
        blocked |= store.inspect(|state| blocks(state, &dependent, &uid));
        ignore_missing(check_owners(store, &dependent))?;
    }
    // Those that block wake us again when they are gone.
    if blocked { Ok(()) } else { drop_finalizer(store, place, FOREGROUND) }
}

fn blocks(state: &State, dependent: &Place, owner: &str) -> bool {
    let object = state.table(&dependent.resource).ok().and_then(|table| table.objects.get(&dependent.key));
    let owners = object.and_then(|o| o["metadata"]["ownerReferences"].as_array());
    owners.into_iter().flatten().any(|o| o["uid"] == owner && o["blockOwnerDeletion"] == true)
}

/// Makes the account that every namespace has, unless it is there or the namespace is on its way out.
pub(crate) fn give_account(store: &Store, namespace: &str) -> Result<()> {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": kinds::DEFAULT_ACCOUNT}});
    match store.create(&kinds::SERVICE_ACCOUNTS, namespace, account, &Write::by(CONTROLLERS)) {
        Err(refusal) if ![403, 404, 409].contains(&refusal.code) => Err(refusal),
        _ => Ok(()),
    }
}

/// Deletes what is in a namespace that is being deleted, and then the namespace.
fn empty_namespace(store: &Store, name: &str) -> Result<()> {
    let key = Key::new("", name);
    let namespace = store.get(&kinds::NAMESPACES, "", name)?;
    if namespace["metadata"].get("deletionTimestamp").is_none() {
        return Ok(());
    }
    let mut content = Vec::new();
    for kind in store.kinds().into_iter().filter(|kind| kind.namespaced) {
        for object in store.list(&kind.resource, Some(name))?.items {
            content.push((kind.resource.clone(), object));
        }
    }
    for (what, object) in &content {
        if object["metadata"].get("deletionTimestamp").is_none() {
            let own = object["metadata"]["name"].as_str().unwrap_or_default();
            let background =
                DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
            ignore_missing(store.delete(what, name, own, &background).map(drop))?;
        }
    }
    store.transact(|state| {
        let left = state.tables().any(|t| t.kind.namespaced && t.range(Some(name)).next().is_some());
        if left { Ok(()) } else { finish_namespace(state, &key) }
    })
}

fn finish_namespace(state: &mut State, key: &Key) -> Result<()> {
    let mut namespace = (**state.table(&kinds::NAMESPACES)?.get(&kinds::NAMESPACES, key)?).clone();
    if namespace["metadata"].get("deletionTimestamp").is_none() {
        return Ok(());
    }
    if has_finalizers(&namespace) {
        // Someone else holds the namespace itself; only our part is done.
        if namespace["spec"].get("finalizers").is_some() {
            namespace["spec"] = json!({});
            state.put(&kinds::NAMESPACES, namespace)?;
        }
        return Ok(());
    }
    state.remove(&kinds::NAMESPACES, key).map(drop)
}

fn drop_finalizer(store: &Store, place: &Place, finalizer: &str) -> Result<()> {
    change(store, place, |object| {
        if let Some(finalizers) = object["metadata"]["finalizers"].as_array_mut() {
            finalizers.retain(|f| f != finalizer);
        }
    })
}

fn change(store: &Store, place: &Place, change: impl FnOnce(&mut Value)) -> Result<()> {
    let Place { resource, key } = place;
    store.modify(resource, Part::Main, &key.namespace, &key.name, &Write::by(CONTROLLERS), change).map(drop)
}

fn ignore_missing(result: Result<()>) -> Result<()> {
    result.or_else(|refusal| if refusal.code == 404 { Ok(()) } else { Err(refusal) })
}

fn has_finalizer(object: &Value, finalizer: &str) -> bool {
    object["metadata"]["finalizers"].as_array().into_iter().flatten().any(|f| f == finalizer)
}

fn has_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn an_event_goes_an_hour_after_it_was_last_seen() {
        let sim = crate::KubeSim::start(crate::Config::default()).await.unwrap();
        let (store, by) = (sim.store(), Write::by("test"));
        let now = Timestamp::now();
        let ago = |minutes: i64| {
            (now - SignedDuration::from_mins(minutes)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
        };
        for (name, last) in [("old", ago(61)), ("young", ago(59))] {
            let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": name}, "lastTimestamp": last,
                "involvedObject": {"namespace": "default"}});
            store.create(&kinds::EVENTS, "default", event, &by).unwrap();
        }
        let later = now + SignedDuration::from_mins(30);
        let names = |now| {
            expire_events(store, now);
            let items = store.list(&kinds::EVENTS, None).unwrap().items;
            items
                .iter()
                .map(|event| event["metadata"]["name"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        // Both were made just now, whatever they say.
        assert_eq!(names(later), ["old", "young"]);
        assert_eq!(names(now + SignedDuration::from_mins(61)), Vec::<String>::new());
    }
}
