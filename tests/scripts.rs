//! The scripts that start servers and make tools, on a machine that has nothing: each says what it lacks and how to
//! get it, before it has started anything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{os::unix::fs::symlink, path::Path, process::Command};

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
