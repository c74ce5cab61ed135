//! Under which account a server runs, and what that takes.
//!
//! PostgreSQL refuses to run as root. So root hands the directory to user `postgres` and drops to it. Where that user
//! cannot enter (anything below `/root`), the server gets the directory bound to a place it can, in a mount
//! namespace of its own; no permission of a foreign directory is ever changed.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

/// The user that packages of PostgreSQL make.
const USER: &str = "postgres";
/// Where a directory that the user cannot enter appears to the server. Exists everywhere; only that namespace sees it.
const MOUNT_POINT: &str = "/mnt";

pub(crate) struct Account {
    /// uid and gid to drop to; `None`: the server runs as who we are.
    drop_to: Option<(u32, u32)>,
    /// The directory that is bound to `MOUNT_POINT` for the server.
    bound: Option<PathBuf>,
}

impl Account {
    /// Decides who runs the server of `data_dir`, and gives the directory to that account.
    pub(crate) fn for_server(data_dir: &Path) -> anyhow::Result<Self> {
        let probe = Path::new("/proc/self");
        let we_are_root = fs::metadata(probe).is_ok_and(|process| process.uid() == 0);
        let mut account = Self { drop_to: None, bound: None };
        if we_are_root {
            account.drop_to = Some((id("-u")?, id("-g")?));
        }
        account.own(data_dir)?;
        if we_are_root && !account.can_use(data_dir) {
            account.bound = Some(data_dir.to_owned());
            anyhow::ensure!(
                account.can_use(data_dir),
                "PostgreSQL does not run as root, and user {USER} cannot enter {}: choose a data directory outside of \
                 root's home (e.g. below /var/lib or /tmp), or allow others to pass through its parents (chmod o+x)",
                data_dir.display()
            );
        }
        Ok(account)
    }

    /// Makes `dir` the account's own, closed to everybody else.
    pub(crate) fn own(&self, dir: &Path) -> anyhow::Result<()> {
        if let Some((uid, gid)) = self.drop_to {
            chown(dir, Some(uid), Some(gid))
                .with_context(|| format!("cannot give {} to user {USER}", dir.display()))?;
        }
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
            .with_context(|| format!("cannot close {} to others", dir.display()))
    }

    /// Our own path of something, as the server sees it.
    pub(crate) fn seen_by_server(&self, path: &Path) -> PathBuf {
        match self.bound.as_ref().and_then(|bound| path.strip_prefix(bound).ok()) {
            Some(below) => Path::new(MOUNT_POINT).join(below),
            None => path.to_owned(),
        }
    }

    /// A command that runs `program` under this account. With `death_signal`, it gets that signal when the thread
    /// that started it ends; if we are gone before that is arranged, `program` does not even start.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>, death_signal: Option<&str>) -> Command {
        let mut words: Vec<&OsStr> = Vec::new();
        if let Some(bound) = &self.bound {
            words
                .extend(["unshare", "--mount", "--propagation", "private", "--", "sh", "-c"].map(OsStr::new));
            words.push(OsStr::new(r#"mount --bind "$1" "$2" && shift 2 && exec "$@""#));
            words.extend([OsStr::new("sh"), bound.as_os_str(), OsStr::new(MOUNT_POINT)]);
        }
        let ids = self.drop_to.map(|(uid, gid)| (uid.to_string(), gid.to_string()));
        words.push(OsStr::new("setpriv"));
        if let Some((uid, gid)) = &ids {
            words.extend(["--reuid", uid, "--regid", gid, "--init-groups"].map(OsStr::new));
        }
        if let Some(signal) = death_signal {
            // setpriv sets it after the change of ids, which would clear it; so it belongs to the same call.
            words.extend(["--pdeathsig", signal].map(OsStr::new));
        }
        words.push(OsStr::new("--"));
        let us = std::process::id().to_string();
        if death_signal.is_some() {
            // Whoever dies before the signal is set sends none, but is no longer the parent.
            words.extend(
                ["sh", "-c", r#"[ "$PPID" = "$1" ] && shift && exec "$@""#, "sh", &us].map(OsStr::new),
            );
        }
        words.push(program.as_ref());
        let mut command = Command::new(words[0]);
        // The server must not depend on where we stand, nor on a PG* variable meant for somebody else's server.
        command.args(&words[1..]).current_dir("/").env_clear();
        command.envs(std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "TZ"));
        command
    }

    fn can_use(&self, dir: &Path) -> bool {
        let mut test = self.command("test", None);
        test.arg("-w").arg(self.seen_by_server(dir));
        test.output().is_ok_and(|output| output.status.success())
    }
}

fn id(flag: &str) -> anyhow::Result<u32> {
    let output = Command::new("id").args([flag, USER]).output().context("cannot run `id`")?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().ok().with_context(|| {
        format!(
            "PostgreSQL does not run as root, and there is no user {USER} to run it: install the distribution's server \
             package (Debian, Ubuntu: `postgresql`), run as another user, or set DATABASE_URL"
        )
    })
}
