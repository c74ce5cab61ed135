//! One script of API calls against the embedded API and a real kube-apiserver; every answer is compared.
//!
//! The real server's answers are recorded in `recorded/`: what runs without Kubernetes compares with those, and `make
//! e2e` that they are still true. Where the two differ stands in `differences.yaml`, with the reason: a difference that
//! isn't listed there fails, and so does a listed one that there is no more. With `KUBESIM_RECORD=1` the tests write
//! what they would compare: the ignored one what is recorded, the other the table in the README.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod differences;
mod driver;
mod normal;
mod real;
mod script;

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::join_all;
use senren_kubesim::{Config, KubeSim, Workloads, workloads::Simulated};

use differences::{Answers, Difference};
use driver::Answer;

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential")
}

fn recording() -> bool {
    std::env::var_os("KUBESIM_RECORD").is_some()
}

fn table() -> Vec<Difference> {
    script::read(&here().join("differences.yaml"))
}

fn file_of(chapter: &str) -> PathBuf {
    here().join("recorded").join(format!("{chapter}.json"))
}

/// What a real server answered.
fn recorded() -> Answers {
    let read = |chapter: script::Chapter| {
        let path = file_of(&chapter.name);
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (chapter.name, serde_json::from_str::<Vec<Answer>>(&text).expect("answers"))
    };
    script::chapters().into_iter().map(read).collect()
}

/// The answers of the embedded API, each chapter's on a cluster of its own.
async fn embedded() -> Answers {
    let chapters = script::chapters();
    let runs = chapters.iter().map(|chapter| async {
        let workloads = Workloads::Simulated(Simulated::default());
        let sim = KubeSim::start(Config { workloads, ..Config::default() }).await.unwrap();
        let mut answers = driver::run(chapter, &sim.client(), Duration::from_secs(10)).await;
        normal::normalize(&mut answers);
        sim.shutdown().await;
        (chapter.name.clone(), answers)
    });
    join_all(runs).await.into_iter().collect()
}

#[tokio::test]
async fn the_embedded_api_answers_as_the_real_one_did_but_for_the_listed_differences() {
    let problems = differences::check(&table(), &recorded(), &embedded().await);
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[tokio::test]
#[ignore = "real engines: make e2e"]
async fn a_real_server_still_answers_as_recorded() {
    let cluster = real::Cluster::start();
    let client = cluster.client().await;
    let chapters = script::chapters();
    let runs = chapters.iter().map(|chapter| async {
        let mut answers = driver::run(chapter, &client, Duration::from_secs(120)).await;
        normal::normalize(&mut answers);
        (chapter.name.clone(), answers)
    });
    let now: Answers = join_all(runs).await.into_iter().collect();
    if recording() {
        for (chapter, answers) in &now {
            let text = serde_json::to_string_pretty(answers).unwrap();
            std::fs::write(file_of(chapter), text + "\n").unwrap();
        }
    }
    let problems = differences::check(&[], &recorded(), &now);
    assert!(problems.is_empty(), "not as recorded (`kubesim` is the server now):\n{}", problems.join("\n"));
}

#[test]
fn the_readme_has_the_table_of_the_differences() {
    const MARKS: [&str; 2] = ["<!-- differences: written by the test `differential` -->\n", "<!-- end -->"];
    let path = here().join("../../README.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(MARKS[0]).expect("where the table begins");
    let (shown, after) = rest.split_once(MARKS[1]).expect("where it ends");
    let wanted = format!("\n{}\n", differences::markdown(&table()));
    if recording() {
        std::fs::write(&path, [before, MARKS[0], &wanted, MARKS[1], after].concat()).unwrap();
    } else {
        assert!(shown == wanted, "README.md is behind differences.yaml: run this test with KUBESIM_RECORD=1");
    }
}
