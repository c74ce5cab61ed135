//! Settings of a regional plane.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use senren_api::RegionId;
use senren_engine::Plugins;
use senren_reconcile::{ApiKind, Settings, default_allowed_kinds};
use senren_telemetry::Readiness;
use serde_json::Value;

/// Settings of each plugin, by its name.
pub type PluginConfig = BTreeMap<String, Value>;

/// What an operator says about one region.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Region")]
pub struct RegionConfig {
    /// The region that this plane is: cloud:region or cloud:region:cluster, e.g. aws:us-east-1.
    #[arg(long, env = "REGION_ID", value_name = "REGION")]
    pub region_id: RegionId,

    /// First part of the namespaces: site `default` lives in `<prefix>-default`, the plane in `<prefix>-system`.
    /// Two planes on one cluster need different ones.
    #[arg(long, env = "NAMESPACE_PREFIX", default_value = "senren", value_parser = namespace_prefix, value_name = "NAME")]
    pub namespace_prefix: String,

    /// Directory of the plugins: every `.wasm` file in it is one.
    #[arg(long, env = "PLUGIN_DIR", default_value = "/plugins", value_name = "DIR")]
    pub plugin_dir: PathBuf,

    /// Directory for compiled plugins, which start hundreds of times faster. Only this program may write there.
    #[arg(long, env = "PLUGIN_CACHE_DIR", value_name = "DIR")]
    pub plugin_cache_dir: Option<PathBuf>,

    /// Settings of the plugins: a JSON object with a member per plugin, e.g. {"redis": {"endpoint": "cluster-ip"}}.
    #[arg(
        long, env = "PLUGIN_CONFIG", default_value = "{}", hide_default_value = true, hide_env_values = true,
        value_parser = plugin_config, value_name = "JSON"
    )]
    pub plugin_config: PluginConfig,

    /// Kinds of objects that plugins may make, as version/Kind or group/version/Kind; the plane's ClusterRole must
    /// allow them. Default: what databases usually need.
    #[arg(long, env = "ALLOWED_KINDS", value_delimiter = ',', value_name = "KIND,…")]
    pub allowed_kinds: Vec<ApiKind>,

    /// How often the region says that it is alive. After three times as long without, it counts as silent.
    #[arg(long, env = "HEARTBEAT_INTERVAL", default_value = "10s", value_parser = duration, value_name = "TIME")]
    pub heartbeat_interval: Duration,

    /// How often everything is reconciled and reported again, whether or not it changed.
    #[arg(long, env = "RESYNC_INTERVAL", default_value = "10m", value_parser = duration, value_name = "TIME")]
    pub resync_interval: Duration,

    /// How many resources of one type are worked on at once.
    #[arg(
        long, env = "CONCURRENCY", default_value_t = 16, value_name = "COUNT",
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1024)
    )]
    pub concurrency: usize,

    /// How long the Lease of the replica that works lasts without being renewed: so long after that has gone without a
    /// word, another takes over. It is renewed five times as often.
    #[arg(long, env = "LEASE_DURATION", default_value = "15s", value_parser = lease_duration, value_name = "TIME")]
    pub lease_duration: Duration,

    /// PostgreSQL of this region's own: postgres://user:password@host:5432/database. Optional; with it, every change of
    /// a status is committed before it is reported, and a crash loses none.
    #[arg(long, env = "REGIONAL_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub regional_database_url: Option<String>,

    /// Nothing to set: where the plane says whether it is ready.
    #[arg(skip)]
    pub readiness: Readiness,

    /// Nothing to set: what serves, for whoever else goes by it.
    #[arg(skip)]
    pub plugins: Plugins,
}

impl RegionConfig {
    /// The defaults for `region`.
    pub fn new(region: RegionId) -> Self {
        Self {
            region_id: region,
            namespace_prefix: "senren".into(),
            plugin_dir: "/plugins".into(),
            plugin_cache_dir: None,
            plugin_config: BTreeMap::new(),
            allowed_kinds: Vec::new(),
            heartbeat_interval: Duration::from_secs(10),
            resync_interval: Duration::from_secs(600),
            concurrency: 16,
            lease_duration: Duration::from_secs(15),
            regional_database_url: None,
            readiness: Readiness::default(),
            plugins: Plugins::default(),
        }
    }

    /// What of it concerns reconciling.
    pub(crate) fn reconcile_settings(&self) -> Settings {
        Settings {
            namespace_prefix: self.namespace_prefix.clone(),
            allowed_kinds: match self.allowed_kinds.as_slice() {
                [] => default_allowed_kinds(),
                kinds => kinds.to_vec(),
            },
            resync: self.resync_interval,
            concurrency: self.concurrency,
            ..Settings::new(self.region_id.clone())
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .filter(|duration| *duration >= Duration::from_millis(100))
        .ok_or_else(|| "write a time of at least 100ms, like 10s, 5m or 1h30m".to_owned())
}

fn lease_duration(text: &str) -> Result<Duration, String> {
    let allowed = Duration::from_secs(1)..=Duration::from_secs(600);
    duration(text).ok().filter(|duration| allowed.contains(duration)).ok_or_else(|| {
        "write a time from 1s to 10m, like 15s; below 5s an API server that is busy for a moment costs the Lease".into()
    })
}

/// With a site name of 40 characters, the namespace must remain a DNS label.
fn namespace_prefix(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let fits = (1..=20).contains(&text.len()) && text.chars().all(allowed);
    if fits && text.starts_with(|c: char| c.is_ascii_lowercase()) && !text.ends_with('-') {
        return Ok(text.to_owned());
    }
    Err("use 1 to 20 lower-case letters, digits and inner '-', starting with a letter".into())
}

fn plugin_config(text: &str) -> Result<PluginConfig, String> {
    let config: PluginConfig = serde_json::from_str(text)
        .map_err(|error| format!("write a JSON object with a member per plugin: {error}"))?;
    match config.iter().find(|(_, value)| !value.is_object()) {
        Some((plugin, _)) => Err(format!("the settings of plugin {plugin:?} must be a JSON object")),
        None => Ok(config),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        region: RegionConfig,
    }

    fn check(args: &[&str], words: Result<(), &str>) {
        let region: &[&str] =
            if args.contains(&"--region-id") { &[] } else { &["--region-id", "aws:us-east-1"] };
        let args = ["senren"].iter().chain(region).chain(args);
        match (Cli::try_parse_from(args), words) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{error}"),
            (result, _) => panic!("{result:?}"),
        }
    }

    #[test]
    fn settings_are_parsed_and_wrong_ones_explained() {
        check(&[], Ok(()));
        check(&["--plugin-config", r#"{"redis": {"endpoint": "cluster-ip"}}"#], Ok(()));
        check(&["--plugin-config", "redis"], Err("a member per plugin"));
        check(&["--plugin-config", r#"{"redis": 1}"#], Err("\"redis\" must be a JSON object"));
        check(&["--heartbeat-interval", "1"], Err("like 10s"));
        check(&["--namespace-prefix", "Senren"], Err("lower-case letters"));
        check(&["--lease-duration", "2m"], Ok(()));
        check(&["--lease-duration", "500ms"], Err("from 1s to 10m"));
        check(&["--allowed-kinds", "apps/v1/StatefulSet,v1/ConfigMap"], Ok(()));
        check(&["--allowed-kinds", "StatefulSet"], Err("is not a kind"));
        check(&["--region-id", "aws"], Err("cloud:region"));
    }

    #[test]
    fn the_defaults_are_those_of_the_command_line() {
        let parsed = Cli::try_parse_from(["senren", "--region-id", "aws:us-east-1"]).unwrap().region;
        let new = RegionConfig::new("aws:us-east-1".parse().unwrap());
        assert_eq!(format!("{parsed:?}"), format!("{new:?}"));
    }
}
