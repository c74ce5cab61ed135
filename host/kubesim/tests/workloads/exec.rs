//! Commands in running containers, through `kube::Api::exec`: in a process, and in a simulated pod.

use std::{sync::Arc, time::Duration};

use futures::SinkExt as _;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Status};
use kube::api::{Api, AttachParams, TerminalSize};
use parking_lot::Mutex;
use senren_kubesim::{
    KubeSim,
    kinds::{PODS, STATEFUL_SETS},
    workloads::{ExecSimulator, Simulated, SimulatedExec, SimulatedResult},
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    common::{create, get, is_ready, processes, set, simulated, until},
    processes::{ends, redis, shell},
};

/// Ends at once when it is asked to.
const WAITS: &str = "trap 'exit 0' TERM; sleep 1000 & wait";

fn pods(sim: &KubeSim) -> Api<Pod> {
    Api::default_namespaced(sim.client())
}

/// What a command wrote, and its end.
#[derive(Debug, PartialEq, Eq)]
struct Ended {
    stdout: String,
    stderr: String,
    code: i32,
}

fn ended(stdout: &str, stderr: &str, code: i32) -> Ended {
    Ended { stdout: stdout.into(), stderr: stderr.into(), code }
}

fn code(status: &Status) -> i32 {
    if status.status.as_deref() == Some("Success") {
        return 0;
    }
    assert_eq!(status.reason.as_deref(), Some("NonZeroExitCode"), "{status:?}");
    let causes = status.details.as_ref().unwrap().causes.as_ref().unwrap();
    assert_eq!(causes[0].reason.as_deref(), Some("ExitCode"));
    causes[0].message.as_ref().unwrap().parse().unwrap()
}

/// Runs a command with this standard input, to its end.
async fn run_with(pods: &Api<Pod>, pod: &str, command: &[&str], input: &str) -> Ended {
    let params = AttachParams::default().stdin(true).stderr(true);
    let mut process = pods.exec(pod, command.to_vec(), &params).await.unwrap();
    let (mut stdin, mut out, mut err) =
        (process.stdin().unwrap(), process.stdout().unwrap(), process.stderr().unwrap());
    let status = process.take_status().unwrap();
    let (mut stdout, mut stderr) = (String::new(), String::new());
    let write = async {
        stdin.write_all(input.as_bytes()).await.unwrap();
        stdin.shutdown().await.unwrap();
    };
    let (status, ..) =
        tokio::join!(status, write, out.read_to_string(&mut stdout), err.read_to_string(&mut stderr));
    Ended { stdout, stderr, code: code(&status.unwrap()) }
}

async fn run(pods: &Api<Pod>, pod: &str, command: &[&str]) -> Ended {
    run_with(pods, pod, command, "").await
}

async fn refusal(pods: &Api<Pod>, pod: &str, params: AttachParams) -> (u16, String) {
    match pods.exec(pod, ["true"], &params).await {
        Err(kube::Error::Api(status)) => (status.code, status.message.clone()),
        Ok(mut process) => {
            let status = process.take_status().unwrap().await.unwrap();
            (u16::try_from(status.code.unwrap_or_default()).unwrap(), status.message.unwrap_or_default())
        }
        Err(other) => panic!("{other:?}"),
    }
}

async fn running(sim: &KubeSim, pod: &str) {
    let phase = || get(sim.store(), &PODS, pod)["status"]["phase"] == "Running";
    until(sim.store(), &format!("{pod} runs"), phase).await;
}

#[tokio::test]
async fn a_command_runs_inside_its_container() {
    let data = tempfile::tempdir().unwrap();
    let sim = processes(data.path()).await;
    let mut pod =
        shell("box", "touch /run/mine; echo $$$$ > /tmp/pid; trap 'exit 0' TERM; sleep 1000 & wait");
    pod["spec"]["hostname"] = json!("my-box");
    pod["spec"]["containers"][0]["env"] = json!([{"name": "COLOUR", "value": "blue"}]);
    pod["spec"]["containers"][0]["workingDir"] = json!("/var/tmp");
    create(sim.store(), &PODS, pod);
    running(&sim, "box").await;
    let pods = pods(&sim);
    let check = async |script: &str, wanted: Ended| {
        assert_eq!(run(&pods, "box", &["sh", "-c", script]).await, wanted, "{script}");
    };
    check("echo out; echo err >&2; exit 7", ended("out\n", "err\n", 7)).await;
    check("echo $COLOUR; pwd; uname -n", ended("blue\n/var/tmp\nmy-box\n", "", 0)).await;
    // The same processes, mounts and files.
    check("until [ -e /tmp/pid ]; do sleep 0.01; done; cat /tmp/pid", ended("1\n", "", 0)).await;
    check("tr '\\0' ' ' < /proc/1/cmdline | cut -c-5; ls /run/mine", ended("sh -c\n/run/mine\n", "", 0))
        .await;
    // Everything but the network, which is the machine's.
    for kind in ["pid", "mnt", "ipc", "uts", "user"] {
        let script =
            format!("[ $(readlink /proc/self/ns/{kind}) = $(readlink /proc/1/ns/{kind}) ] && echo same");
        check(&script, ended("same\n", "", 0)).await;
    }
    check("grep -c box /etc/hosts", ended("1\n", "", 0)).await;
    check("kill -9 $$", ended("", "", 137)).await;
    // The rights that the container has, not more.
    let rights = "grep -E '^(Uid|Gid|Cap|NoNewPrivs)' /proc/1/status > /tmp/a; grep -E '^(Uid|Gid|Cap|NoNewPrivs)' \
         /proc/self/status | diff /tmp/a - && grep -c . /tmp/a";
    check(rights, ended("8\n", "", 0)).await;
    sim.shutdown().await;
}

#[tokio::test]
async fn a_command_reads_what_is_sent_to_it_until_its_end() {
    let data = tempfile::tempdir().unwrap();
    let sim = processes(data.path()).await;
    create(sim.store(), &PODS, shell("box", WAITS));
    running(&sim, "box").await;
    let pods = pods(&sim);
    assert_eq!(run_with(&pods, "box", &["cat"], "one\ntwo\n").await, ended("one\ntwo\n", "", 0));
    // Either way more than all buffers hold; kube's client can't do both at once.
    let long = "0123456789abcdef".repeat(64 * 1024);
    assert_eq!(run_with(&pods, "box", &["wc", "-c"], &long).await.stdout.trim(), long.len().to_string());
    let answer = run(&pods, "box", &["sh", "-c", "yes | head -c 1000000"]).await;
    assert_eq!((answer.stdout.len(), answer.code), (1_000_000, 0));
    // It need not read any of it.
    assert_eq!(run_with(&pods, "box", &["sh", "-c", "exit 3"], "12345").await.code, 3);
    // What it leaves behind doesn't hold its answer back.
    let left = run(&pods, "box", &["sh", "-c", "sleep 1000 & echo done"]).await;
    assert_eq!(left, ended("done\n", "", 0));
    sim.shutdown().await;
}

#[tokio::test]
async fn a_command_can_have_a_terminal_of_its_container() {
    let data = tempfile::tempdir().unwrap();
    let sim = processes(data.path()).await;
    create(sim.store(), &PODS, shell("box", WAITS));
    running(&sim, "box").await;
    let params = AttachParams::interactive_tty();
    let mut process = pods(&sim).exec("box", ["sh"], &params).await.unwrap();
    let mut size = process.terminal_size().unwrap();
    size.send(TerminalSize { width: 123, height: 45 }).await.unwrap();
    let (mut stdin, mut stdout) = (process.stdin().unwrap(), process.stdout().unwrap());
    let status = process.take_status().unwrap();
    stdin.write_all(b"tty; stty size; echo $TERM; exit 4\n").await.unwrap();
    let mut shown = String::new();
    stdout.read_to_string(&mut shown).await.unwrap();
    for wanted in ["/dev/pts/", "45 123", "xterm"] {
        assert!(shown.contains(wanted), "{wanted} in {shown}");
    }
    assert_eq!(code(&status.await.unwrap()), 4);
    sim.shutdown().await;
}

#[tokio::test]
async fn a_command_ends_with_its_caller_and_with_its_container() {
    let data = tempfile::tempdir().unwrap();
    let sim = processes(data.path()).await;
    create(sim.store(), &PODS, shell("box", WAITS));
    running(&sim, "box").await;
    let pods = pods(&sim);
    let process = pods.exec("box", ["sleep", "777"], &AttachParams::default()).await.unwrap();
    let runs = async |wanted: bool| {
        let script = "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done | grep -c '^sleep 777'";
        for _ in 0..500 {
            if (run(&pods, "box", &["sh", "-c", script]).await.stdout == "1\n") == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the command should run: {wanted}");
    };
    runs(true).await;
    drop(process);
    runs(false).await;
    let mut process = pods.exec("box", ["sleep", "778"], &AttachParams::default()).await.unwrap();
    let status = process.take_status().unwrap();
    pods.delete("box", &kube::api::DeleteParams::default().grace_period(0)).await.unwrap();
    assert_eq!(code(&status.await.unwrap()), 137);
    sim.shutdown().await;
}

#[tokio::test]
async fn a_database_is_asked_in_its_own_pod_while_it_starts() {
    let data = tempfile::tempdir().unwrap();
    let sim = processes(data.path()).await;
    create(sim.store(), &STATEFUL_SETS, set("db", 1, redis()));
    running(&sim, "db-0").await;
    let pods = pods(&sim);
    // From the first moment on: the container may still be on its way.
    assert_eq!(run(&pods, "db-0", &["true"]).await.code, 0);
    until(sim.store(), "ready", || is_ready(sim.store(), "db-0")).await;
    let ping = run(&pods, "db-0", &["sh", "-c", "redis-cli -h $POD_IP ping"]).await;
    assert_eq!(ping, ended("PONG\n", "", 0));
    sim.shutdown().await;
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_as_by_a_cluster() {
    let data = tempfile::tempdir().unwrap();
    let sim = processes(data.path()).await;
    create(sim.store(), &PODS, shell("box", WAITS));
    create(sim.store(), &PODS, shell("over", "exit 0"));
    let mut two = shell("two", WAITS);
    let mut second = two["spec"]["containers"][0].clone();
    second["name"] = json!("other");
    two["spec"]["containers"].as_array_mut().unwrap().push(second);
    create(sim.store(), &PODS, two);
    running(&sim, "box").await;
    running(&sim, "two").await;
    ends(sim.store(), "over", "Succeeded").await;
    let pods = pods(&sim);
    let check = async |pod: &str, params: AttachParams, wanted: (u16, &str)| {
        let (code, message) = refusal(&pods, pod, params).await;
        assert_eq!((code, message.as_str()), wanted, "{pod}");
    };
    let plain = AttachParams::default;
    check("none", plain(), (404, "pods \"none\" not found")).await;
    check("box", plain().container("x"), (400, "container x is not valid for pod box")).await;
    check(
        "two",
        plain(),
        (400, "a container name must be specified for pod two, choose one of: [main other]"),
    )
    .await;
    check("two", plain().container("other"), (0, "")).await;
    let gone = "Internal error occurred: unable to upgrade connection: container not found (\"main\")";
    check("over", plain(), (500, gone)).await;
    let missing =
        pods.exec("box", ["no-such-program"], &plain()).await.unwrap().take_status().unwrap().await.unwrap();
    assert!(missing.message.unwrap().contains("\"no-such-program\": executable file not found in $PATH"));
    sim.shutdown().await;
}

/// Answers with what it was asked.
#[derive(Default)]
struct Echo(Mutex<Vec<SimulatedExec>>);

#[async_trait::async_trait]
impl ExecSimulator for Echo {
    async fn exec(&self, call: SimulatedExec) -> SimulatedResult {
        let stdout = call.command.join(" ").into_bytes();
        self.0.lock().push(call);
        SimulatedResult { exit_code: 5, stdout, stderr: b"hm".to_vec() }
    }
}

fn group(name: &str, replicas: i32) -> Value {
    let mut set = set(name, replicas, json!({"image": "db:1"}));
    set["spec"]["template"]["metadata"]["labels"]["senren.io/name"] = json!(name);
    set
}

#[tokio::test]
async fn a_simulated_pod_answers_what_its_simulation_says_of_it_and_its_siblings() {
    let echo = Arc::new(Echo::default());
    let sim = simulated(Simulated { exec: Some(echo.clone()), ..Simulated::default() }).await;
    create(sim.store(), &STATEFUL_SETS, group("a", 3));
    create(sim.store(), &STATEFUL_SETS, group("a-b", 1));
    until(sim.store(), "ready", || is_ready(sim.store(), "a-2") && is_ready(sim.store(), "a-b-0")).await;
    assert_eq!(run(&pods(&sim), "a-1", &["how", "are you"]).await, ended("how are you", "hm", 5));
    let call = echo.0.lock().pop().unwrap();
    assert_eq!((call.pod["metadata"]["name"].as_str(), call.container.as_str()), (Some("a-1"), "main"));
    let names: Vec<_> = call.pods.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a-0", "a-1", "a-2"]);
    sim.shutdown().await;
}

#[tokio::test]
async fn without_a_simulation_a_simulated_pod_says_that_it_has_none() {
    let sim = simulated(Simulated::default()).await;
    create(sim.store(), &STATEFUL_SETS, group("a", 1));
    until(sim.store(), "ready", || is_ready(sim.store(), "a-0")).await;
    let (code, message) = refusal(&pods(&sim), "a-0", AttachParams::default()).await;
    assert_eq!(code, 500);
    assert!(message.contains("pod a-0 is simulated, and nothing simulates commands in it"), "{message}");
    sim.shutdown().await;
}
