//! What is left when the cluster ends, however it ends, and what it finds when it starts again.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use senren_kubesim::kinds::{PODS, STATEFUL_SETS};

use crate::{
    common::{create, get, is_ready, processes, set, until},
    processes::{address, ask, redis, with_claim},
};

const DIRECTORY: &str = "KUBESIM_TEST_DIRECTORY";

/// The processes that run below this data directory: it is among their mounts, or in their arguments.
fn processes_of(data: &Path) -> Vec<String> {
    let data = data.canonicalize().unwrap().display().to_string();
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    let numbers = entries
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().parse::<u32>().is_ok()));
    numbers
        .filter(|path| path.join("task") != Path::new("/proc/self/task") && !is_self(path))
        .filter_map(|path| {
            let read = |file: &str| {
                std::fs::read(path.join(file)).ok().map(|text| String::from_utf8_lossy(&text).into_owned())
            };
            let (command, mounts) = (read("cmdline")?, read("mountinfo")?);
            // A mount of ours is shown by where it comes from on its file system.
            let suffix = data.rsplit('/').next().unwrap();
            let ours = command.contains(&data) || mounts.lines().any(|line| line.contains(suffix));
            (ours && !command.is_empty())
                .then(|| format!("{} {}", path.display(), command.replace('\0', " ")))
        })
        .collect()
}

fn is_self(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy() == std::process::id().to_string())
}

/// Not a test of its own: the process that the test below kills.
#[tokio::test]
#[ignore = "started by a_killed_cluster_leaves_no_process"]
async fn cluster_to_be_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let sim = processes(Path::new(&directory)).await;
    let store = sim.store();
    create(store, &STATEFUL_SETS, with_claim(set("db", 2, redis())));
    until(store, "both are ready", || is_ready(store, "db-1")).await;
    std::fs::write(Path::new(&directory).join("up"), "").unwrap();
    std::future::pending::<()>().await;
}

#[test]
fn a_killed_cluster_leaves_no_process() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "survival::cluster_to_be_killed", "--ignored", "--nocapture"])
        .env(DIRECTORY, dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while !dir.path().join("up").exists() {
        assert!(began.elapsed() < Duration::from_secs(20), "the cluster did not come up");
        std::thread::sleep(Duration::from_millis(10));
    }
    let running = processes_of(dir.path());
    assert!(running.iter().any(|process| process.contains("redis-server")), "{running:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    let began = Instant::now();
    while !processes_of(dir.path()).is_empty() {
        assert!(began.elapsed() < Duration::from_secs(5), "left behind: {:?}", processes_of(dir.path()));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_cluster_that_is_killed_while_its_pods_start_leaves_no_process() {
    for delay in (20..140).step_by(8) {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "survival::cluster_to_be_killed", "--ignored", "--nocapture"])
            .env(DIRECTORY, dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        child.kill().unwrap();
        child.wait().unwrap();
        let began = Instant::now();
        while !processes_of(dir.path()).is_empty() {
            let left = processes_of(dir.path());
            assert!(
                began.elapsed() < Duration::from_secs(4),
                "killed after {delay} ms, left behind: {left:?}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[tokio::test]
async fn a_dropped_cluster_leaves_no_process() {
    let dir = tempfile::tempdir().unwrap();
    let sim = processes(dir.path()).await;
    create(sim.store(), &STATEFUL_SETS, set("db", 1, redis()));
    until(sim.store(), "it is ready", || is_ready(sim.store(), "db-0")).await;
    assert!(!processes_of(dir.path()).is_empty());
    let store = sim.store().clone();
    drop(sim);
    until(&store, "no process is left", || processes_of(dir.path()).is_empty()).await;
}

#[tokio::test]
async fn a_cluster_that_starts_again_finds_its_pods_and_their_data() {
    let dir = tempfile::tempdir().unwrap();
    let sim = processes(dir.path()).await;
    let store = sim.store();
    create(store, &STATEFUL_SETS, with_claim(set("db", 1, redis())));
    until(store, "it is ready", || is_ready(store, "db-0")).await;
    assert_eq!(ask(&address(store, "db-0"), "SET key value").unwrap(), "+OK");
    let before = get(store, &PODS, "db-0");
    sim.shutdown().await;
    assert_eq!(processes_of(dir.path()), Vec::<String>::new());

    let sim = processes(dir.path()).await;
    let store = sim.store();
    until(store, "it was started again", || {
        let status = &get(store, &PODS, "db-0")["status"];
        status["containerStatuses"][0]["restartCount"] == 1 && is_ready(store, "db-0")
    })
    .await;
    assert_eq!(get(store, &PODS, "db-0")["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(ask(&address(store, "db-0"), "GET key").unwrap(), "value");
    sim.shutdown().await;
}
