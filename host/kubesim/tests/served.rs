//! The embedded API over HTTP: what it refuses, and what `kubectl` makes of it.
//!
//! Needs `kubectl` (package `kubernetes-client`), `bwrap` and `redis-server`, and fails without. Another kubectl than
//! the first on the path is named by `KUBECTL`: Debian 12's speaks SPDY and the old discovery, a current one WebSocket
//! and the aggregated one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use senren_kubesim::workloads::Processes;
use senren_kubesim::{Config, KubeSim, Served, Workloads};
use tokio::io::AsyncReadExt as _;

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A served cluster, and a kubectl that knows it.
struct Cluster {
    sim: KubeSim,
    served: Served,
    home: tempfile::TempDir,
}

impl Cluster {
    async fn start(network: u8) -> Cluster {
        let home = tempfile::tempdir().unwrap();
        let config = Config {
            data_dir: Some(home.path().join("cluster")),
            workloads: Workloads::Processes(Processes::default()),
            network: Ipv4Addr::new(127, network, 0, 0),
            ..Config::default()
        };
        let sim = KubeSim::start(config).await.unwrap();
        let served = sim.serve(ANY_PORT).await.unwrap();
        served.write_kubeconfig(&home.path().join("kubeconfig"), "test: \"1\"", "default").unwrap();
        Cluster { sim, served, home }
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn command(&self, words: &[&str]) -> Command {
        let program = std::env::var_os("KUBECTL").unwrap_or_else(|| "kubectl".into());
        let mut command = Command::new(program);
        command.args(["--request-timeout", "20s"]).args(words).stdin(Stdio::null());
        command.env("KUBECONFIG", self.home.path().join("kubeconfig")).env("HOME", self.home.path());
        command
    }

    /// Runs kubectl off the runtime, which has a server to run.
    async fn run(&self, words: &[&str]) -> Output {
        let mut command = self.command(words);
        let shown = words.join(" ");
        let run = tokio::task::spawn_blocking(move || command.output());
        run.await.unwrap().unwrap_or_else(|error| {
            panic!(
                "kubectl {shown}: {error}; this test needs kubectl, install the package `kubernetes-client`"
            )
        })
    }

    /// What kubectl prints, having succeeded.
    async fn kubectl(&self, words: &[&str]) -> String {
        let output = self.run(words).await;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "kubectl {}:\n{out}{err}", words.join(" "));
        out.into_owned()
    }

    /// What it prints when the output has settled to something that holds.
    async fn until(&self, words: &[&str], holds: impl Fn(&str) -> bool) -> String {
        let began = Instant::now();
        loop {
            let out = self.kubectl(words).await;
            if holds(&out) {
                return out;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "kubectl {}:\n{out}", words.join(" "));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn apply(&self, name: &str, manifest: &str, more: &[&str]) -> String {
        let file = self.file(name, manifest);
        let words = [&["apply", "-f", file.to_str().unwrap()], more].concat();
        self.kubectl(&words).await
    }
}

/// The cells of a table, by line and column.
fn cells(table: &str) -> Vec<Vec<&str>> {
    table.lines().map(|line| line.split_whitespace().collect()).collect()
}

const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, kind: Widget, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns:
    - {name: Size, type: integer, jsonPath: .spec.size}
    - {name: First, type: string, jsonPath: '.spec.parts[?(@.kind=="first")].name'}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              size: {type: integer, minimum: 1, description: How large it is.}
              parts: {type: array, items: {type: object, properties: {kind: {type: string}, name: {type: string}}}}
"#;

fn widget(name: &str, size: i32) -> String {
    format!(
        "apiVersion: example.com/v1\nkind: Widget\nmetadata: {{name: {name}}}\n\
         spec: {{size: {size}, parts: [{{kind: other, name: left}}, {{kind: first, name: right}}]}}\n"
    )
}

/// A set of one Redis, and its service.
fn redis(image: &str, label: &str) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db, labels: {{colour: {label}}}}}
spec:
  serviceName: db
  replicas: 1
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: main
        image: {image}
        args: [--bind, $(POD_IP), --port, "6379"]
        env: [{{name: POD_IP, valueFrom: {{fieldRef: {{fieldPath: status.podIP}}}}}}]
        ports: [{{containerPort: 6379, name: redis}}]
---
apiVersion: v1
kind: Service
metadata: {{name: db}}
spec: {{clusterIP: None, selector: {{app: db}}, ports: [{{name: redis, port: 6379}}]}}
"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_shows_and_changes_custom_resources() {
    let cluster = Cluster::start(201).await;
    cluster.apply("definition.yaml", DEFINITION, &[]).await;
    cluster.kubectl(&["wait", "--for=condition=Established", "crd/widgets.example.com"]).await;
    assert_eq!(cluster.apply("w.yaml", &widget("one", 3), &[]).await, "widget.example.com/one created\n");
    assert_eq!(cluster.apply("w.yaml", &widget("one", 3), &[]).await, "widget.example.com/one unchanged\n");
    assert_eq!(cluster.apply("w.yaml", &widget("one", 4), &[]).await, "widget.example.com/one configured\n");
    let dry = cluster.apply("w.yaml", &widget("one", 5), &["--dry-run=server"]).await;
    assert_eq!(dry, "widget.example.com/one configured (server dry run)\n");
    let ssa = cluster.apply("w2.yaml", &widget("two", 1), &["--server-side"]).await;
    assert_eq!(ssa, "widget.example.com/two serverside-applied\n");
    let table = cluster.kubectl(&["get", "wd", "-A"]).await;
    let table = cells(&table);
    assert_eq!(table[0], ["NAMESPACE", "NAME", "SIZE", "FIRST", "AGE"]);
    assert_eq!(table[1][..4], ["default", "one", "4", "right"]);
    assert_eq!(table[2][..4], ["default", "two", "1", "right"]);
    let described = cluster.kubectl(&["describe", "widget", "one"]).await;
    assert!(
        described.contains("API Version:  example.com/v1") && described.contains("Events:"),
        "{described}"
    );
    let file = cluster.file("bad.yaml", &widget("bad", 0));
    let refused = cluster.run(&["apply", "-f", file.to_str().unwrap()]).await;
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && why.contains("spec.size: Invalid value: 0: spec.size in body"),
        "{why}"
    );
    cluster.kubectl(&["patch", "wd", "one", "--type=merge", "-p", r#"{"spec": {"size": 9}}"#]).await;
    cluster.kubectl(&["label", "wd", "one", "colour=blue"]).await;
    let found =
        cluster.kubectl(&["get", "wd", "-l", "colour=blue", "-o", "jsonpath={.items[*].spec.size}"]).await;
    assert_eq!(found, "9");
    cluster.kubectl(&["delete", "wd", "--all"]).await;
    let none = cluster.run(&["get", "wd"]).await;
    assert_eq!(String::from_utf8_lossy(&none.stderr), "No resources found in default namespace.\n");
    cluster.sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_works_with_running_pods() {
    let cluster = Cluster::start(202).await;
    cluster.apply("db.yaml", &redis("redis:7", "red"), &[]).await;
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/db-0", "--timeout=20s"]).await;
    let pods = cluster.kubectl(&["get", "pods", "-o", "wide"]).await;
    let pods = cells(&pods);
    assert_eq!(pods[0][..5], ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]);
    assert_eq!((&pods[1][..4], pods[1][5]), (&["db-0", "1/1", "Running", "0"][..], "127.202.64.1"));
    let all = cluster.kubectl(&["get", "all"]).await;
    for line in ["pod/db-0", "service/db", "statefulset.apps/db"] {
        assert!(all.contains(line), "{all}");
    }
    // An unchanged manifest changes nothing, a changed one only what is changed: strategic merge patches.
    let same = cluster.apply("db.yaml", &redis("redis:7", "red"), &[]).await;
    assert_eq!(same, "statefulset.apps/db unchanged\nservice/db unchanged\n");
    let changed = cluster.apply("db.yaml", &redis("redis:7.2", "blue"), &[]).await;
    assert_eq!(changed, "statefulset.apps/db configured\nservice/db unchanged\n");
    let path = "jsonpath={.metadata.labels.colour} {.spec.template.spec.containers[0].image} \
                {.spec.template.spec.containers[0].env[0].name}";
    assert_eq!(cluster.kubectl(&["get", "sts", "db", "-o", path]).await, "blue redis:7.2 POD_IP");
    cluster.kubectl(&["rollout", "status", "sts/db", "--timeout=20s"]).await;
    cluster.kubectl(&["scale", "sts/db", "--replicas=2"]).await;
    cluster.until(&["get", "sts", "db"], |out| out.contains("2/2")).await;
    let described = cluster.kubectl(&["describe", "pod", "db-1"]).await;
    assert!(described.contains("Successfully assigned default/db-1"), "{described}");
    let events = cluster.kubectl(&["get", "events", "--field-selector", "involvedObject.name=db-1"]).await;
    assert!(events.contains("pod/db-1") && !events.contains("pod/db-0"), "{events}");
    cluster.kubectl(&["delete", "sts", "db"]).await;
    cluster.until(&["get", "pods", "--ignore-not-found"], str::is_empty).await;
    cluster.sim.shutdown().await;
}

/// A kubectl that goes on, and the lines that it prints.
struct Following(Child, BufReader<std::process::ChildStdout>);

impl Following {
    fn start(mut command: Command) -> Following {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Following(child, out)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.1.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_follows_changes_and_logs() {
    let cluster = Cluster::start(203).await;
    let pod = |name: &str, script: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  restartPolicy: OnFailure\n  \
             terminationGracePeriodSeconds: 1\n  containers: [{{name: main, image: busybox, command: [sh, -c, '{script}']}}]\n"
        )
    };
    let mut watch = Following::start(cluster.command(&["get", "cm", "-w", "-o", "name"]));
    let mut rows = Following::start(cluster.command(&["get", "pods", "-w", "--request-timeout", "0"]));
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.apply("map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map}\n", &[]).await;
    assert_eq!(watch.line(), "configmap/map\n");
    let script = "echo one; echo two; while [ ! -e /tmp/go ]; do sleep 0.02; done; echo three";
    cluster.apply("pod.yaml", &pod("talks", script), &[]).await;
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/talks", "--timeout=20s"]).await;
    assert_eq!(cells(&rows.line())[0], ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]);
    while !rows.line().contains("1/1") {}
    let mut log = Following::start(cluster.command(&["logs", "-f", "talks", "--request-timeout", "0"]));
    assert_eq!([log.line(), log.line()], ["one\n", "two\n"]);
    assert_eq!(cluster.kubectl(&["logs", "talks", "--tail", "1"]).await, "two\n");
    cluster.kubectl(&["exec", "talks", "--", "touch", "/tmp/go"]).await;
    assert_eq!([log.line(), log.line()], ["three\n", ""], "the log, and its end");
    cluster.apply("pod.yaml", &pod("fails", "echo first; exit 3"), &[]).await;
    cluster.until(&["logs", "fails", "--previous", "--ignore-errors"], |out| out == "first\n").await;
    cluster.sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_runs_commands_in_pods() {
    let cluster = Cluster::start(204).await;
    cluster.apply("db.yaml", &redis("redis:7", "red"), &[]).await;
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/db-0", "--timeout=20s"]).await;
    let pong = cluster.kubectl(&["exec", "db-0", "--", "sh", "-c", "redis-cli -h $POD_IP ping"]).await;
    assert_eq!(pong, "PONG\n");
    let failed = cluster.run(&["exec", "db-0", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]).await;
    assert_eq!((failed.status.code(), &*failed.stdout), (Some(7), &b"out\n"[..]));
    assert!(failed.stderr.starts_with(b"err\n"));
    let much = cluster.run(&["exec", "db-0", "--", "head", "-c", "1000000", "/dev/zero"]).await;
    assert_eq!(much.stdout.len(), 1_000_000);
    let mut command = cluster.command(&["exec", "-i", "db-0", "--", "sha256sum"]);
    let sum = tokio::task::spawn_blocking(move || {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&[7; 500_000]).unwrap();
        child.wait_with_output().unwrap()
    });
    let local =
        Command::new("sh").arg("-c").arg("head -c 500000 /dev/zero | tr '\\0' '\\7' | sha256sum").output();
    assert_eq!(sum.await.unwrap().stdout, local.unwrap().stdout);
    let missing = cluster.run(&["exec", "db-7", "--", "true"]).await;
    assert!(String::from_utf8_lossy(&missing.stderr).contains("pods \"db-7\" not found"));
    cluster.sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubes_own_client_connects_by_the_kubeconfig() {
    let cluster = Cluster::start(205).await;
    cluster.apply("db.yaml", &redis("redis:7", "red"), &[]).await;
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/db-0", "--timeout=20s"]).await;
    let config = Kubeconfig::from_yaml(&cluster.served.kubeconfig("x", "default")).unwrap();
    let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(kube::Client::try_from(config).unwrap());
    let mut process = pods.exec("db-0", ["echo", "hello"], &AttachParams::default()).await.unwrap();
    let mut out = String::new();
    process.stdout().unwrap().read_to_string(&mut out).await.unwrap();
    assert_eq!(out, "hello\n");
    cluster.sim.shutdown().await;
}

/// The first line of the answer to a request as it stands.
fn answer(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut answer = Vec::new();
    // It may hang up on what it does not understand.
    let _ = stream.write_all(request);
    let _ = stream.take(64).read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_programs_of_this_machine_are_answered() {
    let sim = KubeSim::start(Config::default()).await.unwrap();
    let served = sim.serve(ANY_PORT).await.unwrap();
    let address = served.address();
    let check = |headers: &str, wanted: &str| {
        let request = format!("GET /api HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
        assert_eq!(answer(address, request.as_bytes()), format!("HTTP/1.1 {wanted}"), "{headers}");
    };
    check(&format!("Host: {address}\r\n"), "200 OK");
    check("Host: localhost\r\n", "200 OK");
    check("Host: rebound.example.com\r\n", "403 Forbidden");
    check("", "403 Forbidden");
    check("Host: localhost\r\nOrigin: http://example.com\r\n", "403 Forbidden");
    check("Host: localhost\r\nOrigin: null\r\n", "403 Forbidden");
    check("Host: localhost\r\nSec-Fetch-Site: cross-site\r\n", "403 Forbidden");
    for open in ["0.0.0.0:0", "192.0.2.1:0", "[::]:0"] {
        let refused = sim.serve(open.parse().unwrap()).await.unwrap_err();
        assert!(refused.to_string().contains("can be reached from other machines"), "{refused}");
    }
    drop(served);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(TcpStream::connect(address).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_answered_or_hung_up_on_and_does_no_harm() {
    let sim = KubeSim::start(Config::default()).await.unwrap();
    let served = sim.serve(ANY_PORT).await.unwrap();
    let address = served.address();
    let with = |line: &str, headers: &str, body: &str| {
        let length = body.len();
        format!(
            "{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        )
    };
    let code =
        |request: String| answer(address, request.as_bytes()).split(' ').nth(1).unwrap_or("none").to_owned();
    let maps = "/api/v1/namespaces/default/configmaps";
    assert_eq!(code(with("GET /%ff/%zz/..//", "", "")), "404");
    assert_eq!(code(with(&format!("POST {maps}"), "", "{")), "400");
    assert_eq!(code(with(&format!("POST {maps}"), "", "[[[[[[")), "400");
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: yaml}\ndata: {a: b}\n";
    assert_eq!(code(with(&format!("POST {maps}"), "Content-Type: application/yaml\r\n", yaml)), "201");
    assert_eq!(code(with(&format!("POST {maps}"), "Content-Type: application/yaml\r\n", "a: [&a *a")), "400");
    assert_eq!(code(with(&format!("POST {maps}"), "Content-Type: text/plain\r\n", "{}")), "415");
    assert_eq!(code(with(&format!("PATCH {maps}/yaml"), "Content-Type: application/x\r\n", "{}")), "415");
    assert_eq!(
        code(with(&format!("GET {maps}"), "Accept: application/vnd.kubernetes.protobuf\r\n", "")),
        "406"
    );
    assert_eq!(code(with(&format!("BREW {maps}"), "", "")), "405");
    let exec = "/api/v1/namespaces/default/pods/none/exec?command=x&stdout=1";
    assert_eq!(code(with(&format!("GET {exec}"), "", "")), "400");
    assert_eq!(code(with(&format!("POST {exec}"), "Upgrade: h2c\r\n", "")), "400");
    answer(address, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    answer(address, &[b"GET /api HTTP/1.1\r\nX: ".as_slice(), &[b'x'; 1_000_000], b"\r\n\r\n"].concat());
    let huge =
        format!("POST {maps} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 4000000\r\n\r\n").into_bytes();
    let huge = answer(address, &[huge, vec![b' '; 4_000_000]].concat());
    assert!(huge.is_empty() || huge.contains("413"), "{huge}");
    assert_eq!(code(with("GET /readyz", "", "")), "200");
}
