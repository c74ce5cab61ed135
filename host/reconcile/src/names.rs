//! Every name that senren uses in a Kubernetes cluster: labels, annotations, namespaces, field managers.
//!
//! They are a contract with running clusters: changing one orphans what exists, so none ever changes.

use std::collections::BTreeMap;

use senren_api::{RegionId, SiteName};

/// Label: who made the object. Its value is [`MANAGER`].
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY`], and field manager of children and statuses.
pub const MANAGER: &str = "senren";
/// Field manager of what intake writes to a custom resource: spec and annotations.
pub const INTAKE_MANAGER: &str = "senren-intake";
/// Field manager of custom resource definitions.
pub const CRD_MANAGER: &str = "senren-crd";

/// Label: region id with `.` for `:`.
pub const REGION: &str = "senren.io/region";
/// Label of a child: resource type.
pub const TYPE: &str = "senren.io/type";
/// Label of a child: name of its custom resource.
pub const NAME: &str = "senren.io/name";
/// Label of a child, and of the pods and claims made from its templates: uid of its custom resource.
///
/// Pods outlive the StatefulSet that owns them for a moment, and claims have no owner at all; this says whose
/// they are. A resource of the same name that is created later has another uid.
pub const OWNER_UID: &str = "senren.io/owner-uid";
/// Label: resource type, as Kubernetes recommends.
pub const APP_NAME: &str = "app.kubernetes.io/name";
/// Label: custom resource, as Kubernetes recommends.
pub const APP_INSTANCE: &str = "app.kubernetes.io/instance";

/// Annotation of a custom resource: uid that the control plane gave it.
pub const UID: &str = "senren.io/uid";
/// Annotation of a custom resource: generation of its spec, as the control plane counts it.
pub const GENERATION: &str = "senren.io/generation";
/// Annotation of a custom resource: `"true"` where it must not be deleted.
pub const DELETION_PROTECTION: &str = "senren.io/deletion-protection";
/// Annotation of a custom resource: `"retain"` keeps its volume claims when it is deleted.
pub const CLAIMS: &str = "senren.io/claims";
/// Annotation of a custom resource: whose work its last change is (W3C Trace Context). Absent where nobody records it.
pub const TRACEPARENT: &str = "senren.io/traceparent";
/// Annotation of a child: hash of what was last applied.
pub const APPLIED: &str = "senren.io/applied";
/// Annotation of a custom resource: whenever somebody gives it another value, its secrets get another content.
pub const ROTATE_SECRETS: &str = "senren.io/rotate-secrets";
/// Annotation of a secret: version of its content.
pub const SECRET_VERSION: &str = "senren.io/version";
/// Annotation of a secret: the value of [`ROTATE_SECRETS`] when its content was made.
pub const ROTATED: &str = "senren.io/rotated";
/// Annotation of a secret: when its content is to be made anew.
pub const RENEW_AT: &str = "senren.io/renew-at";
/// Annotation of a certificate's secret: version of the authority that signed it.
pub const ISSUER: &str = "senren.io/issuer";
/// Annotation of an authority's secret: when its certificate ends.
pub const ENDS: &str = "senren.io/ends";

/// Finalizer of a custom resource.
pub const FINALIZER: &str = "senren.io/reconcile";

/// ConfigMap in the plane's own namespace that names the region and cluster it belongs to.
pub const CLAIM_CONFIG_MAP: &str = "senren-claim";
/// Lease in the plane's own namespace of the replica that works.
pub const LEASE: &str = "senren-plane";
/// ConfigMap in the plane's own namespace that keeps the version and content hash last taken in.
pub const STATE_CONFIG_MAP: &str = "senren-state";

/// Start of everything that only senren may put into labels and annotations.
pub const RESERVED_PREFIX: &str = "senren.io/";

/// The namespace of a site: `senren-default`.
pub fn namespace(prefix: &str, site: &SiteName) -> String {
    format!("{prefix}-{site}")
}

/// The plane's own namespace: `senren-system`.
pub fn system_namespace(prefix: &str) -> String {
    format!("{prefix}-system")
}

/// The site of a namespace; `None` where it is none of this plane's. The plane's own namespace is no site.
pub fn site(prefix: &str, namespace: &str) -> Option<SiteName> {
    let site: SiteName = namespace.strip_prefix(prefix)?.strip_prefix('-')?.parse().ok()?;
    (system_namespace(prefix) != namespace).then_some(site)
}

/// Labels of every object that a plane makes.
pub fn plane_labels(region: &RegionId) -> BTreeMap<String, String> {
    [(MANAGED_BY, MANAGER.to_owned()), (REGION, region.dotted())]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// Selects the objects of one plane.
pub fn plane_selector(region: &RegionId) -> String {
    format!("{MANAGED_BY}={MANAGER},{REGION}={}", region.dotted())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_namespace_names_its_site_and_back() {
        let site_name: SiteName = "pay-ments".parse().unwrap();
        assert_eq!(namespace("senren", &site_name), "senren-pay-ments");
        assert_eq!(site("senren", "senren-pay-ments"), Some(site_name));
        for foreign in ["senren", "senrenx-a", "kube-system", "senren-", "senren-system"] {
            assert_eq!(site("senren", foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_selector_matches_the_labels() {
        let region: RegionId = "aws:us-east-1:shadow".parse().unwrap();
        let labels: Vec<String> = plane_labels(&region).iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(labels.join(","), plane_selector(&region));
    }
}
