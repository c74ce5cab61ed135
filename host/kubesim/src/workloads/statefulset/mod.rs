//! The StatefulSet controller: sets of pods with identities and claims of their own.
//!
//! One pass per set reads everything, adopts what belongs to it, asks [`plan`] what to do next, does it, and
//! writes the status. It runs when the set, one of its pods or one of its claims changes; nothing is
//! remembered between passes but whether a set has looked for orphans.

mod identity;
mod plan;
mod revision;

use std::collections::{BTreeMap, HashSet};

use k8s_openapi::api::{
    apps::v1::{StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy},
    core::v1::Pod,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::{
    identity::REVISION_LABEL,
    plan::{Action, Member, Strategy, Wanted},
    revision::Revisions,
};
use super::{
    feed::{Change, Feed, typed},
    names::{controller_of, controller_reference, is_terminating, labels_of, selects},
    pod_state::{is_finished, is_ready},
    recorder::{Level, Recorder},
};
use crate::{
    kinds::{CLAIMS, PODS, STATEFUL_SETS},
    status::Result,
    store::{DeleteOptions, Key, Object, Part, Store, Write, key_of, uid_of},
    write::CONTROLLERS,
};

const BY: &str = "statefulset-controller";
const KIND: (&str, &str) = ("apps/v1", "StatefulSet");

/// Which sets to look at; whether to look for orphans, too.
type Queue = BTreeMap<Key, bool>;

/// Runs all StatefulSets until stopped.
pub async fn run(store: Store, stop: CancellationToken) -> anyhow::Result<()> {
    let mut sets = Feed::open(&store, &STATEFUL_SETS)?;
    let mut pods = Feed::open(&store, &PODS)?;
    let mut controller = Controller { recorder: Recorder::new(&store, BY), store, known: HashSet::new() };
    let mut queue = Queue::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Some(change) = sets.next() => controller.set_changed(&change, &mut queue),
            Some(change) = pods.next() => pod_changed(&change, &mut queue),
            else => return Ok(()),
        }
        while let Some(change) = sets.try_next() {
            controller.set_changed(&change, &mut queue);
        }
        while let Some(change) = pods.try_next() {
            pod_changed(&change, &mut queue);
        }
        while let Some((key, orphans)) = queue.pop_first() {
            if let Err(status) = controller.reconcile(&key, orphans) {
                tracing::warn!(
                    error = status.message,
                    set = key.name,
                    "a StatefulSet could not be looked after"
                );
            }
        }
    }
}

/// The set a pod is of, or would be if it had an owner.
fn pod_changed(change: &Change, queue: &mut Queue) {
    let same = |before: &Object| facts(before) == facts(&change.object);
    if !change.gone && change.previous.as_ref().is_some_and(same) {
        return;
    }
    let key = key_of(&change.object);
    let Some((set, _)) = identity::parse(&key.name) else { return };
    let orphan = !change.gone && controller_of(&change.object).is_none();
    *queue.entry(Key::new(key.namespace.clone(), set)).or_default() |= orphan;
}

/// What of a pod decides about its set.
fn facts(pod: &Value) -> (bool, bool, &Value, Option<&Value>, Option<&Value>) {
    let conditions = pod["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ready =
        conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    let meta = &pod["metadata"];
    (ready, is_terminating(pod), &pod["status"]["phase"], meta.get("ownerReferences"), meta.get("labels"))
}

struct Controller {
    store: Store,
    recorder: Recorder,
    known: HashSet<String>,
}

/// One set and what it has.
struct Set {
    key: Key,
    object: Object,
    typed: StatefulSet,
    pods: BTreeMap<i32, (Object, Member)>,
}

impl Controller {
    fn set_changed(&mut self, change: &Change, queue: &mut Queue) {
        let uid = uid_of(&change.object).unwrap_or_default();
        if change.gone {
            self.known.remove(uid);
            return;
        }
        let first = self.known.insert(uid.to_owned());
        *queue.entry(key_of(&change.object)).or_default() |= first;
    }

    fn reconcile(&self, key: &Key, orphans: bool) -> Result<()> {
        let Ok(object) = self.store.get(&STATEFUL_SETS, &key.namespace, &key.name) else { return Ok(()) };
        let Some(typed) = typed::<StatefulSet>(&object) else { return Ok(()) };
        let deleting = is_terminating(&object);
        if orphans && !deleting {
            revision::adopt(&self.store, &object)?;
            self.adopt(&object, &typed)?;
        }
        let mut set = Set { key: key.clone(), object, typed, pods: BTreeMap::new() };
        set.pods = self.pods_of(&set);
        if deleting {
            // Its dependents are the garbage collector's now.
            return Ok(());
        }
        let revisions = revision::of(&self.store, &set.object)?;
        let wanted = wanted(&set, &revisions);
        self.tend_claims(&set, &wanted)?;
        let members = set.pods.iter().map(|(ordinal, (_, member))| (*ordinal, member.clone())).collect();
        for action in plan::next(&wanted, &members) {
            self.act(&set, &revisions, &action)?;
        }
        set.pods = self.pods_of(&set);
        self.write_status(&set, &wanted, &revisions)?;
        let mut live = vec![wanted.current, wanted.update];
        live.extend(set.pods.values().map(|(_, member)| member.revision.clone()));
        revision::prune(&self.store, &set.object, &live)
    }

    fn pods_of(&self, set: &Set) -> BTreeMap<i32, (Object, Member)> {
        let uid = uid_of(&set.object).unwrap_or_default();
        let places = self.store.inspect(|state| state.dependents_of(uid));
        let pods = places.into_iter().filter(|place| place.resource == PODS).filter_map(|place| {
            let (_, ordinal) = identity::parse(&place.key.name).filter(|(name, _)| *name == set.key.name)?;
            let object = self.store.get(&PODS, &place.key.namespace, &place.key.name).ok()?;
            (controller_of(&object) == Some(uid)).then_some(())?;
            let pod: Pod = typed(&object)?;
            let member = Member {
                revision: labels_of(&object).get(REVISION_LABEL).map(ToString::to_string).unwrap_or_default(),
                ready: is_ready(&pod),
                terminating: is_terminating(&object),
                finished: is_finished(&pod),
            };
            Some((ordinal, (object, member)))
        });
        pods.collect()
    }

    /// Takes pods that nobody controls and that are named and labelled as ours (`delete --cascade=orphan`,
    /// recreate).
    fn adopt(&self, set: &Object, typed: &StatefulSet) -> Result<()> {
        let key = key_of(set);
        let selector = &typed.spec.selector;
        for pod in self.store.list_prefixed(&PODS, &key.namespace, &format!("{}-", key.name))? {
            let name = key_of(&pod).name;
            let ours = identity::parse(&name).is_some_and(|(set, _)| set == key.name);
            if ours
                && controller_of(&pod).is_none()
                && !is_terminating(&pod)
                && selects(selector, &labels_of(&pod))
            {
                let owner = controller_reference(KIND.0, KIND.1, set);
                self.store.modify(
                    &PODS,
                    Part::Main,
                    &key.namespace,
                    &name,
                    &Write::by(CONTROLLERS),
                    |pod| add_owner(pod, owner),
                )?;
            }
        }
        Ok(())
    }

    fn act(&self, set: &Set, revisions: &Revisions, action: &Action) -> Result<()> {
        match action {
            Action::Create(ordinal, revision) => self.create(set, revisions, *ordinal, revision),
            Action::Delete { ordinal, .. } => {
                let Some((pod, _)) = set.pods.get(ordinal) else { return Ok(()) };
                let name = key_of(pod).name;
                let options = DeleteOptions { uid: uid_of(pod).map(Into::into), ..DeleteOptions::default() };
                let result = self.store.delete(&PODS, &set.key.namespace, &name, &options).map(drop);
                self.report(set, "delete", &name, result)
            }
        }
    }

    fn create(&self, set: &Set, revisions: &Revisions, ordinal: i32, revision: &str) -> Result<()> {
        let template = revisions.template(revision);
        let pod = identity::pod(&set.object, template, revision, ordinal);
        let name = key_of(&pod).name;
        let created = self.create_claims(set, ordinal).and_then(|()| {
            self.store.create(&PODS, &set.key.namespace, pod, &Write::by(CONTROLLERS)).map(drop)
        });
        self.report(set, "create", &name, created)
    }

    /// Tells in an event what was done to a pod; what failed is tried again when something changes.
    fn report(&self, set: &Set, verb: &str, pod: &str, result: Result<()>) -> Result<()> {
        let past = if verb == "create" { "Create" } else { "Delete" };
        let name = &set.key.name;
        match result {
            Ok(()) => {
                let message = format!("{verb} Pod {pod} in StatefulSet {name} successful");
                self.recorder.record(
                    KIND,
                    &set.object,
                    None,
                    Level::Normal,
                    &format!("Successful{past}"),
                    &message,
                );
                Ok(())
            }
            Err(status) => {
                let message =
                    format!("{verb} Pod {pod} in StatefulSet {name} failed error: {}", status.message);
                self.recorder.record(
                    KIND,
                    &set.object,
                    None,
                    Level::Warning,
                    &format!("Failed{past}"),
                    &message,
                );
                Err(status)
            }
        }
    }

    fn create_claims(&self, set: &Set, ordinal: i32) -> Result<()> {
        for mut claim in identity::claims(&set.typed, &set.object, ordinal) {
            let key = key_of(&claim);
            if self.store.get(&CLAIMS, &key.namespace, &key.name).is_ok() {
                continue;
            }
            if retention(set).0 {
                add_owner(&mut claim, controller_reference(KIND.0, KIND.1, &set.object));
            }
            self.store.create(&CLAIMS, &key.namespace, claim, &Write::by(CONTROLLERS))?;
            let message = format!("create Claim {} in StatefulSet {} success", key.name, set.key.name);
            self.recorder.record(KIND, &set.object, None, Level::Normal, "SuccessfulCreate", &message);
        }
        Ok(())
    }

    /// The claims' owners say when they go: with the set, with a pod that is scaled away, or never. And a
    /// pending pod whose claim was deleted gets a new one.
    fn tend_claims(&self, set: &Set, wanted: &Wanted) -> Result<()> {
        let (when_deleted, when_scaled) = retention(set);
        for (ordinal, (pod, member)) in &set.pods {
            let condemned = !wanted.ordinals().contains(ordinal);
            if !condemned && !member.ready && !member.terminating {
                self.create_claims(set, *ordinal)?;
            }
            let owner = if condemned && when_scaled {
                Some(controller_reference("v1", "Pod", pod))
            } else {
                (when_deleted && !condemned).then(|| controller_reference(KIND.0, KIND.1, &set.object))
            };
            let ours = [uid_of(&set.object), uid_of(pod)];
            for claim in identity::claims(&set.typed, &set.object, *ordinal) {
                self.own_claim(&key_of(&claim), &ours, owner.as_ref())?;
            }
        }
        Ok(())
    }

    /// Of `ours` only `owner` owns the claim.
    fn own_claim(&self, key: &Key, ours: &[Option<&str>], owner: Option<&Value>) -> Result<()> {
        let Ok(claim) = self.store.get(&CLAIMS, &key.namespace, &key.name) else { return Ok(()) };
        let owners = claim["metadata"]["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_ours = |owner: &Value| ours.contains(&owner["uid"].as_str());
        let now: Vec<_> = owners.iter().filter(|owner| is_ours(owner)).map(|owner| &owner["uid"]).collect();
        if now == owner.iter().map(|owner| &owner["uid"]).collect::<Vec<_>>() {
            return Ok(());
        }
        let change = |claim: &mut Value| {
            if let Some(Value::Array(owners)) = claim["metadata"].get_mut("ownerReferences") {
                owners.retain(|owner| !is_ours(owner));
            }
            match owner {
                Some(owner) => add_owner(claim, owner.clone()),
                None => drop_empty_owners(claim),
            }
        };
        self.store
            .modify(&CLAIMS, Part::Main, &key.namespace, &key.name, &Write::by(CONTROLLERS), change)
            .map(drop)
    }

    fn write_status(&self, set: &Set, wanted: &Wanted, revisions: &Revisions) -> Result<()> {
        let count = |which: &dyn Fn(&Member) -> bool| {
            i32::try_from(set.pods.values().filter(|(_, member)| which(member)).count()).unwrap_or(i32::MAX)
        };
        let replicas = count(&|_| true);
        let ready = count(&|member| member.ready);
        let of = |revision: &str| count(&|member| !member.terminating && member.revision == revision);
        let (updated, mut current) = (of(&wanted.update), of(&wanted.current));
        let mut current_revision = wanted.current.clone();
        let rolled = matches!(wanted.strategy, Strategy::RollingUpdate { .. })
            && [updated, ready, replicas] == [wanted.replicas; 3];
        if rolled {
            (current_revision, current) = (wanted.update.clone(), updated);
        }
        // Of these a real controller says nothing when there are none.
        let some = |count: i32| if count == 0 { Value::Null } else { json!(count) };
        let status = [
            ("observedGeneration", set.object["metadata"]["generation"].clone()),
            ("replicas", json!(replicas)),
            ("readyReplicas", some(ready)),
            ("availableReplicas", json!(ready)),
            ("currentReplicas", some(current)),
            ("updatedReplicas", some(updated)),
            ("currentRevision", json!(current_revision)),
            ("updateRevision", json!(wanted.update)),
            ("collisionCount", json!(revisions.collisions)),
        ];
        if status.iter().all(|(field, value)| set.object["status"][field] == *value) {
            return Ok(());
        }
        let key = &set.key;
        let change = |object: &mut Value| {
            if uid_of(object) == uid_of(&set.object) {
                status.into_iter().for_each(|(field, value)| object["status"][field] = value);
                if let Some(fields) = object["status"].as_object_mut() {
                    fields.retain(|_, value| !value.is_null());
                }
            }
        };
        self.store
            .modify(&STATEFUL_SETS, Part::Status, &key.namespace, &key.name, &Write::by(CONTROLLERS), change)
            .map(drop)
    }
}

fn wanted(set: &Set, revisions: &Revisions) -> Wanted {
    let spec = set.typed.spec.clone();
    let strategy = spec.update_strategy.unwrap_or_default();
    let partition = strategy.rolling_update.and_then(|rolling| rolling.partition).unwrap_or(0);
    Wanted {
        start: spec.ordinals.and_then(|ordinals| ordinals.start).unwrap_or(0),
        replicas: spec.replicas.unwrap_or(1),
        parallel: spec.pod_management_policy.as_deref() == Some("Parallel"),
        strategy: match strategy.type_.as_deref() {
            Some("OnDelete") => Strategy::OnDelete,
            _ => Strategy::RollingUpdate { partition },
        },
        current: revision::name_of(&revisions.current).to_owned(),
        update: revision::name_of(&revisions.update).to_owned(),
    }
}

/// Whether claims go with the set, and with pods that are scaled away.
fn retention(set: &Set) -> (bool, bool) {
    let policy = set.typed.spec.persistent_volume_claim_retention_policy.as_ref();
    let deletes = |which: fn(&StatefulSetPersistentVolumeClaimRetentionPolicy) -> &Option<String>| {
        policy.and_then(|policy| which(policy).as_deref()) == Some("Delete")
    };
    (deletes(|policy| &policy.when_deleted), deletes(|policy| &policy.when_scaled))
}

fn add_owner(object: &mut Value, owner: Value) {
    match object["metadata"].get_mut("ownerReferences") {
        Some(Value::Array(owners)) => owners.push(owner),
        _ => object["metadata"]["ownerReferences"] = json!([owner]),
    }
}

fn drop_empty_owners(object: &mut Value) {
    if object["metadata"].get("ownerReferences").is_some_and(|owners| owners == &json!([]))
        && let Some(metadata) = object["metadata"].as_object_mut()
    {
        metadata.remove("ownerReferences");
    }
}
