//! The life of a private server, seen from outside: through `psql`, the process table and the file system.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use senren_localpg::{LocalPostgres, test_database};

fn sql(url: &str, sql: &str) -> String {
    let output = Command::new("psql").args(["-XAtq", "-d", url, "-c", sql]).output().unwrap();
    assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// A directory that a server which had to drop root's rights can reach.
fn reachable() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

/// A copy of one cluster that was created as any is: that takes seconds, mostly of waiting for the disk.
fn prepare(data: &Path) {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    let template = TEMPLATE.get_or_init(|| {
        // In the target directory, since a static is never dropped.
        let template = Path::new(env!("CARGO_TARGET_TMPDIR")).join("localpg-template");
        let _ = fs::remove_dir_all(&template);
        drop(LocalPostgres::start(&template).unwrap());
        template
    });
    fs::create_dir_all(data).unwrap();
    let copied = Command::new("cp").arg("-a").arg(template.join("cluster")).arg(data).status().unwrap();
    assert!(copied.success());
}

#[test]
fn a_second_start_finds_the_data_of_the_first() {
    let dir = reachable();
    let data = dir.path().join("pg");
    let first = LocalPostgres::start(&data).unwrap();
    let url = first.url("senren").unwrap();
    sql(&url, "CREATE TABLE t AS SELECT 42 AS answer");
    assert_eq!(sql(&url, "SHOW fsync"), "on");
    let stat = fs::read_to_string(format!("/proc/{}/stat", first.pid())).unwrap();
    let group = stat.rsplit(") ").next().unwrap().split(' ').nth(2).unwrap();
    assert_eq!(group, first.pid().to_string(), "a Ctrl-C in our terminal must not reach it");
    assert_eq!(sql(&url, "SHOW listen_addresses"), "");
    let pid = first.pid();
    drop(first);
    assert!(!alive(pid));

    let second = LocalPostgres::start(&data).unwrap();
    assert_eq!(sql(&second.url("senren").unwrap(), "SELECT answer FROM t"), "42");
    let mode = fs::metadata(&data).unwrap().mode() & 0o777;
    assert_eq!(mode, 0o700, "nobody else may enter the socket's directory");
}

#[test]
fn a_directory_that_is_in_use_is_refused_with_its_pid() {
    let dir = reachable();
    prepare(dir.path());
    let first = LocalPostgres::start(dir.path()).unwrap();
    let error = LocalPostgres::start(dir.path()).err().unwrap().to_string();
    assert!(error.contains(&format!("pid {}", first.pid())), "{error}");
}

#[test]
fn a_stale_pid_file_whose_pid_belongs_to_somebody_else_by_now_is_cleared_away() {
    let dir = reachable();
    prepare(dir.path());
    let line = format!("{}\n", std::process::id());
    fs::write(dir.path().join("cluster/postmaster.pid"), line).unwrap();
    let again = LocalPostgres::start(dir.path()).unwrap();
    assert_eq!(sql(&again.url("x").unwrap(), "SELECT 1"), "1");
}

#[test]
fn a_stale_pid_file_whose_pid_is_that_of_another_clusters_server_is_cleared_away() {
    let (dir, other) = (reachable(), reachable());
    prepare(dir.path());
    prepare(other.path());
    let other = LocalPostgres::start(other.path()).unwrap();
    fs::write(dir.path().join("cluster/postmaster.pid"), format!("{}\n", other.pid())).unwrap();
    let again = LocalPostgres::start(dir.path()).unwrap();
    assert_eq!(sql(&again.url("x").unwrap(), "SELECT 1"), "1");
    assert!(alive(other.pid()), "it is left alone");
}

#[test]
fn a_cluster_of_a_version_that_is_not_installed_is_refused_with_it() {
    let dir = reachable();
    fs::create_dir(dir.path().join("cluster")).unwrap();
    fs::write(dir.path().join("cluster/PG_VERSION"), "7\n").unwrap();
    let error = LocalPostgres::start(dir.path()).err().unwrap().to_string();
    assert!(error.contains("made by PostgreSQL 7") && error.contains("install version 7"), "{error}");
}

#[test]
fn a_path_too_long_for_a_socket_and_a_space_in_it_do_not_matter() {
    let dir = reachable();
    let long = dir.path().join("a b").join("x".repeat(100));
    prepare(&long);
    let server = LocalPostgres::start(&long).unwrap();
    assert_eq!(sql(&server.url("senren").unwrap(), "SELECT 1"), "1");
}

#[test]
fn a_directory_below_one_that_only_we_may_enter_works() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let server = LocalPostgres::start(&dir.path().join("pg")).unwrap();
    assert_eq!(sql(&server.url("senren").unwrap(), "SELECT 1"), "1");
    drop(server);
    let again = LocalPostgres::start(&dir.path().join("pg")).unwrap();
    assert_eq!(sql(&again.url("senren").unwrap(), "SELECT 1"), "1");
}

#[test]
fn a_bad_database_name_is_refused() {
    let dir = reachable();
    prepare(dir.path());
    let server = LocalPostgres::start(dir.path()).unwrap();
    assert!(server.url("a'; DROP").unwrap_err().to_string().contains("is no database name"));
}

const OWNED_DIR: &str = "SENREN_TEST_OWNED_DIR";

/// Not a test by itself: the process that the next one kills.
#[test]
#[ignore = "run by the_server_dies_with_its_owner_even_by_kill_9"]
fn owner() {
    let Some(dir) = env::var_os(OWNED_DIR) else { return };
    let server = LocalPostgres::start(&PathBuf::from(dir)).unwrap();
    sql(&server.url("senren").unwrap(), "CREATE TABLE t AS SELECT 7 AS answer");
    println!("\npid {}", server.pid());
    thread::sleep(Duration::from_secs(600));
}

fn start_owner(dir: &Path) -> (std::process::Child, u32) {
    let mut owner = Command::new(env::current_exe().unwrap())
        .args(["--exact", "owner", "--ignored", "--nocapture"])
        .env(OWNED_DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let mut pids = lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("pid ")?.parse().ok());
    let pid = pids.next().expect("the owner prints the server's pid");
    (owner, pid)
}

#[test]
fn the_server_dies_with_its_owner_even_by_kill_9() {
    for private in [false, true] {
        let dir = reachable();
        if private {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        }
        let data = dir.path().join("pg");
        prepare(&data);
        let (mut owner, server) = start_owner(&data);
        assert!(alive(server));
        owner.kill().unwrap();
        owner.wait().unwrap();
        // At once, as an impatient user would: it waits for the shutdown and goes on.
        let again = LocalPostgres::start(&data).unwrap();
        let begin = Instant::now();
        while alive(server) {
            assert!(begin.elapsed() < Duration::from_secs(5), "the first server is still there");
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(sql(&again.url("senren").unwrap(), "SELECT answer FROM t"), "7");
    }
}

#[test]
fn every_test_has_a_database_of_its_own() {
    let (a, b) = (test_database(), test_database());
    assert_ne!(a.url, b.url);
    let begin = Instant::now();
    sql(&a.url, "CREATE TABLE t (x int)");
    assert_eq!(sql(&b.url, "SELECT count(*) FROM pg_tables WHERE tablename = 't'"), "0");
    assert!(begin.elapsed() < Duration::from_secs(10));
}
