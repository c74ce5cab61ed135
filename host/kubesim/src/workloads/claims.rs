//! Persistent volume claims: bound at once, expanded on request, protected while a pod uses them.
//!
//! With local processes a claim is the directory `claims/<namespace>/<claim>`. It outlives every pod, and
//! only the deletion of its claim removes it; one that belongs to a claim of the past is set aside, never
//! given to another.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    feed::{Change, Feed, typed},
    names::is_terminating,
    pod_state::is_finished,
    process::quantity,
    recorder::{Level, Recorder},
};
use crate::{
    kinds::{CLAIMS, PODS},
    status::Result,
    store::{Key, Object, Part, Store, Write, key_of, uid_of},
    write::CONTROLLERS,
};

const PROTECTION: &str = "kubernetes.io/pvc-protection";
const BY: &str = "persistentvolume-controller";

/// Whether a pod may use this claim.
pub fn is_bound(store: &Store, namespace: &str, name: &str) -> bool {
    store
        .get(&CLAIMS, namespace, name)
        .is_ok_and(|claim| claim["status"]["phase"] == "Bound" && !is_terminating(&claim))
}

/// Looks after all claims until stopped. `directories` is where their content is kept, if it is.
pub async fn run(store: Store, directories: Option<PathBuf>, stop: CancellationToken) -> anyhow::Result<()> {
    let mut claims = Feed::open(&store, &CLAIMS)?;
    let mut pods = Feed::open(&store, &PODS)?;
    let controller = Controller { recorder: Recorder::new(&store, BY), store, directories };
    let mut queue = BTreeSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Some(change) = claims.next() => controller.claim_changed(&change, &mut queue),
            Some(change) = pods.next() => released_by(&change, &mut queue),
            else => return Ok(()),
        }
        while let Some(change) = claims.try_next() {
            controller.claim_changed(&change, &mut queue);
        }
        while let Some(change) = pods.try_next() {
            released_by(&change, &mut queue);
        }
        while let Some(key) = queue.pop_first() {
            if let Err(status) = controller.reconcile(&key) {
                tracing::debug!(error = status.message, claim = key.name, "a claim was not written");
            }
        }
    }
}

struct Controller {
    store: Store,
    recorder: Recorder,
    directories: Option<PathBuf>,
}

impl Controller {
    fn claim_changed(&self, change: &Change, queue: &mut BTreeSet<Key>) {
        let key = key_of(&change.object);
        if !change.gone {
            queue.insert(key);
            return;
        }
        if let Some(directories) = &self.directories {
            let directory = Directory::new(directories, &key);
            if let Err(error) = directory.remove(uid_of(&change.object).unwrap_or_default()) {
                tracing::error!(%error, directory = %directory.path.display(), "a deleted claim's directory stays");
            }
        }
    }

    fn reconcile(&self, key: &Key) -> Result<()> {
        let Ok(object) = self.store.get(&CLAIMS, &key.namespace, &key.name) else { return Ok(()) };
        if is_terminating(&object) {
            return self.let_go(key);
        }
        let Some(claim) = typed::<PersistentVolumeClaim>(&object) else { return Ok(()) };
        if let Some(directories) = &self.directories
            && let Err(error) = Directory::new(directories, key).make(uid_of(&object).unwrap_or_default())
        {
            let message = format!("the claim's directory cannot be made: {error}");
            tracing::error!(claim = key.name, "{message}");
            let kind = ("v1", "PersistentVolumeClaim");
            self.recorder.record(kind, &object, None, Level::Warning, "ProvisioningFailed", &message);
            return Ok(());
        }
        self.bind(key, &object, &claim)
    }

    fn bind(&self, key: &Key, object: &Object, claim: &PersistentVolumeClaim) -> Result<()> {
        let by = Write::by(CONTROLLERS);
        let volume = format!("pvc-{}", uid_of(object).unwrap_or_default());
        self.store.modify(&CLAIMS, Part::Main, &key.namespace, &key.name, &by, |claim| {
            if claim["spec"]["volumeName"].as_str().is_none_or(str::is_empty) {
                claim["spec"]["volumeName"] = json!(volume);
            }
            let finalizers = &mut claim["metadata"]["finalizers"];
            if !finalizers.is_array() {
                *finalizers = json!([]);
            }
            if let Value::Array(finalizers) = finalizers
                && !finalizers.iter().any(|finalizer| finalizer == PROTECTION)
            {
                finalizers.push(json!(PROTECTION));
            }
        })?;
        let requested = object["spec"]["resources"]["requests"]["storage"].clone();
        let capacity =
            claim.status.as_ref().and_then(|status| status.capacity.as_ref()?.get("storage").cloned());
        let bytes = |text: Option<&str>| text.and_then(quantity::milli).unwrap_or(0);
        let grown = bytes(requested.as_str()) > bytes(capacity.as_ref().map(|capacity| capacity.0.as_str()));
        let first = capacity.is_none();
        self.store.modify(&CLAIMS, Part::Status, &key.namespace, &key.name, &by, |claim| {
            claim["status"]["phase"] = json!("Bound");
            claim["status"]["accessModes"] = claim["spec"]["accessModes"].clone();
            if grown || first {
                claim["status"]["capacity"] = json!({"storage": requested});
            }
        })?;
        if grown && !first {
            let (kind, message) =
                (("v1", "PersistentVolumeClaim"), "the volume has grown to what was requested");
            self.recorder.record(kind, object, None, Level::Normal, "FileSystemResizeSuccessful", message);
        }
        Ok(())
    }

    /// A claim that is being deleted may go once no pod uses it.
    fn let_go(&self, key: &Key) -> Result<()> {
        let pods = self.store.list(&PODS, Some(&key.namespace))?;
        let used = pods.items.iter().filter(|pod| claims_of(pod).any(|claim| claim == key.name));
        if used.filter_map(typed::<Pod>).any(|pod| !is_finished(&pod)) {
            return Ok(());
        }
        let by = Write::by(CONTROLLERS);
        let result = self.store.modify(&CLAIMS, Part::Main, &key.namespace, &key.name, &by, |claim| {
            if let Some(Value::Array(finalizers)) = claim["metadata"].get_mut("finalizers") {
                finalizers.retain(|finalizer| finalizer != PROTECTION);
            }
        });
        result.map(drop)
    }
}

/// Adds the claims that a pod's end may have set free.
fn released_by(change: &Change, queue: &mut BTreeSet<Key>) {
    let finished = matches!(change.object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if change.gone || finished {
        let namespace = key_of(&change.object).namespace;
        queue.extend(claims_of(&change.object).map(|claim| Key::new(namespace.clone(), claim)));
    }
}

fn claims_of(pod: &Value) -> impl Iterator<Item = &str> {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    volumes.filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str())
}

/// A claim's directory; a file beside it says whose it is.
struct Directory {
    path: PathBuf,
    owner: PathBuf,
}

impl Directory {
    fn new(directories: &Path, key: &Key) -> Self {
        let parent = directories.join(&key.namespace);
        // No object's name begins with a dot.
        Self { path: parent.join(&key.name), owner: parent.join(format!(".{}.uid", key.name)) }
    }

    fn make(&self, uid: &str) -> io::Result<()> {
        let owner = read_if_there(&self.owner)?;
        if owner.as_deref() == Some(uid) && self.path.is_dir() {
            return Ok(());
        }
        if let Some(former) = owner.filter(|owner| owner != uid)
            && self.path.exists()
        {
            let aside = self.owner.with_extension(format!("{former}.left"));
            tracing::warn!(aside = %aside.display(), "the directory of a claim of the past is set aside");
            std::fs::rename(&self.path, aside)?;
        }
        std::fs::create_dir_all(&self.path)?;
        std::fs::write(&self.owner, uid)
    }

    fn remove(&self, uid: &str) -> io::Result<()> {
        if read_if_there(&self.owner)?.as_deref() != Some(uid) {
            return Ok(());
        }
        let missing_is_fine = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        };
        std::fs::remove_dir_all(&self.path).or_else(missing_is_fine)?;
        std::fs::remove_file(&self.owner).or_else(missing_is_fine)
    }
}

fn read_if_there(file: &Path) -> io::Result<Option<String>> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_directory_is_never_given_to_another_claim_of_the_same_name() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::new(dir.path(), &Key::new("ns", "data-db-0"));
        directory.make("uid-1").unwrap();
        std::fs::write(directory.path.join("file"), "1").unwrap();
        directory.make("uid-1").unwrap();
        assert!(directory.path.join("file").exists(), "the same claim finds its content");
        directory.make("uid-2").unwrap();
        assert!(!directory.path.join("file").exists(), "another one does not");
        let aside = dir.path().join("ns/.data-db-0.uid-1.left/file");
        assert_eq!(std::fs::read_to_string(aside).unwrap(), "1");
        directory.remove("uid-1").unwrap();
        assert!(directory.path.exists(), "a late deletion of the former one does no harm");
        directory.remove("uid-2").unwrap();
        assert!(!directory.path.exists());
    }
}
