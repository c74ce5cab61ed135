//! One owner per cluster: a plane claims its cluster before it touches anything else, and refuses another's.
//!
//! The claim is a ConfigMap in the plane's own namespace that names region and cluster. Two planes with different
//! namespace prefixes share a cluster in peace; with the same prefix, the second one stops here.

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{Api, api::PostParams};
use senren_api::RegionId;
use senren_reconcile::{names, within};

use crate::{
    OpenError,
    cluster::{self, Cluster, WriteError},
};

/// Claims the cluster, or finds that it is ours already. Returns the cluster's uid.
pub(crate) async fn claim(cluster: &Cluster) -> Result<String, OpenError> {
    let cluster_uid = cluster_uid(cluster).await?;
    let namespace = names::system_namespace(&cluster.prefix);
    let api: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), &namespace);
    let claimed = match read(&api).await? {
        Some(claimed) => claimed,
        None => {
            cluster.ensure_namespace_named(&namespace, None).await.map_err(|error| match error {
                WriteError::Refused { message, .. } => OpenError::Refused(message),
                WriteError::Failed(message) => OpenError::Failed(anyhow::anyhow!(message)),
            })?;
            // Whoever creates it first has it; there is nothing to take over afterwards.
            let wanted = wanted(cluster, &cluster_uid);
            match within(api.create(&PostParams::default(), &wanted)).await {
                Err(error) if cluster::is_code(&error, 409) => {
                    read(&api).await?.context("the claim on the cluster came and went")?
                }
                created => created.context("claim the cluster")?,
            }
        }
    };
    check(&claimed, &cluster.region, &cluster_uid, &namespace)?;
    Ok(cluster_uid)
}

async fn read(api: &Api<ConfigMap>) -> anyhow::Result<Option<ConfigMap>> {
    within(api.get_opt(names::CLAIM_CONFIG_MAP)).await.context("read the claim on the cluster")
}

fn wanted(cluster: &Cluster, cluster_uid: &str) -> ConfigMap {
    let data = [("region", cluster.region.as_str()), ("clusterUid", cluster_uid)];
    ConfigMap {
        metadata: kube::api::ObjectMeta {
            name: Some(names::CLAIM_CONFIG_MAP.into()),
            labels: Some(names::plane_labels(&cluster.region)),
            ..Default::default()
        },
        data: Some(data.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
        ..Default::default()
    }
}

async fn cluster_uid(cluster: &Cluster) -> anyhow::Result<String> {
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    let namespace = within(api.get("kube-system"))
        .await
        .context("read namespace kube-system, whose uid names the cluster")?;
    match namespace.metadata.uid {
        Some(uid) => Ok(uid),
        None => bail!("namespace kube-system has no uid"),
    }
}

fn check(claim: &ConfigMap, region: &RegionId, cluster_uid: &str, namespace: &str) -> Result<(), OpenError> {
    let said = |key: &str| claim.data.as_ref().and_then(|data| data.get(key)).map_or("", String::as_str);
    let (owner, owned) = (said("region"), said("clusterUid"));
    let name = names::CLAIM_CONFIG_MAP;
    let remove = format!("kubectl -n {namespace} delete configmap {name}");
    if owner != region.as_str() {
        return Err(OpenError::Refused(format!(
            "this cluster belongs to region {owner:?}, says ConfigMap {namespace}/{name}, and this plane is region \
             {region}. If REGION_ID is wrong, correct it. If two planes are to share the cluster, give this one \
             another NAMESPACE_PREFIX. If the other plane is gone for good, run `{remove}`"
        )));
    }
    if owned != cluster_uid {
        return Err(OpenError::Refused(format!(
            "ConfigMap {namespace}/{name} claims cluster {owned:?} for region {region}, but this cluster is \
             {cluster_uid}: it is a copy of another one, where a plane of this region may be running. If none is, \
             run `{remove}`"
        )));
    }
    Ok(())
}
