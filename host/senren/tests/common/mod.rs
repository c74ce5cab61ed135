//! Runs the binary as a user would.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::LazyLock,
    time::{Duration, Instant},
};

/// The binary, with nothing of our own environment that it would react to.
pub fn senren(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_senren"));
    for name in [
        "MODE",
        "SENREN_ENDPOINT",
        "SENREN_SITE",
        "SENREN_AUTHOR",
        "SENREN_LOG",
        "SENREN_LOG_FORMAT",
        "RUST_LOG",
        "LISTEN_ADDR",
        "DATABASE_URL",
    ] {
        command.env_remove(name);
    }
    command.args(args).stdin(Stdio::null());
    command
}

/// What a command ended with.
#[derive(Debug)]
pub struct Ended {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ended {
    /// It ended with this status, and standard error has each of these parts.
    #[track_caller]
    pub fn check(self, status: i32, parts: &[&str]) -> Self {
        assert_eq!(self.status, Some(status), "{}{}", self.stdout, self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "no {part:?} in:\n{}", self.stderr);
        }
        self
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// Runs it to its end.
pub fn run(args: &[&str]) -> Ended {
    senren(args).output().unwrap().into()
}

/// A command that runs on a terminal of its own, which `script` makes.
pub struct Terminal {
    child: Child,
    output: std::process::ChildStdout,
    shown: Vec<u8>,
}

impl Terminal {
    fn new(command: &Command) -> Self {
        let quoted = |text: &std::ffi::OsStr| format!("'{}'", text.to_str().unwrap());
        let line = std::iter::once(command.get_program()).chain(command.get_args()).map(quoted);
        let mut script = Command::new("script");
        script.args(["-qec", &line.collect::<Vec<_>>().join(" "), "/dev/null"]).env_remove("NO_COLOR");
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => script.env(name, value),
                None => script.env_remove(name),
            };
        }
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = child.stdout.take().unwrap();
        Self { child, output, shown: Vec::new() }
    }

    /// Until it shows `part`.
    pub fn wait_for(&mut self, part: &str) {
        while !String::from_utf8_lossy(&self.shown).contains(part) {
            let mut bytes = [0; 4096];
            let read = self.output.read(&mut bytes).unwrap();
            assert!(read > 0, "no {part:?} in:\n{}", String::from_utf8_lossy(&self.shown));
            self.shown.extend_from_slice(&bytes[..read]);
        }
    }

    /// Types `answer`, and returns what it ended with; all that was shown is in `stdout`.
    pub fn answer(mut self, answer: &str) -> Ended {
        let mut input = self.child.stdin.take().unwrap();
        input.write_all(answer.as_bytes()).unwrap();
        // The terminal's end of file comes when the command has ended: `script` would hang up on it before.
        self.output.read_to_end(&mut self.shown).unwrap();
        let status = self.child.wait().unwrap().code();
        Ended { status, stdout: String::from_utf8(self.shown).unwrap(), stderr: String::new() }
    }
}

/// A loopback address that was free a moment ago.
pub fn free_addr() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// A directory with the plugins that we ship.
pub fn plugin_dir() -> PathBuf {
    static DIR: LazyLock<PathBuf> = LazyLock::new(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugins");
        let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
        for plugin in ["redis", "aerospike", "template"] {
            let component = senren_plugin_build::component(&plugins.join(plugin)).unwrap();
            senren_plugin_build::install(&component, &dir).unwrap();
        }
        dir
    });
    DIR.clone()
}

/// A process that goes on, and all that it says.
pub struct Background {
    child: Child,
    output: PathBuf,
}

impl Background {
    /// Starts `command`, whose output goes to a file.
    pub fn start(command: &mut Command, output: &Path) -> Self {
        let file = fs::File::create(output).unwrap();
        let child = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        Self { child, output: output.to_owned() }
    }

    pub fn said(&self) -> String {
        fs::read_to_string(&self.output).unwrap()
    }

    /// Until it says `part`.
    pub fn wait_for(&mut self, part: &str, patience: Duration) {
        let end = Instant::now() + patience;
        while !self.said().contains(part) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < end, "{ended:?}\n{}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, and returns the status it ended with.
    pub fn end(mut self, signal: &str) -> Option<i32> {
        kill(self.pid(), signal);
        self.child.wait().unwrap().code()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            kill(self.pid(), "TERM");
            self.child.wait().unwrap();
        }
    }
}

/// A `senren dev` of its own: address, data, and an end that leaves nothing behind.
pub struct Dev {
    pub endpoint: String,
    pub dir: PathBuf,
    process: Background,
    _data: Option<tempfile::TempDir>,
}

impl Dev {
    /// Starts it on a file with `content`, in a directory of its own, and waits until it says how to go on.
    pub fn start(content: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut dev = Self::start_in(data.path(), content);
        dev._data = Some(data);
        dev
    }

    /// As [`Dev::start`], in `dir`, which stays.
    pub fn start_in(dir: &Path, content: &str) -> Self {
        Self::start_with(dir, content, &[])
    }

    /// As [`Dev::start_in`], with further arguments.
    pub fn start_with(dir: &Path, content: &str, args: &[&str]) -> Self {
        let file = dir.join("state.yaml");
        fs::write(&file, content).unwrap();
        let addr = free_addr();
        let mut process = Background::start(&mut command(dir, &file, addr, args), &dir.join("output"));
        process.wait_for("From a second terminal", Duration::from_secs(90));
        Self { endpoint: addr.to_string(), dir: dir.to_owned(), process, _data: None }
    }

    /// Runs it with `--once` to its end.
    pub fn once(dir: &Path, content: &str) -> Ended {
        let file = dir.join("state.yaml");
        fs::write(&file, content).unwrap();
        command(dir, &file, free_addr(), &["--once"]).output().unwrap().into()
    }

    /// Everything it has said.
    pub fn output(&self) -> String {
        self.process.said()
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Runs a command against it.
    pub fn run(&self, args: &[&str]) -> Ended {
        senren(args).env("SENREN_ENDPOINT", &self.endpoint).output().unwrap().into()
    }

    /// Applies `content`, without being asked, with further arguments.
    pub fn apply(&self, content: &str, args: &[&str]) -> Ended {
        let file = self.file(content);
        self.run(&[&["apply", "--yes", "-f", &file], args].concat())
    }

    /// A file with `content`.
    pub fn file(&self, content: &str) -> String {
        let file = self.dir.join("apply.yaml");
        fs::write(&file, content).unwrap();
        file.to_str().unwrap().to_owned()
    }

    /// Runs a command on a terminal, where `answer` is typed; what the terminal shows is in `stdout`.
    pub fn run_on_terminal(&self, args: &[&str], answer: &str) -> Ended {
        self.terminal(args).answer(answer)
    }

    /// A command on a terminal.
    pub fn terminal(&self, args: &[&str]) -> Terminal {
        Terminal::new(senren(args).env("SENREN_ENDPOINT", &self.endpoint))
    }

    /// Sends a signal, and returns the status it ended with.
    pub fn end(self, signal: &str) -> Option<i32> {
        self.process.end(signal)
    }
}

/// `senren dev` on a file, with its data in `dir`.
pub fn command(dir: &Path, file: &Path, addr: SocketAddr, args: &[&str]) -> Command {
    let mut command = senren(&["dev", file.to_str().unwrap(), "--listen", &addr.to_string()]);
    command.arg("--data-dir").arg(dir.join("data")).arg("--plugin-dir").arg(plugin_dir()).args(args);
    command
}

pub fn kill(pid: u32, signal: &str) {
    let status = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

/// A process that can't be mistaken for a later one with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pid: u32,
    parent: u32,
    start: String,
    pub name: String,
}

/// Every process below `pid`.
pub fn descendants(pid: u32) -> Vec<Process> {
    let all = processes();
    let mut found: Vec<Process> = Vec::new();
    loop {
        let next: Vec<Process> = all
            .iter()
            .filter(|process| process.parent == pid || found.iter().any(|f| f.pid == process.parent))
            .filter(|process| !found.contains(process))
            .cloned()
            .collect();
        if next.is_empty() {
            return found;
        }
        found.extend(next);
    }
}

/// Waits until none of them lives.
#[track_caller]
pub fn assert_all_end(mut processes_: Vec<Process>) {
    let end = Instant::now() + Duration::from_secs(20);
    while !processes_.is_empty() {
        assert!(Instant::now() < end, "left behind: {processes_:?}");
        std::thread::sleep(Duration::from_millis(50));
        let alive = processes();
        processes_.retain(|process| alive.iter().any(|a| a.pid == process.pid && a.start == process.start));
    }
}

fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| process(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// From `/proc/<pid>/stat`; a zombie counts as ended.
fn process(pid: u32) -> Option<Process> {
    let mut stat = String::new();
    fs::File::open(format!("/proc/{pid}/stat")).ok()?.read_to_string(&mut stat).ok()?;
    let (head, tail) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = tail.split_whitespace().collect();
    (fields[0] != "Z").then(|| Process {
        pid,
        parent: fields[1].parse().unwrap(),
        start: fields[19].into(),
        name,
    })
}
