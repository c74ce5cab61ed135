//! The plugin against real Redis servers: the scripts that pods run, on loopback addresses of this machine, asked as a
//! host would. Where there is no `redis-server` there is nothing to test; in CI that is a failure.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use senren_plugin::{Value, json};

use super::host::{Backend, Host, Pod, Ran};

/// Pods as processes.
struct Processes {
    dir: PathBuf,
    running: BTreeMap<String, Child>,
    last: Instant,
}

impl Processes {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("senren-redis-cluster-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self { dir, running: BTreeMap::new(), last: Instant::now() }
    }

    fn script(&self, pod: &Pod, script: &str, arguments: &[String]) -> Command {
        let mut command = Command::new("sh");
        command.arg(self.dir.join(script)).args(arguments);
        command.env_clear().envs(std::env::vars().filter(|(name, _)| name == "PATH"));
        command.env("POD_NAME", &pod.name).env("POD_IP", &pod.ip).env("DOMAIN", "features-nodes.ns.svc");
        command.env("REDIS_CONF", self.dir.join(format!("{}.conf", pod.uid)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

impl Backend for Processes {
    fn start(&mut self, pod: &Pod, config: &Value) {
        let disk = pod.claim.as_ref().map_or(pod.uid.clone(), |(claim, number)| format!("{claim}.{number}"));
        let data = self.dir.join(disk);
        std::fs::create_dir_all(&data).unwrap();
        for script in ["start.sh", "node.sh", "ready.sh"] {
            // A shell may be reading it.
            let (path, text) = (self.dir.join(script), config["data"][script].as_str().unwrap());
            if std::fs::read_to_string(&path).ok().as_deref() != Some(text) {
                std::fs::write(path, text).unwrap();
            }
        }
        let conf = config["data"]["redis.conf"].as_str().unwrap();
        let conf = conf.replace("dir /data", &format!("dir {}", data.display()));
        std::fs::write(self.dir.join(format!("{}.conf", pod.uid)), conf).unwrap();
        let mut command = self.script(pod, "start.sh", &[]);
        command.process_group(0).stdout(Stdio::null()).stderr(Stdio::null());
        self.running.insert(pod.uid.clone(), command.spawn().unwrap());
    }

    fn stop(&mut self, pod: &Pod) {
        if let Some(child) = self.running.remove(&pod.uid) {
            kill(child);
        }
    }

    fn exec(&mut self, calls: &[(Pod, Vec<String>)], _: &[Pod], _: u64) -> Vec<Ran> {
        let spawn = |(pod, command): &(Pod, Vec<String>)| {
            let script = Path::new(&command[1]).file_name().unwrap().to_str().unwrap();
            self.script(pod, script, &command[2..]).spawn().unwrap()
        };
        let children: Vec<Child> = calls.iter().map(spawn).collect();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let output = |child: Child| {
            let output = child.wait_with_output().unwrap();
            (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
        };
        children.into_iter().map(output).collect()
    }

    fn ready(&mut self, pod: &Pod, _: &[Pod], _: u64) -> bool {
        redis(&pod.ip, &["cluster", "info"]).contains("cluster_state:ok")
    }

    fn pass(&mut self) -> u64 {
        std::thread::sleep(Duration::from_millis(20));
        u64::try_from(std::mem::replace(&mut self.last, Instant::now()).elapsed().as_millis()).unwrap()
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        std::mem::take(&mut self.running).into_values().for_each(kill);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The whole group: the shell and the server.
fn kill(mut child: Child) {
    let group = format!("-{}", child.id());
    let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
    let _ = child.wait();
}

fn redis(ip: &str, command: &[&str]) -> String {
    let output = Command::new("redis-cli").args(["-h", ip]).args(command).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What redis-cli answers to these lines, following redirects.
fn talk(ip: &str, lines: &str) -> String {
    let mut child = Command::new("redis-cli")
        .args(["-c", "-h", ip])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let lines = lines.to_owned();
    let writer = std::thread::spawn(move || drop(stdin.write_all(lines.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let answers = String::from_utf8_lossy(&output.stdout).into_owned();
    answers.split_inclusive('\n').filter(|line| !line.starts_with("-> Redirected")).collect()
}

fn there_is_redis() -> bool {
    let there = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_ok();
    assert!(there || std::env::var_os("CI").is_none(), "redis-server is missing");
    there
}

fn any_ip(host: &Host<Processes>) -> String {
    host.pods.values().find(|pod| pod.ready).unwrap().ip.clone()
}

const KEYS: usize = 3000;

fn write_keys(host: &Host<Processes>) {
    let mut lines: String = (0..KEYS).map(|n| format!("set key:{n} value:{n}\n")).collect();
    lines.push_str("set \"wei\\rd \\\"ke\\ny\\\" \\x00{x}\" \"a\\nb\"\n");
    (0..100).for_each(|n| lines.push_str(&format!("rpush {{x}}:{n} {}\n", "word ".repeat(50))));
    let answers = talk(&any_ip(host), &lines);
    assert_eq!(answers.lines().filter(|line| *line == "OK").count(), KEYS + 1, "{answers}");
}

#[track_caller]
fn keys_are_there(host: &Host<Processes>) {
    let lines: String = (0..KEYS).map(|n| format!("get key:{n}\n")).collect();
    let answers = talk(&any_ip(host), &lines);
    let wrong = answers.lines().enumerate().find(|(n, answer)| *answer != format!("value:{n}"));
    assert_eq!((wrong, answers.lines().count()), (None, KEYS));
    let weird = talk(&any_ip(host), "get \"wei\\rd \\\"ke\\ny\\\" \\x00{x}\"\nllen {x}:99\n");
    assert_eq!(weird, "a\nb\n50\n");
}

/// A client that writes one key after the other, each once it has the answer to the one before.
struct Load {
    child: Child,
    stop: Arc<AtomicBool>,
    writer: JoinHandle<usize>,
}

impl Load {
    fn begin(host: &Host<Processes>) -> Self {
        let mut child = Command::new("redis-cli")
            .args(["-c", "-h", &any_ip(host)])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let writer = std::thread::spawn(move || {
            let mut written = 0;
            while !stopping.load(Ordering::Relaxed) {
                writeln!(stdin, "set load:{written} {written}").unwrap();
                written += 1;
                std::thread::sleep(Duration::from_micros(500));
            }
            written
        });
        Self { child, stop, writer }
    }

    /// Everything that was written is there.
    #[track_caller]
    fn end(mut self, host: &Host<Processes>) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let written = self.writer.join().unwrap();
        self.child.wait().unwrap();
        let lines: String = (0..written).map(|n| format!("get load:{n}\n")).collect();
        let answers = talk(&any_ip(host), &lines);
        let wrong = answers.lines().enumerate().find(|(n, answer)| *answer != n.to_string());
        assert_eq!((wrong, answers.lines().count()), (None, written));
        written
    }
}

/// Runs until all is well, for so many seconds at most.
#[track_caller]
fn ready(host: &mut Host<Processes>, seconds: u64) -> Duration {
    let began = Instant::now();
    host.step();
    while host.status().phase != "Ready" {
        host.step();
        let recent = &host.acts[host.acts.len().saturating_sub(8)..];
        assert!(began.elapsed() < Duration::from_secs(seconds), "{:#?}\n{recent:#?}", host.status());
    }
    began.elapsed()
}

#[test]
fn a_real_cluster_is_formed_grown_moved_healed_and_shrunk_and_no_key_is_lost() {
    if !there_is_redis() {
        return;
    }
    let mut host = Host::new(Processes::new("life"), &json!({}), "127.211.7");
    let took = ready(&mut host, 30);
    eprintln!("formed after {took:?}, {} acts", host.acts.len());
    write_keys(&host);

    let load = Load::begin(&host);
    host.apply(&json!({"shards": 4, "memory_mb": 256}));
    eprintln!("grown after {:?}", ready(&mut host, 120));
    eprintln!("{} keys written meanwhile", load.end(&host));
    keys_are_there(&host);

    // All at once, and nobody has the address it had.
    let names: Vec<String> = host.pods.keys().cloned().collect();
    names.iter().for_each(|name| host.delete_pod(name));
    host.restart();
    eprintln!("found itself after {:?}", ready(&mut host, 60));
    keys_are_there(&host);

    let primary = host.details()["shards"][1]["primary"].as_str().unwrap().to_owned();
    host.lose_volume(&primary);
    eprintln!("healed after {:?}", ready(&mut host, 60));
    keys_are_there(&host);

    let load = Load::begin(&host);
    host.apply(&json!({}));
    eprintln!("shrunk after {:?}", ready(&mut host, 120));
    eprintln!("{} keys written meanwhile", load.end(&host));
    assert_eq!(host.pods.len(), 6);
    keys_are_there(&host);
}

#[test]
fn a_real_cluster_is_restarted_pod_by_pod_and_goes_on_serving() {
    if !there_is_redis() {
        return;
    }
    let mut host = Host::new(Processes::new("roll"), &json!({}), "127.212.7");
    ready(&mut host, 30);
    write_keys(&host);
    let before = host.pods.clone();
    host.apply(&json!({"config": {"hz": "20"}}));
    eprintln!("replaced after {:?}", ready(&mut host, 120));
    assert!(host.pods.iter().all(|(name, pod)| pod.uid != before[name].uid));
    keys_are_there(&host);
}
