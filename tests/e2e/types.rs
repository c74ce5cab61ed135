//! The life of a database of each type, in two regions on clusters of their own: made, changed, scaled, deleted, and
//! after each apply what kube-apiserver has of it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{
    Api, ResourceExt as _,
    api::{DynamicObject, ListParams},
};
use senren_api::v1::ResourceStatus;
use senren_tests::{
    database,
    real::{Real, Region, account::api_of},
};
use serde_json::{Value, json};

const REGIONS: [&str; 2] = ["aws:us-east-1", "gcp:us-central1"];
const KINDS: [&str; 5] =
    ["v1/ConfigMap", "v1/Secret", "v1/Service", "policy/v1/PodDisruptionBudget", "apps/v1/StatefulSet"];

/// What a database has in a cluster, by `Kind/name`.
type Objects = BTreeMap<String, Value>;

/// An apply, and what it leads to.
struct Stage {
    spec: Value,
    /// All of it, in order.
    objects: &'static [&'static str],
    check: fn(&Objects, &ResourceStatus),
}

async fn check(type_name: &str, cr: &str, port: u32, stages: &[Stage]) {
    let real = Real::start(&REGIONS).await;
    for (revision, stage) in (1..).zip(stages) {
        real.apply(&[database("db", type_name, &REGIONS, stage.spec.clone())]).await;
        let what = format!("revision {revision} of {type_name} is ready everywhere: {}", stage.spec);
        let ready = |status: &ResourceStatus| {
            status.ready && status.phase == "Ready" && status.observed_generation == revision
        };
        for status in real.until(&what, |all| all.len() == REGIONS.len() && all.iter().all(ready)).await {
            let region = &real.regions[&status.region];
            let objects = objects(region, &real.namespace()).await;
            assert_eq!(objects.keys().collect::<Vec<_>>(), stage.objects, "{what}: {}", status.region);
            let endpoint = status.endpoints.first().expect("a ready database says where it is");
            assert_eq!(endpoint.port, port, "{what}");
            let kept = get(region, &real.namespace(), &format!("senren.io/v1/{cr}"), "db").await;
            assert_eq!(kept["status"]["ready"], true, "{kept:#}");
            assert_eq!(kept["status"]["host"], *endpoint.host, "{kept:#}");
            assert_eq!(kept["status"]["port"], port, "{kept:#}");
            (stage.check)(&objects, &status);
        }
    }
    real.apply(&[]).await;
    real.until("nothing is left", |all| all.is_empty()).await;
    for region in real.regions.values() {
        assert_eq!(objects(region, &real.namespace()).await, Objects::new());
        let claims = Api::<PersistentVolumeClaim>::namespaced(region.client.clone(), &real.namespace());
        assert_eq!(claims.list(&ListParams::default()).await.unwrap().items.len(), 0);
    }
}

async fn objects(region: &Region, namespace: &str) -> Objects {
    let mut objects = Objects::new();
    for kind in KINDS {
        let ours = ListParams::default().labels("senren.io/name=db");
        for object in api(region, namespace, kind).list(&ours).await.unwrap() {
            let short = kind.rsplit_once('/').unwrap().1;
            objects.insert(format!("{short}/{}", object.name_any()), serde_json::to_value(object).unwrap());
        }
    }
    objects
}

async fn get(region: &Region, namespace: &str, kind: &str, name: &str) -> Value {
    serde_json::to_value(api(region, namespace, kind).get(name).await.unwrap()).unwrap()
}

fn api(region: &Region, namespace: &str, kind: &str) -> Api<DynamicObject> {
    let (api_version, kind) = kind.rsplit_once('/').unwrap();
    let object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"namespace": namespace}});
    api_of(&region.client, &object)
}

fn redis_conf(objects: &Objects) -> &str {
    objects["ConfigMap/db-config"]["data"]["redis.conf"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real engines: make e2e"]
async fn template_from_its_first_apply_to_its_end() {
    let stages = [
        Stage {
            spec: json!({"host": "db.example.com"}),
            objects: &["ConfigMap/db"],
            check: |objects, status| {
                assert_eq!(objects["ConfigMap/db"]["data"]["host"], "db.example.com");
                assert_eq!(status.endpoints[0].host, "db.example.com");
            },
        },
        Stage {
            spec: json!({"host": "other.example.com", "read_only": true}),
            objects: &["ConfigMap/db"],
            check: |objects, _| {
                let data = &objects["ConfigMap/db"]["data"];
                assert_eq!(
                    (&data["host"], &data["read-only"]),
                    (&json!("other.example.com"), &json!("true"))
                );
            },
        },
    ];
    check("template", "TemplateDatabase", 5432, &stages).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real engines: make e2e"]
async fn redis_from_its_first_apply_to_its_end() {
    let stages = [
        Stage {
            spec: json!({"memory_mb": 64, "password": true}),
            objects: &[
                "ConfigMap/db-config",
                "Secret/db-auth",
                "Service/db",
                "Service/db-nodes",
                "StatefulSet/db",
            ],
            check: |objects, _| {
                assert_eq!(objects["StatefulSet/db"]["spec"]["replicas"], 1);
                assert!(redis_conf(objects).contains("maxmemory 64mb"), "{}", redis_conf(objects));
            },
        },
        Stage {
            spec: json!({"memory_mb": 96, "password": true, "persistence": {"size": "2Gi"}}),
            objects: &[
                "ConfigMap/db-config",
                "Secret/db-auth",
                "Service/db",
                "Service/db-nodes",
                "StatefulSet/db",
            ],
            check: |objects, _| {
                assert!(redis_conf(objects).contains("maxmemory 96mb"), "{}", redis_conf(objects));
            },
        },
        Stage {
            spec: json!({"memory_mb": 96, "password": true, "replicas": 2, "persistence": {"size": "2Gi"}}),
            objects: &[
                "ConfigMap/db-config",
                "Secret/db-auth",
                "Service/db",
                "Service/db-nodes",
                "Service/db-reads",
                "StatefulSet/db",
            ],
            check: |objects, _| assert_eq!(objects["StatefulSet/db"]["spec"]["replicas"], 3),
        },
    ];
    check("redis", "RedisDatabase", 6379, &stages).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real engines: make e2e"]
async fn redis_cluster_from_its_first_apply_to_its_end() {
    const THREE: &[&str] = &[
        "ConfigMap/db-config",
        "PodDisruptionBudget/db",
        "Service/db",
        "Service/db-nodes",
        "StatefulSet/db-shard-0",
        "StatefulSet/db-shard-1",
        "StatefulSet/db-shard-2",
    ];
    const FOUR: &[&str] = &[
        "ConfigMap/db-config",
        "PodDisruptionBudget/db",
        "Service/db",
        "Service/db-nodes",
        "StatefulSet/db-shard-0",
        "StatefulSet/db-shard-1",
        "StatefulSet/db-shard-2",
        "StatefulSet/db-shard-3",
    ];
    let stages = [
        Stage {
            spec: json!({"memory_mb": 192}),
            objects: THREE,
            check: |objects, _| {
                assert_eq!(objects["StatefulSet/db-shard-2"]["spec"]["replicas"], 2);
                assert!(redis_conf(objects).contains("maxmemory 64mb"), "{}", redis_conf(objects));
            },
        },
        Stage {
            spec: json!({"memory_mb": 192, "maxmemory_policy": "allkeys-lru"}),
            objects: THREE,
            check: |objects, _| {
                assert!(redis_conf(objects).contains("allkeys-lru"), "{}", redis_conf(objects));
            },
        },
        Stage {
            spec: json!({"memory_mb": 256, "shards": 4, "maxmemory_policy": "allkeys-lru"}),
            objects: FOUR,
            check: |objects, _| assert_eq!(objects["StatefulSet/db-shard-3"]["spec"]["replicas"], 2),
        },
    ];
    check("redis-cluster", "RedisClusterDatabase", 6379, &stages).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real engines: make e2e"]
async fn aerospike_from_its_first_apply_to_its_end() {
    const OBJECTS: &[&str] = &[
        "ConfigMap/db-config",
        "PodDisruptionBudget/db",
        "Service/db",
        "Service/db-nodes",
        "StatefulSet/db",
    ];
    let spec = |nodes: u32, ttl: u32| json!({"nodes": nodes, "namespaces": {"profiles": {"memory_mb": 512, "default_ttl_seconds": ttl}}});
    let stages = [
        Stage {
            spec: spec(2, 0),
            objects: OBJECTS,
            check: |objects, _| assert_eq!(objects["StatefulSet/db"]["spec"]["replicas"], 2),
        },
        Stage {
            spec: spec(2, 3600),
            objects: OBJECTS,
            check: |objects, _| {
                let conf = objects["ConfigMap/db-config"]["data"].to_string();
                assert!(conf.contains("default-ttl 3600"), "{conf}");
            },
        },
        Stage {
            spec: spec(3, 3600),
            objects: OBJECTS,
            check: |objects, _| assert_eq!(objects["StatefulSet/db"]["spec"]["replicas"], 3),
        },
    ];
    check("aerospike", "AerospikeDatabase", 3000, &stages).await;
}
