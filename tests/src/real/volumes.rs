//! The default storage class of a real cluster, and what its provisioner would do: each claim of one test's namespaces
//! gets a volume, to which Kubernetes itself binds it, and which goes with it. Nothing is stored there.

use futures::StreamExt as _;
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::StorageClass,
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
    runtime::{WatchStreamExt as _, watcher, watcher::Event},
};
use serde_json::json;

const NAME: &str = "senren-tests";

/// Makes the class, unless it is there.
pub(super) async fn install(client: &kube::Client) {
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": NAME, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": NAME, "allowVolumeExpansion": true,
    });
    let classes = Api::<StorageClass>::all(client.clone());
    classes
        .patch(NAME, &PatchParams::apply(NAME).force(), &Patch::Apply(&class))
        .await
        .expect("a storage class");
}

/// Gives a volume to every claim in the namespaces that begin with `<prefix>-`, and takes it away again.
pub(super) async fn follow(client: kube::Client, prefix: String) {
    let volumes = Api::<PersistentVolume>::all(client.clone());
    let claims = Api::<PersistentVolumeClaim>::all(client);
    let mut events = watcher(claims, watcher::Config::default()).default_backoff().boxed();
    let ours = |claim: &PersistentVolumeClaim| {
        claim.namespace().is_some_and(|namespace| namespace.starts_with(&format!("{prefix}-")))
    };
    while let Some(event) = events.next().await {
        // One that could not be served comes again.
        match event {
            Ok(Event::Apply(claim) | Event::InitApply(claim)) if ours(&claim) => {
                let _ = provision(&volumes, &claim).await;
            }
            Ok(Event::Delete(claim)) if ours(&claim) => {
                let _ = volumes.delete(&volume_of(&claim), &DeleteParams::default()).await;
            }
            _ => {}
        }
    }
}

fn volume_of(claim: &PersistentVolumeClaim) -> String {
    format!("pvc-{}", claim.uid().unwrap_or_default())
}

async fn provision(volumes: &Api<PersistentVolume>, claim: &PersistentVolumeClaim) -> kube::Result<()> {
    let Some(spec) = &claim.spec else { return Ok(()) };
    if spec.volume_name.is_some() || spec.storage_class_name.as_deref() != Some(NAME) {
        return Ok(());
    }
    let name = volume_of(claim);
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
        "spec": {
            "capacity": spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()),
            "accessModes": spec.access_modes,
            "storageClassName": NAME,
            "csi": {"driver": NAME, "volumeHandle": name},
            "claimRef": {"namespace": claim.namespace(), "name": claim.name_any(), "uid": claim.uid()},
        },
    });
    volumes.patch(&name, &PatchParams::apply(NAME).force(), &Patch::Apply(&volume)).await?;
    Ok(())
}
