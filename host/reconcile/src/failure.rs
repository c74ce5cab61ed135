//! Why a step did not reach what is wanted: one type, with the reason that programs read, the words that people
//! read, and whether trying again can help.

use std::fmt::Write as _;

use senren_engine::CallError;

use crate::{guard::Refusal, kind::ObjectId};

/// How many refusals or violations a message lists.
const LISTED: usize = 5;

/// What went wrong with one resource. Its text is shown on the resource and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No plugin of this region serves the type.
    #[error(
        "no plugin in this region serves type {0:?}: put its .wasm file into the region's plugin directory. If it is \
         there, `senren regions` says why it is not used"
    )]
    NoPlugin(String),
    /// The stored spec is not one the plugin accepts.
    #[error("the spec is refused: {0}")]
    InvalidSpec(String),
    /// What the operator set for the plugin is not what it takes.
    #[error(
        "this region's settings of plugin {plugin} are not valid: {problems}. Nothing is changed until its operator \
         corrects PLUGIN_CONFIG"
    )]
    Settings {
        /// Its name.
        plugin: String,
        /// Field by field.
        problems: String,
    },
    /// The call failed, or the plugin reported a fault.
    #[error("{0}")]
    Plugin(CallError),
    /// The plugin's answer can't be used.
    #[error("the plugin's answer can't be used: {0}")]
    BadOutcome(String),
    /// The guard refused the plugin's objects; none was applied.
    #[error("refused: {}", listed(.0))]
    GuardRefused(Vec<Refusal>),
    /// A secret can't be made or used.
    #[error("secret {name}: {problem}")]
    Secret {
        /// Its name.
        name: String,
        /// What is wrong, and what to do.
        problem: String,
        /// It may go away by itself.
        retryable: bool,
    },
    /// An object of that name belongs to something else.
    #[error("{id} exists and {owner}; it was not touched. Delete or rename it, or rename the database")]
    Foreign {
        /// Which object.
        id: ObjectId,
        /// Whose it is, as a half-sentence.
        owner: String,
    },
    /// The API server refused to apply an object.
    #[error("{id}: {}", explain(.source))]
    Apply {
        /// Which object.
        id: Box<ObjectId>,
        /// Its answer.
        source: kube::Error,
    },
    /// Another call of the API server failed.
    #[error("{what}: {}", explain(.source))]
    Api {
        /// What was tried.
        what: String,
        /// Its answer.
        source: kube::Error,
    },
}

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// What was read is out of date: the next reading settles it. Not a failure to show.
    AtOnce,
    /// May pass by itself: try again, ever more slowly.
    BackOff,
    /// Only a change of the resource, its objects or the plugin can help.
    OnChange,
}

impl Failure {
    /// CamelCase, for programs.
    pub fn reason(&self) -> &str {
        match self {
            Failure::NoPlugin(_) => "NoPlugin",
            Failure::InvalidSpec(_) => "InvalidSpec",
            Failure::Settings { .. } => "InvalidPluginConfig",
            Failure::Plugin(error) => error.reason(),
            Failure::BadOutcome(_) => "PluginBadAnswer",
            Failure::GuardRefused(_) => "GuardRefused",
            Failure::Secret { .. } => "SecretFailed",
            Failure::Foreign { .. } => "ForeignObject",
            Failure::Apply { .. } => "ApplyFailed",
            Failure::Api { .. } => "KubernetesFailed",
        }
    }

    /// As [`Self::reason`], for a metric's label: a plugin's own words are as many as it likes.
    pub(crate) fn outcome(&self) -> &str {
        match self {
            Failure::Plugin(CallError::Fault(_)) => "PluginFault",
            other => other.reason(),
        }
    }

    /// Whether and how trying again can help.
    pub fn retry(&self) -> Retry {
        match self {
            Failure::Plugin(error) if error.retryable() => Retry::BackOff,
            Failure::Secret { retryable: true, .. } | Failure::Foreign { .. } => Retry::BackOff,
            Failure::Apply { source, .. } | Failure::Api { source, .. } => match source {
                kube::Error::Api(status) if status.code == 409 => Retry::AtOnce,
                // Invalid until something changes, but "something" may be a quota or a webhook we don't watch.
                _ => Retry::BackOff,
            },
            Failure::NoPlugin(_)
            | Failure::InvalidSpec(_)
            | Failure::Settings { .. }
            | Failure::Plugin(_)
            | Failure::BadOutcome(_)
            | Failure::GuardRefused(_)
            | Failure::Secret { .. } => Retry::OnChange,
        }
    }

    /// An outage of the API server, or its load shedding, rather than an answer about this resource. A single one is
    /// no news about the database.
    pub fn transient(&self) -> bool {
        match self {
            Failure::Plugin(CallError::Overloaded | CallError::Stopped) => true,
            Failure::Apply { source, .. } | Failure::Api { source, .. } => match source {
                kube::Error::Api(status) => matches!(status.code, 409 | 429 | 500..=599),
                _ => true,
            },
            _ => false,
        }
    }
}

/// What the API server said, without kube's decoration.
pub(crate) fn explain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        kube::Error::Api(status) => format!("{} ({})", status.reason, status.code),
        other => format!("the Kubernetes API gave no answer: {other}"),
    }
}

/// The first few of `items`, one after the other.
pub(crate) fn listed<T: std::fmt::Display>(items: &[T]) -> String {
    let mut text = items.iter().take(LISTED).map(T::to_string).collect::<Vec<_>>().join("; ");
    if let Some(more) = items.len().checked_sub(LISTED).filter(|more| *more > 0) {
        // Writing to a String can't fail.
        let _ = write!(text, "; and {more} more");
    }
    text
}
