//! Which kinds of object the API serves, and what distinguishes them.
//!
//! Built-in kinds stand in one table; a custom resource definition adds one more of the same type, so that no
//! verb ever asks whether a kind is built in, only what it is like.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::custom::Custom;
use crate::shape::Shape;

/// What one API path serves: a group and a plural, `apps` `statefulsets`. Versions are views of the same objects.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupResource {
    /// API group, empty for the core group.
    pub group: Cow<'static, str>,
    /// Plural, lower case.
    pub plural: Cow<'static, str>,
}

impl GroupResource {
    /// A group and plural known when compiling.
    pub const fn of(group: &'static str, plural: &'static str) -> GroupResource {
        GroupResource { group: Cow::Borrowed(group), plural: Cow::Borrowed(plural) }
    }

    /// A group and plural known only at run time.
    pub fn new(group: impl Into<String>, plural: impl Into<String>) -> GroupResource {
        GroupResource { group: Cow::Owned(group.into()), plural: Cow::Owned(plural.into()) }
    }
}

impl fmt::Display for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.plural)
        } else {
            write!(f, "{}.{}", self.plural, self.group)
        }
    }
}

/// `v1 Namespace`
pub const NAMESPACES: GroupResource = GroupResource::of("", "namespaces");
/// `v1 ConfigMap`
pub const CONFIG_MAPS: GroupResource = GroupResource::of("", "configmaps");
/// `v1 Secret`
pub const SECRETS: GroupResource = GroupResource::of("", "secrets");
/// `v1 Service`
pub const SERVICES: GroupResource = GroupResource::of("", "services");
/// `v1 ServiceAccount`
pub const SERVICE_ACCOUNTS: GroupResource = GroupResource::of("", "serviceaccounts");
/// The ServiceAccount that every namespace has.
pub(crate) const DEFAULT_ACCOUNT: &str = "default";
/// `v1 Endpoints`
pub const ENDPOINTS: GroupResource = GroupResource::of("", "endpoints");
/// `v1 Pod`
pub const PODS: GroupResource = GroupResource::of("", "pods");
/// `v1 PersistentVolumeClaim`
pub const CLAIMS: GroupResource = GroupResource::of("", "persistentvolumeclaims");
/// `v1 Event`; `events.k8s.io/v1` is another view of the same objects
pub const EVENTS: GroupResource = GroupResource::of("", "events");
/// `discovery.k8s.io/v1 EndpointSlice`
pub const ENDPOINT_SLICES: GroupResource = GroupResource::of("discovery.k8s.io", "endpointslices");
/// `apps/v1 StatefulSet`
pub const STATEFUL_SETS: GroupResource = GroupResource::of("apps", "statefulsets");
/// `apps/v1 ControllerRevision`
pub const CONTROLLER_REVISIONS: GroupResource = GroupResource::of("apps", "controllerrevisions");
/// `batch/v1 Job`
pub const JOBS: GroupResource = GroupResource::of("batch", "jobs");
/// `coordination.k8s.io/v1 Lease`
pub const LEASES: GroupResource = GroupResource::of("coordination.k8s.io", "leases");
/// `policy/v1 PodDisruptionBudget`
pub const DISRUPTION_BUDGETS: GroupResource = GroupResource::of("policy", "poddisruptionbudgets");
/// `networking.k8s.io/v1 NetworkPolicy`: kept, and nothing more; connections are not filtered
pub const NETWORK_POLICIES: GroupResource = GroupResource::of("networking.k8s.io", "networkpolicies");
/// `apiextensions.k8s.io/v1 CustomResourceDefinition`
pub const DEFINITIONS: GroupResource = GroupResource::of("apiextensions.k8s.io", "customresourcedefinitions");

/// One kind: its names, and which rules apply to it.
#[derive(Debug)]
pub struct Kind {
    /// Group and plural: the identity.
    pub resource: GroupResource,
    /// Versions served, preferred one first.
    pub versions: Vec<String>,
    /// The version objects are kept in.
    pub storage: String,
    /// `StatefulSet`
    pub kind: String,
    /// `StatefulSetList`
    pub list_kind: String,
    /// `statefulset`
    pub singular: String,
    /// `sts`
    pub short_names: Vec<String>,
    /// `all`
    pub categories: Vec<String>,
    /// In a namespace, or in the cluster.
    pub namespaced: bool,
    /// Has a status subresource: the main path ignores `.status` and the other way round.
    pub status: bool,
    /// `metadata.generation` counts changes of everything but metadata and status.
    pub generation: bool,
    /// How its fields merge and who can own them.
    pub shape: Arc<Shape>,
    /// Set for kinds that a CustomResourceDefinition made.
    pub custom: Option<Custom>,
}

impl Kind {
    /// `apps/v1`, `v1`: what the objects of a version say in `apiVersion`.
    pub fn api_version(&self, version: &str) -> String {
        if self.resource.group.is_empty() {
            version.to_owned()
        } else {
            format!("{}/{version}", self.resource.group)
        }
    }

    /// The verbs discovery announces.
    pub fn verbs(&self) -> &'static [&'static str] {
        if self.custom.is_some() {
            return &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
        }
        &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
    }
}

struct Row(GroupResource, &'static str, &'static str, &'static [&'static str], Scope, Traits);

#[derive(PartialEq)]
enum Scope {
    Cluster,
    Namespaced,
}

/// (status subresource, generation)
type Traits = (bool, bool);

fn rows() -> [Row; 17] {
    use Scope::{Cluster, Namespaced};
    const PLAIN: Traits = (false, false);
    const STATUS: Traits = (true, false);
    const COUNTED: Traits = (true, true);
    [
        Row(NAMESPACES, "v1", "Namespace", &["ns"], Cluster, STATUS),
        Row(CONFIG_MAPS, "v1", "ConfigMap", &["cm"], Namespaced, PLAIN),
        Row(SECRETS, "v1", "Secret", &[], Namespaced, PLAIN),
        Row(SERVICES, "v1", "Service", &["svc"], Namespaced, STATUS),
        Row(SERVICE_ACCOUNTS, "v1", "ServiceAccount", &["sa"], Namespaced, PLAIN),
        Row(ENDPOINTS, "v1", "Endpoints", &["ep"], Namespaced, PLAIN),
        Row(PODS, "v1", "Pod", &["po"], Namespaced, COUNTED),
        Row(CLAIMS, "v1", "PersistentVolumeClaim", &["pvc"], Namespaced, STATUS),
        Row(EVENTS, "v1", "Event", &["ev"], Namespaced, PLAIN),
        Row(ENDPOINT_SLICES, "v1", "EndpointSlice", &[], Namespaced, (false, true)),
        Row(STATEFUL_SETS, "v1", "StatefulSet", &["sts"], Namespaced, COUNTED),
        Row(CONTROLLER_REVISIONS, "v1", "ControllerRevision", &[], Namespaced, PLAIN),
        Row(JOBS, "v1", "Job", &[], Namespaced, COUNTED),
        Row(LEASES, "v1", "Lease", &[], Namespaced, PLAIN),
        Row(DISRUPTION_BUDGETS, "v1", "PodDisruptionBudget", &["pdb"], Namespaced, COUNTED),
        Row(NETWORK_POLICIES, "v1", "NetworkPolicy", &["netpol"], Namespaced, (false, true)),
        Row(DEFINITIONS, "v1", "CustomResourceDefinition", &["crd", "crds"], Cluster, COUNTED),
    ]
}

/// The kinds every cluster serves.
pub(crate) fn builtin() -> Vec<Arc<Kind>> {
    rows()
        .into_iter()
        .map(|Row(resource, version, kind, short, scope, (status, generation))| {
            let singular = kind.to_lowercase();
            Arc::new(Kind {
                shape: crate::builtin_shapes::of(&resource),
                categories: if [PODS, SERVICES, STATEFUL_SETS, JOBS].contains(&resource) {
                    vec!["all".to_owned()]
                } else {
                    Vec::new()
                },
                resource,
                versions: vec![version.to_owned()],
                storage: version.to_owned(),
                kind: kind.to_owned(),
                list_kind: format!("{kind}List"),
                singular,
                short_names: short.iter().map(|s| (*s).to_owned()).collect(),
                namespaced: scope == Scope::Namespaced,
                status,
                generation,
                custom: None,
            })
        })
        .collect()
}
