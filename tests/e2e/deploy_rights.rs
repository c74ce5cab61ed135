//! What `deploy/` allows a regional plane is what it needs, and no more: kube-apiserver's own record of a plane that
//! does everything it ever does, against the rules of the chart.

use std::collections::BTreeSet;

use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Secret};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use senren_api::v1::ResourceStatus;
use senren_tests::{
    database,
    real::{
        PATIENCE, Real,
        account::{api_of, manifests},
        audit::Right,
    },
};
use serde_json::json;

const REGION: &str = "aws:us-east-1";

/// Rights that the test below does not see used, and why a plane has them all the same.
const UNSEEN: &[(&str, &str, &[&str], &str)] = &[
    ("apps", "deployments", ALL, "an operator's to allow: plugins of others may make them"),
    ("batch", "jobs", ALL, "as above"),
    ("batch", "cronjobs", ALL, "as above"),
    ("networking.k8s.io", "networkpolicies", ALL, "as above"),
    (
        "",
        "pods/exec",
        &["create"],
        "asked for beside `get`, where a WebSocket is wanted, and recorded as `get`",
    ),
];
const ALL: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real engines: make e2e"]
async fn a_plane_needs_every_right_it_has_and_has_every_right_it_needs() {
    let mut real = Real::start(&[REGION]).await;
    live(&mut real).await;

    // What it was refused fails any test, see `Account`.
    // Definitions of custom resources are made by whichever plane of the cluster comes first.
    let record = real.regions[REGION].account.record_of_all();
    let used = record.expect("this cluster was started by tests/cluster/start").used;
    let granted = granted(&real.prefix);
    let unseen: BTreeSet<&Right> = granted.iter().filter(|right| !used.contains(right)).collect();
    let reasoned: BTreeSet<Right> = UNSEEN
        .iter()
        .flat_map(|(group, resource, verbs, _)| verbs.iter().map(|verb| Right::new(group, resource, verb)))
        .collect();
    let idle: Vec<String> =
        unseen.iter().filter(|right| !reasoned.contains(right)).map(ToString::to_string).collect();
    assert_eq!(idle, Vec::<String>::new(), "granted and never used; what was used: {used:#?}");
    let stale: Vec<String> =
        reasoned.iter().filter(|right| !unseen.contains(right)).map(ToString::to_string).collect();
    assert_eq!(stale, Vec::<String>::new(), "no reason is needed: used, or not granted");
}

/// Everything that a plane does in its cluster.
async fn live(real: &mut Real) {
    let client = real.regions[REGION].client.clone();
    let namespace = real.namespace();
    let redis = |memory: u32, volume: &str| {
        let spec =
            json!({"memory_mb": memory, "password": true, "replicas": 1, "persistence": {"size": volume}});
        database("cache", "redis", &[REGION], spec)
    };
    let cluster = |shards: u32| {
        database("carts", "redis-cluster", &[REGION], json!({"memory_mb": 256, "shards": shards}))
    };
    let broken = database("broken", "misbehaving", &[REGION], json!({"mode": "fault"}));

    // Made and changed, its volumes, too; asked by commands; an event for what goes wrong.
    real.apply(&[redis(64, "1Gi"), cluster(4), broken.clone()]).await;
    let ready = |name: &'static str| {
        move |all: &[ResourceStatus]| all.iter().any(|status| status.name == name && status.ready)
    };
    real.until("the cluster is ready", ready("carts")).await;
    real.until("the cache is ready", ready("cache")).await;
    real.apply(&[redis(96, "2Gi"), cluster(3), broken.clone()]).await;
    real.until("the change is there", ready("cache")).await;
    real.until("a shard is gone", ready("carts")).await;

    // A secret made anew, and a child put back.
    let cr =
        json!({"apiVersion": "senren.io/v1", "kind": "RedisDatabase", "metadata": {"namespace": namespace}});
    let rotate = json!({"metadata": {"annotations": {"senren.io/rotate-secrets": "now"}}});
    let secrets = Api::<Secret>::namespaced(client.clone(), &namespace);
    let before = secrets.get("cache-auth").await.unwrap().data;
    api_of(&client, &cr).patch("cache", &PatchParams::default(), &Patch::Merge(&rotate)).await.unwrap();
    until(async || secrets.get("cache-auth").await.unwrap().data != before).await;
    let sets = Api::<StatefulSet>::namespaced(client.clone(), &namespace);
    let uid = sets.get("cache").await.unwrap().metadata.uid;
    sets.delete("cache", &DeleteParams::default()).await.unwrap();
    until(async || {
        let set = sets.get_opt("cache").await.unwrap();
        set.is_some_and(|set| set.metadata.uid != uid)
    })
    .await;

    // Another replica, which takes over, and the end of everything.
    let other = real.start_replica(REGION);
    until(async || other.log().contains("standing by:")).await;
    let region = real.regions.get_mut(REGION).unwrap();
    region.plane.replace(other).unwrap().stop();
    real.apply(&[]).await;
    real.until("nothing is left", |all| all.is_empty()).await;
}

async fn until(reached: impl AsyncFn() -> bool) {
    let polled = async {
        while !reached().await {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, polled).await.expect("in time");
}

/// What the chart's roles allow, wherever they do.
fn granted(prefix: &str) -> BTreeSet<Right> {
    let mut granted = BTreeSet::new();
    let roles = manifests(prefix).into_iter().filter(|object| !object["rules"].is_null());
    for rule in roles.flat_map(|role| role["rules"].as_array().cloned().unwrap_or_default()) {
        let all = |what: &str| {
            let texts = rule[what].as_array().into_iter().flatten();
            texts.map(|text| text.as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
        };
        for group in all("apiGroups") {
            for resource in all("resources") {
                granted.extend(all("verbs").iter().map(|verb| Right::new(&group, &resource, verb)));
            }
        }
    }
    granted
}
