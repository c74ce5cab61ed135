//! Who holds the Lease, said so that a successor can tell whether that process has ended: then there is nothing to wait
//! for, and a plane that was killed is back at once.
//!
//! `<host>_<place>_<pid>_<start>_<number>`. Two processes of one place see each other in `/proc`, or can't be there at
//! once: the place is the pod, whose container is started again only after it has ended, or else the kernel and its
//! namespace of processes. Of a holder in another place nothing is known.

use std::{
    collections::BTreeSet,
    fmt, fs,
    sync::atomic::{AtomicU64, Ordering},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use serde_json::Value;

/// Where Kubernetes puts the token of a pod.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Those of this process that are in use.
static LIVE: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());

/// One replica, for as long as this value lives.
#[derive(Debug)]
pub(super) struct Identity {
    host: String,
    place: String,
    pid: u32,
    start: u64,
    number: u64,
}

impl Identity {
    /// Another one than all before.
    pub fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let (number, pid) = (NUMBER.fetch_add(1, Ordering::Relaxed), std::process::id());
        LIVE.lock().insert(number);
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = host.trim().replace('_', "-");
        Self { host, place: place(), pid, start: start_of(pid).unwrap_or_default(), number }
    }

    /// True where `holder` is this one.
    pub fn is(&self, holder: &str) -> bool {
        self.to_string() == holder
    }

    /// True where `holder` certainly is no more.
    pub fn has_ended(&self, holder: &str) -> bool {
        let parts: Vec<&str> = holder.split('_').collect();
        let [_, place, pid, start, number] = parts.as_slice() else { return false };
        let numbers = (pid.parse::<u32>(), start.parse::<u64>(), number.parse::<u64>());
        let (Ok(pid), Ok(start), Ok(number)) = numbers else { return false };
        if *place != self.place {
            return false;
        }
        match (pid, start) == (self.pid, self.start) {
            true => !LIVE.lock().contains(&number),
            // Where `/proc` hides what others run, what isn't seen may well be there.
            false => start_of(1).is_some() && start_of(pid) != Some(start),
        }
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        LIVE.lock().remove(&self.number);
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, place, pid, start, number } = self;
        write!(f, "{host}_{place}_{pid}_{start}_{number}")
    }
}

/// Where this process is.
fn place() -> String {
    let token = fs::read_to_string(TOKEN).ok();
    token.as_deref().and_then(pod_of).or_else(kernel).unwrap_or_else(|| {
        // Like nobody else's.
        format!("nowhere-{}", jiff::Timestamp::now().as_nanosecond())
    })
}

/// uid of the pod whose token this is.
fn pod_of(token: &str) -> Option<String> {
    let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    Some(format!("pod-{}", claims.pointer("/kubernetes.io/pod/uid")?.as_str()?))
}

fn kernel() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let processes = fs::read_link("/proc/self/ns/pid").ok()?;
    let processes: String = processes.to_str()?.chars().filter(char::is_ascii_digit).collect();
    Some(format!("{}-{processes}", boot.trim()))
}

/// When that process started, in ticks since the machine did. `None`: there is none.
fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may have anything in it. Of what follows, the first is the state, field 3.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let dead = matches!(fields.next()?, "Z" | "X");
    fields.nth(18)?.parse().ok().filter(|_| !dead)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::process::{Child, Command};

    use super::*;

    /// What that process would be called.
    fn of(process: &Child, me: &Identity) -> String {
        let (host, place, pid) = (&me.host, &me.place, process.id());
        format!("{host}_{place}_{pid}_{}_0", start_of(pid).unwrap())
    }

    #[test]
    fn a_process_that_has_ended_is_known_to_have() {
        let me = Identity::new();
        let mut other = Command::new("sleep").arg("60").spawn().unwrap();
        let holder = of(&other, &me);
        assert!(!me.has_ended(&holder), "it runs");
        assert!(!me.has_ended(&me.to_string()) && me.is(&me.to_string()));
        other.kill().unwrap();
        while fs::read_to_string(format!("/proc/{}/stat", other.id())).unwrap().contains(") R") {}
        let ended = (0..1000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(1));
            me.has_ended(&holder)
        });
        assert!(ended, "even before anybody has waited for it");
        other.wait().unwrap();
        assert!(me.has_ended(&holder));
        assert!(!me.has_ended(&holder.replace(&me.place, "elsewhere")), "nobody can know");
        assert!(!me.has_ended("somebody") && !me.has_ended(""));
    }

    #[test]
    fn one_of_the_same_process_has_ended_when_nobody_is_it_any_more() {
        let (me, other) = (Identity::new(), Identity::new());
        let name = other.to_string();
        assert!(!me.has_ended(&name));
        drop(other);
        assert!(me.has_ended(&name));
    }

    #[test]
    fn the_token_of_a_pod_names_it() {
        let claims =
            r#"{"kubernetes.io": {"namespace": "senren-system", "pod": {"name": "a-1", "uid": "u-1"}}}"#;
        let token = format!("e30.{}.sig", BASE64_URL_SAFE_NO_PAD.encode(claims));
        assert_eq!(pod_of(&token).as_deref(), Some("pod-u-1"));
        assert_eq!(pod_of("e30.e30.sig"), None, "a token that is no pod's");
        assert_eq!(pod_of("opaque"), None);
    }
}
