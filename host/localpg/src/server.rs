//! The server process: started, watched and stopped by one thread of its own.
//!
//! `PR_SET_PDEATHSIG` fires when the *thread* that forked ends, so that thread must live as long as the server; it
//! does nothing else.

use std::{
    collections::hash_map::DefaultHasher,
    env, fs,
    hash::{Hash as _, Hasher as _},
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::{Durability, START_TIMEOUT, account::Account, binaries::Binaries};

/// PostgreSQL names its socket after this; nothing listens on such a port.
const SOCKET: &str = ".s.PGSQL.5432";
/// `sun_path` has 108 bytes, one of them the final zero.
const MAX_SOCKET_PATH: usize = 107;
/// How long a fast shutdown (a checkpoint) may take before the server is killed; recovery then does the rest.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(5);

pub(crate) struct Server {
    pid: u32,
    socket_dir: PathBuf,
    stop: Option<mpsc::Sender<()>>,
    keeper: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// Starts the server and waits until it takes connections.
    pub(crate) fn start(
        binaries: &Binaries,
        account: &Account,
        data_dir: &Path,
        socket_dir: &Path,
        durability: Durability,
    ) -> anyhow::Result<Self> {
        let log = data_dir.join("server.log");
        let output = fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        // Fast shutdown if we die: what was committed is on disk in any case, and the next start is quick.
        let mut command = account.command(binaries.tool("postgres"), Some("INT"));
        command.arg("-D").arg(account.seen_by_server(&data_dir.join("cluster")));
        command.arg("-k").arg(account.seen_by_server(socket_dir));
        for setting in settings(durability) {
            command.args(["-c", setting]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
        // A Ctrl-C in the terminal is for us; we then stop the server when nobody needs it any more.
        command.process_group(0);
        let server = Self::keep(command, socket_dir.to_owned())?;
        server.wait_until_ready(&data_dir.join("cluster/postmaster.pid"), &log)?;
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Spawns `command` from a thread that stays until the server has ended.
    fn keep(mut command: Command, socket_dir: PathBuf) -> anyhow::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let (started, start) = mpsc::sync_channel(1);
        let keeper = thread::Builder::new().name("postgres".into()).spawn(move || match command.spawn() {
            Ok(child) => {
                let _ = started.send(Ok(child.id()));
                watch(child, &stopped);
            }
            Err(error) => drop(started.send(Err(error))),
        });
        let keeper = keeper.context("cannot start a thread for PostgreSQL")?;
        let pid = start.recv().context("the thread for PostgreSQL ended")?;
        let pid = pid.context("cannot run PostgreSQL (through setpriv, package `util-linux`)")?;
        Ok(Self { pid, socket_dir, stop: Some(stop), keeper: Some(keeper) })
    }

    fn wait_until_ready(&self, pid_file: &Path, log: &Path) -> anyhow::Result<()> {
        let begin = Instant::now();
        loop {
            if first_number(pid_file) == Some(self.pid) && is_ready(pid_file) {
                return Ok(());
            }
            let ended = self.keeper.as_ref().is_none_or(thread::JoinHandle::is_finished);
            if ended || begin.elapsed() > START_TIMEOUT {
                let what = if ended { "ended at once" } else { "is not ready after a minute" };
                bail!("PostgreSQL {what}; the end of {}:\n{}", log.display(), tail(log));
            }
            thread::sleep(POLL);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
            // Only succeeds for one that holds nothing else: the short one, see `socket_dir`.
            let _ = fs::remove_dir(&self.socket_dir);
        }
    }
}

/// Waits until told to stop (or until the server ends by itself), then ends it.
fn watch(mut child: Child, stopped: &mpsc::Receiver<()>) {
    while stopped.recv_timeout(Duration::from_millis(500)) == Err(RecvTimeoutError::Timeout) {
        if let Ok(Some(status)) = child.try_wait() {
            tracing::error!(pid = child.id(), %status, "the private PostgreSQL server has ended by itself");
            return;
        }
    }
    signal(&child, libc::SIGINT);
    let begin = Instant::now();
    while begin.elapsed() < STOP_TIMEOUT {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        thread::sleep(POLL);
    }
    tracing::warn!(pid = child.id(), "PostgreSQL does not stop; killing it");
    // Immediate shutdown: the postmaster takes its children along, which a kill -9 would not.
    signal(&child, libc::SIGQUIT);
    thread::sleep(Duration::from_secs(1));
    let _ = child.kill();
    let _ = child.wait();
}

fn signal(child: &Child, signal: libc::c_int) {
    let Ok(pid) = libc::pid_t::try_from(child.id()) else { return };
    // SAFETY: kill(2) touches no memory of ours, and `child` is not yet reaped, so the pid is still its own.
    #[allow(unsafe_code)]
    unsafe {
        libc::kill(pid, signal);
    }
}

fn settings(durability: Durability) -> Vec<&'static str> {
    let mut settings = vec![
        "listen_addresses=",
        "unix_socket_permissions=0700",
        "logging_collector=off",
        "log_destination=stderr",
        "lc_messages=C",
        "jit=off",
        "max_connections=100",
        "shared_buffers=64MB",
    ];
    if durability == Durability::None {
        settings.extend(["fsync=off", "synchronous_commit=off", "full_page_writes=off"]);
        settings.extend(["max_connections=400", "shared_buffers=32MB"]);
    }
    settings
}

/// Where the socket goes: the data directory, or, if that path is too long for a socket, a short one made for it.
pub(crate) fn socket_dir(data_dir: &Path, account: &Account) -> anyhow::Result<PathBuf> {
    if data_dir.join(SOCKET).as_os_str().as_bytes().len() <= MAX_SOCKET_PATH {
        return Ok(data_dir.to_owned());
    }
    let mut hash = DefaultHasher::new();
    data_dir.hash(&mut hash);
    let short = env::temp_dir().join(format!("senren-pg-{:016x}", hash.finish()));
    if fs::create_dir(&short).is_err() {
        // Others may write where it lies: it must be the one we made.
        let found =
            fs::symlink_metadata(&short).with_context(|| format!("cannot create {}", short.display()))?;
        let owner = fs::metadata(data_dir)?.uid();
        anyhow::ensure!(
            found.is_dir() && found.uid() == owner && found.mode() & 0o777 == 0o700,
            "{} is in the way: somebody else made it",
            short.display()
        );
    }
    account.own(&short)?;
    Ok(short)
}

/// Deals with the `postmaster.pid` of an earlier server of this directory: one that is about to end is waited for,
/// a running one is an error, one that is long gone (perhaps with its pid in other use by now, be it of another
/// cluster's server) is cleared away.
pub(crate) fn clear_the_way(data_dir: &Path) -> anyhow::Result<()> {
    let cluster = data_dir.join("cluster");
    let file = cluster.join("postmaster.pid");
    let begin = Instant::now();
    while let Some(pid) = first_number(&file) {
        if !is_server(pid, &cluster) {
            return fs::remove_file(&file)
                .with_context(|| format!("cannot remove the stale {}", file.display()));
        }
        // One whose owner has just died may not even have heard of it yet.
        let patience = if is_ready(&file) { Duration::from_secs(2) } else { STOP_TIMEOUT };
        anyhow::ensure!(
            begin.elapsed() < patience,
            "a PostgreSQL server (pid {pid}) is already running on {}: stop what uses it, or choose another directory",
            data_dir.display()
        );
        thread::sleep(POLL * 4);
    }
    Ok(())
}

fn first_number(file: &Path) -> Option<u32> {
    fs::read_to_string(file).ok()?.lines().next()?.trim().parse().ok()
}

/// The last line of `postmaster.pid` is `ready` while the server takes connections, `stopping` at its end.
fn is_ready(file: &Path) -> bool {
    fs::read_to_string(file)
        .is_ok_and(|content| content.lines().next_back().is_some_and(|s| s.trim() == "ready"))
}

/// True where that process is, as far as can be seen, the server of this cluster.
fn is_server(pid: u32, cluster: &Path) -> bool {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let says = |file: &str| fs::read_to_string(process.join(file)).unwrap_or_default();
    if says("comm").trim() != "postgres" || says("stat").contains(") Z ") {
        return false;
    }
    let (Ok(cluster), Ok(found)) = (fs::metadata(cluster), fs::metadata(&process)) else { return true };
    // A server stands in its cluster's directory, under whatever path it sees that, and belongs to the same user.
    let stands_elsewhere = fs::metadata(process.join("cwd"))
        .is_ok_and(|cwd| (cwd.dev(), cwd.ino()) != (cluster.dev(), cluster.ino()));
    found.uid() == cluster.uid() && !stands_elsewhere
}

fn tail(log: &Path) -> String {
    let content = fs::read(log).unwrap_or_default();
    let content = String::from_utf8_lossy(&content);
    let lines: Vec<&str> = content.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
