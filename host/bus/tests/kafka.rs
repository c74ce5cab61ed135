//! The bus on a real Kafka, named by `KAFKA_BOOTSTRAP_SERVERS`: `cargo test -p senren-bus --test kafka -- --ignored`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use clap::Parser;
use senren_bus::{Bus, BusConfig, BusError, Event, From, Position, Record, Subscription};
use tokio::time::timeout;

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    bus: BusConfig,
}

/// A bus whose topics nobody else uses.
async fn bus() -> Arc<dyn Bus> {
    let unique = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    let prefix = format!("test-{unique}");
    Args::parse_from(["test", "--kafka-topic-prefix", &prefix]).bus.connect().await.unwrap()
}

fn record(bus: &dyn Bus, key: &str, payload: &[u8]) -> Record {
    Record {
        topic: bus.topics().status_topic(),
        key: key.into(),
        headers: vec![("content-type".into(), "text/plain".into())],
        payload: Some(payload.to_vec().into()),
    }
}

async fn read_all(reader: &mut Box<dyn Subscription>) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        match timeout(Duration::from_secs(20), reader.next()).await.expect("an event").unwrap() {
            Event::CaughtUp => return seen,
            Event::Record(found) => {
                seen.push(String::from_utf8(found.record.payload.unwrap().to_vec()).unwrap())
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs KAFKA_BOOTSTRAP_SERVERS"]
async fn a_reader_from_the_start_gets_everything_and_is_told_when_it_has_caught_up() {
    let bus = bus().await;
    let topic = bus.topics().status_topic();
    assert_eq!(
        read_all(&mut bus.subscribe(&topic, From::Earliest).await.unwrap()).await,
        Vec::<String>::new()
    );
    for number in 0..50 {
        let key = format!("aws:region-{}/default/{number}", number % 7);
        bus.publish(record(&*bus, &key, number.to_string().as_bytes())).await.unwrap();
    }
    let started = Instant::now();
    let mut reader = bus.subscribe(&topic, From::Earliest).await.unwrap();
    let mut seen = read_all(&mut reader).await;
    println!("caught up with 50 records after {:?}", started.elapsed());
    seen.sort_by_key(|text| text.parse::<u32>().unwrap());
    assert_eq!(seen, (0..50).map(|number: u32| number.to_string()).collect::<Vec<_>>());
    bus.publish(Record { payload: None, ..record(&*bus, "aws:region-1", b"") }).await.unwrap();
    match timeout(Duration::from_secs(5), reader.next()).await.unwrap().unwrap() {
        Event::Record(found) => {
            assert_eq!((found.record.payload, found.record.key.as_str()), (None, "aws:region-1"));
            assert_eq!(found.record.headers, [("content-type".to_owned(), "text/plain".to_owned())]);
        }
        Event::CaughtUp => panic!("caught up twice"),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs KAFKA_BOOTSTRAP_SERVERS"]
async fn a_reader_goes_on_where_another_one_was() {
    let bus = bus().await;
    let topic = bus.topics().status_topic();
    for number in 0..4 {
        bus.publish(record(&*bus, "aws:r", number.to_string().as_bytes())).await.unwrap();
    }
    let next = async |reader: &mut Box<dyn Subscription>| match timeout(
        Duration::from_secs(30),
        reader.next(),
    )
    .await
    {
        Ok(Ok(Event::Record(found))) => found,
        other => panic!("{other:?}"),
    };
    let mut first = bus.subscribe(&topic, From::Earliest).await.unwrap();
    let mut position = Position::of(first.log());
    for _ in 0..2 {
        position.pass(&next(&mut first).await);
    }
    let mut second = bus.subscribe(&topic, From::Position(position.clone())).await.unwrap();
    assert_eq!(next(&mut second).await.record.payload.unwrap(), "2");
    position.log = "of another Kafka".into();
    let mut third = bus.subscribe(&topic, From::Position(position)).await.unwrap();
    assert_eq!(next(&mut third).await.record.payload.unwrap(), "0");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs KAFKA_BOOTSTRAP_SERVERS"]
async fn ten_megabytes_pass_and_more_is_refused_in_words() {
    let bus = bus().await;
    // What doesn't compress: the worst case.
    let mut seed = 1_u64;
    let mut noise = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 56) as u8
    };
    let large: Vec<u8> = (0..10_000_000).map(|_| noise()).collect();
    bus.publish(record(&*bus, "aws:r", &large)).await.unwrap();
    let mut reader = bus.subscribe(&bus.topics().status_topic(), From::Earliest).await.unwrap();
    match timeout(Duration::from_secs(20), reader.next()).await.unwrap().unwrap() {
        Event::Record(found) => assert_eq!(found.record.payload.unwrap().len(), large.len()),
        Event::CaughtUp => panic!("nothing there"),
    }
    let error = bus.publish(record(&*bus, "aws:r", &[large.clone(), large].concat())).await.unwrap_err();
    assert!(matches!(&error, BusError::TooLarge { bytes: 20_000_000, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs KAFKA_BOOTSTRAP_SERVERS"]
async fn from_publish_to_delivery_takes_milliseconds() {
    let bus = bus().await;
    let mut reader = bus.subscribe(&bus.topics().status_topic(), From::Earliest).await.unwrap();
    assert_eq!(read_all(&mut reader).await, Vec::<String>::new());
    let (mut acknowledged, mut delivered) = (Vec::new(), Vec::new());
    for _ in 0..200 {
        let started = Instant::now();
        let publish = async {
            bus.publish(record(&*bus, "aws:r", &[7; 500])).await.unwrap();
            started.elapsed()
        };
        let deliver = async {
            reader.next().await.unwrap();
            started.elapsed()
        };
        let (ack, delivery) = tokio::join!(publish, deliver);
        acknowledged.push(ack);
        delivered.push(delivery);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for (what, times) in [("acknowledged", &mut acknowledged), ("delivered", &mut delivered)] {
        times.sort();
        println!("{what}: p50 {:?} p90 {:?} max {:?}", times[100], times[180], times[199]);
    }
    assert!(delivered[100] < Duration::from_millis(20), "{:?}", delivered[100]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes ten seconds"]
async fn a_kafka_that_is_not_there_is_named_in_time() {
    let args = ["test", "--kafka-bootstrap-servers", "127.0.0.1:1"];
    let bus = Args::parse_from(args).bus.connect().await.unwrap();
    let error = timeout(Duration::from_secs(25), bus.reach("senren-status")).await.unwrap().unwrap_err();
    assert!(error.retryable() && error.to_string().contains("check KAFKA_BOOTSTRAP_SERVERS"), "{error}");
}
