//! How a command ends: the exit statuses that scripts rely on, and what is said on standard error.

use std::{fmt, process::ExitCode};

use crate::output::{plain_lines, say};

/// Exit status of the process. Documented in `docs/users.md`; a number never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Something failed: a resource did not converge, a plane could not run.
    Failed = 1,
    /// The command line or the file is wrong; nothing was sent, or the control plane refused it as invalid.
    Usage = 2,
    /// No control plane answered at the endpoint.
    Unreachable = 3,
    /// The control plane understood and refused: the revision moved, a protected resource would go.
    Refused = 4,
    /// `--wait` gave up before everything was ready.
    TimedOut = 5,
    /// `--wait`: all is as declared, except for what is held until it is confirmed.
    Held = 6,
    /// SIGINT or SIGTERM ended a command that was not done, or its question was answered with no.
    Interrupted = 130,
}

/// Why a command did not do what it was asked to: for people, and for scripts.
#[derive(Debug)]
pub struct Failure {
    /// What the process ends with.
    pub exit: Exit,
    message: String,
}

impl Failure {
    /// `message` says what, where and what to do; it may have several lines.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// Of a request that may have arrived although no answer came back.
    pub fn unsure(mut self) -> Self {
        if matches!(self.exit, Exit::Unreachable | Exit::TimedOut) {
            self.message += "\n  Whether anything was changed is not known: `senren history` says. Asking for the same \
                             again does no harm.";
        }
        self
    }

    /// Ends with `exit` and without a word: all is said.
    pub fn silent(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    /// Prints the message on standard error.
    pub fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            say!("senren: {}", plain_lines(&self.message));
        }
        ExitCode::from(self.exit as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<anyhow::Error> for Failure {
    /// What no caller can do anything about, with its chain of causes.
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Failed, chain(&error))
    }
}

/// What went wrong and why, each cause once: many libraries repeat their cause in their own text.
fn chain(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told.as_str() {
        "" => cause,
        before if before.contains(&cause) => told,
        _ => format!("{told}: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow::anyhow!("connection refused")
            .context("no answer: connection refused")
            .context("PostgreSQL");
        assert_eq!(Failure::from(error).to_string(), "PostgreSQL: no answer: connection refused");
        let error = anyhow::anyhow!("disk full").context("cannot write");
        assert_eq!(Failure::from(error).to_string(), "cannot write: disk full");
    }
}
