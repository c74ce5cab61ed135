//! `senren dev` as a user meets it: real PostgreSQL, real plugins, real Redis processes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::{fs, path::Path};

use common::{Dev, assert_all_end, descendants};
use senren_kubesim::{Config, KubeSim, Workloads, workloads::Simulated};

const QUICKSTART: &str = include_str!("../../../examples/quickstart.yaml");
const NOTHING: &str = "databases: []\n";
const ONE: &str = "databases:\n  - name: cache\n    type: redis\n    regions: [aws:us-east-1]\n    spec:\n      memory_mb: 64\n";

#[test]
fn the_quickstart_is_proven_and_a_second_run_finds_its_data() {
    let dir = tempfile::tempdir().unwrap();
    let first = Dev::once(dir.path(), QUICKSTART).check(0, &["4 created"]);
    for part in [
        "aws:us-east-1 carts: PING",
        "all 16384 slots are served, SET and GET work in each of 3 shards, and its replicas have the value",
        "aws:us-east-1 global-features: PING",
        "gcp:us-central1 global-features: PING",
        "aws:us-east-1 sessions: PING",
        "with its password, and its replicas have the value",
        "4 databases are proven",
    ] {
        assert!(first.stdout.contains(part), "no {part:?} in\n{}", first.stdout);
    }
    assert!(!first.stdout.contains("still held"), "{}", first.stdout);

    let second = Dev::once(dir.path(), QUICKSTART).check(0, &["4 unchanged"]);
    let kept = second.stdout.matches("it still held \"written by senren dev at ").count();
    assert_eq!(kept, 4, "{}", second.stdout);
}

#[test]
fn no_process_is_left_behind_whatever_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    for (signal, status) in [("KILL", None), ("TERM", Some(0)), ("INT", Some(0))] {
        let dev = Dev::start_in(dir.path(), ONE);
        let processes = descendants(dev.pid());
        for name in ["postgres", "redis-server"] {
            assert!(processes.iter().any(|process| process.name == name), "no {name} in {processes:?}");
        }
        assert_eq!(dev.end(signal), status, "after SIG{signal}");
        assert_all_end(processes);
    }
}

#[test]
fn waiting_for_a_region_that_was_never_seen_warns_and_times_out() {
    let dev = Dev::start(NOTHING);
    let ended = dev.apply(ONE, &["--wait", "--timeout", "1s"]);
    ended.check(5, &["RegionNeverSeen", "not ready after 1s", "aws:us-east-1  cache: Pending"]);
}

#[test]
fn apply_status_and_regions_agree() {
    let dev = Dev::start(ONE);
    let two = ONE.replace("cache", "second") + &ONE.replace("databases:\n", "");
    let applied = dev.apply(&two, &["--wait", "-o", "json"]).check(0, &["1 created, 1 unchanged"]);
    let resources = applied.json()["resources"].as_array().unwrap().clone();
    assert!(resources.iter().all(|r| r["ready"] == true && r["phase"] == "Ready"), "{resources:?}");

    let status = dev.run(&["status", "-o", "json"]).check(0, &[]).json();
    assert_eq!(status["resources"].as_array().unwrap().len(), 2);
    assert_eq!(status["resources"][0]["spec"]["memory_mb"], 64);
    let table = dev.run(&["status", "second"]).check(0, &[]).stdout;
    assert!(table.contains("second") && table.contains("Ready") && !table.contains("cache"), "{table}");
    let yaml = dev.run(&["regions", "-o", "yaml"]).check(0, &[]).stdout;
    assert!(yaml.contains("id: aws:us-east-1") && yaml.contains("phase: Connected"), "{yaml}");

    let gone = dev.apply(ONE, &["--wait"]).check(0, &["1 deleted, 1 unchanged"]);
    assert!(!gone.stdout.contains("second"), "{}", gone.stdout);
}

#[test]
fn what_the_control_plane_refuses_is_told_at_its_place_in_the_file() {
    let dev = Dev::start(ONE);
    let bad = ONE.replace("memory_mb: 64", "memory_mb: -1\n      colour: red");
    dev.apply(&bad, &[]).check(
        2,
        &[
            "has 2 problems",
            "apply.yaml:6:18: databases[0].spec/memory_mb: ",
            "apply.yaml:7:15: databases[0].spec/colour: ",
        ],
    );
    dev.apply(&ONE.replace("redis", "oracle"), &[])
        .check(2, &["apply.yaml:3:11: databases[0].type: ", "no region has a plugin", "\"oracle\""]);
    dev.apply(ONE, &["--expected-revision", "99"]).check(4, &["refused"]);
    let protected = ONE.to_owned() + "    deletion_protection: true\n";
    dev.apply(&protected, &[]).check(0, &[]);
    dev.apply(NOTHING, &[]).check(4, &["nothing was changed", "cache"]);
}

#[test]
fn a_data_directory_has_one_dev_at_a_time() {
    let dev = Dev::start(NOTHING);
    let second = Dev::once(&dev.dir, NOTHING);
    second.check(1, &[&format!("another senren dev (process {})", dev.pid()), "--data-dir"]);
}

#[test]
fn a_plugin_that_cannot_be_loaded_harms_nobody_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let plugins = dir.path().join("plugins");
    fs::create_dir_all(&plugins).unwrap();
    copy_plugins(&plugins);
    fs::write(plugins.join("broken.wasm"), "not wasm").unwrap();
    let file = dir.path().join("state.yaml");
    fs::write(&file, ONE).unwrap();
    let addr = common::free_addr().to_string();
    let ended: common::Ended = common::senren(&["dev", file.to_str().unwrap(), "--once", "--listen", &addr])
        .arg("--data-dir")
        .arg(dir.path().join("data"))
        .arg("--plugin-dir")
        .arg(&plugins)
        .output()
        .unwrap()
        .into();
    ended.check(0, &["aws:us-east-1", "broken.wasm"]);
}

#[test]
fn a_database_whose_program_is_missing_is_only_simulated_and_not_proven() {
    let dir = tempfile::tempdir().unwrap();
    let (file, programs) = (dir.path().join("state.yaml"), dir.path().join("programs"));
    fs::write(&file, ONE).unwrap();
    fs::create_dir(&programs).unwrap();
    for found in
        std::env::split_paths(&std::env::var_os("PATH").unwrap()).filter_map(|d| fs::read_dir(d).ok())
    {
        for program in found.flatten().filter(|program| program.file_name() != "redis-server") {
            // Of two with one name, the first counts, as on PATH.
            let _ = std::os::unix::fs::symlink(program.path(), programs.join(program.file_name()));
        }
    }
    let mut dev = common::command(dir.path(), &file, common::free_addr(), &["--once"]);
    let ended = common::Ended::from(dev.env("PATH", &programs).output().unwrap());
    let ended = ended.check(1, &["1 of 1 databases could not be proven"]);
    assert!(
        ended.stdout.contains("only simulated") && ended.stdout.contains("redis-server"),
        "{}",
        ended.stdout
    );
}

#[test]
fn a_type_without_a_program_here_is_simulated_and_the_table_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let profiles = "databases:\n  - name: profiles\n    type: aerospike\n    regions: [aws:us-east-1]\n    spec: {nodes: 2, namespaces: {users: {}}}\n";
    let ended = Dev::once(dir.path(), profiles).check(0, &["1 created"]);
    let row = ended.stdout.lines().find(|line| line.contains("profiles")).unwrap();
    assert!(row.contains("Ready") && row.ends_with("simulated"), "{}", ended.stdout);
    assert!(ended.stdout.contains("aws:us-east-1 profiles: simulated: "), "{}", ended.stdout);
    assert!(ended.stdout.contains("none of 1 database can be proven here"), "{}", ended.stdout);
}

#[tokio::test]
async fn the_clusters_are_served_for_kubectl() {
    let dev = Dev::start(ONE);
    let file = dev.dir.join("data/aws-us-east-1.kubeconfig");
    assert!(dev.output().contains(&format!("kubectl --kubeconfig {}", file.display())), "{}", dev.output());
    let kubeconfig = kube::config::Kubeconfig::read_from(&file).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
    let client = kube::Client::try_from(config).unwrap();
    let pods: kube::Api<k8s_openapi::api::core::v1::Pod> = kube::Api::default_namespaced(client);
    let names: Vec<_> = pods
        .list(&Default::default())
        .await
        .unwrap()
        .into_iter()
        .filter_map(|pod| pod.metadata.name)
        .collect();
    assert_eq!(names, ["cache-0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_may_be_on_a_cluster_that_is_not_ours() {
    let config = Config { workloads: Workloads::Simulated(Simulated::default()), ..Config::default() };
    let cluster = KubeSim::start(config).await.unwrap();
    let served = cluster.serve("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (file, kubeconfig) = (dir.path().join("state.yaml"), dir.path().join("kubeconfig"));
    served.write_kubeconfig(&kubeconfig, "elsewhere", "default").unwrap();
    let run = |region: &str| -> common::Ended {
        fs::write(&file, ONE.replace("aws:us-east-1", region)).unwrap();
        let data = tempfile::tempdir().unwrap();
        let given = format!("{region}={}", kubeconfig.display());
        let args = ["--once", "--timeout", "30s", "--kubeconfig", &given];
        common::command(data.path(), &file, common::free_addr(), &args).output().unwrap().into()
    };
    let ended = tokio::task::block_in_place(|| run("aws:us-east-1")).check(0, &["1 created"]);
    assert!(ended.stdout.contains("aws:us-east-1 cache: not tried from here"), "{}", ended.stdout);
    let sets: kube::Api<k8s_openapi::api::apps::v1::StatefulSet> =
        kube::Api::namespaced(cluster.client(), "senren-default");
    assert!(sets.get("cache").await.is_ok(), "what was made there stays there");

    // The cluster is that region's, and no other's.
    tokio::task::block_in_place(|| run("aws:eu-west-1"))
        .check(1, &["regional plane of aws:eu-west-1", "aws:us-east-1"]);
    cluster.shutdown().await;
}

fn copy_plugins(to: &Path) {
    for file in fs::read_dir(common::plugin_dir()).unwrap().flatten() {
        if file.path().extension().is_some_and(|extension| extension == "wasm") {
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
}
