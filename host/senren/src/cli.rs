//! The command line. Every setting of a plane is a flag and an environment variable; a plane also starts without
//! any argument, by `MODE=control` or `MODE=regional`, which is how containers start it.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum, error::ErrorKind};
use senren_bus::BusConfig;
use senren_control::ControlConfig;
use senren_region::RegionConfig;

use crate::{
    client::Endpoint,
    exit::{Exit, Failure},
    plugin::PluginCommand,
};

/// Of the planes, whose logs are all that they say.
const LOGS: &str = "Logs go to standard error. SENREN_LOG sets their level (info,senren_region=debug), \
                    SENREN_LOG_FORMAT=json their form.";

/// Declare databases once, for any set of regions in any clouds; each region converges on its own.
///
/// Exit status: 0 done; 1 something failed; 2 wrong usage or a wrong file; 3 no control plane at the endpoint;
/// 4 refused by the control plane; 5 gave up waiting; 130 interrupted.
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
    /// Declares all databases of a site.
    Apply(ApplyArgs),
    /// Shows what is desired and how far each region is.
    Status(StatusArgs),
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
}

/// Settings of `senren regional`.
#[derive(Debug, Args)]
pub struct RegionalArgs {
    #[command(flatten)]
    pub region: RegionConfig,
    #[command(flatten)]
    pub bus: BusConfig,
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
    pub regions: Vec<senren_api::RegionId>,
    /// Where the plugins (.wasm) are. Default: `plugins` beside this program.
    #[arg(long, env = "PLUGIN_DIR")]
    pub plugin_dir: Option<PathBuf>,
    /// Where the control plane listens.
    #[arg(long, env = "LISTEN_ADDR", default_value_t = std::net::SocketAddr::from(([127, 0, 0, 1], senren_api::DEFAULT_PORT)))]
    pub listen: std::net::SocketAddr,
    /// How long everything may take to be proven.
    #[arg(long, default_value = "2m", value_parser = duration)]
    pub timeout: Duration,
}

/// Settings of `senren apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// YAML or JSON; `-` is standard input.
    #[arg(short = 'f', long = "file")]
    pub file: PathBuf,
    #[command(flatten)]
    pub connection: Connection,
    /// Apply only if the site's revision is this one; 0: only if nothing was ever applied.
    #[arg(long, value_name = "REVISION")]
    pub expected_revision: Option<u64>,
    /// Makes repeating the command harmless: the same id and content is applied once.
    #[arg(long, value_name = "ID")]
    pub request_id: Option<String>,
    /// Waits until every database is ready, and what was deleted is gone.
    #[arg(long)]
    pub wait: bool,
    /// How long --wait waits.
    #[arg(long, default_value = "5m", value_parser = duration)]
    pub timeout: Duration,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Settings of `senren status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Only these databases; default all.
    pub names: Vec<String>,
    /// Of this site.
    #[arg(long, env = "SENREN_SITE", default_value = "default")]
    pub site: String,
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

/// Settings of `senren regions`.
#[derive(Debug, Args)]
pub struct RegionsArgs {
    #[command(flatten)]
    pub connection: Connection,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Where the control plane is.
#[derive(Debug, Args)]
pub struct Connection {
    /// Control plane: host:port, http://host:port or https://host:port. Without a scheme, TLS is used except
    /// for this machine itself.
    #[arg(short, long, env = "SENREN_ENDPOINT", default_value = "localhost:7443")]
    pub endpoint: Endpoint,
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
            Err(error) => error.exit(),
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

/// `90s`, `5m`, `1h30m`.
fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| "write a time like 90s, 5m or 1h30m".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn a_time_is_written_as_people_do() {
        assert_eq!(duration("90s").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("1h30m").unwrap(), Duration::from_secs(5400));
        for bad in ["", "5", "-5m", "soon"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
