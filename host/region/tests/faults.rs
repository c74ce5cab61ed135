//! The whole plane against an unreliable Kubernetes API, and killed at every one of its writes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::{sync::Arc, time::Duration};

use common::*;
use futures::{StreamExt as _, stream};
use senren_api::v1::DesiredResource;
use senren_bus::{Bus as _, MemoryBus};
use senren_kubesim::faults::{Fault, Faults, Rule};
use senren_region::run;
use tokio_util::sync::CancellationToken;

async fn publish(bus: &MemoryBus, version: u64, resources: &[DesiredResource]) {
    bus.publish(encode(&state(version, None, resources))).await.unwrap();
}

fn first() -> Vec<DesiredResource> {
    vec![redis("a", 1), redis("b", 2)]
}

/// `a` goes, `b` changes, `c` comes.
fn second() -> Vec<DesiredResource> {
    let changed = DesiredResource { generation: 2, ..resource("b", "redis", 2, r#"{"memory_mb": 96}"#) };
    vec![changed, redis("c", 3)]
}

fn confirms(bus: &MemoryBus, version: u64) -> bool {
    heartbeats(bus).last().is_some_and(|beat| beat.version == version)
}

/// Everything is as the second state wants it, and said.
fn is_second(bus: &MemoryBus) -> bool {
    let latest = latest(bus);
    let said = |number: u8| latest.get(&format!("{UID}{number}")).map(line).unwrap_or_default();
    let gone = ["", "a 1 g0 Deleting  deleted"].contains(&said(1).as_str());
    confirms(bus, 2) && gone && said(2) == "b 2 g2 Ready AllReady" && said(3) == "c 3 g1 Ready AllReady"
}

async fn until_second(what: &str, cluster: &senren_kubesim::KubeSim, bus: &MemoryBus) {
    for _ in 0..1000 {
        if is_second(bus) {
            let names: Vec<_> = crs(cluster.client(), "redis")
                .await
                .into_iter()
                .map(|cr| cr.metadata.name.unwrap())
                .collect();
            assert_eq!(names, ["b", "c"], "{what}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let said: Vec<String> = latest(bus).values().map(line).collect();
    panic!(
        "{what}: {said:?}, {:?}",
        heartbeats(bus).last().map(|beat| (beat.version, beat.problems.clone()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreliable_api_delays_and_never_prevents() {
    let (cluster, bus) = (living_cluster().await, MemoryBus::default());
    let faults = Faults::new([
        Rule::on(Fault::ServerError).writes().resource("redisdatabases").first(3),
        Rule::on(Fault::Conflict).verb("DELETE").resource("redisdatabases").first(2),
        Rule::on(Fault::LostAnswer).writes().one_in(7, 1),
        Rule::on(Fault::ServerError).reads().one_in(9, 2),
        Rule::on(Fault::CutWatch { after: 3 }).watches().one_in(2, 3),
    ]);
    let shutdown = CancellationToken::new();
    let client = cluster.client_with(faults.clone());
    let plane = tokio::spawn(run(config(REGION), client, Arc::new(bus.clone()), engine(), shutdown.clone()));
    publish(&bus, 1, &first()).await;
    until("the first state is confirmed", async || confirms(&bus, 1)).await;
    publish(&bus, 2, &second()).await;
    until_second("through faults", &cluster, &bus).await;
    assert!(faults.happened().len() > 5, "{:?}", faults.happened());
    shutdown.cancel();
    plane.await.unwrap().unwrap();
}

/// False: it lived to the end, since there was no n-th write.
async fn crash_at(n: u64, executed: bool) -> bool {
    let (cluster, bus) = (living_cluster().await, MemoryBus::default());
    let faults = Faults::crash_at_write(n, executed);
    let start = |client| {
        tokio::spawn(run(config(REGION), client, Arc::new(bus.clone()), engine(), CancellationToken::new()))
    };
    publish(&bus, 1, &first()).await;
    let plane = start(cluster.client_with(faults.clone()));
    let life = async {
        while !confirms(&bus, 1) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        publish(&bus, 2, &second()).await;
        until_second("without a crash", &cluster, &bus).await;
    };
    let crashed = tokio::select! {
        () = faults.crashed() => true,
        () = life => false,
    };
    plane.abort();
    if crashed {
        publish(&bus, 2, &second()).await;
        let plane = start(cluster.client());
        until_second(&format!("killed at write {n}, executed: {executed}"), &cluster, &bus).await;
        plane.abort();
    }
    crashed
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_write_it_converges_when_it_comes_back() {
    // Ends with the first life that has no such write.
    let lives = stream::iter((1..200).step_by(2)).map(|n| crash_at(n, n % 4 == 1)).buffered(4);
    let crashes = lives.take_while(|crashed| std::future::ready(*crashed)).count().await;
    println!("killed {crashes} times");
    assert!(crashes > 15, "{crashes}");
}
