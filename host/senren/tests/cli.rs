//! What the command line says and ends with when something is wrong, without any control plane.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::{fs, io::Write as _, net::TcpListener, process::Stdio};

use common::{free_addr, run, senren};

/// `senren apply` of a file with `content`: status 2, with these parts on standard error.
#[track_caller]
fn refuse(content: &str, parts: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state.yaml");
    fs::write(&file, content).unwrap();
    // Nothing listens there, and that must not matter: the file comes first.
    let endpoint = free_addr().to_string();
    let ended = run(&["apply", "-e", &endpoint, "-f", file.to_str().unwrap()]).check(2, parts);
    assert_eq!(ended.stdout, "");
}

#[test]
fn malformed_yaml_is_refused_with_line_and_column() {
    refuse("databases: [\n", &["has a problem", "state.yaml:1:12: ", "no valid YAML: unclosed bracket"]);
    refuse("databases:\n  - name: a\n   type: b\n", &["state.yaml:3:"]);
    refuse("", &["the file is empty", "databases:"]);
}

#[test]
fn every_problem_of_a_file_is_named_at_once() {
    let content = "databases:\n  - {name: a, type: redis, regions: [mars]}\n  - {name: a, typ: redis, regions: [aws:r]}\n";
    refuse(
        content,
        &[
            "has 4 problems",
            "state.yaml:2:38: databases[0].regions[0]: \"mars\" is not a region id",
            "cloud:region",
            "state.yaml:3:12: databases[1].name: there is already a database \"a\" (line 2)",
            "unknown field `typ`; did you mean `type`?",
            "databases[1]: `type` is missing",
        ],
    );
}

#[test]
fn a_file_that_is_not_there_or_no_text_is_named() {
    run(&["apply", "-f", "/nowhere/state.yaml"])
        .check(2, &["cannot read /nowhere/state.yaml", "No such file"]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state.yaml");
    fs::write(&file, [0xff, 0xfe]).unwrap();
    run(&["apply", "-f", file.to_str().unwrap()]).check(2, &["state.yaml is not a text"]);
}

#[test]
fn a_file_can_come_from_standard_input() {
    let mut command = senren(&["apply", "-f", "-"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"nothing: [").unwrap();
    common::Ended::from(child.wait_with_output().unwrap()).check(2, &["(standard input):1:10: "]);
}

#[test]
fn where_no_control_plane_is_we_say_what_was_tried_and_how_to_go_on() {
    let endpoint = free_addr().to_string();
    for command in ["status", "regions"] {
        let parts = [&format!("http://{endpoint}"), "refused", "senren dev", "SENREN_ENDPOINT"];
        run(&[command, "--endpoint", &endpoint]).check(3, &parts);
    }
    run(&["status", "-e", "nowhere.invalid:7443"])
        .check(3, &["https://nowhere.invalid:7443", "TLS was used"]);
}

#[test]
fn a_server_that_is_no_control_plane_is_told_from_none() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().write_all(b"-ERR unknown command 'PRI'\r\n");
        }
    });
    run(&["status", "-e", &endpoint]).check(3, &["cannot reach a control plane", &endpoint]);
}

#[test]
fn wrong_usage_ends_with_2() {
    run(&["status", "-e", "ftp://a"]).check(2, &["no scheme of ours", "localhost:7443"]);
    run(&["apply"]).check(2, &["--file"]);
    run(&["apply", "-f", "x", "--wait", "--timeout", "soon"]).check(2, &["like 90s"]);
    run(&["apply", "-f", "x", "--timeout", "90s"]).check(2, &["--wait"]);
    run(&["frobnicate"]).check(2, &["frobnicate"]);
    run(&["regional", "--region-id", "mars"]).check(2, &["cloud:region"]);
    run(&[]).check(2, &["MODE=control or MODE=regional"]);
}

#[test]
fn a_script_must_say_yes_before_anything_changes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state.yaml");
    fs::write(&file, "databases: []").unwrap();
    let file = file.to_str().unwrap();
    // Nothing listens there: it is not even tried.
    let endpoint = free_addr().to_string();
    let check = |args: &[&str], look: &str| {
        run(&[args, &["-e", &endpoint]].concat())
            .check(2, &["no terminal", "nothing was changed", "--yes", look]);
        run(&[args, &["-e", &endpoint, "--yes"]].concat()).check(3, &["cannot reach"]);
    };
    check(&["apply", "-f", file], &format!("senren plan -f {file}"));
    check(&["rollback", "3", "--site", "shop"], "senren plan --rollback 3 --site shop");
    check(&["confirm", "cache"], "senren status --site default");
    check(&["force-delete", "--region", "aws:r"], "senren status --site default --region aws:r");
}

#[test]
fn a_server_that_never_finishes_a_handshake_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    run(&["status", "-e", &endpoint]).check(3, &["no connection within", &endpoint]);
}

#[test]
fn who_does_not_read_errors_any_more_still_gets_the_status() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let endpoint = free_addr().to_string();
    let status = senren(&["status", "-e", &endpoint]).stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(3));
}

#[test]
fn the_site_is_that_of_the_file_or_the_one_that_is_told_never_one_of_two() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state.yaml");
    fs::write(&file, "site: shop\ndatabases: []").unwrap();
    let file = file.to_str().unwrap();
    let endpoint = free_addr().to_string();
    for command in [&["plan"][..], &["apply", "--yes"], &["diff"]] {
        let check = |site: &[&str], status, parts: &[&str]| {
            run(&[command, &["-f", file, "-e", &endpoint], site].concat()).check(status, parts);
        };
        check(&["--site", "other"], 2, &["is for site shop", "says other"]);
        check(&["--site", "shop"], 3, &["cannot reach"]);
        check(&["--site", ""], 3, &["cannot reach"]);
        check(&[], 3, &["cannot reach"]);
    }
}

#[test]
fn a_mistake_in_how_to_log_is_told() {
    let logging = |name: &str, value: &str| {
        common::Ended::from(senren(&["regions"]).env(name, value).output().unwrap())
    };
    logging("SENREN_LOG", "a=b=c").check(2, &["SENREN_LOG=\"a=b=c\"", "info"]);
    logging("SENREN_LOG_FORMAT", "xml").check(2, &["text or json"]);
}

#[test]
fn certificates_never_go_unused() {
    let dir = tempfile::tempdir().unwrap();
    let pem = dir.path().join("ca.pem");
    fs::write(&pem, "").unwrap();
    let pem = pem.to_str().unwrap();
    run(&["status", "-e", "http://localhost:1", "--ca-cert", pem])
        .check(2, &["of no use at http://localhost:1"]);
    run(&["status", "-e", "localhost:1", "--ca-cert", "/nowhere/ca.pem"]).check(2, &["/nowhere/ca.pem"]);
    run(&["status", "--cert", pem]).check(2, &["--key"]);
    // Also on this machine, they ask for TLS.
    let endpoint = format!("localhost:{}", free_addr().port());
    run(&["status", "-e", &endpoint, "--ca-cert", pem]).check(3, &[&format!("https://{endpoint}")]);
}

#[test]
fn a_difference_is_between_two_things() {
    run(&["diff"]).check(2, &["<FROM>"]);
    run(&["diff", "1", "2", "-f", "x"]).check(2, &["cannot be used with"]);
    run(&["diff", "1", "-f", "/nowhere"]).check(2, &["cannot read /nowhere"]);
    run(&["diff", "1", "-e", &free_addr().to_string()]).check(3, &["cannot reach"]);
    run(&["plan"]).check(2, &["--file", "--rollback"]);
}

#[test]
fn a_plane_is_also_chosen_by_the_environment() {
    let mode = |mode: &str| common::Ended::from(senren(&[]).env("MODE", mode).output().unwrap());
    mode("control").check(2, &["--database-url", "set DATABASE_URL, KAFKA_BOOTSTRAP_SERVERS"]);
    mode("regional").check(2, &["--region-id", "set REGION_ID, KAFKA_BOOTSTRAP_SERVERS"]);
    mode("both").check(2, &["MODE=\"both\" is no plane", "control or regional"]);
}

#[test]
fn dev_says_what_is_missing_before_it_starts_anything() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state.yaml");
    fs::write(&file, "databases: []").unwrap();
    let (file, empty) = (file.to_str().unwrap(), dir.path().to_str().unwrap());
    run(&["dev", file, "--plugin-dir", empty]).check(2, &["no plugin (.wasm) in", "make plugins"]);

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    fs::write(dir.path().join("a.wasm"), "").unwrap();
    run(&["dev", file, "--plugin-dir", empty, "--listen", &addr]).check(1, &[&addr, "in use", "--listen"]);
}

#[test]
fn the_version_is_told() {
    let ended = run(&["--version"]).check(0, &[]);
    assert_eq!(ended.stdout.trim(), format!("senren {}", env!("CARGO_PKG_VERSION")));
}
