//! The servers that tests run on, started by the scripts that people start them by, and the planes' processes.
//!
//! Each of `KAFKA_BOOTSTRAP_SERVERS`, `KUBECONFIG` and `DATABASE_URL` names a server to use instead. What was started
//! here ends with this process, whatever ends that.

use std::{
    collections::BTreeMap,
    env,
    fs::File,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, OnceLock, mpsc},
    thread,
};

/// A process of ours.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Ends it as the kernel would: nothing is tidied up.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
    }

    /// Asks it to end, and waits; it must end well.
    pub fn stop(mut self) {
        let asked = Command::new("kill").arg(self.child.id().to_string()).status().expect("kill");
        assert!(asked.success(), "it runs");
        let status = self.child.wait().expect("its status");
        assert!(status.success(), "it ended with {status}; see {}", self.log.display());
    }

    /// Number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Kafka's address.
pub fn kafka() -> &'static str {
    static KAFKA: OnceLock<String> = OnceLock::new();
    KAFKA.get_or_init(|| match env::var("KAFKA_BOOTSTRAP_SERVERS") {
        Ok(servers) if !servers.is_empty() => servers,
        _ => server("kafka", "KAFKA_BOOTSTRAP_SERVERS"),
    })
}

/// The kubeconfig of a cluster. With `KUBECONFIG` set, all numbers are that one.
pub fn kubernetes(number: usize) -> PathBuf {
    static CLUSTERS: Mutex<BTreeMap<usize, PathBuf>> = Mutex::new(BTreeMap::new());
    if let Some(named) = env::var_os("KUBECONFIG").filter(|named| !named.is_empty()) {
        return named.into();
    }
    let mut clusters = CLUSTERS.lock().expect("no test panicked while it started a cluster");
    clusters.entry(number).or_insert_with(|| server("cluster", "KUBECONFIG").into()).clone()
}

/// A directory with the plugins.
pub fn plugins() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| match env::var_os("PLUGIN_DIR").filter(|named| !named.is_empty()) {
        Some(named) => named.into(),
        None => crate::plugins().to_owned(),
    })
}

/// A port that nobody listens on now.
pub fn port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// Starts `senren` with nothing in its environment but `environment`. Its log is a file of that name.
pub fn spawn(name: &str, environment: &[(&str, &str)]) -> Process {
    let log = env::temp_dir().join(format!("senren-{name}.log"));
    let out = File::options().create(true).append(true).open(&log).expect("a log");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(binary()).env_clear().envs(environment.iter().copied());
    command.env("SENREN_LOG", env::var("SENREN_LOG").unwrap_or_else(|_| "info".into()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(out);
    Process { child: by_lasting_thread(command), log }
}

/// The one binary, as `make e2e` names it, or as cargo puts it beside the tests.
fn binary() -> PathBuf {
    if let Some(named) = env::var_os("SENREN_BIN") {
        return named.into();
    }
    let tests = env::current_exe().expect("this test");
    let beside = tests.parent().and_then(Path::parent).expect("a target directory").join("senren");
    assert!(beside.exists(), "{} is missing; build it: cargo build -p senren", beside.display());
    beside
}

/// Runs `tests/<what>/start` and reads from it the setting that names the server.
#[allow(clippy::zombie_processes)] // It runs for as long as we do, and ends with us.
fn server(what: &str, variable: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(what).join("start");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]).arg(&script).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = by_lasting_thread(command);
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let prefix = format!("export {variable}=");
    for line in lines.map_while(Result::ok) {
        if let Some(value) = line.strip_prefix(&prefix) {
            return value.to_owned();
        }
    }
    panic!("{} did not start; what it lacks is said above", script.display());
}

/// The kernel ends such a child when the *thread* that started it ends, so that must be one that lasts.
fn by_lasting_thread(command: Command) -> Child {
    type Order = (Command, mpsc::Sender<std::io::Result<Child>>);
    static THREAD: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let thread = THREAD.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in orders {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let (answer, child) = mpsc::channel();
    thread.lock().expect("the sender").send((command, answer)).expect("the thread");
    child.recv().expect("an answer").expect("setpriv (util-linux)")
}
