//! The scripts that start servers and make tools. On a machine that has nothing, each says what it lacks and how to get
//! it, before it has started anything. Where all is there, each stops what it started, and nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    io::{BufRead as _, BufReader},
    os::unix::{fs::symlink, process::ExitStatusExt as _},
    path::Path,
    process::{Child, Command, Stdio},
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// What every machine has.
const BASE: [&str; 20] = [
    "bash",
    "basename",
    "cat",
    "chmod",
    "cp",
    "cut",
    "dirname",
    "env",
    "find",
    "grep",
    "head",
    "id",
    "mkdir",
    "mktemp",
    "rm",
    "sed",
    "seq",
    "sha256sum",
    "sort",
    "tail",
];

/// Runs a script where, besides, there are only `programs`, and nothing was ever built.
fn check(script: &str, programs: &[&str], words: &[&str]) {
    let machine = tempfile::tempdir().unwrap();
    let bin = machine.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    for program in BASE.iter().chain(programs) {
        let there = |dir: &&&str| Path::new(dir).join(program).exists();
        let dir = ["/usr/bin", "/usr/sbin", "/usr/local/go/bin"].iter().find(there);
        let dir = dir.unwrap_or_else(|| panic!("this machine has no {program}"));
        symlink(Path::new(dir).join(program), bin.join(program)).unwrap();
    }
    let mut command = Command::new("/bin/bash");
    command.args(script.split_whitespace()).current_dir(ROOT).env_clear();
    command.env("PATH", &bin).env("HOME", machine.path()).env("CARGO_TARGET_DIR", machine.path());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{script} with {programs:?}");
    assert!(
        words.iter().all(|word| said.contains(word)),
        "{script} with {programs:?} says {said:?}, not {words:?}"
    );
}

#[test]
fn a_script_says_what_it_lacks_and_how_to_get_it() {
    let tools = ["setpriv", "python3"];
    check("tests/kafka/start", &tools, &["Java 17", "apt-get install", "JAVA_HOME"]);
    check("tests/kafka/start", &[], &["setpriv", "apt-get install"]);
    check("tests/cluster/start", &[], &["openssl", "curl", "apt-get install"]);
    check(
        "tests/cluster/start",
        &["openssl", "curl", "setpriv", "python3"],
        &["golang-go", "go.dev", "KUBEBUILDER_ASSETS"],
    );
    check("tests/kafka/secure /tmp", &[], &["openssl", "apt-get install"]);
    check("scripts/helm", &[], &["Helm 3", "helm.sh", "golang-go", "go.dev"]);
    check("scripts/python", &[], &["python3", "venv", "apt-get install"]);
    check("scripts/setup", &[], &["redis-server", "bubblewrap", "install them with your system's tools"]);
    check(
        "scripts/setup e2e",
        &[],
        &["default-jre-headless", "maven", "golang-go", "python3-venv", "openssl"],
    );
}

/// Starts a server by its script, and waits until it is up: the script, what it prints, and its processes.
fn start(script: &str) -> (Child, String, Vec<String>) {
    // As in a terminal: what runs in the background ignores Ctrl-C, and so does all that it starts.
    let mut command = Command::new("env");
    command.arg("--default-signal=INT").arg(format!("{ROOT}/{script}"));
    command.env_remove("KUBECONFIG").env_remove("KAFKA_BOOTSTRAP_SERVERS").stdout(Stdio::piped());
    let mut script = command.spawn().unwrap();
    let setting = BufReader::new(script.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    let processes = children(script.id());
    (script, setting, processes)
}

/// Their directories in `/proc`.
fn children(parent: u32) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let is_child = |process: &String| {
        let stat = std::fs::read_to_string(format!("{process}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        fields.split_whitespace().nth(1) == Some(parent.to_string().as_str())
    };
    processes.map(|process| process.path().display().to_string()).filter(is_child).collect()
}

fn check_stop(script: &str, processes: usize) {
    let (mut one, setting, its) = start(script);
    let (mut other, _, others) = start(script);
    assert_eq!((its.len(), others.len()), (processes, processes), "{script}");
    let there = |process: &String| Path::new(process).exists();
    let stop = |script: &mut Child, signal: &str| {
        assert!(Command::new("kill").args([signal, &script.id().to_string()]).status().unwrap().success());
        let ended = script.wait().unwrap();
        ended.code().or(ended.signal()).unwrap()
    };
    assert_eq!(stop(&mut one, "-TERM"), 143, "{script}");
    assert!(!its.iter().any(there), "{script} left {its:?}");
    assert!(others.iter().all(there), "{script} stopped another's {others:?}");
    // A kubeconfig is in the directory of its data.
    let named = setting.split_once('=').unwrap().1;
    assert!(!Path::new(named).exists(), "{script} left {named}");
    assert_eq!(stop(&mut other, "-INT"), 130, "{script}");
    assert!(!others.iter().any(there), "{script} left {others:?}");
}

#[test]
#[ignore = "real engines: make e2e"]
fn a_start_script_stops_what_it_started_and_nothing_else() {
    check_stop("tests/kafka/start", 1);
    check_stop("tests/cluster/start", 3);
}
