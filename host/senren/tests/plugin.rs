//! What an author of plugins does with the binary. The guide itself is run as it is written by `docs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
};

use common::run;
use senren_plugin_wrong::bugs;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The wrong plugin, with one bug.
fn wrong(dir: &Path, bug: &str) -> String {
    let component = senren_plugin_build::component(&root().join("tests/plugins/wrong")).unwrap();
    let path = dir.join(format!("{bug}.wasm"));
    fs::write(&path, bugs::with(&fs::read(component).unwrap(), bug).unwrap()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_new_plugin_takes_no_directory_that_is_in_use_and_no_name_that_is_none() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("mine"), "x").unwrap();
    let path = dir.path().to_str().unwrap();
    run(&["plugin", "new", "cache", "--dir", path]).check(2, &["is not empty", "--dir"]);
    run(&["plugin", "new", "Cache"]).check(2, &["first a letter and last no -"]);
    run(&["plugin", "new", "cache", "--sdk", path, "--dir", "x"]).check(2, &["no checkout"]);
}

#[test]
fn a_failed_check_ends_with_1_and_explains_itself_and_its_call_can_be_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = wrong(dir.path(), "no-pointer");
    let failures = dir.path().join("failures");
    let junit = dir.path().join("junit.xml");
    let (kept, xml) = (failures.to_str().unwrap(), junit.to_str().unwrap());
    let ended = run(&["plugin", "check", &file, "--only", "misuse", "--junit", xml, "--reproductions", kept]);
    let ended = ended.check(1, &[]);
    for part in ["FAILED misuse", "its path \"size\" is no JSON Pointer", "fix:", "1 failed"] {
        assert!(ended.stdout.contains(part), "no {part:?} in:\n{}", ended.stdout);
    }
    let junit = fs::read_to_string(junit).unwrap();
    assert!(junit.contains("failures=\"1\"") && junit.contains("no JSON Pointer"), "{junit}");

    let call = failures.join("misuse-1.json");
    let replayed = run(&["plugin", "call", &file, call.to_str().unwrap()]).check(0, &[]).json();
    assert_eq!(replayed["answered"]["admit"]["Err"][0]["path"], "size", "{replayed}");
    let right = wrong(dir.path(), "none");
    let replayed = run(&["plugin", "call", &right, call.to_str().unwrap()]).check(0, &[]).json();
    assert_eq!(replayed["answered"]["admit"]["Err"][0]["path"], "/size", "{replayed}");
}

#[test]
fn programs_get_json_and_wrong_usage_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = wrong(dir.path(), "none");
    let reports = run(&["plugin", "check", &file, "--only", "diff-none", "-o", "json"]).check(0, &[]).json();
    let verdict = |reports: &Value| reports[0]["verdicts"][0].clone();
    assert_eq!(
        (&verdict(&reports)["check"], &verdict(&reports)["outcome"]),
        (&"diff-none".into(), &"passed".into())
    );
    run(&["plugin", "check", &file, "--only", "diff-non"]).check(2, &["did you mean diff-none"]);
    run(&["plugin", "check", "/nowhere.wasm"]).check(2, &["cannot read /nowhere.wasm"]);
    run(&["plugin", "check"]).check(2, &["FILE.wasm"]);
    let list = run(&["plugin", "check", "--list"]).check(0, &[]);
    assert!(list.stdout.contains("A crash of the host at any write"), "{}", list.stdout);
}

#[test]
fn a_component_is_shown_and_measured() {
    let dir = tempfile::tempdir().unwrap();
    let file = wrong(dir.path(), "none");
    let shown = run(&["plugin", "inspect", &file]).check(0, &[]).stdout;
    for part in
        ["imports   none", "senren:plugin/controller@1.0.0", "integer 1…5", "rolling-restart", "sha256:"]
    {
        assert!(shown.contains(part), "no {part:?} in:\n{shown}");
    }
    let shown = run(&["plugin", "inspect", &file, "-o", "json"]).check(0, &[]).json();
    assert_eq!(shown["types"][0]["owns"][2], "apps/v1/StatefulSet");
    let measured = run(&["plugin", "bench", &file, "-n", "20", "-o", "json"]).check(0, &[]).json();
    let calls = measured["calls"].as_array().unwrap();
    assert_eq!(calls.len(), 5, "{measured}");
    assert!(
        calls.iter().all(|call| call["p50"].as_f64() > Some(0.0) && call["memory_bytes"].as_u64() > Some(0))
    );
}
