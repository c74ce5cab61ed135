//! The Helm chart: what it renders is taken by kube-apiserver, whatever the values, is what `deploy/manifests` has, and
//! values that can't work are refused with words.

use std::{
    collections::BTreeSet,
    io::Write as _,
    process::{Command, Stdio},
};

use kube::api::{Patch, PatchParams};
use senren_reconcile::{ApiKind, default_allowed_kinds};
use senren_tests::real::{account::Account, account::api_of, client_of, kubernetes};
use serde_json::{Value, json};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Where an installation lives; no other test uses this cluster so.
const CLUSTER: usize = 9;

fn region() -> Value {
    json!({"kafka": {"bootstrapServers": "kafka:9092"}, "regional": {"regionId": "aws:us-east-1"}})
}

/// Everything that can be set.
fn everything() -> Value {
    json!({
        "image": {"repository": "registry.example.com/senren-api", "tag": "1.0.0", "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "registry"}],
        "kafka": {
            "bootstrapServers": "kafka-0:9093,kafka-1:9093", "topicPrefix": "senren.prod", "routing": "per-region",
            "settings": {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SSL_CA_LOCATION": "/etc/senren/kafka/ca.crt"},
            "settingsSecret": "kafka-login", "filesSecret": "kafka-ca",
        },
        "regional": {
            "regionId": "aws:us-east-1:shadow", "replicas": 2, "databaseSecret": "outbox",
            "pluginVolume": {"configMap": {"name": "plugins"}},
            "cacheVolume": {"persistentVolumeClaim": {"claimName": "compiled"}},
            "pluginConfig": {"redis": {"storage-class": "fast"}}, "env": {"RESYNC_INTERVAL": "5m"},
            "nodeSelector": {"pool": "system"}, "tolerations": [{"operator": "Exists"}], "affinity": {"nodeAffinity": {}},
            "podAnnotations": {"example.com/team": "data"},
        },
        "control": {
            "enabled": true, "replicas": 3, "databaseSecret": "database", "tlsSecret": "api-tls",
            "service": {"type": "LoadBalancer", "port": 443, "annotations": {"example.com/internal": "true"}},
            "env": {"HISTORY_DAYS": 30}, "nodeSelector": {"pool": "system"}, "tolerations": [{"operator": "Exists"}],
        },
        "serviceAccount": {"annotations": {"example.com/role": "senren"}},
        "metrics": {"port": 9191},
    })
}

/// `helm template` with these values; what it says where it refuses them.
fn render(values: &Value, namespace: &str) -> Result<Vec<Value>, String> {
    let mut command = Command::new(output(Command::new(format!("{ROOT}/scripts/helm"))).unwrap().trim());
    command.args(["template", "senren", &format!("{ROOT}/deploy/helm"), "--namespace", namespace]);
    command.args(["--kube-version", "1.36.0", "--values", "-"]).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(values.to_string().as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    if !done.status.success() {
        return Err(String::from_utf8_lossy(&done.stderr).into_owned());
    }
    Ok(serde_saphyr::from_multiple(&String::from_utf8(done.stdout).unwrap()).unwrap())
}

fn output(mut command: Command) -> Result<String, String> {
    let done = command.output().unwrap();
    match done.status.success() {
        true => Ok(String::from_utf8(done.stdout).unwrap()),
        false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real engines: make e2e"]
async fn kube_apiserver_takes_all_that_the_chart_renders() {
    let kubeconfig = kubernetes(CLUSTER);
    let client = client_of(&kubeconfig).await;
    // Its namespace is there before an installation.
    Account::create(&client, &kubeconfig, "senren").await;
    for (what, values, kinds) in [("a regional plane", region(), 6), ("everything", everything(), 11)] {
        let objects = render(&values, "senren-system").unwrap();
        assert_eq!(objects.len(), kinds, "{what}: {objects:#?}");
        for object in objects {
            let params = PatchParams { dry_run: true, ..PatchParams::apply("senren-tests").force() }
                .validation_strict();
            let name = object["metadata"]["name"].as_str().unwrap();
            let taken = api_of(&client, &object).patch(name, &params, &Patch::Apply(&object)).await;
            taken.unwrap_or_else(|error| panic!("{what}, {} {name}: {error}\n{object:#}", object["kind"]));
        }
    }
}

#[test]
#[ignore = "real engines: make e2e"]
fn the_plain_manifests_are_what_the_chart_renders() {
    let fresh = tempfile::tempdir().unwrap();
    let mut generate = Command::new(format!("{ROOT}/deploy/manifests/generate"));
    generate.arg(fresh.path());
    output(generate).unwrap();
    for file in std::fs::read_dir(fresh.path()).unwrap() {
        let file = file.unwrap();
        let kept = std::fs::read_to_string(format!("{ROOT}/deploy/manifests/{}", file.file_name().display()));
        let fresh = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(kept.unwrap(), fresh, "run deploy/manifests/generate");
    }
}

#[test]
#[ignore = "real engines: make e2e"]
fn one_list_of_kinds_feeds_the_cluster_role_and_the_plane() {
    let check = |values: &Value, kinds: &[ApiKind]| {
        let objects = render(values, "senren-system").unwrap();
        let find = |kind: &str| objects.iter().find(|object| object["kind"] == kind).unwrap();
        let environment = &find("Deployment")["spec"]["template"]["spec"]["containers"][0]["env"];
        let named = |variable: &&Value| variable["name"] == "ALLOWED_KINDS";
        let told = environment.as_array().unwrap().iter().find(named).unwrap()["value"].as_str().unwrap();
        let told: Vec<ApiKind> = told.split(',').map(|kind| kind.parse().unwrap()).collect();
        assert_eq!(told, kinds);
        let made = json!(["get", "list", "watch", "create", "patch", "delete"]);
        let rules = find("ClusterRole")["rules"].as_array().unwrap();
        let may_be_made: BTreeSet<String> = rules
            .iter()
            .filter(|rule| rule["verbs"] == made)
            .map(|rule| {
                format!(
                    "{}/{}",
                    rule["apiGroups"][0].as_str().unwrap(),
                    rule["resources"][0].as_str().unwrap()
                )
            })
            .collect();
        let plural =
            |kind: &ApiKind| format!("{}/{}s", kind.group(), kind.kind.to_lowercase()).replace("ys", "ies");
        assert_eq!(may_be_made, kinds.iter().map(plural).collect());
    };
    check(&region(), &default_allowed_kinds());
    let mut few = region();
    few["regional"]["allowedKinds"] = json!([
        {"apiVersion": "v1", "kind": "Service", "resource": "services"},
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "resource": "statefulsets"},
    ]);
    check(&few, &[ApiKind::new("v1", "Service"), ApiKind::new("apps/v1", "StatefulSet")]);
}

/// A kind of the Prometheus operator's, which this cluster does not know.
#[test]
#[ignore = "real engines: make e2e"]
fn a_pod_monitor_finds_the_port_of_every_plane() {
    let mut values = everything();
    values["metrics"]["podMonitor"] = json!(true);
    let objects = render(&values, "senren-system").unwrap();
    let monitor = objects.iter().find(|object| object["kind"] == "PodMonitor").unwrap();
    let port = &monitor["spec"]["podMetricsEndpoints"][0]["port"];
    let wanted = monitor["spec"]["selector"]["matchLabels"].as_object().unwrap();
    let planes: Vec<&Value> = objects.iter().filter(|object| object["kind"] == "Deployment").collect();
    assert_eq!(planes.len(), 2);
    for plane in planes {
        let pod = &plane["spec"]["template"];
        assert!(wanted.iter().all(|(label, value)| pod["metadata"]["labels"][label] == *value), "{plane:#}");
        let ports = pod["spec"]["containers"][0]["ports"].as_array().unwrap();
        assert!(ports.iter().any(|named| named["name"] == *port), "{plane:#}");
    }
}

#[test]
#[ignore = "real engines: make e2e"]
fn values_that_cannot_work_are_refused_with_words() {
    let check = |pointer: &str, value: Value, namespace: &str, words: &str| {
        let mut values = region();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        if values.pointer(parent).is_none() {
            values[&parent[1..]] = json!({});
        }
        values.pointer_mut(parent).unwrap()[name] = value;
        let refusal = render(&values, namespace).unwrap_err();
        assert!(refusal.contains(words), "{pointer}: {refusal}");
    };
    let system = "senren-system";
    check("/kafka/bootstrapServers", json!(""), system, "host:port,… of Kafka");
    check("/kafka/routing", json!("broadcast"), system, "routing");
    check("/kafka/settings", json!({"SASL": "x"}), system, "'SASL' does not match");
    check("/regional/regionId", json!(""), system, "cloud:region[:cluster]");
    check("/regional/regionId", json!("AWS"), system, "regionId");
    check("/regional/allowedKinds", json!([]), system, "allowedKinds");
    check("/regional/replica", json!(2), system, "replica");
    check("/regional/namespacePrefix", json!("shadow"), system, "install it with --namespace shadow-system");
    check("/control/enabled", json!(true), system, "control.databaseSecret");
}
