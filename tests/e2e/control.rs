//! Several control planes on one PostgreSQL and one Kafka. The regions are stubs, which have no part in this.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use senren_api::v1::{GetStateRequest, Region};
use senren_bus::{Bus, Event, From, codec};

use crate::kafka::{Control, Hub, Stub, database, until};

const TAKES_IN: &str = "taking in what regions report";

/// Declares one thing after another for a site of its own, at `first` until that is gone, then at `second`. Returns the
/// last one that was acknowledged, and its revision.
async fn keep_applying(
    [first, second]: [Arc<Control>; 2],
    site: &str,
    regions: &[&str],
    enough: &AtomicBool,
) -> (u64, u64) {
    let (mut memory, mut last) = (64, None);
    let mut control = first;
    while last.is_none() || !enough.load(Ordering::Relaxed) {
        memory += 1;
        match control.try_apply(site, &[database("db", regions, memory)]).await {
            Ok(revision) => last = Some((memory, revision)),
            // It may have been taken or not. The other one knows.
            Err(_) => control = Arc::clone(&second),
        }
    }
    last.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real engines: make e2e"]
async fn what_a_killed_control_plane_did_is_taken_over_and_nothing_is_lost_or_overtaken() {
    let ids = ["aws:a", "aws:b", "gcp:c", "gcp:d", "azure:e", "onprem:f"];
    let hub = Hub::new(&[]);
    let [one, other] = [Arc::new(hub.control().await), Arc::new(hub.control().await)];
    let bus: Arc<dyn Bus> = Arc::new(hub.bus());
    let stubs: BTreeMap<&str, Stub> = ids.map(|id| (id, Stub::start(id, Arc::clone(&bus)))).into();
    let connected =
        |regions: &[Region]| regions.iter().filter(|region| region.phase == "Connected").count() == 6;
    one.until_regions("all are heard", connected).await;
    // Mostly the one that was there before the other; on a machine that is very slow it may have changed.
    let turns = |control: &Control| control.log().matches(TAKES_IN).count();
    let (first, second) = if turns(&other) < turns(&one) { (one, other) } else { (other, one) };
    let before = turns(&second);

    let enough = AtomicBool::new(false);
    let pair = || [Arc::clone(&first), Arc::clone(&second)];
    let [a, b] = pair();
    let kill = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        first.kill();
        let (begin, killed_at) = (Instant::now(), unix_seconds());
        // Over the survivor alone, so it has to relay and to take in.
        let revision = second.apply("probe", &[database("db", &ids, 64)]).await;
        let relay = async {
            let has = |stub: &Stub| stub.state().resources.iter().any(|resource| resource.site == "probe");
            until("all are told", async || stubs.values().all(has).then_some(())).await;
            println!("after kill -9 the relay was taken over within {:?}", begin.elapsed());
        };
        let ingest = async {
            let heard = |region: &Region| region.last_heartbeat_at.is_some_and(|at| at.seconds > killed_at);
            second.until_regions("all are heard", |regions| regions.iter().all(heard)).await;
            println!("after kill -9 all regions were heard again within {:?}", begin.elapsed());
        };
        tokio::join!(relay, ingest);
        second.until_ready("probe", revision).await;
        println!("what was declared after kill -9 was ready after {:?}", begin.elapsed());
        tokio::time::sleep(Duration::from_secs(1)).await;
        enough.store(true, Ordering::Relaxed);
    };
    let (one, two, ()) = tokio::join!(
        keep_applying([Arc::clone(&a), Arc::clone(&b)], "one", &ids, &enough),
        keep_applying([b, a], "two", &ids, &enough),
        kill
    );
    assert!(turns(&second) > before, "the survivor takes in what regions report");

    // What was acknowledged is what is declared, and what is declared is what the regions have.
    for (site, (memory, revision)) in [("one", one), ("two", two)] {
        let request = GetStateRequest { site: site.into(), ..Default::default() };
        let declared = second.client().await.get_state(request).await.unwrap().into_inner();
        assert!(
            declared.revision >= revision,
            "{site} is at {}, {revision} was acknowledged",
            declared.revision
        );
        assert!(
            declared.databases[0].spec_json.contains(&format!("\"memory_mb\":{memory}")),
            "{site}: {declared:?}"
        );
        second.until_ready(site, declared.revision).await;
    }
    let in_sync = |regions: &[Region]| regions.iter().all(|region| region.in_sync);
    let regions = second.until_regions("all are in sync", in_sync).await;
    let last = last_versions(&*bus).await;
    for region in regions {
        assert_eq!(stubs[region.id.as_str()].state().version, region.version, "{}", region.id);
        assert_eq!(
            last[&region.id], region.version,
            "compaction would leave an older state of {}",
            region.id
        );
    }
}

fn unix_seconds() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

/// Of the last record of each region, which is the one that compaction leaves.
async fn last_versions(bus: &dyn Bus) -> BTreeMap<String, u64> {
    let topic = bus.topics().state_topic(&"aws:a".parse().unwrap());
    let mut states = bus.subscribe(&topic, From::Earliest).await.unwrap();
    let mut last = BTreeMap::new();
    while let Event::Record(delivery) = states.next().await.unwrap() {
        let state = codec::decode_state(&delivery.record).unwrap();
        last.insert(state.region, state.version);
    }
    last
}
