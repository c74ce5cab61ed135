//! What a container sees of the machine, as arguments for bubblewrap.
//!
//! The root file system is the machine's own programs, read-only, plus the pod's mounts at the manifest's own
//! paths. A container has its own PID, IPC and UTS namespaces and is PID 1 as in a cluster; it shares the
//! network, where its address in 127.0.0.0/8 sets it apart. It is a convenience for development, not a
//! boundary against malice.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// One mount of a host path into a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Path on the machine; must exist.
    pub source: PathBuf,
    /// Path in the container.
    pub target: PathBuf,
    /// Whether the container may not write.
    pub read_only: bool,
}

/// A container's view; the same for its command and for what is executed beside it (probes, hooks).
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// The bubblewrap executable.
    pub bwrap: PathBuf,
    /// Host name inside.
    pub hostname: String,
    /// Mounts of the pod.
    pub mounts: Vec<Mount>,
    /// Working directory inside; made if nothing is mounted there.
    pub working_dir: PathBuf,
    /// The container's own writable `/tmp`, on the machine.
    pub tmp: PathBuf,
    /// The complete environment of its processes.
    pub environment: Vec<(String, String)>,
    /// What its processes are known by, from their first moment on.
    pub mark: String,
}

/// What a process may know of the machine's configuration: certificates, users, time zone, the dynamic
/// linker's cache.
const ETC: &[&str] = &[
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/gai.conf",
    "/etc/group",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/pki",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl",
];

/// Where programs and their libraries are; what is a link on the machine is the same link inside.
const PROGRAMS: &[&str] = &["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix"];

impl Sandbox {
    /// The arguments that run `command` inside; bubblewrap reports to the descriptor `status`.
    #[must_use]
    pub fn arguments(&self, status: i32, command: &[String]) -> Vec<OsString> {
        let mut args = Arguments::default();
        args.push(["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--as-pid-1", "--die-with-parent"]);
        args.push(["--new-session", "--json-status-fd", &status.to_string(), "--hostname", &self.hostname]);
        for path in PROGRAMS {
            args.program_directory(Path::new(path));
        }
        args.push([
            "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/run", "--dir", "/root", "--dir", "/home",
        ]);
        // The mark: an argument from the first moment on, and a mount that no program can hide later.
        args.push(["--tmpfs", &format!("/run/{}", self.mark)]);
        args.push(["--dir", "/var/lib", "--dir", "/var/tmp", "--symlink", "../run", "/var/run"]);
        for path in ETC {
            args.push(["--ro-bind-try", path, path]);
        }
        args.bind(&Mount { source: self.tmp.clone(), target: "/tmp".into(), read_only: false });
        if !self.mounts.iter().any(|mount| self.working_dir.starts_with(&mount.target)) {
            args.0.extend(["--dir".into(), self.working_dir.clone().into()]);
        }
        // A mount below another one must come after it.
        let mut mounts: Vec<_> = self.mounts.iter().collect();
        mounts.sort_by_key(|mount| mount.target.components().count());
        mounts.into_iter().for_each(|mount| args.bind(mount));
        args.0.extend(["--chdir".into(), self.working_dir.clone().into(), "--".into()]);
        args.0.extend(command.iter().map(Into::into));
        args.0
    }

    /// Whether a program can be found inside; `None` when only running it can tell (it is on one of the pod's
    /// mounts).
    #[must_use]
    pub fn finds(&self, program: &str) -> Option<bool> {
        if program.starts_with('/') {
            let path = Path::new(program);
            let of_the_machine = PROGRAMS.iter().any(|root| path.starts_with(root));
            let mounted = self.mounts.iter().any(|mount| path.starts_with(&mount.target));
            return (of_the_machine && !mounted).then(|| path.exists());
        }
        if program.contains('/') {
            return None;
        }
        let path = self.environment.iter().find(|(name, _)| name == "PATH").map_or("", |(_, value)| value);
        let mut unknown = false;
        for dir in path.split(':').filter(|dir| !dir.is_empty()) {
            match self.finds(&format!("{dir}/{program}")) {
                Some(true) => return Some(true),
                Some(false) => {}
                None => unknown = true,
            }
        }
        (!unknown).then_some(false)
    }
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn push<const N: usize>(&mut self, words: [&str; N]) {
        self.0.extend(words.map(Into::into));
    }

    fn bind(&mut self, mount: &Mount) {
        let how = if mount.read_only { "--ro-bind" } else { "--bind" };
        self.0.extend([how.into(), mount.source.clone().into(), mount.target.clone().into()]);
    }

    fn program_directory(&mut self, path: &Path) {
        if let Ok(target) = path.read_link() {
            self.0.extend(["--symlink".into(), target.into(), path.into()]);
        } else if path.is_dir() {
            self.bind(&Mount { source: path.into(), target: path.into(), read_only: true });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn sandbox(mounts: &[&str]) -> Sandbox {
        let mount = |target: &&str| Mount { source: "/src".into(), target: target.into(), read_only: false };
        Sandbox {
            bwrap: "/usr/bin/bwrap".into(),
            hostname: "db-0".into(),
            mounts: mounts.iter().map(mount).collect(),
            working_dir: "/data".into(),
            tmp: "/scratch".into(),
            environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
            mark: "m".into(),
        }
    }

    #[test]
    fn an_inner_mount_comes_after_the_mount_it_lies_in() {
        let args = sandbox(&["/data/inner/deep", "/data", "/data/inner"]).arguments(7, &["true".into()]);
        let at = |target: &str| args.iter().rposition(|arg| arg == target).unwrap();
        let last = args.iter().position(|arg| arg == "--chdir").unwrap();
        let targets: Vec<_> =
            args[..last].iter().filter(|arg| arg.to_string_lossy().starts_with("/data")).collect();
        assert_eq!(targets, ["/data", "/data/inner", "/data/inner/deep"]);
        assert!(at("true") == args.len() - 1);
    }

    #[test]
    fn a_program_that_is_not_there_is_known_before_it_is_run() {
        let check = |mounts: &[&str], program, wanted| {
            assert_eq!(sandbox(mounts).finds(program), wanted, "{program}")
        };
        check(&[], "sh", Some(true));
        check(&[], "no-such-program", Some(false));
        check(&[], "/usr/bin/no-such-program", Some(false));
        check(&["/scripts"], "/scripts/start.sh", None);
        check(&["/usr/bin"], "no-such-program", None);
    }
}
