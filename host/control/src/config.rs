//! What a control plane can be told, by flag or environment variable.

use std::{net::SocketAddr, time::Duration};

use crate::{api, tls, upkeep};

/// Configuration of a control plane.
#[derive(Debug, Clone, clap::Args)]
pub struct ControlConfig {
    /// PostgreSQL of this control plane: `postgres://user:password@host:5432/database`.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    /// Where the gRPC API listens; port 0 takes a free one. Whoever can reach it may use it, unless
    /// TLS_CLIENT_CA_FILE says who: keep it on a loopback address, or behind something that asks.
    #[arg(long, env = "LISTEN_ADDR", default_value = "127.0.0.1:7443")]
    pub listen_addr: SocketAddr,
    /// Certificates of the API.
    #[command(flatten)]
    pub tls: tls::Files,
    /// What an operator may decide about the API.
    #[command(flatten)]
    pub api: api::Settings,
    /// What is done now and then.
    #[command(flatten)]
    pub upkeep: upkeep::Settings,
    /// Most connections to PostgreSQL.
    #[arg(long, env = "DATABASE_CONNECTIONS", default_value_t = DEFAULT_CONNECTIONS,
          value_parser = clap::value_parser!(u32).range(i64::from(MIN_CONNECTIONS)..=1000))]
    pub database_connections: u32,
}

const DEFAULT_CONNECTIONS: u32 = 20;
/// One per concurrent publication, and some to serve.
pub(crate) const MIN_CONNECTIONS: u32 = 12;

impl Default for ControlConfig {
    /// As with no flags, but without a database.
    fn default() -> Self {
        Self {
            database_url: String::new(),
            listen_addr: SocketAddr::from(([127, 0, 0, 1], senren_api::DEFAULT_PORT)),
            tls: tls::Files::default(),
            api: api::Settings::default(),
            upkeep: upkeep::Settings::default(),
            database_connections: DEFAULT_CONNECTIONS,
        }
    }
}

/// `500ms`, `90s`, `10m`, `1h`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} is no duration: write 90s, 10m or 1h"))?;
    let seconds = |factor: u64| number.checked_mul(factor).map(Duration::from_secs);
    let duration = match &text[digits.len()..] {
        "ms" => Some(Duration::from_millis(number)),
        "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(3600),
        unit => return Err(format!("{unit:?} in {text:?} is no unit: use ms, s, m or h")),
    };
    duration
        .filter(|d| !d.is_zero() && *d <= MAX)
        .ok_or_else(|| format!("{text:?} is not between 1ms and 30 days"))
}

const MAX: Duration = Duration::from_secs(30 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        for bad in ["10", "", "m", "0s", "-1s", "1d", "99999999999999999999h", "18446744073709551615h"] {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
    }
}
