//! The servers that tests run on, started by the scripts that people start them by, and the planes' processes.
//!
//! Each of `KAFKA_BOOTSTRAP_SERVERS`, `KUBECONFIG` and `DATABASE_URL` names a server to use instead; `KUBECONFIG` may be
//! several files, one for each cluster, and what tests need beyond them is started. What was started here ends with
//! this process, whatever ends that.

use std::{
    collections::BTreeMap,
    env,
    fs::File,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, OnceLock, mpsc},
    thread,
};

use senren_engine::{Engine, EngineConfig, PluginSet, Plugins};

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

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("its status")
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

/// The administrator's kubeconfig of a cluster.
pub fn kubernetes(number: usize) -> PathBuf {
    static CLUSTERS: Mutex<BTreeMap<usize, PathBuf>> = Mutex::new(BTreeMap::new());
    let named = env::var_os("KUBECONFIG").unwrap_or_default();
    if let Some(named) = env::split_paths(&named).filter(|path| !path.as_os_str().is_empty()).nth(number) {
        return named;
    }
    let mut clusters = CLUSTERS.lock().expect("no test panicked while it started a cluster");
    clusters.entry(number).or_insert_with(|| server("cluster", "KUBECONFIG").into()).clone()
}

/// A directory with the plugins.
pub fn plugins() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| match env::var_os("PLUGIN_DIR").filter(|named| !named.is_empty()) {
        Some(named) => named.into(),
        // For as long as this process lives.
        None => crate::world::built(&[
            "../plugins/redis",
            "../plugins/aerospike",
            "../plugins/template",
            "plugins/misbehaving",
        ])
        .keep(),
    })
}

/// Where planes keep compiled plugins: each is compiled once, whoever needs it.
pub fn compiled() -> PathBuf {
    binary().with_file_name("compiled-plugins")
}

/// The plugins of [`plugins`], to be called by tests.
pub fn loaded_plugins() -> Plugins {
    static PLUGINS: OnceLock<Plugins> = OnceLock::new();
    let load = || {
        let engine = Engine::new(EngineConfig::default()).expect("an engine");
        let files = std::fs::read_dir(plugins()).expect("a directory of plugins");
        let files = files.map(|file| file.expect("a file").path());
        let components = files.filter(|file| file.extension().is_some_and(|extension| extension == "wasm"));
        let load = |file: PathBuf| {
            let wasm = std::fs::read(&file).expect("a plugin");
            engine.load(&file.to_string_lossy(), &wasm).expect("a plugin")
        };
        let (set, problems) = PluginSet::of(components.map(load).collect());
        assert!(problems.is_empty(), "{problems:?}");
        Plugins::new(set)
    };
    PLUGINS.get_or_init(load).clone()
}

/// A port that nobody listens on now.
pub fn port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// Starts `senren` with nothing in its environment but `environment`. Its log is a file of that name.
pub fn spawn(name: &str, environment: &[(&str, &str)]) -> Process {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(binary()).env_clear().envs(environment.iter().copied());
    command.env("SENREN_LOG", env::var("SENREN_LOG").unwrap_or_else(|_| "info".into()));
    spawn_command(name, command)
}

/// Starts what ends by itself with the thread that started it. Its log is a file of that name.
pub(super) fn spawn_command(name: &str, mut command: Command) -> Process {
    let log = env::temp_dir().join(format!("senren-{name}.log"));
    let out = File::options().create(true).append(true).open(&log).expect("a log");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(out);
    Process { child: by_lasting_thread(command), log }
}

/// The one binary, as `make e2e` names it, or as cargo puts it beside the tests.
pub fn binary() -> PathBuf {
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
    // It was looked at here; to the script it would mean that nothing is to be started.
    command.env_remove(variable);
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
