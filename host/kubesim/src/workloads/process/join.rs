//! Commands inside a running container: they join its namespaces, so that they see its processes, its mounts, its
//! `/proc` and `/dev`, and have its environment.
//!
//! The namespaces are held open by descriptors before anything is started, so that a process id that was given away
//! meanwhile cannot lead into another one. As root there is one user namespace; an ordinary user's bubblewrap makes
//! two, one that owns the mounts and in it one where the user is itself again, and they are joined in this order.
//! A PID namespace is entered by a child only, so two processes are made: the outer one waits, outside, for the
//! inner one and passes on its exit code. Both die with the spawner's thread, and with the session that is dropped.

use std::{
    ffi::CString,
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use tokio::net::unix::pipe;

use super::{
    enter::{Entry, owner_of},
    pidfd::Pidfd,
    sandbox::Sandbox,
    spawner::Spawner,
    terminal::Terminal,
};
use crate::workloads::exec::{ExecRequest, Reader, Session, Writer};

/// How long a container may take to get from bubblewrap's first process to its own.
const SETTING_UP: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(1);

/// A running container that commands can join.
pub struct Joinable {
    spawner: Spawner,
    /// Its first process; none if bubblewrap did not get that far.
    init: Option<(i32, Pidfd)>,
    bwrap: PathBuf,
    working_dir: PathBuf,
    environment: Vec<(String, String)>,
}

/// Our ends of a command's streams, and what becomes its own.
struct Streams {
    ours: (Option<Writer>, Option<Reader>, Option<Reader>),
    theirs: [Stdio; 3],
    terminal: Option<Terminal>,
}

impl Joinable {
    /// A container by its first process.
    pub(super) fn new(spawner: &Spawner, sandbox: &Sandbox, pid: Option<i32>) -> Self {
        Self {
            spawner: spawner.clone(),
            init: pid.and_then(|pid| Some((pid, Pidfd::open(pid).ok()?))),
            bwrap: sandbox.bwrap.clone(),
            working_dir: sandbox.working_dir.clone(),
            environment: sandbox.environment.clone(),
        }
    }

    /// Starts a command in it.
    pub async fn run(&self, request: &ExecRequest) -> Result<Session, String> {
        let Some(program) = request.command.first().cloned() else {
            return Err("no command specified".into());
        };
        let Some((pid, init)) = &self.init else { return Err("the container has not started".into()) };
        self.set_up(*pid).await;
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => format!("exec: {program:?}: executable file not found in $PATH"),
            _ => format!("exec: {program:?}: {error}"),
        };
        let streams = Streams::of(request, *pid).map_err(failed)?;
        let namespaces = namespaces(*pid).map_err(failed)?;
        let capabilities = capabilities(*pid).map_err(failed)?;
        // Still there, so what was opened was its own.
        init.signal(0).map_err(|_| "the container has ended".to_owned())?;
        let terminal = streams.terminal.is_some();
        let directory = CString::new(self.working_dir.as_os_str().as_encoded_bytes())
            .map_err(|error| failed(io::Error::other(error)))?;
        let entry = Entry { namespaces, capabilities, directory, terminal };
        let mut command = std::process::Command::new(&program);
        command.args(&request.command[1..]).env_clear().envs(self.environment.iter().cloned());
        if terminal && !self.environment.iter().any(|(name, _)| name == "TERM") {
            command.env("TERM", "xterm");
        }
        let [stdin, stdout, stderr] = streams.theirs;
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        let start = move || {
            entry.before_exec(&mut command);
            tokio::process::Command::from(command).kill_on_drop(true).spawn()
        };
        let mut child = self.spawner.run(start).await.map_err(failed)?;
        let (stdin, stdout, stderr) = streams.ours;
        let exit = async move {
            let status = child.wait().await.map_err(|error| error.to_string())?;
            status.code().ok_or_else(|| format!("the command's keeper ended: {status}"))
        };
        let resize = streams.terminal.map(Terminal::into_resize);
        Ok(Session::new(stdin, stdout, stderr, resize, exit.boxed()))
    }

    /// Waits until the container is more than its first process on the way to it: before, its mounts are not there.
    async fn set_up(&self, pid: i32) {
        let began = Instant::now();
        let bwrap = self.bwrap.as_os_str().as_encoded_bytes();
        let is_bwrap = || {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words.split(|byte| *byte == 0).next() == Some(bwrap)
        };
        while is_bwrap() && began.elapsed() < SETTING_UP {
            tokio::time::sleep(POLL).await;
        }
    }
}

/// What has to be joined, in this order.
fn namespaces(pid: i32) -> io::Result<Vec<OwnedFd>> {
    let of = |kind: &str| File::open(format!("/proc/{pid}/ns/{kind}"));
    let id = |file: &File| file.metadata().map(|meta| (meta.dev(), meta.ino()));
    let ours = id(&File::open("/proc/self/ns/user")?)?;
    let (mounts, user) = (of("mnt")?, of("user")?);
    let owner = owner_of(&mounts)?;
    let mut all = Vec::new();
    let (owner_id, user_id) = (id(&owner)?, id(&user)?);
    if owner_id != ours {
        all.push(owner.into());
    }
    all.extend([mounts.into(), of("pid")?.into(), of("ipc")?.into(), of("uts")?.into()]);
    if user_id != owner_id {
        all.push(user.into());
    }
    Ok(all)
}

/// What its processes may ever do.
fn capabilities(pid: i32) -> io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mask = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.ok_or_else(|| io::Error::other("its capabilities are unknown"))
}

impl Streams {
    fn of(request: &ExecRequest, pid: i32) -> io::Result<Self> {
        if request.tty {
            let (terminal, slave) = Terminal::open(pid)?;
            let reader = request.stdout.then(|| terminal.reader()).transpose()?;
            let writer = request.stdin.then(|| terminal.writer()).transpose()?;
            let theirs = [slave.try_clone()?.into(), slave.try_clone()?.into(), slave.into()];
            return Ok(Self { ours: (writer, reader, None), theirs, terminal: Some(terminal) });
        }
        let (stdin, writer) = if request.stdin {
            let (reader, writer) = io::pipe()?;
            let writer = pipe::Sender::from_owned_fd(writer.into())?;
            (reader.into(), Some(Box::pin(writer) as Writer))
        } else {
            (Stdio::null(), None)
        };
        let output = |wanted: bool| {
            if !wanted {
                return Ok((Stdio::null(), None));
            }
            let (reader, writer) = io::pipe()?;
            let reader = pipe::Receiver::from_owned_fd(reader.into())?;
            io::Result::Ok((writer.into(), Some(Box::pin(reader) as Reader)))
        };
        let (stdout, out) = output(request.stdout)?;
        let (stderr, err) = output(request.stderr)?;
        Ok(Self { ours: (writer, out, err), theirs: [stdin, stdout, stderr], terminal: None })
    }
}
