//! Every write of this plane to its Kubernetes API, and the few readings that a cache can't replace.
//!
//! It makes namespaces, custom resources and the plane's own ConfigMaps; what runs a database is made by
//! `senren-reconcile`. A deletion always carries uid and resourceVersion, so that it can only hit what was decided
//! about.

use std::{collections::BTreeMap, collections::HashSet, fmt};

use k8s_openapi::{
    api::core::v1::Namespace, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::{
        ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions,
    },
    core::GroupVersionKind,
};
use parking_lot::{Mutex, RwLock};
use senren_api::{RegionId, ResourceKey, SiteName};
use senren_reconcile::{names, within};
use senren_telemetry::trace;
use serde_json::{Value, json};

use crate::{cr::Cr, desired::Desired};

/// Label of a namespace: its site.
const SITE: &str = "senren.io/site";

/// The Kubernetes API of this region, as one plane uses it.
pub(crate) struct Cluster {
    pub client: Client,
    pub region: RegionId,
    pub prefix: String,
    /// How the custom resources of each type are addressed that was ever served here.
    types: RwLock<BTreeMap<String, ApiResource>>,
    /// Namespaces that were there when we looked.
    namespaces: Mutex<HashSet<String>>,
}

/// Why something could not be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WriteError {
    /// The API server refuses it; somebody has to change something.
    Refused { reason: &'static str, message: String },
    /// It may succeed later.
    Failed(String),
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { message, .. } | Self::Failed(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for WriteError {}

impl WriteError {
    fn of(what: impl fmt::Display, error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                let message = format!("{what}: the Kubernetes API says {}: {}", status.code, status.message);
                match status.code {
                    409 | 429 | 500.. => Self::Failed(message),
                    _ => Self::Refused { reason: "KubernetesRefused", message },
                }
            }
            other => Self::Failed(format!("{what}: {other}")),
        }
    }
}

/// True where the API server answered with this HTTP status.
pub(crate) fn is_code(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

impl Cluster {
    /// For the plane of `region`, whose namespaces start with `prefix`.
    pub fn new(client: Client, region: RegionId, prefix: String) -> Self {
        Self { client, region, prefix, types: RwLock::default(), namespaces: Mutex::default() }
    }

    /// How the custom resources of a type are addressed from now on.
    pub fn set_address(&self, type_name: &str, resource: &ApiResource) {
        self.types.write().insert(type_name.to_owned(), resource.clone());
    }

    /// How the custom resources of a type are addressed. `None`: no plugin served it since this process started.
    pub fn address(&self, type_name: &str) -> Option<ApiResource> {
        self.types.read().get(type_name).cloned()
    }

    /// As [`Self::address`]; where no plugin says it, the definition that is in the cluster does.
    async fn find_address(&self, type_name: &str) -> Result<Option<ApiResource>, kube::Error> {
        if let Some(resource) = self.address(type_name) {
            return Ok(Some(resource));
        }
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        let params = ListParams::default().labels(&format!("{}={type_name}", names::TYPE));
        let found = within(api.list(&params)).await?;
        Ok(found.items.into_iter().find(|found| found.spec.group == senren_api::GROUP).map(|found| {
            let names = found.spec.names;
            ApiResource::from_gvk_with_plural(
                &GroupVersionKind::gvk(senren_api::GROUP, senren_api::CR_VERSION, &names.kind),
                &names.plural,
            )
        }))
    }

    fn crs(&self, resource: &ApiResource, site: &SiteName) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &names::namespace(&self.prefix, site), resource)
    }

    fn parse(&self, type_name: &str, object: DynamicObject) -> Option<Cr> {
        Cr::parse(type_name, &self.prefix, &self.region, object)
    }

    /// Makes the custom resource what is desired. Never touches its status.
    pub async fn apply(&self, desired: &Desired, spec: &Value) -> Result<Cr, WriteError> {
        let Desired { key, type_name, .. } = desired;
        let what = format!("apply custom resource {key} of type {type_name}");
        let Some(resource) = self.address(type_name) else {
            return Err(WriteError::Failed(format!("{what}: nobody serves the type any more")));
        };
        let api = self.crs(&resource, &key.site);
        self.ensure_namespace(&key.site).await?;
        let mut annotations = BTreeMap::from([
            (names::UID, desired.uid.clone()),
            (names::GENERATION, desired.generation.to_string()),
        ]);
        if desired.protected {
            annotations.insert(names::DELETION_PROTECTION, "true".into());
        }
        annotations.extend(trace::current().map(|identity| (names::TRACEPARENT, identity)));
        let object = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {
                "name": key.name,
                "labels": names::plane_labels(&self.region),
                "annotations": annotations,
            },
            "spec": spec,
        });
        let params = PatchParams::apply(names::INTAKE_MANAGER).force();
        match within(api.patch(key.name.as_str(), &params, &Patch::Apply(&object))).await {
            Ok(object) => self
                .parse(type_name, object)
                .ok_or_else(|| WriteError::Failed(format!("{what}: the answer is not what was applied"))),
            Err(error) => {
                if is_code(&error, 404) || is_code(&error, 403) {
                    // The namespace may have gone, or is going.
                    self.namespaces.lock().remove(&names::namespace(&self.prefix, &key.site));
                }
                Err(if is_code(&error, 404) {
                    WriteError::Failed(error.to_string())
                } else {
                    WriteError::of(what, &error)
                })
            }
        }
    }

    /// Begins the deletion of exactly this one, as it was read. `None`: it is gone; otherwise as it is now.
    pub async fn delete(&self, cr: &Cr) -> Result<Option<Cr>, WriteError> {
        let what = format!("delete custom resource {} of type {}", cr.key, cr.type_name);
        let resource =
            self.find_address(&cr.type_name).await.map_err(|error| WriteError::of(&what, &error))?;
        let Some(resource) = resource else { return Ok(None) };
        let api = self.crs(&resource, &cr.key.site);
        let mut current = cr.clone();
        loop {
            let params = DeleteParams {
                preconditions: Some(Preconditions {
                    uid: Some(current.kubernetes_uid.clone()),
                    resource_version: Some(current.resource_version.clone()),
                }),
                ..Default::default()
            };
            match within(api.delete(current.key.name.as_str(), &params)).await {
                // What has a finalizer stays for now. The answer is the object as it was when it went, or as it is.
                Ok(_) => return self.find(&cr.type_name, &cr.key).await,
                Err(error) if is_code(&error, 404) => return Ok(None),
                Err(error) if is_code(&error, 409) => {
                    // Its status changed, most likely. Decide again about what is there now.
                    let Some(now) = self.find(&cr.type_name, &cr.key).await? else { return Ok(None) };
                    let same = now.kubernetes_uid == cr.kubernetes_uid && now.uid == cr.uid;
                    if !same || now.protected || now.deleting {
                        return Ok(Some(now));
                    }
                    if now.resource_version == current.resource_version {
                        return Err(WriteError::of(what, &error));
                    }
                    current = now;
                }
                Err(error) => return Err(WriteError::of(what, &error)),
            }
        }
    }

    /// The custom resource as the API server has it now. `None`: there is none, or none of ours.
    pub async fn find(&self, type_name: &str, key: &ResourceKey) -> Result<Option<Cr>, WriteError> {
        let read = async {
            let Some(resource) = self.find_address(type_name).await? else { return Ok(None) };
            within(self.crs(&resource, &key.site).get_opt(key.name.as_str())).await
        };
        match read.await {
            Ok(object) => Ok(object.and_then(|object| self.parse(type_name, object))),
            Err(error) => {
                Err(WriteError::of(format!("read custom resource {key} of type {type_name}"), &error))
            }
        }
    }

    async fn ensure_namespace(&self, site: &SiteName) -> Result<(), WriteError> {
        let namespace = names::namespace(&self.prefix, site);
        self.ensure_namespace_named(&namespace, Some(site)).await
    }

    /// Makes a namespace, or one that is there ours, unless it is another plane's.
    pub async fn ensure_namespace_named(
        &self,
        namespace: &str,
        site: Option<&SiteName>,
    ) -> Result<(), WriteError> {
        if self.namespaces.lock().contains(namespace) {
            return Ok(());
        }
        let api: Api<Namespace> = Api::all(self.client.clone());
        let what = format!("prepare namespace {namespace}");
        let mut labels = names::plane_labels(&self.region);
        labels.extend(site.map(|site| (SITE.to_owned(), site.to_string())));
        let wanted = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": namespace, "labels": labels },
        });
        match within(api.get_opt(namespace)).await.map_err(|error| WriteError::of(&what, &error))? {
            Some(found) => {
                let label = found.metadata.labels.as_ref().and_then(|labels| labels.get(names::REGION));
                if found.metadata.deletion_timestamp.is_some() {
                    return Err(WriteError::Failed(format!("{what}: it is being deleted")));
                }
                match label {
                    Some(label) if *label == self.region.dotted() => {}
                    Some(label) => {
                        let message = format!(
                            "{what}: it belongs to region {label}; give one of the two planes another NAMESPACE_PREFIX"
                        );
                        return Err(WriteError::Refused { reason: "ForeignNamespace", message });
                    }
                    None => {
                        let params = PatchParams::apply(names::INTAKE_MANAGER);
                        within(api.patch(namespace, &params, &Patch::Apply(&wanted)))
                            .await
                            .map_err(|error| WriteError::of(&what, &error))?;
                    }
                }
            }
            None => {
                let object =
                    serde_json::from_value(wanted).map_err(|error| WriteError::Failed(error.to_string()))?;
                match within(api.create(&PostParams::default(), &object)).await {
                    // Another task of ours was faster.
                    Err(error) if is_code(&error, 409) => {}
                    created => drop(created.map_err(|error| WriteError::of(&what, &error))?),
                }
            }
        }
        self.namespaces.lock().insert(namespace.to_owned());
        Ok(())
    }
}
