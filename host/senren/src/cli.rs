//! The command line. Every setting of a plane is a flag and an environment variable; a plane also starts without
//! any argument, by `MODE=control` or `MODE=regional`, which is how containers start it.

mod args;

use std::{path::PathBuf, time::Duration};

use clap::{
    Args, Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};
use senren_api::RegionId;
use senren_bus::BusConfig;
use senren_control::ControlConfig;
use senren_region::RegionConfig;

pub use self::args::{
    ApplyArgs, ConfirmArgs, Connection, Consent, DiffArgs, ForceDeleteArgs, Format, HistoryArgs, Output,
    PlanArgs, RegionsArgs, RollbackArgs, StateArgs, StatusArgs, Terms, Waiting,
};
use crate::{
    exit::{Exit, Failure},
    plugin::PluginCommand,
    telemetry::endpoint,
};

/// Of the planes, whose logs are all that they say.
const LOGS: &str = "Logs go to standard error. SENREN_LOG sets their level (info,senren_region=debug), \
                    SENREN_LOG_FORMAT=json their form. Traces go to OTEL_EXPORTER_OTLP_ENDPOINT, where that is set.";

/// Declare databases once, for any set of regions in any clouds; each region converges on its own.
///
/// Exit status: 0 done; 1 something failed; 2 wrong usage or a wrong file; 3 no control plane at the endpoint;
/// 4 refused by the control plane; 5 gave up waiting; 6 waits for `senren confirm`; 130 interrupted, or answered
/// with no.
#[derive(Debug, Parser)]
#[command(name = "senren", version, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs a control plane (also by MODE=control).
    #[command(after_help = LOGS)]
    Control(Box<ControlArgs>),
    /// Runs the plane of one region (also by MODE=regional).
    #[command(after_help = LOGS)]
    Regional(Box<RegionalArgs>),
    /// Runs everything on this machine for a file, with real databases as local processes.
    Dev(DevArgs),
    /// Shows what applying a file would do, and changes nothing.
    Plan(PlanArgs),
    /// Declares all databases of a site: shows the plan, asks, and applies it.
    Apply(ApplyArgs),
    /// Shows how declarations differ: a file from what is declared, or a revision from another.
    #[command(after_help = "Exit status: 0 they are the same; 1 they differ; above 1 something failed \
                            (what elsewhere ends with 1 ends with 2 here).")]
    Diff(DiffArgs),
    /// Shows what is desired and how far each region is.
    Status(StatusArgs),
    /// Prints what a site declares, as a file that `senren apply` takes.
    State(StateArgs),
    /// Shows who changed what, and when.
    History(HistoryArgs),
    /// Declares again what a site declared at an earlier revision.
    Rollback(RollbackArgs),
    /// Lets happen what is held because it loses data.
    Confirm(ConfirmArgs),
    /// Forgets what is being deleted in a region that is gone for good.
    ForceDelete(ForceDeleteArgs),
    /// Shows the regions: whether they are heard of, in sync, and what they can run.
    Regions(RegionsArgs),
    /// Works on plugins.
    #[command(subcommand)]
    Plugin(PluginCommand),
}

/// Settings of `senren control`.
#[derive(Debug, Args)]
pub struct ControlArgs {
    #[command(flatten)]
    pub control: ControlConfig,
    #[command(flatten)]
    pub bus: BusConfig,
    #[command(flatten)]
    pub telemetry: endpoint::Settings,
}

/// Settings of `senren regional`.
#[derive(Debug, Args)]
pub struct RegionalArgs {
    #[command(flatten)]
    pub region: RegionConfig,
    #[command(flatten)]
    pub bus: BusConfig,
    #[command(flatten)]
    pub telemetry: endpoint::Settings,
}

/// Settings of `senren dev`.
#[derive(Debug, Args)]
pub struct DevArgs {
    /// What to declare: a YAML or JSON file, as for `senren apply`.
    pub file: PathBuf,
    /// Ends once every database is proven, with status 0, or 1 where one is not.
    #[arg(long)]
    pub once: bool,
    /// Where all data live: PostgreSQL, the regions' clusters, the databases' volumes.
    #[arg(long, env = "SENREN_DEV_DATA")]
    pub data_dir: Option<PathBuf>,
    /// An existing PostgreSQL instead of a private one in the data directory.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// A region to run besides those that the file names.
    #[arg(long = "region", value_name = "REGION")]
    pub regions: Vec<RegionId>,
    /// A real cluster for a region, instead of an embedded one; may be repeated.
    #[arg(long = "kubeconfig", value_name = "REGION=FILE", value_parser = args::region_file)]
    pub kubeconfigs: Vec<(RegionId, PathBuf)>,
    /// Where the plugins (.wasm) are. Default: `plugins` beside this program.
    #[arg(long, env = "PLUGIN_DIR")]
    pub plugin_dir: Option<PathBuf>,
    /// Where the control plane listens.
    #[arg(long, env = "LISTEN_ADDR", default_value_t = std::net::SocketAddr::from(([127, 0, 0, 1], senren_api::DEFAULT_PORT)))]
    pub listen: std::net::SocketAddr,
    /// How long everything may take to be proven.
    #[arg(long, default_value = "2m", value_parser = args::duration)]
    pub timeout: Duration,
    #[command(flatten)]
    pub telemetry: endpoint::Settings,
}

impl Cli {
    /// The command given, or the plane that `MODE` names.
    pub fn command(self) -> Result<Command, Failure> {
        if let Some(command) = self.command {
            return Ok(command);
        }
        let plane = match std::env::var("MODE").as_deref() {
            Ok("control") => "control",
            Ok("regional") => "regional",
            // As containers' templates leave it.
            Ok("") | Err(_) => Self::command_help(),
            Ok(other) => {
                let message = format!("MODE={other:?} is no plane; it must be control or regional");
                return Err(Failure::new(Exit::Usage, message));
            }
        };
        match Self::try_parse_from(["senren", plane]) {
            Ok(Self { command: Some(command) }) => Ok(command),
            Ok(Self { command: None }) => Err(Failure::new(Exit::Usage, "no command")),
            Err(error) => naming_variables(error, plane).exit(),
        }
    }

    fn command_help() -> ! {
        let mut command = <Self as clap::CommandFactory>::command();
        command
            .error(
                ErrorKind::MissingSubcommand,
                "name a command, or set MODE=control or MODE=regional; see --help",
            )
            .exit()
    }
}

/// Whoever starts a plane by `MODE` sets variables, not flags: says which of them are missing.
fn naming_variables(mut error: clap::Error, plane: &str) -> clap::Error {
    let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg) else { return error };
    let mut command = <Cli as clap::CommandFactory>::command();
    command.build();
    let arguments = command.find_subcommand(plane).into_iter().flat_map(clap::Command::get_arguments);
    let variables: Vec<String> = arguments
        .filter(|argument| missing.contains(&argument.to_string()))
        .filter_map(|argument| Some(argument.get_env()?.to_string_lossy().into_owned()))
        .collect();
    if !variables.is_empty() {
        let tip = format!("MODE={plane} takes them from the environment: set {}", variables.join(", "));
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
