//! Commands in running containers: `kubectl exec`, and what our own host asks its pods.
//!
//! Who runs the command is the container's business: a process is joined in its own namespaces
//! ([`super::process::join`]), a simulated pod asks the simulation it was given. Either way the caller gets the ends
//! of the command's streams and its exit code, and ends the command by dropping them.

use std::{collections::HashMap, io::Cursor, pin::Pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::{FutureExt as _, future::BoxFuture};
use kube::core::Status;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite},
    time::sleep,
};

use super::process::join::Joinable;
use crate::{
    kinds::PODS,
    status,
    store::{Object, Store, uid_of},
};

/// The label that the pods of one database share: a simulation is shown all of them.
const GROUP: &str = "senren.io/name";

/// What to run, and which of its streams are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// The container; the only one when absent.
    pub container: Option<String>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Whether the caller writes to its standard input; without, it is empty.
    pub stdin: bool,
    /// Whether its standard output is wanted.
    pub stdout: bool,
    /// Whether its standard error is wanted; never with a terminal.
    pub stderr: bool,
    /// Whether it gets a terminal.
    pub tty: bool,
}

/// A stream that is read.
pub type Reader = Pin<Box<dyn AsyncRead + Send>>;
/// A stream that is written.
pub type Writer = Pin<Box<dyn AsyncWrite + Send>>;
/// Sets the columns and rows of a terminal.
pub type Resize = Box<dyn Fn((u16, u16)) + Send>;

/// How long the output of a command that has ended is waited for, when something else still holds it open.
const LINGER: Duration = Duration::from_millis(250);

/// A command that runs, with our ends of its streams. Dropping it ends the command.
pub struct Session {
    /// Its standard input; dropping the writer is its end of file.
    pub stdin: Option<Writer>,
    /// Its terminal's size.
    pub resize: Option<Resize>,
    stdout: Option<Reader>,
    stderr: Option<Reader>,
    exit: Option<BoxFuture<'static, Result<i32, String>>>,
    end: Result<i32, String>,
}

/// What a command does.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// It wrote to standard output, or to its terminal.
    Stdout(Bytes),
    /// It wrote to standard error.
    Stderr(Bytes),
    /// It ended, with this code (128 + n after signal n) or without one. There is nothing after that.
    Ended(Result<i32, String>),
}

/// Why a command was not started.
#[derive(Debug)]
pub enum ExecError {
    /// The API refuses: no such pod, no such container, not on a node yet.
    Refused(Box<Status>),
    /// The node has no such running container, which a client of a real cluster is told by the node.
    NotRunning(String),
    /// The container runs, but the command can't be started in it.
    Failed(String),
}

/// Answers commands in simulated pods, in place of the database that isn't there.
#[async_trait::async_trait]
pub trait ExecSimulator: Send + Sync {
    /// Runs a command to its end.
    async fn exec(&self, call: SimulatedExec) -> SimulatedResult;
}

/// A command for a simulated pod.
#[derive(Debug, Clone)]
pub struct SimulatedExec {
    /// The pod it runs in.
    pub pod: Object,
    /// The container.
    pub container: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// All pods of its namespace with the same label `senren.io/name`: the pods of one database, this one among
    /// them. Only the pod itself where it has no such label.
    pub pods: Vec<Object>,
}

/// How a simulated command ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SimulatedResult {
    /// Its exit code.
    pub exit_code: i32,
    /// All it wrote to standard output.
    pub stdout: Vec<u8>,
    /// All it wrote to standard error.
    pub stderr: Vec<u8>,
}

/// What runs commands in one running container.
#[derive(Clone)]
pub enum Inside {
    /// A process: its namespaces.
    Process(Arc<Joinable>),
    /// A simulated one: the simulation, if there is any.
    Simulated(Option<Arc<dyn ExecSimulator>>),
}

/// The containers that run now, by pod and name.
#[derive(Default)]
pub struct Containers(Mutex<HashMap<(String, String), Inside>>);

/// Takes a container out of the register when its run is over.
pub struct Registered {
    containers: Arc<Containers>,
    place: (String, String),
}

impl Containers {
    /// Notes that a container of this pod (by uid) runs, until what is returned is dropped.
    #[must_use]
    pub fn register(self: &Arc<Self>, uid: &str, container: &str, inside: Inside) -> Registered {
        let place = (uid.to_owned(), container.to_owned());
        self.0.lock().insert(place.clone(), inside);
        Registered { containers: self.clone(), place }
    }

    /// Whether a container runs.
    pub fn runs(&self, uid: &str, container: &str) -> bool {
        self.0.lock().contains_key(&(uid.to_owned(), container.to_owned()))
    }

    fn find(&self, uid: &str, container: &str) -> Option<Inside> {
        self.0.lock().get(&(uid.to_owned(), container.to_owned())).cloned()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.containers.0.lock().remove(&self.place);
    }
}

/// Starts a command in a pod's container.
pub async fn start(
    store: &Store,
    containers: &Containers,
    namespace: &str,
    name: &str,
    request: &ExecRequest,
) -> Result<Session, ExecError> {
    let pod = store.get(&PODS, namespace, name).map_err(ExecError::Refused)?;
    let container = container_of(&pod, name, request.container.as_deref())?;
    if pod["spec"]["nodeName"].as_str().is_none_or(str::is_empty) {
        let message = format!("pod {name} does not have a host assigned");
        return Err(ExecError::Refused(status::bad_request(message)));
    }
    let Some(inside) = containers.find(uid_of(&pod).unwrap_or_default(), &container) else {
        return Err(ExecError::NotRunning(format!("container not found ({container:?})")));
    };
    match inside {
        Inside::Process(process) => process.run(request).await.map_err(|error| {
            ExecError::Failed(format!(
                "error executing command in container: failed to exec in container: {error}"
            ))
        }),
        Inside::Simulated(None) => Err(ExecError::Failed(format!(
            "error executing command in container: pod {name} is simulated, and nothing simulates commands in it"
        ))),
        Inside::Simulated(Some(simulator)) => {
            let pods = siblings(store, namespace, &pod);
            let call = SimulatedExec { pod: pod.clone(), container, command: request.command.clone(), pods };
            Ok(simulated(simulator.exec(call).await, request))
        }
    }
}

/// The container that is meant, as an API server finds it.
fn container_of(pod: &Value, name: &str, wanted: Option<&str>) -> Result<String, ExecError> {
    let names = |list: &str| {
        let containers = pod["spec"][list].as_array().into_iter().flatten();
        containers.filter_map(|container| container["name"].as_str()).map(str::to_owned).collect::<Vec<_>>()
    };
    let (main, init) = (names("containers"), names("initContainers"));
    let refuse = |message: String| Err(ExecError::Refused(status::bad_request(message)));
    match (wanted, main.as_slice()) {
        (Some(wanted), _) if main.iter().chain(&init).any(|own| own == wanted) => Ok(wanted.to_owned()),
        (Some(wanted), _) => refuse(format!("container {wanted} is not valid for pod {name}")),
        (None, [only]) => Ok(only.clone()),
        (None, many) => {
            let mut message = format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                many.join(" ")
            );
            if !init.is_empty() {
                message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            refuse(message)
        }
    }
}

/// The pods of the same database. Their names begin with its name, so that the others need not be looked at.
fn siblings(store: &Store, namespace: &str, pod: &Object) -> Vec<Object> {
    let Some(group) = pod["metadata"]["labels"][GROUP].as_str() else { return vec![pod.clone()] };
    let mut named = store.list_prefixed(&PODS, namespace, group).unwrap_or_default();
    named.retain(|other| other["metadata"]["labels"][GROUP] == group);
    named
}

impl Session {
    /// A command with our ends of its streams and its exit code.
    pub fn new(
        stdin: Option<Writer>,
        stdout: Option<Reader>,
        stderr: Option<Reader>,
        resize: Option<Resize>,
        exit: BoxFuture<'static, Result<i32, String>>,
    ) -> Self {
        Self { stdin, resize, stdout, stderr, exit: Some(exit), end: Ok(0) }
    }

    /// What it does next. Cancel safe.
    pub async fn next(&mut self) -> Event {
        loop {
            if self.stdout.is_none() && self.stderr.is_none() && self.exit.is_none() {
                return Event::Ended(self.end.clone());
            }
            let ended = self.exit.is_none();
            tokio::select! {
                bytes = read(&mut self.stdout), if self.stdout.is_some() => match bytes {
                    Some(bytes) => return Event::Stdout(bytes),
                    None => self.stdout = None,
                },
                bytes = read(&mut self.stderr), if self.stderr.is_some() => match bytes {
                    Some(bytes) => return Event::Stderr(bytes),
                    None => self.stderr = None,
                },
                end = finish(&mut self.exit), if !ended => (self.exit, self.end) = (None, end),
                () = sleep(LINGER), if ended => (self.stdout, self.stderr) = (None, None),
            }
        }
    }
}

/// What there is to read; `None` at the end.
async fn read(reader: &mut Option<Reader>) -> Option<Bytes> {
    const ENOUGH: usize = 32 * 1024;
    let mut buffer = BytesMut::with_capacity(ENOUGH);
    match reader.as_mut()?.read_buf(&mut buffer).await {
        Ok(0) => None,
        Ok(_) => Some(buffer.freeze()),
        Err(error) => {
            tracing::debug!(%error, "the output of a command broke off");
            None
        }
    }
}

async fn finish(exit: &mut Option<BoxFuture<'static, Result<i32, String>>>) -> Result<i32, String> {
    match exit {
        Some(exit) => exit.await,
        None => std::future::pending().await,
    }
}

fn simulated(result: SimulatedResult, request: &ExecRequest) -> Session {
    let read = |wanted: bool, bytes: Vec<u8>| wanted.then(|| Box::pin(Cursor::new(bytes)) as Reader);
    let stdin = request.stdin.then(|| Box::pin(tokio::io::sink()) as Writer);
    let stdout = read(request.stdout, result.stdout);
    let stderr = read(request.stderr && !request.tty, result.stderr);
    Session::new(stdin, stdout, stderr, None, std::future::ready(Ok(result.exit_code)).boxed())
}
