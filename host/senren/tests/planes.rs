//! The planes as processes of their own, set up by the environment alone, as in containers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use common::{Ended, free_addr, kill, plugin_dir, senren};

const ONE: &str = "databases: [{name: cache, type: redis, regions: [aws:us-east-1], spec: {memory_mb: 64}}]";

/// A plane that is told what it is by `MODE`, with a bus that nothing else reaches; its log goes to `log`.
fn plane(mode: &str, log: &Path) -> Command {
    let mut command = senren(&[]);
    command.env("MODE", mode).env("KAFKA_BOOTSTRAP_SERVERS", "memory");
    command.stdout(Stdio::null()).stderr(fs::File::create(log).unwrap());
    command
}

fn control(database_url: &str, addr: SocketAddr, log: &Path) -> Command {
    let mut command = plane("control", log);
    command.env("DATABASE_URL", database_url).env("LISTEN_ADDR", addr.to_string());
    command
}

/// Waits until the log has `part`.
fn wait_for(child: &mut Child, log: &Path, part: &str) {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let text = fs::read_to_string(log).unwrap();
        if text.contains(part) {
            return;
        }
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none() && Instant::now() < end, "{ended:?}, no {part:?} in:\n{text}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// SIGTERM ends it in order.
fn end(mut child: Child, log: &Path) {
    kill(child.id(), "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0), "{}", fs::read_to_string(log).unwrap());
}

#[test]
fn a_control_plane_keeps_what_is_applied_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (log, file) = (dir.path().join("log"), dir.path().join("state.yaml"));
    fs::write(&file, ONE).unwrap();
    let database = senren_localpg::test_database();
    let addr = free_addr();
    let run = |args: &[&str]| Ended::from(senren(args).args(["-e", &addr.to_string()]).output().unwrap());

    let mut plane = control(&database.url, addr, &log).spawn().unwrap();
    wait_for(&mut plane, &log, "control plane is up");
    run(&["apply", "--yes", "-f", file.to_str().unwrap()]).check(0, &["RegionNeverSeen", "aws:us-east-1"]);
    end(plane, &log);

    let mut plane = control(&database.url, addr, &log).spawn().unwrap();
    wait_for(&mut plane, &log, "control plane is up");
    let status = run(&["status", "-o", "json"]).check(0, &[]).json();
    assert_eq!(status["revision"], 1);
    assert_eq!(status["resources"][0]["phase"], "Pending");
    assert_eq!(run(&["regions", "-o", "json"]).json()["regions"][0]["phase"], "NeverSeen");
    end(plane, &log);
}

#[test]
fn a_control_plane_that_cannot_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let check = |database_url: &str, addr: SocketAddr, parts: &[&str]| {
        let status = control(database_url, addr, &log).status().unwrap();
        let text = fs::read_to_string(&log).unwrap();
        assert_eq!(status.code(), Some(1), "{text}");
        for part in parts {
            assert!(text.contains(part), "no {part:?} in:\n{text}");
        }
    };
    check("nonsense", free_addr(), &["DATABASE_URL is no PostgreSQL URL"]);
    let database = senren_localpg::test_database();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    check(&database.url, addr, &[&format!("cannot listen on {addr}")]);
}

#[test]
fn a_regional_plane_waits_for_its_cluster_and_ends_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let (log, kubeconfig) = (dir.path().join("log"), dir.path().join("kubeconfig"));
    let cluster = format!(
        "{{apiVersion: v1, kind: Config, current-context: c, users: [{{name: u, user: {{}}}}], \
         contexts: [{{name: c, context: {{cluster: c, user: u}}}}], \
         clusters: [{{name: c, cluster: {{server: \"http://{}\"}}}}]}}",
        free_addr()
    );
    fs::write(&kubeconfig, cluster).unwrap();
    let mut command = plane("regional", &log);
    command.env("KUBECONFIG", &kubeconfig).env("REGION_ID", "aws:us-east-1").env("PLUGIN_DIR", plugin_dir());
    let mut plane = command.spawn().unwrap();
    wait_for(&mut plane, &log, "not started yet, trying again");
    end(plane, &log);

    command.env("KUBECONFIG", dir.path().join("none")).stderr(Stdio::piped());
    Ended::from(command.output().unwrap()).check(1, &["no Kubernetes API", "KUBECONFIG"]);
}
