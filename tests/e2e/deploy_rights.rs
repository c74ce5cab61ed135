//! What `deploy/` allows a regional plane is what it needs, and no more: kube-apiserver's own record of a plane that
//! does everything it ever does, against the rules of the chart.

use std::{collections::BTreeSet, fmt, path::Path};

use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Secret};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use senren_api::v1::ResourceStatus;
use senren_tests::{
    database,
    real::{
        Real,
        account::{api_of, manifests},
        kubernetes,
    },
};
use serde_json::{Value, json};

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

/// A verb on a resource of a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    group: String,
    resource: String,
    verb: String,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}.{}", self.verb, self.resource, self.group)
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real engines: make e2e"]
async fn a_plane_needs_every_right_it_has_and_has_every_right_it_needs() {
    let mut real = Real::start(&[REGION]).await;
    live(&mut real).await;

    let user = real.regions[REGION].account.user();
    let log = kubernetes(0).with_file_name("audit.log");
    let (used, refused) = used(&log, &user);
    assert!(refused.is_empty(), "{user} was refused: {refused:#?}");
    let granted = granted(&real.prefix);
    let unseen: BTreeSet<&Right> = granted.iter().filter(|right| !used.contains(right)).collect();
    let reasoned: BTreeSet<Right> = UNSEEN
        .iter()
        .flat_map(|(group, resource, verbs, _)| verbs.iter().map(|verb| right(group, resource, verb)))
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
    tokio::time::timeout(senren_tests::real::PATIENCE, polled).await.expect("in time");
}

/// What a user did, and what it was refused, by the log of kube-apiserver.
fn used(log: &Path, user: &str) -> (BTreeSet<Right>, Vec<String>) {
    let text = std::fs::read_to_string(log).unwrap_or_else(|error| {
        panic!("{}: {error}; a cluster that tests/cluster/start started has its log there", log.display())
    });
    let (mut used, mut refused) = (BTreeSet::new(), vec![]);
    // The last line may be half written.
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    for event in events.filter(|event| event["user"]["username"] == user) {
        if event["annotations"]["authorization.k8s.io/decision"] != "allow" {
            refused.push(format!("{} {}", event["verb"], event["requestURI"]));
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let object = &event["objectRef"];
        // Of custom resources, the rules name none.
        let resource = match (object["apiGroup"].as_str(), object["subresource"].as_str()) {
            (Some("senren.io"), _) => "*".to_owned(),
            (_, Some(subresource)) => format!("{}/{subresource}", text(&object["resource"])),
            (_, None) => text(&object["resource"]),
        };
        let verb = text(&event["verb"]);
        // A server-side apply of what is not there needs both.
        if verb == "patch" && event["responseStatus"]["code"] == 201 {
            used.insert(right(&text(&object["apiGroup"]), &resource, "create"));
        }
        used.insert(right(&text(&object["apiGroup"]), &resource, &verb));
    }
    (used, refused)
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
                granted.extend(all("verbs").iter().map(|verb| right(&group, &resource, verb)));
            }
        }
    }
    granted
}

fn right(group: &str, resource: &str, verb: &str) -> Right {
    Right { group: group.into(), resource: resource.into(), verb: verb.into() }
}
