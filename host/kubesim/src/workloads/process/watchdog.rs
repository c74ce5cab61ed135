//! Closes the one gap that the death signal leaves.
//!
//! A bubblewrap binds its child to itself only at the end of its set-up. If it is killed before (because we
//! are, with `kill -9`, while a container starts), the child stays: blocked for ever, or worse, running. So a
//! small shell waits beside us, in a process group of its own; when its input ends, we are gone, and it kills
//! whatever still carries the mark of this cluster: in its arguments while it is set up, among its mounts
//! from then on (Redis, for one, overwrites its arguments and environment). It never acts while we live, knows
//! its victims by a random mark alone, and ends by itself.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use tokio::{io::AsyncWriteExt, process::Child};

/// Waits for one line; `bye` means that everything has been stopped already and one look is enough.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
read -r word; looks=20; [ "$word" = bye ] && looks=1
while [ $looks -gt 0 ]; do
    for file in $(grep -lsF -e "$0" /proc/[0-9]*/cmdline /proc/[0-9]*/mountinfo); do
        process=${file#/proc/}; process=${process%/*}
        [ "$process" = $$ ] || kill -9 "$process"
    done 2>/dev/null
    looks=$((looks - 1)); [ $looks -eq 0 ] || sleep 0.05
done
"#;

/// The shell that cleans up after us.
#[derive(Debug)]
pub struct Watchdog {
    child: Child,
}

impl Watchdog {
    /// Starts it for the processes with this mark. It outlives us on purpose, so it may start from any
    /// thread.
    pub fn start(mark: &str) -> io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, mark]);
        command.env_clear().env("PATH", "/usr/bin:/bin").current_dir("/").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { child: tokio::process::Command::from(command).spawn()? })
    }

    /// Lets it have a last look and waits until it has ended.
    pub async fn dismiss(&mut self) {
        if let Some(mut input) = self.child.stdin.take()
            && let Err(error) = input.write_all(b"bye\n").await
        {
            tracing::debug!(%error, "the watchdog was gone already");
        }
        if let Err(error) = self.child.wait().await {
            tracing::debug!(%error, "the watchdog cannot be waited for");
        }
    }
}
