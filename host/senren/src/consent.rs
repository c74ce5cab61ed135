//! Asking before something changes, and who it is that changes it. Where there is no terminal to ask on, a command
//! that changes something must be told `--yes`: a script never changes more than it says.

use std::io::{IsTerminal as _, Write as _};

use crate::{
    cli,
    exit::{Exit, Failure},
    output::say,
};

/// The history keeps no longer ones.
const MAX_AUTHOR: usize = 128;

/// Whether to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// Given on the command line.
    Given,
    /// To be asked for.
    Asked,
}

impl Consent {
    /// As the command line says; `look` is how to see, without changing anything, what would be asked about.
    pub fn of(args: &cli::Consent, look: &str) -> Result<Self, Failure> {
        if args.yes {
            return Ok(Self::Given);
        }
        if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
            return Ok(Self::Asked);
        }
        let message = format!(
            "there is no terminal to ask on, so nothing was changed; look with `{look}`, then say --yes"
        );
        Err(Failure::new(Exit::Usage, message))
    }

    /// Asks, unless consent is given: returns only if the answer is yes.
    pub fn ask(self, question: &str) -> Result<(), Failure> {
        if self == Self::Given {
            return Ok(());
        }
        let mut stderr = std::io::stderr();
        let asked = write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush());
        // An answer that cannot be read is a no, and so is one to a question that could not be asked.
        let mut answer = String::new();
        let _ = asked.and_then(|()| std::io::stdin().read_line(&mut answer));
        if !answer.ends_with('\n') {
            // The input ended instead: what follows stands on a line of its own.
            say!("");
        }
        match answer.trim().to_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(Failure::new(Exit::Interrupted, "nothing was changed")),
        }
    }
}

/// Who asks for a change: as told, else the user of this machine.
pub fn author(told: Option<&str>) -> String {
    let author = told.map_or_else(user_at_host, ToOwned::to_owned);
    author.chars().take(MAX_AUTHOR).collect()
}

fn user_at_host() -> String {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = variable("USER").or_else(|| variable("LOGNAME")).unwrap_or_else(user_id);
    match std::fs::read_to_string("/proc/sys/kernel/hostname") {
        Ok(host) => format!("{user}@{}", host.trim()),
        Err(_) => user,
    }
}

/// Of a user that the environment does not name, as in a container.
fn user_id() -> String {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").map_or_else(|_| "unknown".into(), |own| format!("uid-{}", own.uid()))
}
