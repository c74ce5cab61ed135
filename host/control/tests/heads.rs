//! Topics that show more than the database knows: it is new, or it came back from an old backup.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::sync::Arc;

use common::{OTHER, Plane, REGION, database};
use senren_bus::{Bus as _, Record, codec};
use senren_control::{
    heads::{self, Heads},
    relay::Step,
};

async fn look(plane: &Plane) -> Vec<String> {
    let heads = Heads::new(
        plane.store.clone(),
        Arc::new(plane.bus.clone()),
        plane.hub.clone(),
        plane.clock.sources(),
    );
    heads::look(&heads).await.unwrap()
}

/// A region at version 3, another one at version 1.
async fn used() -> Plane {
    let plane = Plane::new().await;
    for names in [&["a"][..], &["a", "b"], &["a"]] {
        let mut databases: Vec<_> = names.iter().map(|name| database(name, &[REGION])).collect();
        databases.push(database("other", &[OTHER]));
        plane.apply(databases).await;
        plane.publish_all().await;
    }
    plane
}

#[tokio::test]
async fn where_topic_and_database_agree_nothing_happens() {
    let plane = used().await;
    assert_eq!(look(&plane).await, [""; 0]);
    plane.apply(vec![database("a", &[REGION])]).await;
    assert_eq!(look(&plane).await, [""; 0], "what is yet to be published is no old backup");
    assert_eq!(plane.desired(REGION).await.version, 3);
    assert_eq!(plane.desired(OTHER).await.version, 2);
}

#[tokio::test]
async fn after_an_old_backup_came_back_versions_are_above_what_was_published_and_are_published() {
    let plane = used().await;
    let backup = "UPDATE regions SET version = 1, head = 0; UPDATE relays SET published_version = 1";
    sqlx::raw_sql(backup).execute(&plane.sql).await.unwrap();
    assert_eq!(look(&plane).await, [REGION]);
    assert_eq!(plane.publish_next().await, Step::Published { region: REGION.into(), version: 4 });
    assert_eq!(plane.publish_next().await, Step::Idle);
    assert_eq!(look(&plane).await, [""; 0], "once is enough");
}

#[tokio::test]
async fn a_new_database_empties_no_region_and_begins_above_what_its_topic_shows() {
    let old = used().await;
    let plane = old.with_new_database().await;
    let nonsense = Record {
        payload: Some("no state".into()),
        ..codec::encode_state(old.bus.topics(), &old.desired(REGION).await)
    };
    plane.bus.publish(nonsense).await.unwrap();
    assert_eq!(look(&plane).await, [""; 0]);
    assert_eq!(plane.publish_next().await, Step::Idle);
    let regions = plane.regions().await;
    assert_eq!(regions.iter().map(|region| &*region.id).collect::<Vec<_>>(), [REGION, OTHER]);
    let problem = &regions[0].problems[0];
    assert!(
        problem.starts_with("its topic holds version 3") && problem.contains("right database?"),
        "{problem}"
    );

    plane.apply(vec![database("b", &[REGION])]).await;
    assert_eq!(plane.publish_next().await, Step::Published { region: REGION.into(), version: 4 });
    assert!(plane.regions().await[0].problems.is_empty());
}
