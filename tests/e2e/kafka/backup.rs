//! A database that knows less than the topics: it came back from an old backup, or it is new.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    sync::Arc,
};

use senren_bus::Bus;
use senren_localpg::TestDatabase;

use super::{Hub, Stub, database, until};

const ID: &str = "aws:r";

/// What a database holds, as PostgreSQL's own tool saves it.
fn dump(database: &TestDatabase) -> Vec<u8> {
    let saved = Command::new("pg_dump").arg("--no-owner").arg(&database.url).output().expect("pg_dump");
    assert!(saved.status.success(), "{}", String::from_utf8_lossy(&saved.stderr));
    saved.stdout
}

fn restore(dump: &[u8]) -> TestDatabase {
    let database = senren_localpg::test_database();
    let mut command = Command::new("psql");
    command.args(["--quiet", "--set", "ON_ERROR_STOP=1", &database.url]);
    let mut psql = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("psql");
    psql.stdin.take().unwrap().write_all(dump).unwrap();
    assert!(psql.wait().unwrap().success());
    database
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real engines: make e2e"]
async fn a_database_that_is_older_than_its_topics_goes_above_them_and_a_new_one_empties_no_region() {
    let mut hub = Hub::new(&[]);
    let bus: Arc<dyn Bus> = Arc::new(hub.bus());
    let control = hub.control().await;
    let revision = control.apply("default", &[database("db", &[ID], 64)]).await;
    let stub = Stub::start(ID, Arc::clone(&bus));
    control.until_ready("default", revision).await;
    let backup = dump(&hub.database);
    // The region confirms the second version, and is away when the third and the fourth are published.
    let revision = control.apply("default", &[database("db", &[ID], 65)]).await;
    control.until_ready("default", revision).await;
    drop(stub);
    for memory_mb in [66, 67] {
        control.apply("default", &[database("db", &[ID], memory_mb)]).await;
        control.until_regions("it is published", |all| all[0].version == all[0].published_version).await;
    }
    drop(control);

    hub.database = restore(&backup);
    let control = hub.control().await;
    // Without a word from the region: its topic says enough.
    let regions = control.until_regions("it is above", |all| all[0].published_version == 5).await;
    assert_eq!(regions[0].version, 5);
    assert!(control.log().contains("a version that this control plane never published"), "{}", control.log());
    let stub = Stub::start(ID, Arc::clone(&bus));
    until("the region is told", async || (stub.state().version == 5).then_some(())).await;
    assert!(stub.state().resources[0].spec_json.contains("64"), "{:?}", stub.state());
    drop(control);

    hub.database = senren_localpg::test_database();
    let control = hub.control().await;
    let unknown = |all: &[senren_api::v1::Region]| {
        all.first()
            .is_some_and(|region| region.problems.iter().any(|p| p.contains("is this the right database?")))
    };
    control.until_regions("nobody knows what it has", unknown).await;
    assert_eq!(stub.state().resources.len(), 1, "it keeps what it has");
    let revision = control.apply("default", &[database("other", &[ID], 64)]).await;
    control.until_ready("default", revision).await;
    assert_eq!(stub.state().version, 6);
}
