//! A Kafka, or a mirror between two, of one test's own: to be killed, stopped and started again.
//!
//! It ends with the thread that started it, which must be the test's own.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use senren_tests::real::port;
use tempfile::TempDir;

/// A broker and its data.
pub struct Broker {
    dir: TempDir,
    port: u16,
    options: Vec<String>,
    /// `None` while it is down.
    script: Option<Child>,
}

impl Broker {
    /// A new one, with more `options` of `tests/kafka/start`. Returns when it takes connections.
    pub fn start(options: &[&str]) -> Self {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut broker = Self { dir: tempfile::tempdir().unwrap(), port: port(), options, script: None };
        broker.up();
        broker
    }

    /// Where it is, also while it is down.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Again, with the data that it has, at the same place.
    pub fn up(&mut self) {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM"]).arg(script("start"));
        command.args(["--port", &self.port.to_string(), "--dir"]).arg(self.dir.path()).args(&self.options);
        let mut child = command.env_remove("KAFKA_BOOTSTRAP_SERVERS").stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next().expect("it says why above").unwrap();
        assert_eq!(line, format!("export KAFKA_BOOTSTRAP_SERVERS={}", self.address()));
        self.script = Some(child);
    }

    /// Ends it as a power failure would.
    pub fn kill(&mut self) {
        self.signal("KILL");
        self.script.take().unwrap().wait().unwrap();
    }

    /// `STOP`: it is there, and answers nothing. `CONT`: it goes on.
    pub fn signal(&self, name: &str) {
        let id = fs::read_to_string(self.dir.path().join("pid")).unwrap();
        let done = Command::new("kill").args(["-s", name, id.trim()]).status().unwrap();
        assert!(done.success(), "it runs");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.script.is_some() {
            self.kill();
        }
    }
}

/// MirrorMaker 2, with the configuration that is shipped.
pub struct Mirror(Child);

impl Mirror {
    /// Between the hub's Kafka and the one of a region; these are its environment variables.
    pub fn start(environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(script("mirror")).envs(environment.iter().copied());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a broker with TLS needs, in `dir`.
pub fn secure(dir: &Path) {
    let done = Command::new(script("secure")).arg(dir).status().unwrap();
    assert!(done.success(), "what it lacks is said above");
}

fn script(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka").join(name)
}
