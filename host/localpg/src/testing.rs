//! A database per test.
//!
//! With `DATABASE_URL` set it lies on that server and is dropped with the handle. Otherwise one private server serves
//! all tests of this process, or one of each durability where both are asked for; it ends with the process, and its
//! directory is removed then, or, if the process was killed, by the next one.
#![allow(clippy::expect_used)] // Tests have nobody to report to but the person who reads the panic.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;

use crate::{Durability, LocalPostgres, binaries::Binaries, database};

const PREFIX: &str = "senren-testpg-";

/// A fresh, empty database.
pub struct TestDatabase {
    /// For any PostgreSQL client.
    pub url: String,
    /// Of a server that outlives us: where and what to drop.
    foreign: Option<(String, String)>,
}

/// A fresh database on the server of `DATABASE_URL`, or on a private one that all tests of this process share.
///
/// # Panics
/// If there is no PostgreSQL; the message says what to install.
pub fn test_database() -> TestDatabase {
    database_of(Durability::None)
}

/// As [`test_database`], and a commit waits for its disk, as it does in production.
///
/// # Panics
/// As [`test_database`].
pub fn durable_test_database() -> TestDatabase {
    database_of(Durability::Full)
}

fn database_of(durability: Durability) -> TestDatabase {
    let database = match env::var("DATABASE_URL") {
        Ok(server) if !server.is_empty() => on(&server),
        _ => on_private_server(durability),
    };
    database.expect("a PostgreSQL database for tests")
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if let Some((server, name)) = &self.foreign
            && let Err(error) = Binaries::find().and_then(|b| database::drop_forced(&b, server, name))
        {
            tracing::warn!(name, %error, "cannot drop a test's database");
        }
    }
}

fn on(server: &str) -> anyhow::Result<TestDatabase> {
    let name = fresh_name();
    database::create(&Binaries::find()?, server, &name)?;
    let url = database::with_database(server, &name)?;
    Ok(TestDatabase { url, foreign: Some((server.to_owned(), name)) })
}

fn on_private_server(durability: Durability) -> anyhow::Result<TestDatabase> {
    let mut servers = PRIVATE.lock().unwrap_or_else(PoisonError::into_inner);
    let index = match servers.iter().position(|server| server.durability == durability) {
        Some(index) => index,
        None => {
            servers.push(Private::start(durability)?);
            servers.len() - 1
        }
    };
    let url = servers[index].postgres.url(&fresh_name())?;
    Ok(TestDatabase { url, foreign: None })
}

/// Unique on a server that several machines' tests may share.
fn fresh_name() -> String {
    static BASE: OnceLock<u128> = OnceLock::new();
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let base = BASE.get_or_init(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_nanos()));
    format!("senren_test_{base:x}_{}_{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

static PRIVATE: Mutex<Vec<Private>> = Mutex::new(Vec::new());

struct Private {
    durability: Durability,
    postgres: LocalPostgres,
    dir: PathBuf,
    // Held while the directory is in use.
    _lock: fs::File,
}

impl Private {
    fn start(durability: Durability) -> anyhow::Result<Self> {
        let temp = env::temp_dir();
        sweep(&temp);
        let dir = temp.join(format!("{PREFIX}{}-{durability:?}", process::id()).to_lowercase());
        // The lock first: a directory with a free one is fair game for everybody's sweep.
        let lock = fs::File::create(lock_of(&dir)).context("cannot create a lock file")?;
        lock.lock().context("cannot lock the test server's directory")?;
        // Of an earlier process with our pid, if at all.
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let postgres = LocalPostgres::start_with(&dir, durability)?;
        stop_at_exit();
        Ok(Self { durability, postgres, dir, _lock: lock })
    }
}

/// Beside the directory, which belongs to the server.
fn lock_of(dir: &Path) -> PathBuf {
    dir.with_extension("lock")
}

/// Removes what killed test processes left.
fn sweep(temp: &Path) {
    for entry in fs::read_dir(temp).into_iter().flatten().flatten() {
        let dir = entry.path();
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX) && dir.extension().is_none();
        if ours && fs::File::open(lock_of(&dir)).is_ok_and(|lock| lock.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(&dir);
            let _ = fs::remove_file(lock_of(&dir));
        }
    }
}

/// A static is never dropped; the end of the process is the only moment to stop the server in good order.
fn stop_at_exit() {
    extern "C" fn stop() {
        let servers = std::mem::take(&mut *PRIVATE.lock().unwrap_or_else(PoisonError::into_inner));
        for Private { postgres, dir, _lock, .. } in servers {
            drop(postgres);
            let _ = fs::remove_dir_all(&dir);
            let _ = fs::remove_file(lock_of(&dir));
        }
    }
    // SAFETY: `stop` is a plain function that does not unwind, and registering it twice does no harm.
    #[allow(unsafe_code)]
    unsafe {
        libc::atexit(stop);
    }
}
