//! Pods as real processes: a Redis that answers, its volumes, probes, crashes and logs.

use std::{
    io::{Read, Write as _},
    net::TcpStream,
    time::Duration,
};

use senren_kubesim::{
    kinds::{CLAIMS, CONFIG_MAPS, PODS, SECRETS, STATEFUL_SETS},
    store::{DeleteOptions, Store},
    workloads::LogQuery,
};
use serde_json::{Value, json};

use crate::common::{condition, create, delete, events, get, is_ready, modify, names, processes, set, until};

/// A Redis that listens on its pod's address.
pub fn redis() -> Value {
    json!({
        "image": "redis:7.2",
        "args": ["--bind", "$(POD_IP)", "--port", "6379", "--save", "", "--appendonly", "yes", "--dir", "/data"],
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "ports": [{"name": "redis", "containerPort": 6379}],
        "readinessProbe": {"exec": {"command": ["sh", "-c", "redis-cli -h $POD_IP ping | grep -q PONG"]}},
    })
}

pub fn with_claim(mut set: Value) -> Value {
    set["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "data", "mountPath": "/data"}]);
    set["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]);
    set
}

/// One command in Redis' inline protocol, and the first line of the answer.
pub fn ask(address: &str, command: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n") && stream.read(&mut byte)? == 1 {
        answer.push(byte[0]);
    }
    if answer.starts_with(b"$") && !answer.starts_with(b"$-1") {
        answer.clear();
        while !answer.ends_with(b"\r\n") && stream.read(&mut byte)? == 1 {
            answer.push(byte[0]);
        }
    }
    Ok(String::from_utf8_lossy(&answer).trim_end().to_owned())
}

pub fn address(store: &Store, pod: &str) -> String {
    format!("{}:6379", get(store, &PODS, pod)["status"]["podIP"].as_str().unwrap_or("0.0.0.0"))
}

/// A pod of one shell script.
pub fn shell(name: &str, script: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "terminationGracePeriodSeconds": 5, "restartPolicy": "Never",
        "containers": [{"name": "main", "image": "busybox:1", "command": ["sh", "-c", script]}]}})
}

async fn log(sim: &senren_kubesim::KubeSim, pod: &str, query: LogQuery) -> String {
    let pods: kube::Api<k8s_openapi::api::core::v1::Pod> = kube::Api::default_namespaced(sim.client());
    let params = kube::api::LogParams {
        container: query.container,
        previous: query.previous,
        tail_lines: query.tail_lines.map(|lines| i64::try_from(lines).unwrap()),
        ..Default::default()
    };
    pods.logs(pod, &params).await.unwrap()
}

pub async fn ends(store: &Store, pod: &str, phase: &str) {
    until(store, &format!("{pod} has {phase}"), || get(store, &PODS, pod)["status"]["phase"] == phase).await;
}

#[tokio::test]
async fn a_set_of_redis_answers_soon_and_its_claim_outlives_its_pods() {
    let dir = tempfile::tempdir().unwrap();
    let sim = processes(dir.path()).await;
    let store = sim.store();
    create(store, &STATEFUL_SETS, with_claim(set("db", 2, redis())));
    let first = until(store, "the first is ready", || is_ready(store, "db-0")).await;
    let both = first + until(store, "both are ready", || is_ready(store, "db-1")).await;
    println!("create to Ready: one pod {first:?}, two in order {both:?}");
    assert_eq!(ask(&address(store, "db-0"), "PING").unwrap(), "+PONG");
    assert_eq!(ask(&address(store, "db-1"), "PING").unwrap(), "+PONG");
    assert_eq!(ask(&address(store, "db-0"), "SET key value").unwrap(), "+OK");
    assert!(dir.path().join("claims/default/data-db-0").is_dir());

    let before = get(store, &PODS, "db-0")["metadata"]["uid"].clone();
    delete(store, &PODS, "db-0");
    until(store, "a new one is ready", || {
        is_ready(store, "db-0") && get(store, &PODS, "db-0")["metadata"]["uid"] != before
    })
    .await;
    assert_eq!(ask(&address(store, "db-0"), "GET key").unwrap(), "value");

    delete(store, &STATEFUL_SETS, "db");
    until(store, "the pods are gone", || names(store, &PODS).is_empty()).await;
    assert!(dir.path().join("claims/default/data-db-0").is_dir(), "a claim outlives the set");
    assert!(std::fs::read_dir(dir.path().join("pods")).unwrap().next().is_none(), "nothing else does");
    delete(store, &CLAIMS, "data-db-0");
    until(store, "the claim's directory is gone", || !dir.path().join("claims/default/data-db-0").exists())
        .await;
    sim.shutdown().await;
}

#[tokio::test]
async fn a_container_sees_what_its_manifest_says() {
    let dir = tempfile::tempdir().unwrap();
    let sim = processes(dir.path()).await;
    let store = sim.store();
    let mut pod = shell(
        "look",
        "cat /conf/a /conf/sub/b /secret/key /one/file /down/name; echo; echo $MODE $KEY $LIMIT $0; hostname; pwd; echo $$$$; \
         touch /conf/a 2>/dev/null || echo read-only; echo x > /scratch/y && cat /scratch/y; id -u >/tmp/z && echo tmp",
    );
    let spec = &mut pod["spec"];
    spec["volumes"] = json!([
        {"name": "conf", "configMap": {"name": "settings", "items": [{"key": "a", "path": "a"}, {"key": "b", "path": "sub/b"}]}},
        {"name": "secret", "secret": {"secretName": "auth", "defaultMode": 256}},
        {"name": "down", "downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"name": "scratch", "emptyDir": {}}]);
    let container = &mut spec["containers"][0];
    container["volumeMounts"] = json!([{"name": "conf", "mountPath": "/conf"}, {"name": "secret", "mountPath": "/secret"},
        {"name": "conf", "mountPath": "/one/file", "subPath": "a"}, {"name": "down", "mountPath": "/down"},
        {"name": "scratch", "mountPath": "/scratch"}]);
    container["env"] = json!([
        {"name": "MODE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "a"}}},
        {"name": "LIMIT", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}}]);
    container["envFrom"] = json!([{"secretRef": {"name": "auth"}, "prefix": ""}]);
    container["env"].as_array_mut().unwrap().push(json!({"name": "KEY", "value": "<$(key)>"}));
    container["args"] = json!(["arg-$(MODE)"]);
    container["resources"] = json!({"limits": {"memory": "64Mi"}});
    container["workingDir"] = json!("/srv/dir");
    create(store, &PODS, pod);
    until(store, "it waits for what is missing", || {
        events(store, "look")
            .iter()
            .any(|(reason, message)| reason == "FailedMount" && message.contains("settings"))
    })
    .await;
    create(
        store,
        &SECRETS,
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "auth"}, "data": {"key": "azE="}}),
    );
    create(
        store,
        &CONFIG_MAPS,
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"},
        "data": {"a": "A", "b": "B"}}),
    );
    ends(store, "look", "Succeeded").await;
    let seen = log(&sim, "look", LogQuery::default()).await;
    assert_eq!(seen, "ABk1Alook\nA <k1> 64 arg-A\nlook\n/srv/dir\n1\nread-only\nx\ntmp\n");
    assert_eq!(log(&sim, "look", LogQuery { tail_lines: Some(2), ..LogQuery::default() }).await, "x\ntmp\n");
    sim.shutdown().await;
}

#[tokio::test]
async fn a_changed_config_map_reaches_running_containers() {
    let dir = tempfile::tempdir().unwrap();
    let sim = processes(dir.path()).await;
    let store = sim.store();
    create(
        store,
        &CONFIG_MAPS,
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}}),
    );
    let mut pod = shell("watch", "while [ $(cat /conf/a) = 1 ]; do sleep 0.01; done; cat /conf/a");
    pod["spec"]["volumes"] = json!([{"name": "conf", "configMap": {"name": "c"}}]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "conf", "mountPath": "/conf"}]);
    create(store, &PODS, pod);
    until(store, "it runs", || get(store, &PODS, "watch")["status"]["phase"] == "Running").await;
    modify(store, &CONFIG_MAPS, "c", |map| map["data"]["a"] = json!("2"));
    ends(store, "watch", "Succeeded").await;
    assert_eq!(log(&sim, "watch", LogQuery::default()).await, "2");
    sim.shutdown().await;
}

#[tokio::test]
async fn a_container_that_ends_is_started_again_after_ever_longer_waits() {
    let dir = tempfile::tempdir().unwrap();
    let sim = processes(dir.path()).await;
    let store = sim.store();
    let mut pod = shell("crash", "echo instance $(cat /state/n 2>/dev/null); echo x >> /state/n; exit 7");
    pod["spec"]["restartPolicy"] = json!("Always");
    pod["spec"]["volumes"] = json!([{"name": "state", "emptyDir": {}}]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "state", "mountPath": "/state"}]);
    create(store, &PODS, pod);
    let main = || get(store, &PODS, "crash")["status"]["containerStatuses"][0].clone();
    let began = std::time::Instant::now();
    until(store, "it was started four times", || main()["restartCount"] == 3).await;
    assert!(began.elapsed() >= Duration::from_millis(600), "0, 200 and 400 ms: {:?}", began.elapsed());
    until(store, "it waits", || main()["state"]["waiting"]["reason"] == "CrashLoopBackOff").await;
    assert_eq!(main()["lastState"]["terminated"]["exitCode"], 7);
    assert_eq!(main()["lastState"]["terminated"]["reason"], "Error");
    assert!(events(store, "crash").iter().any(|(reason, _)| reason == "BackOff"));
    assert_eq!(
        log(&sim, "crash", LogQuery { previous: true, ..LogQuery::default() }).await,
        "instance x x\n"
    );
    delete(store, &PODS, "crash");
    until(store, "it is gone", || names(store, &PODS).is_empty()).await;
    sim.shutdown().await;
}

#[tokio::test]
async fn a_killed_redis_comes_back_with_its_data() {
    let dir = tempfile::tempdir().unwrap();
    let sim = processes(dir.path()).await;
    let store = sim.store();
    create(store, &STATEFUL_SETS, with_claim(set("db", 1, redis())));
    until(store, "it is ready", || is_ready(store, "db-0")).await;
    assert_eq!(ask(&address(store, "db-0"), "SET key value").unwrap(), "+OK");
    // Redis ends at once, as in a crash: no answer.
    let _ = ask(&address(store, "db-0"), "SHUTDOWN NOSAVE");
    let main = || get(store, &PODS, "db-0")["status"]["containerStatuses"][0].clone();
    until(store, "it was started again", || main()["restartCount"] == 1 && is_ready(store, "db-0")).await;
    assert_eq!(ask(&address(store, "db-0"), "GET key").unwrap(), "value");
    sim.shutdown().await;
}

#[tokio::test]
async fn init_containers_go_first_in_order_and_containers_share_volumes() {
    let dir = tempfile::tempdir().unwrap();
    let sim = processes(dir.path()).await;
    let store = sim.store();
    let step = |name: &str, script: &str| {
        json!({"name": name, "image": "busybox:1", "command": ["sh", "-c", script],
            "volumeMounts": [{"name": "shared", "mountPath": "/shared"}]})
    };
    let mut pod = shell("steps", "");
    pod["spec"]["volumes"] = json!([{"name": "shared", "emptyDir": {}}]);
    pod["spec"]["initContainers"] =
        json!([step("one", "echo 1 > /shared/log"), step("two", "sleep 0.05; echo 2 >> /shared/log")]);
    pod["spec"]["containers"] = json!([
        step("a", "echo a >> /shared/log; while ! [ -e /shared/done ]; do sleep 0.01; done; cat /shared/log"),
        step("b", "while ! grep -q a /shared/log; do sleep 0.01; done; touch /shared/done"),
    ]);
    create(store, &PODS, pod);
    ends(store, "steps", "Succeeded").await;
    let query = LogQuery { container: Some("a".into()), ..LogQuery::default() };
    assert_eq!(log(&sim, "steps", query).await, "1\n2\na\n");
    sim.shutdown().await;
}

#[tokio::test]
async fn probes_decide_about_readiness_and_life() {
    let dir = tempfile::tempdir().unwrap();
    let sim = processes(dir.path()).await;
    let store = sim.store();
    let mut pod = shell("probed", "touch /state/ready; sleep 1000");
    pod["spec"]["restartPolicy"] = json!("Always");
    pod["spec"]["terminationGracePeriodSeconds"] = json!(0);
    pod["spec"]["volumes"] = json!([{"name": "state", "emptyDir": {}}]);
    let container = &mut pod["spec"]["containers"][0];
    container["volumeMounts"] = json!([{"name": "state", "mountPath": "/state"}]);
    let test = |file: &str| json!({"exec": {"command": ["test", "-e", file]}, "periodSeconds": 1, "failureThreshold": 1});
    container["startupProbe"] = test("/state/ready");
    // The first question may come before the file is there, and counts, as with a kubelet.
    container["startupProbe"]["failureThreshold"] = json!(10);
    container["readinessProbe"] = test("/state/ready");
    container["livenessProbe"] = json!({"exec": {"command": ["sh", "-c", "! test -e /state/dead"]},
        "periodSeconds": 1, "failureThreshold": 1});
    create(store, &PODS, pod);
    let took = until(store, "it is ready", || is_ready(store, "probed")).await;
    assert!(took < Duration::from_millis(900), "not a period later: {took:?}");
    let state = std::fs::read_dir(dir.path().join("pods"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path()
        .join("volumes/state");
    std::fs::remove_file(state.join("ready")).unwrap();
    until(store, "it is not ready", || !is_ready(store, "probed")).await;
    assert!(
        events(store, "probed")
            .iter()
            .any(|(reason, message)| reason == "Unhealthy" && message.starts_with("Readiness"))
    );
    std::fs::write(state.join("dead"), "").unwrap();
    let main = || get(store, &PODS, "probed")["status"]["containerStatuses"][0].clone();
    until(store, "it is killed", || main()["lastState"]["terminated"]["exitCode"] == 137).await;
    std::fs::remove_file(state.join("dead")).unwrap();
    until(store, "it is back", || is_ready(store, "probed")).await;
    assert!(
        events(store, "probed")
            .iter()
            .any(|(reason, message)| reason == "Killing" && message.contains("liveness"))
    );
    sim.shutdown().await;
}

#[tokio::test]
async fn a_pod_is_asked_to_stop_before_it_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let sim = processes(dir.path()).await;
    let store = sim.store();
    let mut polite =
        shell("polite", "trap 'echo bye; exit 0' TERM; touch /tmp/up; while :; do sleep 0.01; done");
    polite["spec"]["containers"][0]["lifecycle"] =
        json!({"preStop": {"exec": {"command": ["sh", "-c", "ls /tmp/up > /tmp/hook"]}}});
    create(store, &PODS, polite);
    let mut stubborn = shell("stubborn", "trap '' TERM; sleep 1000 & wait; sleep 1000");
    stubborn["spec"]["terminationGracePeriodSeconds"] = json!(1);
    create(store, &PODS, stubborn);
    for pod in ["polite", "stubborn"] {
        until(store, "it runs", || get(store, &PODS, pod)["status"]["phase"] == "Running").await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    delete(store, &PODS, "polite");
    let took = until(store, "it is gone", || names(store, &PODS) == ["stubborn"]).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    let written = std::fs::read_to_string(dir.path().join("logs/default/polite/main.log")).unwrap();
    assert_eq!(written, "bye\n");
    delete(store, &PODS, "stubborn");
    let took = until(store, "it is killed", || names(store, &PODS).is_empty()).await;
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(3), "{took:?}");
    sim.shutdown().await;
}

#[tokio::test]
async fn a_hook_that_outlasts_the_time_to_stop_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let sim = processes(dir.path()).await;
    let store = sim.store();
    let mut slow = shell("slow", "trap '' TERM; while :; do sleep 0.01; done");
    slow["spec"]["terminationGracePeriodSeconds"] = json!(1);
    slow["spec"]["containers"][0]["lifecycle"] = json!({"preStop": {"exec": {"command": ["sleep", "1000"]}}});
    create(store, &PODS, slow);
    until(store, "it runs", || get(store, &PODS, "slow")["status"]["phase"] == "Running").await;
    delete(store, &PODS, "slow");
    let took = until(store, "it is killed", || names(store, &PODS).is_empty()).await;
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(4), "{took:?}");
    sim.shutdown().await;
}

#[tokio::test]
async fn force_leaves_no_time() {
    let dir = tempfile::tempdir().unwrap();
    let sim = processes(dir.path()).await;
    let store = sim.store();
    create(store, &PODS, shell("forced", "trap '' TERM; echo $POD; sleep 54321"));
    until(store, "it runs", || get(store, &PODS, "forced")["status"]["phase"] == "Running").await;
    let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    store.delete(&PODS, "default", "forced", &now).unwrap();
    until(store, "its processes are gone", || {
        std::fs::read_dir(dir.path().join("pods")).unwrap().next().is_none()
    })
    .await;
    sim.shutdown().await;
}

#[tokio::test]
async fn what_cannot_run_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let sim = processes(dir.path()).await;
    let store = sim.store();
    create(store, &STATEFUL_SETS, set("other", 1, json!({"image": "example.org/aerospike:7"})));
    until(store, "it is simulated", || is_ready(store, "other-0")).await;
    let simulated = condition(&get(store, &PODS, "other-0"), "senren.io/simulated").unwrap();
    assert!(simulated["message"].as_str().unwrap().contains("example.org/aerospike:7"), "{simulated}");

    let mut typo = shell("typo", "");
    typo["spec"]["containers"][0]["command"] = json!(["redis-sever"]);
    create(store, &PODS, typo);
    ends(store, "typo", "Failed").await;
    let ended = get(store, &PODS, "typo")["status"]["containerStatuses"][0]["state"]["terminated"].clone();
    assert_eq!((&ended["reason"], &ended["exitCode"]), (&json!("StartError"), &json!(128)));
    assert_eq!(ended["message"], "exec: \"redis-sever\": executable file not found in $PATH");

    let mut host = shell("host", "true");
    host["spec"]["volumes"] = json!([{"name": "root", "hostPath": {"path": "/"}}]);
    create(store, &PODS, host);
    until(store, "hostPath is refused", || {
        events(store, "host")
            .iter()
            .any(|(reason, message)| reason == "FailedMount" && message.contains("not supported"))
    })
    .await;
    sim.shutdown().await;
}
