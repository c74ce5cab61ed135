//! The one thread that starts processes, so that none of them outlives us.
//!
//! A sandbox dies with its parent by `PR_SET_PDEATHSIG`, and the kernel means the *thread* that forked: a
//! process started from a pool thread would be killed when the pool shrinks. So every start goes through one
//! thread that lives as long as its [`Spawner`]; dropping the last handle ends the thread and with it
//! everything it started. Waiting is not done here: tokio reaps (pidfd), so that no thread blocks per process
//! and no zombie stays.

use std::{
    ffi::OsString,
    io,
    os::fd::{AsRawFd, OwnedFd},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::Stdio,
    sync::mpsc,
};

use anyhow::Context;
use tokio::{net::unix::pipe, process::Child, sync::oneshot};

/// What to start. The status descriptor is handed to `arguments` as a number, because bubblewrap wants it so.
pub struct Launch {
    /// The program to execute, found on the machine (not in the sandbox).
    pub program: PathBuf,
    /// Builds the arguments, given the number of the inherited status descriptor.
    pub arguments: Box<dyn FnOnce(i32) -> Vec<OsString> + Send>,
    /// The complete environment; nothing of ours is inherited.
    pub environment: Vec<(String, String)>,
}

/// A started process with the reading ends of its output (stdout and stderr as one) and of its status pipe.
pub struct Spawned {
    /// The process, killed when this is dropped.
    pub child: Child,
    /// stdout and stderr in the order they were written.
    pub output: pipe::Receiver,
    /// What the program reports about itself.
    pub status: pipe::Receiver,
}

type Request = Box<dyn FnOnce() + Send>;

/// Handle to the spawning thread; cheap to clone.
#[derive(Clone)]
pub struct Spawner {
    requests: mpsc::Sender<Request>,
}

impl Spawner {
    /// Starts the thread. Must be called within a tokio runtime, which will do the reaping.
    pub fn start() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Handle::try_current().context("the spawner needs a tokio runtime")?;
        let (requests, inbox) = mpsc::channel::<Request>();
        std::thread::Builder::new()
            .name("kubesim-spawner".into())
            .spawn(move || {
                let _guard = runtime.enter();
                while let Ok(request) = inbox.recv() {
                    request();
                }
            })
            .context("starting the spawner thread")?;
        Ok(Self { requests })
    }

    /// Starts one process.
    pub async fn spawn(&self, launch: Launch) -> io::Result<Spawned> {
        self.run(|| spawn(launch)).await
    }

    /// Starts something in the thread: whatever it forks lives no longer than we do. Dropping what it returns must
    /// end what it started, because nobody may be waiting for it any more.
    pub async fn run<T: Send + 'static>(
        &self,
        start: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (answer, result) = oneshot::channel();
        let gone = || io::Error::other("the spawner thread has ended");
        let request = Box::new(move || drop(answer.send(start())));
        self.requests.send(request).map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }
}

fn spawn(launch: Launch) -> io::Result<Spawned> {
    let (output_end, output) = io_pipe()?;
    let (status_end, status) = io_pipe()?;
    let arguments = (launch.arguments)(status_end.as_raw_fd());
    let mut command = std::process::Command::new(&launch.program);
    command
        .args(arguments)
        .env_clear()
        .envs(launch.environment)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(output_end.try_clone()?)
        .stderr(output_end);
    die_with_us(&mut command, &status_end);
    let child = tokio::process::Command::from(command).kill_on_drop(true).spawn()?;
    Ok(Spawned { child, output, status })
}

/// A pipe whose writing end a child inherits (blocking) and whose reading end belongs to tokio.
fn io_pipe() -> io::Result<(OwnedFd, pipe::Receiver)> {
    let (reader, writer) = io::pipe()?;
    Ok((writer.into(), pipe::Receiver::from_owned_fd(reader.into())?))
}

/// Between fork and exec: bind the child's life to this thread and let it keep the status descriptor.
#[allow(unsafe_code)]
fn die_with_us(command: &mut std::process::Command, status: &OwnedFd) {
    let status = status.as_raw_fd();
    let parent = std::process::id();
    // SAFETY: prctl, getppid and fcntl are async-signal-safe, touch no memory of ours and allocate nothing;
    // `status` stays open in the parent until after spawn() has returned, hence also in the forked child.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == -1 {
                return Err(io::Error::last_os_error());
            }
            // We died before the prctl above: the signal will never come.
            if libc::getppid().cast_unsigned() != parent {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            if libc::fcntl(status, libc::F_SETFD, 0) == -1 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
}
