//! How what a site declares is changed: planned, asked about, applied, looked back on, taken back, held, confirmed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::{
    fs,
    time::{Duration, Instant},
};

use common::Dev;

const ONE: &str = "databases:\n  - name: cache\n    type: redis\n    regions: [aws:us-east-1]\n    spec:\n      memory_mb: 64\n";
const NOTHING: &str = "databases: []\n";

/// The same with more memory.
fn more() -> String {
    ONE.replace("64", "96")
}

fn revision(dev: &Dev) -> u64 {
    dev.run(&["status", "-o", "json"]).check(0, &[]).json()["revision"].as_u64().unwrap()
}

#[track_caller]
fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

#[test]
fn a_plan_says_what_would_happen_and_changes_nothing() {
    let dev = Dev::start(ONE);
    let plan = dev.run(&["plan", "-f", &dev.file(&more())]).check(0, &[]);
    assert_has(
        &plan.stdout,
        &["~ update cache (redis) in aws:us-east-1", "memory_mb: 64 → 96", "revision 1: 1 to update."],
    );
    assert!(!plan.stdout.contains('\x1b'), "{}", plan.stdout);

    let two = more() + &ONE.replace("databases:\n", "").replace("cache", "second");
    let json = dev.run(&["plan", "-f", &dev.file(&two), "-o", "json"]).check(0, &[]).json();
    assert_eq!(json["changes"][0]["change"]["action"], "updated");
    let field = &json["changes"][0]["fields"][0];
    assert_eq!(
        (&field["path"], &field["before"], &field["after"]),
        (&"/memory_mb".into(), &64.into(), &96.into())
    );
    assert_eq!(json["changes"][1]["change"]["action"], "created");

    let same = dev.run(&["plan", "-f", &dev.file(ONE)]).check(0, &[]);
    assert_has(&same.stdout, &["nothing would change, 1 unchanged"]);
    dev.run(&["plan", "-f", &dev.file(&ONE.replace("64", "-1"))]).check(2, &["apply.yaml:6:18", "memory_mb"]);
    assert_eq!(revision(&dev), 1);
}

#[test]
fn on_a_terminal_the_plan_is_shown_and_asked_about() {
    let dev = Dev::start(ONE);
    let file = dev.file(&more());
    let no = dev.run_on_terminal(&["apply", "-f", &file], "n\n");
    assert_eq!(no.status, Some(130), "{}", no.stdout);
    assert_has(
        &no.stdout,
        &["\x1b[33m~ update cache (redis)\x1b[0m", "Apply this? [y/N]", "nothing was changed"],
    );
    assert_eq!(revision(&dev), 1);

    let yes = dev.run_on_terminal(&["apply", "-f", &file, "--wait"], "y\n");
    assert_eq!(yes.status, Some(0), "{}", yes.stdout);
    assert_has(&yes.stdout, &["Apply this?", "revision 2: 1 updated", "is as declared"]);

    let again = dev.run_on_terminal(&["apply", "-f", &file], "");
    assert_eq!(again.status, Some(0), "{}", again.stdout);
    assert!(!again.stdout.contains("Apply this?"), "what changes nothing needs no answer: {}", again.stdout);

    let other = dev.run_on_terminal(&["apply", "-f", &file, "--expected-revision", "1"], "y\n");
    assert_eq!(other.status, Some(4), "{}", other.stdout);
    assert_has(&other.stdout, &["is at revision 2, not 1"]);
}

#[test]
fn exactly_what_was_shown_is_applied_or_nothing() {
    let dev = Dev::start(ONE);
    let mut terminal = dev.terminal(&["apply", "-f", &dev.file(&more())]);
    terminal.wait_for("Apply this?");
    dev.apply(&ONE.replace("64", "128"), &[]).check(0, &[]);
    let ended = terminal.answer("y\n");
    assert_eq!(ended.status, Some(4), "{}", ended.stdout);
    assert_has(&ended.stdout, &["nothing was changed", "is at revision 2"]);
}

#[test]
fn a_difference_ends_with_1_and_none_with_0() {
    let dev = Dev::start(ONE);
    let diff = |args: &[&str]| dev.run(&[&["diff"], args].concat());
    let same = "site: default\n".to_owned() + ONE;
    assert_eq!(diff(&["-f", &dev.file(&same)]).check(0, &[]).stdout, "");
    let differs = diff(&["-f", &dev.file(&more())]).check(1, &[]);
    assert_has(
        &differs.stdout,
        &["--- site default, revision 1", "apply.yaml\n@@", "-    memory_mb: 64\n+    memory_mb: 96"],
    );
    assert_eq!(differs.stderr, "");

    dev.apply(&more(), &[]).check(0, &[]);
    assert_has(&diff(&["1"]).check(1, &[]).stdout, &["+++ site default, revision 2", "+    memory_mb: 96"]);
    assert_has(&diff(&["2", "1"]).check(1, &[]).stdout, &["+    memory_mb: 64"]);
    diff(&["2", "2"]).check(0, &[]);
    diff(&["99"]).check(4, &["99"]);
}

#[test]
fn history_is_kept_and_can_be_gone_back_to() {
    let dev = Dev::start(ONE);
    let by = |author: &str, args: &[&str]| dev.run(&[args, &["--author", author]].concat());
    by("ann", &["apply", "--yes", "-f", &dev.file(&more())]).check(0, &[]);
    let back = by("bob", &["rollback", "1", "--yes", "--wait"])
        .check(0, &["revision 3: 1 updated", "is as declared"]);
    assert_has(&back.stdout, &["Ready"]);

    let table = dev.run(&["history"]).check(0, &[]).stdout;
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[1][0], "3", "{table}");
    assert_eq!(&lines[1][2..], ["bob", "Rollback", "to", "1", "1", "updated"], "{table}");
    assert_eq!(&lines[2][2..], ["ann", "Apply", "1", "updated"], "{table}");
    let first = dev.run(&["history", "-o", "json", "-n", "1", "--before", "2"]).check(0, &[]).json();
    assert_eq!(first["entries"][0]["changes"][0]["action"], "created");
    assert!(first["entries"][0]["author"].as_str().unwrap().contains('@'), "{first}");

    let state = dev.run(&["state", "--revision", "2"]).check(0, &[]).stdout;
    assert_has(&state, &["# site default, revision 2, of ", "by ann", "memory_mb: 96"]);
    // What is printed is what would be applied.
    dev.run(&["diff", "2", "-f", &dev.file(&state)]).check(0, &[]);
    let json = dev.run(&["state", "-o", "json"]).check(0, &[]);
    assert_eq!(json.json()["databases"][0]["spec"]["memory_mb"], 64);
    dev.apply(&json.stdout, &[]).check(0, &[]);
    assert_eq!(revision(&dev), 3);
    dev.run(&["state", "--revision", "99"]).check(4, &["99"]);
    let plan = dev.run(&["plan", "--rollback", "2"]).check(0, &[]).stdout;
    assert_has(&plan, &["memory_mb: 64 → 96"]);
}

#[test]
fn a_deletion_of_everything_is_held_until_confirmed() {
    let dev = Dev::start(ONE);
    let plan = dev.run(&["plan", "-f", &dev.file(NOTHING)]).check(0, &[]).stdout;
    assert_has(&plan, &["- delete cache (redis)", "held: ", "1 to delete (1 held)"]);
    let held =
        dev.apply(NOTHING, &["--wait"]).check(6, &["held: ", "not as declared until confirmed", "cache"]);
    assert_has(&held.stdout, &["cache"]);
    let status = dev.run(&["status"]).check(0, &[]).stdout;
    assert_has(&status, &["Ready", "held: "]);

    let asked = dev.run_on_terminal(&["confirm"], "n\n");
    assert_eq!(asked.status, Some(130), "{}", asked.stdout);
    assert_has(&asked.stdout, &["Deletion of cache (redis) in aws:us-east-1", "its data be lost?"]);
    dev.run(&["confirm", "other", "--yes"]).check(4, &[]);
    dev.run(&["confirm", "--yes", "--expected-revision", "1"]).check(4, &["nothing was changed"]);
    dev.run(&["confirm", "cache", "--yes", "--wait"]).check(0, &["1 deleted", "is as declared"]);
    assert_has(&dev.run(&["status"]).check(0, &[]).stdout, &["no database to show"]);

    // Or all at once, by who knows what it means.
    dev.apply(ONE, &["--wait"]).check(0, &[]);
    dev.apply(NOTHING, &["--confirm-data-loss", "--wait"]).check(0, &["is as declared"]);
}

#[test]
fn a_replacement_is_waited_for_beside_what_it_replaces() {
    let dev = Dev::start(ONE);
    let other = ONE.replace("type: redis", "type: template").replace("memory_mb: 64", "host: db.example.com");
    dev.apply(&other, &["--confirm-data-loss", "--wait"]).check(0, &["1 replaced", "is as declared"]);
    dev.apply(ONE, &["--wait"]).check(6, &["1 replaced (1 held)", "not as declared until confirmed"]);
    dev.run(&["confirm", "--yes", "--wait"]).check(0, &["1 replaced", "is as declared"]);
    let status = dev.run(&["status", "-o", "json"]).check(0, &[]).json();
    assert_eq!(status["resources"].as_array().map(Vec::len), Some(1), "{status}");
    assert_eq!(status["resources"][0]["type"], "redis");
}

#[test]
fn what_a_lost_region_keeps_can_be_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let both = ONE.replace("[aws:us-east-1]", "[aws:us-east-1, aws:eu-west-1]");
    assert_eq!(Dev::start_in(dir.path(), &both).end("TERM"), Some(0));
    // As if it had never been here: nobody will speak for that region any more.
    let networks = dir.path().join("data/networks.json");
    let mut known: serde_json::Value = serde_json::from_slice(&fs::read(&networks).unwrap()).unwrap();
    known.as_object_mut().unwrap().remove("aws:eu-west-1").unwrap();
    fs::write(&networks, known.to_string()).unwrap();

    // What is lost is waited for in vain.
    let dev = Dev::start_with(dir.path(), ONE, &["--timeout", "5s"]);
    let end = Instant::now() + Duration::from_secs(30);
    while !dev.run(&["regions"]).stdout.contains("Silent") {
        assert!(Instant::now() < end, "{}", dev.run(&["regions"]).stdout);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_has(&dev.run(&["status"]).stdout, &["eu-west-1", "Deleting"]);
    let forget = |args: &[&str]| dev.run(&[&["force-delete", "--yes", "--region"], args].concat());
    forget(&["aws:us-east-1"]).check(4, &["aws:us-east-1", "connected"]);
    forget(&["aws:eu-west-1", "other"]).check(4, &["nothing that matches"]);
    let asked = dev.run_on_terminal(&["force-delete", "--region", "aws:eu-west-1"], "n\n");
    assert_eq!(asked.status, Some(130), "{}", asked.stdout);
    assert_has(&asked.stdout, &["cache (redis) in aws:eu-west-1", "gone for good"]);
    let done = forget(&["aws:eu-west-1"]).check(0, &[]).stdout;
    assert_has(&done, &["cache", "1 forgotten"]);
    assert!(!dev.run(&["status"]).stdout.contains("eu-west-1"));
    assert_has(&dev.run(&["history", "-n", "1"]).stdout, &["ForceDelete"]);
}
