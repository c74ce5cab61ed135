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
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

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
fn a_control_plane_that_waits_for_its_database_ends_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    // It takes connections, and never says a word.
    let database = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://nobody@{}/senren", database.local_addr().unwrap());
    let mut command = control(&url, free_addr(), &log);
    // What the environment wants of traces and can't get is told, and nothing more.
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json");
    let mut plane = command.spawn().unwrap();
    wait_for(&mut plane, &log, "no traces are sent");
    database.accept().unwrap();
    let begin = Instant::now();
    end(plane, &log);
    assert!(begin.elapsed() < Duration::from_secs(8), "it waited for its database all the same");
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

#[test]
fn the_way_to_a_control_plane_is_protected_by_tls_where_it_has_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, pem: &str| {
        let file = dir.path().join(name);
        fs::write(&file, pem).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let ca = file("ca.pem", &authority.pem());
    let signed = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let cert = params.signed_by(&key, &authority).unwrap();
        (file(&format!("{name}.pem"), &cert.pem()), file(&format!("{name}.key"), &key.serialize_pem()))
    };
    let ((cert, key), (own_cert, own_key)) = (signed("server"), signed("ann"));

    let log = dir.path().join("log");
    let database = senren_localpg::test_database();
    let addr = free_addr();
    let mut command = control(&database.url, addr, &log);
    command.env("TLS_CERT_FILE", cert).env("TLS_KEY_FILE", key).env("TLS_CLIENT_CA_FILE", &ca);
    let mut plane = command.spawn().unwrap();
    wait_for(&mut plane, &log, "control plane is up");

    let endpoint = format!("localhost:{}", addr.port());
    let run = |args: &[&str]| {
        Ended::from(senren(&[&["history", "-e", &endpoint], args].concat()).output().unwrap())
    };
    let (ca, cert, key) = (["--ca-cert", &ca], ["--cert", &own_cert], ["--key", &own_key]);
    let trusted = [ca, cert, key].concat();
    run(&trusted).check(0, &[]);
    run(&[]).check(3, &[&format!("http://{endpoint}")]);
    run(&[cert, key].concat()).check(3, &[&format!("https://{endpoint}"), "certificate"]);
    run(&ca).check(3, &["cannot reach"]);

    let state = file("state.yaml", ONE);
    let apply = ["apply", "--yes", "-f", &state, "--author", "somebody else", "-e", &endpoint];
    Ended::from(senren(&[&apply[..], &trusted].concat()).output().unwrap()).check(0, &[]);
    let history = run(&[&trusted[..], &["-o", "json"]].concat()).json();
    assert_eq!(history["entries"][0]["author"], "ann", "who proves a name has that name");
    end(plane, &log);
}
