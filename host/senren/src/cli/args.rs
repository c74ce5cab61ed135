//! The arguments of the commands that speak to a control plane.

use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, Args, ValueEnum};
use senren_api::RegionId;

use crate::client::Endpoint;

/// Where the control plane is, and how we and it prove who we are.
#[derive(Debug, Args)]
pub struct Connection {
    /// Control plane: host:port, http://host:port or https://host:port. Without a scheme, TLS is used except for this
    /// machine itself.
    #[arg(
        short,
        long,
        env = "SENREN_ENDPOINT",
        default_value = "localhost:7443",
        help_heading = "Connection"
    )]
    pub endpoint: Endpoint,
    /// Certificates (PEM) that the control plane's is checked against, instead of this machine's.
    #[arg(long, env = "SENREN_CA_CERT", value_name = "FILE", help_heading = "Connection")]
    pub ca_cert: Option<PathBuf>,
    /// Our own certificate (PEM), where the control plane asks for one.
    #[arg(long, env = "SENREN_CERT", value_name = "FILE", requires = "key", help_heading = "Connection")]
    pub cert: Option<PathBuf>,
    /// The private key (PEM) of --cert.
    #[arg(long, env = "SENREN_KEY", value_name = "FILE", requires = "cert", help_heading = "Connection")]
    pub key: Option<PathBuf>,
}

/// Whether a change is asked about first, and under whose name it is remembered.
#[derive(Debug, Args)]
pub struct Consent {
    /// Doesn't ask. Needed where there is no terminal to ask on.
    #[arg(short, long)]
    pub yes: bool,
    /// Who changes it, for the history. Default: user@host.
    #[arg(long, env = "SENREN_AUTHOR")]
    pub author: Option<String>,
}

/// Whether to wait for what was changed.
#[derive(Debug, Args)]
pub struct Waiting {
    /// Waits until every database is ready, and what was deleted is gone.
    #[arg(long)]
    pub wait: bool,
    /// How long --wait waits: 90s, 5m, 1h30m.
    #[arg(long, default_value = "5m", value_parser = duration, requires = "wait")]
    pub timeout: Duration,
}

/// Which site is meant.
#[derive(Debug, Args)]
pub struct Scope {
    /// The site that is meant. Default: that of the file, where there is one and it names one; else `default`.
    #[arg(long, env = "SENREN_SITE")]
    pub site: Option<String>,
}

impl Scope {
    /// The site that was named; an empty variable names none.
    pub fn told(&self) -> Option<&str> {
        self.site.as_deref().filter(|site| !site.is_empty())
    }

    /// The site, where no file may name another.
    pub fn name(&self) -> &str {
        self.told().unwrap_or("default")
    }
}

/// How something is declared, whatever it is: what `senren apply` and `senren rollback` have in common.
#[derive(Debug, Args)]
pub struct Terms {
    #[command(flatten)]
    pub scope: Scope,
    #[command(flatten)]
    pub consent: Consent,
    /// Holds nothing back: neither deletions that are too many at once nor replacements that lose data.
    #[arg(long)]
    pub confirm_data_loss: bool,
    /// Changes something only if the site's revision is this one; 0: only if nothing was ever applied.
    #[arg(long, value_name = "REVISION")]
    pub expected_revision: Option<u64>,
    /// Makes repeating the command harmless: the same id and content is applied once.
    #[arg(long, value_name = "ID")]
    pub request_id: Option<String>,
    #[command(flatten)]
    pub waiting: Waiting,
    #[command(flatten)]
    pub connection: Connection,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Settings of `senren plan`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["file", "rollback"]))]
pub struct PlanArgs {
    /// YAML or JSON; `-` is standard input.
    #[arg(short = 'f', long = "file")]
    pub file: Option<PathBuf>,
    /// What a rollback to this revision would do, instead of a file.
    #[arg(long, value_name = "REVISION")]
    pub rollback: Option<u64>,
    #[command(flatten)]
    pub scope: Scope,
    /// What would happen if nothing were held.
    #[arg(long)]
    pub confirm_data_loss: bool,
    #[command(flatten)]
    pub connection: Connection,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Settings of `senren apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// YAML or JSON; `-` is standard input.
    #[arg(short = 'f', long = "file")]
    pub file: PathBuf,
    #[command(flatten)]
    pub terms: Terms,
}

/// Settings of `senren rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// What was declared at this revision is declared again.
    pub revision: u64,
    #[command(flatten)]
    pub terms: Terms,
}

/// Settings of `senren diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// From this revision; default: the latest.
    #[arg(required_unless_present = "file")]
    pub from: Option<u64>,
    /// To this revision; default: the latest.
    #[arg(conflicts_with = "file")]
    pub to: Option<u64>,
    /// To this file, YAML or JSON; `-` is standard input.
    #[arg(short = 'f', long = "file")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub scope: Scope,
    #[command(flatten)]
    pub connection: Connection,
}

/// Settings of `senren status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Only these databases; default all.
    pub names: Vec<String>,
    #[command(flatten)]
    pub scope: Scope,
    /// Only in this region; may be repeated.
    #[arg(long = "region", value_name = "REGION")]
    pub regions: Vec<String>,
    /// Goes on showing changes until interrupted: the table on a terminal, else a line per change.
    #[arg(short, long)]
    pub watch: bool,
    #[command(flatten)]
    pub connection: Connection,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Settings of `senren state`.
#[derive(Debug, Args)]
pub struct StateArgs {
    /// As declared at this revision; default: the latest.
    #[arg(long)]
    pub revision: Option<u64>,
    #[command(flatten)]
    pub scope: Scope,
    #[command(flatten)]
    pub connection: Connection,
    /// YAML or JSON; both are what `senren apply` takes.
    #[arg(short, long, value_enum, default_value_t = Format::Yaml)]
    pub output: Format,
}

/// Settings of `senren history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    #[command(flatten)]
    pub scope: Scope,
    /// At most so many revisions.
    #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// Only revisions before this one.
    #[arg(long, value_name = "REVISION")]
    pub before: Option<u64>,
    #[command(flatten)]
    pub connection: Connection,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Settings of `senren confirm`.
#[derive(Debug, Args)]
pub struct ConfirmArgs {
    /// Only these databases; default: all that are held.
    pub names: Vec<String>,
    /// Only in this region; may be repeated.
    #[arg(long = "region", value_name = "REGION")]
    pub regions: Vec<String>,
    #[command(flatten)]
    pub scope: Scope,
    #[command(flatten)]
    pub consent: Consent,
    /// Confirms only if the site's revision is this one.
    #[arg(long, value_name = "REVISION")]
    pub expected_revision: Option<u64>,
    #[command(flatten)]
    pub waiting: Waiting,
    #[command(flatten)]
    pub connection: Connection,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Settings of `senren force-delete`.
#[derive(Debug, Args)]
pub struct ForceDeleteArgs {
    /// The region that is gone.
    #[arg(long)]
    pub region: String,
    /// Only these databases; default: all that are being deleted there.
    pub names: Vec<String>,
    #[command(flatten)]
    pub scope: Scope,
    #[command(flatten)]
    pub consent: Consent,
    #[command(flatten)]
    pub connection: Connection,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Settings of `senren regions`.
#[derive(Debug, Args)]
pub struct RegionsArgs {
    #[command(flatten)]
    pub connection: Connection,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// How results are printed on standard output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs: one JSON value; with --watch, one per line.
    Json,
    /// For programs and people.
    Yaml,
}

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people and programs.
    Yaml,
    /// For programs.
    Json,
}

/// `90s`, `5m`, `1h30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| "write a time like 90s, 5m or 1h30m".to_owned())
}

/// `aws:us-east-1=/home/me/.kube/config`.
pub(super) fn region_file(text: &str) -> Result<(RegionId, PathBuf), String> {
    let (region, file) =
        text.split_once('=').ok_or("write REGION=FILE, e.g. aws:us-east-1=kubeconfig.yaml")?;
    Ok((region.parse().map_err(|error: senren_api::InvalidId| error.to_string())?, file.into()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_time_is_written_as_people_do() {
        assert_eq!(duration("90s").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("1h30m").unwrap(), Duration::from_secs(5400));
        for bad in ["", "5", "-5m", "soon"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
