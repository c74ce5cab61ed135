//! A whole control plane, through its port: what an operator starts and a client calls.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use common::{REGION, database, heartbeat, report_of};
use futures::StreamExt as _;
use senren_api::v1::{self, control_plane_client::ControlPlaneClient, watch_status_response::Kind};
use senren_bus::{Bus as _, Event, From, MemoryBus, Topics, codec};
use senren_control::{Control, ControlConfig};
use senren_localpg::{TestDatabase, test_database};
use tokio_util::sync::CancellationToken;
use tonic::{Code, transport::Channel};

async fn start(database: &TestDatabase, bus: &MemoryBus, shutdown: &CancellationToken) -> Control {
    let config = ControlConfig {
        database_url: database.url.clone(),
        listen_addr: SocketAddr::from(([127, 0, 0, 1], 0)),
        ..ControlConfig::default()
    };
    Control::start(config, Arc::new(bus.clone()), shutdown.clone()).await.unwrap()
}

async fn client(control: &Control) -> ControlPlaneClient<Channel> {
    ControlPlaneClient::connect(format!("http://{}", control.addr())).await.unwrap()
}

fn apply(databases: Vec<v1::Database>) -> v1::ApplyStateRequest {
    v1::ApplyStateRequest { databases, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_walk_from_apply_to_ready_and_back_with_two_control_planes() {
    let (database_, bus, shutdown) = (test_database(), MemoryBus::default(), CancellationToken::new());
    let (one, two) = (start(&database_, &bus, &shutdown).await, start(&database_, &bus, &shutdown).await);
    let (mut here, mut there) = (client(&one).await, client(&two).await);
    let mut states = bus.subscribe("senren-state", From::Earliest).await.unwrap();
    let mut events = there.watch_status(v1::WatchStatusRequest::default()).await.unwrap().into_inner();
    assert_eq!(events.next().await.unwrap().unwrap().kind(), Kind::Synced);

    let begin = Instant::now();
    here.apply_state(apply(vec![database("a", &[REGION])])).await.unwrap();
    let state = loop {
        if let Event::Record(delivery) = states.next().await.unwrap() {
            break codec::decode_state(&delivery.record).unwrap();
        }
    };
    println!("apply → published: {:?}", begin.elapsed());
    assert_eq!((state.version, state.resources.len()), (1, 1));

    let pending = events.next().await.unwrap().unwrap().resource.unwrap();
    assert_eq!(pending.reason, "RegionNeverSeen");
    let topics = Topics::default();
    bus.publish(codec::encode_report(&topics, &heartbeat(REGION, 1, 1, &state.content_hash))).await.unwrap();
    bus.publish(codec::encode_report(&topics, &report_of(&pending, 2, "Ready"))).await.unwrap();
    loop {
        let event =
            tokio::time::timeout(Duration::from_secs(5), events.next()).await.expect("ready").unwrap();
        if event.unwrap().resource.unwrap().ready {
            break;
        }
    }
    let regions = here.list_regions(v1::ListRegionsRequest {}).await.unwrap().into_inner().regions;
    assert!(regions[0].in_sync);

    shutdown.cancel();
    assert_eq!(events.next().await.unwrap().unwrap_err().code(), Code::Unavailable);
    let begin = Instant::now();
    one.join().await.unwrap();
    two.join().await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_and_its_publication_take_milliseconds() {
    let (database_, bus, shutdown) = (test_database(), MemoryBus::default(), CancellationToken::new());
    let control = start(&database_, &bus, &shutdown).await;
    let mut client = client(&control).await;
    let mut states = bus.subscribe("senren-state", From::Earliest).await.unwrap();
    let (mut answered, mut published) = (Vec::new(), Vec::new());
    for index in 0..60 {
        let begin = Instant::now();
        let spec_json = format!("{{\"memory_mb\": {}}}", 64 + index);
        let database = v1::Database { spec_json, ..database("a", &[REGION]) };
        let apply = async {
            client.apply_state(apply(vec![database])).await.unwrap();
            answered.push(begin.elapsed());
        };
        let relay = async {
            while !matches!(states.next().await.unwrap(), Event::Record(_)) {}
            published.push(begin.elapsed());
        };
        tokio::join!(apply, relay);
    }
    let p50 = |times: &mut Vec<Duration>| {
        times.drain(..10);
        times.sort();
        times[times.len() / 2]
    };
    let (answered, published) = (p50(&mut answered), p50(&mut published));
    println!("call → answer: p50 {answered:?}; call → published: p50 {published:?}");
    assert!(published < Duration::from_millis(100), "{published:?}");
    shutdown.cancel();
    control.join().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_goes_on_where_the_first_one_ended() {
    let (database_, bus) = (test_database(), MemoryBus::default());
    let shutdown = CancellationToken::new();
    let first = start(&database_, &bus, &shutdown).await;
    client(&first).await.apply_state(apply(vec![database("a", &[REGION])])).await.unwrap();
    shutdown.cancel();
    first.join().await.unwrap();

    let shutdown = CancellationToken::new();
    let second = start(&database_, &bus, &shutdown).await;
    let status =
        client(&second).await.get_status(v1::GetStatusRequest::default()).await.unwrap().into_inner();
    assert_eq!((status.revision, status.resources.len()), (1, 1));
    shutdown.cancel();
    second.join().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_that_is_down_delays_and_loses_nothing() {
    let (database_, bus, shutdown) = (test_database(), MemoryBus::default(), CancellationToken::new());
    let control = start(&database_, &bus, &shutdown).await;
    let mut client = client(&control).await;
    bus.set_down(true);
    client.apply_state(apply(vec![database("a", &[REGION])])).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    bus.set_down(false);
    let begin = Instant::now();
    while bus.records("senren-state").is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(10), "never published");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bus.publish(codec::encode_report(&Topics::default(), &heartbeat(REGION, 1, 0, ""))).await.unwrap();
    let begin = Instant::now();
    loop {
        let regions = client.list_regions(v1::ListRegionsRequest {}).await.unwrap().into_inner().regions;
        if regions[0].phase == "Connected" {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "never read again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    shutdown.cancel();
    control.join().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_drops_every_connection_is_found_again_and_watches_go_on() {
    let (database_, bus, shutdown) = (test_database(), MemoryBus::default(), CancellationToken::new());
    let control = start(&database_, &bus, &shutdown).await;
    let mut client = client(&control).await;
    let mut events = client.watch_status(v1::WatchStatusRequest::default()).await.unwrap().into_inner();
    assert_eq!(events.next().await.unwrap().unwrap().kind(), Kind::Synced);

    let admin = sqlx::PgPool::connect(&database_.url).await.unwrap();
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                WHERE datname = current_database() AND pid <> pg_backend_pid()";
    sqlx::query(kill).execute(&admin).await.unwrap();

    let begin = Instant::now();
    while let Err(status) = client.apply_state(apply(vec![database("a", &[REGION])])).await {
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(begin.elapsed() < Duration::from_secs(10), "{status}");
    }
    let event = tokio::time::timeout(Duration::from_secs(5), events.next()).await.expect("an event");
    assert_eq!(event.unwrap().unwrap().resource.unwrap().name, "a");
    let begin = Instant::now();
    while bus.records("senren-state").is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(10), "never published");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    shutdown.cancel();
    control.join().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_answer_and_a_message_that_is_too_large_is_refused() {
    let (database_, bus, shutdown) = (test_database(), MemoryBus::default(), CancellationToken::new());
    let control = start(&database_, &bus, &shutdown).await;
    let channel =
        Channel::from_shared(format!("http://{}", control.addr())).unwrap().connect().await.unwrap();

    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    let request = tonic_health::pb::HealthCheckRequest { service: "senren.v1.ControlPlane".into() };
    assert_eq!(health.check(request).await.unwrap().into_inner().status, 1);

    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(channel.clone());
    let mut answers = reflection.server_reflection_info(tokio_stream::once(ask)).await.unwrap().into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) =
        answers.next().await.unwrap().unwrap().message_response
    else {
        panic!("no list of services");
    };
    assert!(list.service.iter().any(|service| service.name == "senren.v1.ControlPlane"));

    let huge = v1::Database { spec_json: "x".repeat(17 * 1024 * 1024), ..database("a", &[REGION]) };
    let refused = ControlPlaneClient::new(channel).apply_state(apply(vec![huge])).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    shutdown.cancel();
    control.join().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_database_and_a_taken_port_are_said_in_words() {
    let (database_, bus, shutdown) = (test_database(), MemoryBus::default(), CancellationToken::new());
    let control = start(&database_, &bus, &shutdown).await;
    let check = async |url: &str, addr: SocketAddr, words: &str| {
        let config =
            ControlConfig { database_url: url.into(), listen_addr: addr, ..ControlConfig::default() };
        let error = Control::start(config, Arc::new(bus.clone()), shutdown.clone()).await.err().unwrap();
        assert!(format!("{error:#}").contains(words), "{error:#}");
    };
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    check(&database_.url, control.addr(), "cannot listen on 127.0.0.1").await;
    check("no url", free, "DATABASE_URL is no PostgreSQL URL").await;
    check("postgres://127.0.0.1:1/x", free, "cannot connect to PostgreSQL").await;
    check("postgres://127.0.0.1:1/x", free, "Connection refused").await;
    shutdown.cancel();
    control.join().await.unwrap();
}
