//! A private PostgreSQL server in a data directory: for `senren dev`, which needs one without asking anybody to set
//! it up, and for tests, which use the real thing instead of a seam.
//!
//! It must never outlive its owner (a kill -9 included), never listen on a network, and never be reachable for
//! another user of the machine: it has a unix socket in a directory that only its own account may enter. Data and
//! durability are those of any PostgreSQL; only a test's server gives up `fsync`.
//!
//! Layout of the directory: `cluster/` (PostgreSQL's own), `server.log`, and the socket.

mod account;
mod binaries;
mod database;
mod server;
mod testing;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;

use account::Account;
use binaries::Binaries;
use server::Server;
pub use testing::{TestDatabase, durable_test_database, test_database};

/// The superuser of every private cluster.
const SUPERUSER: &str = "senren";

/// Crash recovery of a private cluster is a matter of seconds; this is for a machine that is very busy.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A running server. Stops on drop (a fast shutdown, nothing is lost), and dies with this process.
pub struct LocalPostgres {
    binaries: Binaries,
    socket_dir: PathBuf,
    // Stops it when dropped.
    server: Server,
}

/// What a server may give up for speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Durability {
    /// Nothing: a commit is on disk when it returns.
    Full,
    /// All of it: the data is thrown away after the test.
    None,
}

impl LocalPostgres {
    /// Starts the server of `data_dir`, creating the cluster if there is none yet. Returns when it takes connections.
    pub fn start(data_dir: &Path) -> anyhow::Result<Self> {
        Self::start_with(data_dir, Durability::Full)
    }

    fn start_with(data_dir: &Path, durability: Durability) -> anyhow::Result<Self> {
        fs::create_dir_all(data_dir).with_context(|| format!("cannot create {}", data_dir.display()))?;
        let data_dir =
            data_dir.canonicalize().with_context(|| format!("no directory {}", data_dir.display()))?;
        let binaries = Binaries::find_for(&data_dir.join("cluster"))?;
        let account = Account::for_server(&data_dir)?;
        let socket_dir = server::socket_dir(&data_dir, &account)?;
        server::clear_the_way(&data_dir)?;
        if !data_dir.join("cluster/PG_VERSION").exists() {
            initialise(&binaries, &account, &data_dir, durability)?;
        }
        let server = Server::start(&binaries, &account, &data_dir, &socket_dir, durability)?;
        Ok(Self { binaries, socket_dir, server })
    }

    /// The URL of a database of this server. Creates the database if it is missing.
    pub fn url(&self, database: &str) -> anyhow::Result<String> {
        database::check_name(database)?;
        database::create(&self.binaries, &self.url_of("postgres"), database)?;
        Ok(self.url_of(database))
    }

    /// The process id of the server.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    fn url_of(&self, database: &str) -> String {
        let host = database::percent_encode(&self.socket_dir.to_string_lossy());
        format!("postgres://{SUPERUSER}@localhost/{database}?host={host}")
    }
}

/// Creates the cluster, in a directory that gets its name only when complete: a crash in here leaves nothing that
/// looks like data.
fn initialise(
    binaries: &Binaries,
    account: &Account,
    dir: &Path,
    durability: Durability,
) -> anyhow::Result<()> {
    let incomplete = dir.join("cluster.incomplete");
    if incomplete.exists() {
        fs::remove_dir_all(&incomplete).with_context(|| format!("cannot remove {}", incomplete.display()))?;
    }
    // This thread waits for it, so it lives as long.
    let mut command = account.command(binaries.tool("initdb"), Some("KILL"));
    command.arg("-D").arg(account.seen_by_server(&incomplete)).args(["-U", SUPERUSER]);
    // `trust` is about who may enter the socket's directory: the server's account and root.
    command.args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--data-checksums"]);
    if durability == Durability::None {
        command.arg("--no-sync");
    }
    let output = command.output().context("cannot run initdb")?;
    anyhow::ensure!(
        output.status.success(),
        "initdb could not create a cluster in {}: {}",
        incomplete.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    fs::rename(&incomplete, dir.join("cluster")).context("cannot put the new cluster in its place")
}
