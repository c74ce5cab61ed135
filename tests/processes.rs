//! The walk with real `redis-server` processes as pods.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use senren_kubesim::{Workloads, workloads::Processes};
use senren_tests::{World, database};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const AWS: &str = "aws:us-east-1";

async fn start() -> World {
    World::start_with(&[AWS], &Workloads::Processes(Processes::default())).await
}

/// The address of a pod.
async fn address(world: &World, pod: &str) -> String {
    let pod = world.cluster(AWS).get("v1/Pod", pod).await.unwrap();
    format!("{}:6379", pod["status"]["podIP"].as_str().unwrap())
}

/// What a Redis says to a command.
async fn ask(address: &str, command: &str) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(format!("{command}\r\n").as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let length = connection.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_smaller_memory_arrives_in_the_running_redis_and_its_data_stay() {
    let world = start().await;
    let features = |memory: u32| database("features", "redis", &[AWS], json!({"memory_mb": memory}));
    world.apply(&[features(64)]).await;
    world.until_ready(1).await;
    assert_eq!(ask(&address(&world, "features-0").await, "SET mark here").await, "+OK\r\n");

    world.apply(&[features(32)]).await;
    world.until_ready(1).await;
    let address = address(&world, "features-0").await;
    assert!(ask(&address, "CONFIG GET maxmemory").await.contains(&(32 * 1024 * 1024).to_string()));
    assert!(ask(&address, "GET mark").await.contains("here"));
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_come_and_go_and_follow_the_primary() {
    let world = start().await;
    let cache = |replicas: u32| database("cache", "redis", &[AWS], json!({"replicas": replicas}));
    world.apply(&[cache(0)]).await;
    world.until_ready(1).await;
    ask(&address(&world, "cache-0").await, "SET mark here").await;

    world.apply(&[cache(2)]).await;
    let three =
        |all: &[senren_api::v1::ResourceStatus]| all.iter().all(|s| s.phase == "Ready" && s.generation == 2);
    world.until("both replicas are there", three).await;
    for replica in ["cache-1", "cache-2"] {
        let address = address(&world, replica).await;
        assert!(ask(&address, "GET mark").await.contains("here"), "{replica} has the data");
        assert!(ask(&address, "SET mark there").await.starts_with("-READONLY"), "{replica} only reads");
    }

    world.apply(&[cache(1)]).await;
    world.cluster(AWS).until("v1/Pod", "cache-2", |pod| pod.is_none()).await;
    assert!(world.cluster(AWS).get("v1/Pod", "cache-1").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_deleted_while_it_starts_is_gone_at_once() {
    let world = start().await;
    for pause in [0, 10, 30, 60, 120] {
        world.apply(&[database("brief", "redis", &[AWS], json!({"replicas": 1}))]).await;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let begin = Instant::now();
        world.apply(&[]).await;
        world.until("it is gone", |all| all.is_empty()).await;
        // Its grace period is a minute; a signal that got lost would take all of it.
        assert!(begin.elapsed() < Duration::from_secs(20), "after {pause} ms: {:?}", begin.elapsed());
    }
}
