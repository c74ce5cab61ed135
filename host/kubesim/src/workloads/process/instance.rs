//! One container as a process: bubblewrap around it, its log, its end; and what is run beside it.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{io::AsyncReadExt, net::unix::pipe, process::Child, task::JoinHandle};

use super::{
    join::Joinable,
    logs::LogFiles,
    pidfd::Pidfd,
    probe::Exec,
    sandbox::Sandbox,
    spawner::{Launch, Spawned, Spawner},
};
use crate::workloads::runtime::Exit;

/// How long after its start a process may take to ask for SIGTERM, see [`Process::settled`].
const SETTLING: Duration = Duration::from_secs(1);
const SETTLING_POLL: Duration = Duration::from_millis(5);

/// A container that runs as a process.
pub struct Process {
    /// Identity of the instance.
    pub id: String,
    /// Runs something beside it.
    pub executor: Arc<ProcessExecutor>,
    /// Runs something inside it.
    pub joinable: Arc<Joinable>,
    child: Child,
    status: pipe::Receiver,
    report: Report,
    init: Option<Pidfd>,
    pid: Option<i32>,
    started: Instant,
    logging: Option<JoinHandle<()>>,
    logs: LogFiles,
}

impl Process {
    /// Starts a command in a sandbox; its output goes to a new log.
    pub(super) async fn launch(
        spawner: &Spawner,
        sandbox: Sandbox,
        command: Vec<String>,
        logs: LogFiles,
    ) -> io::Result<Self> {
        let log = logs.begin()?;
        let executor = Arc::new(ProcessExecutor::new(spawner, sandbox));
        let mut started = spawner.spawn(executor.launch(command)).await?;
        let logging = tokio::spawn(log.copy(started.output));
        let mut report = Report::default();
        let pid = report.child_pid(&mut started.status).await;
        let init = pid.and_then(|pid| Pidfd::open(pid).ok());
        Ok(Self {
            id: uuid::Uuid::new_v4().to_string(),
            joinable: Arc::new(Joinable::new(spawner, &executor.sandbox, pid)),
            executor,
            child: started.child,
            status: started.status,
            report,
            init,
            pid,
            started: Instant::now(),
            logging: Some(logging),
            logs,
        })
    }

    /// Waits for its end, until its last output is in the log.
    pub async fn wait(&mut self) -> Exit {
        self.report.rest(&mut self.status).await;
        let ended = self.child.wait().await;
        if let Some(logging) = &mut self.logging {
            // The writer of the pipe is gone with the namespace; a panic there must not stop the pod.
            let _ = logging.await;
            self.logging = None;
        }
        // Without a report of ours, bubblewrap itself failed and said why on its output.
        match self.report.exit_code() {
            Some(0) => Exit::default(),
            Some(code) => Exit { code, last_words: self.logs.tail(20), ..Exit::default() },
            None => {
                let words = self.logs.tail(5);
                let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                let message =
                    if words.is_empty() { format!("the sandbox ended: {how}") } else { words.clone() };
                let code = if self.report.killed { 137 } else { 128 };
                let reason = if self.report.killed { "Error" } else { "StartError" };
                Exit { code, reason: Some(reason), message: Some(message), last_words: words }
            }
        }
    }

    /// Waits until a SIGTERM would not be lost, in the first second of the process at most.
    ///
    /// The kernel drops a signal to the first process of a PID namespace that has no handler for it yet, and this
    /// cluster is quicker to stop a container than a program is to install one. A kubelet never is: it starts a
    /// container in several steps, each a call to another process.
    pub async fn settled(&self) {
        while self.started.elapsed() < SETTLING && !self.catches_sigterm() {
            tokio::time::sleep(SETTLING_POLL).await;
        }
    }

    /// As `SigCgt` in proc(5) says; true also where the process is gone.
    fn catches_sigterm(&self) -> bool {
        let Some(pid) = self.pid else { return true };
        let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return true };
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        caught.is_none_or(|mask| mask & (1 << (libc::SIGTERM - 1)) != 0)
    }

    /// Sends a signal to the container's first process.
    pub fn signal(&mut self, signal: i32) {
        if let Some(init) = &self.init {
            // Gone already: its end is being waited for.
            let _ = init.signal(signal);
        }
    }

    /// Kills everything in the container.
    pub fn kill(&mut self) {
        self.report.killed = true;
        match &self.init {
            Some(init) if init.signal(libc::SIGKILL).is_ok() => {}
            _ => {
                let _ = self.child.start_kill();
            }
        }
    }
}

/// What bubblewrap reports about its child: JSON documents, one a line.
#[derive(Debug, Default)]
struct Report {
    text: Vec<u8>,
    ended: bool,
    killed: bool,
}

impl Report {
    fn field(&self, name: &str) -> Option<i32> {
        let lines = self.text.split(|byte| *byte == b'\n');
        let mut documents = lines.filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
        documents.find_map(|document| document[name].as_i64()).and_then(|value| value.try_into().ok())
    }

    fn exit_code(&self) -> Option<i32> {
        self.field("exit-code")
    }

    /// The process id of the container's first process, as soon as it is known; `None` if bubblewrap ended
    /// before.
    async fn child_pid(&mut self, status: &mut pipe::Receiver) -> Option<i32> {
        while self.field("child-pid").is_none() && !self.ended {
            self.read(status).await;
        }
        self.field("child-pid")
    }

    async fn rest(&mut self, status: &mut pipe::Receiver) {
        while !self.ended {
            self.read(status).await;
        }
    }

    async fn read(&mut self, status: &mut pipe::Receiver) {
        match status.read_buf(&mut self.text).await {
            Ok(0) | Err(_) => self.ended = true,
            Ok(_) => {}
        }
    }
}

/// Runs commands in a container's sandbox, beside its own process: the same mounts and environment, and a PID
/// namespace of their own.
pub struct ProcessExecutor {
    spawner: Spawner,
    sandbox: Sandbox,
}

impl ProcessExecutor {
    pub(super) fn new(spawner: &Spawner, sandbox: Sandbox) -> Self {
        Self { spawner: spawner.clone(), sandbox }
    }

    fn launch(&self, command: Vec<String>) -> Launch {
        let sandbox = self.sandbox.clone();
        Launch {
            program: sandbox.bwrap.clone(),
            environment: sandbox.environment.clone(),
            arguments: Box::new(move |status| sandbox.arguments(status, &command)),
        }
    }
}

impl Exec for ProcessExecutor {
    async fn exec(&self, command: &[String], limit: Duration) -> Result<(), String> {
        const KEPT: u64 = 10 * 1024;
        let run = async {
            let started =
                self.spawner.spawn(self.launch(command.to_vec())).await.map_err(|e| e.to_string())?;
            let mut guard = Started(Some(started));
            let Some(started) = guard.0.as_mut() else { return Ok(()) };
            let mut output = Vec::new();
            let mut kept = (&mut started.output).take(KEPT);
            // What is beyond is read and dropped, so that the command doesn't block on it.
            let read = async {
                kept.read_to_end(&mut output).await?;
                tokio::io::copy(kept.get_mut(), &mut tokio::io::sink()).await
            };
            read.await.map_err(|error: io::Error| error.to_string())?;
            let status = started.child.wait().await.map_err(|error| error.to_string())?;
            // Reaped: its number may be somebody else's from now on.
            guard.0 = None;
            let output = String::from_utf8_lossy(&output).trim_end().to_owned();
            if status.success() {
                Ok(())
            } else if output.is_empty() {
                Err(status.to_string())
            } else {
                Err(output)
            }
        };
        // Out of time, the future is dropped, and with it goes what it started.
        let late = || {
            Err(format!("command timed out: {:?} timed out after {}s", command.join(" "), limit.as_secs()))
        };
        tokio::time::timeout(limit, run).await.unwrap_or_else(|_| late())
    }
}

/// A command that is ended when it is dropped, in whatever state it is.
struct Started(Option<Spawned>);

impl Drop for Started {
    fn drop(&mut self) {
        let Some(mut started) = self.0.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        // Killing bubblewrap before it has bound its child to itself would leave the child: so the child is
        // killed.
        runtime.spawn(async move {
            let child = Report::default().child_pid(&mut started.status).await;
            if let Some(child) = child.and_then(|pid| Pidfd::open(pid).ok()) {
                // Gone already: then so is bubblewrap.
                let _ = child.signal(libc::SIGKILL);
            }
            let _ = started.child.wait().await;
        });
    }
}
