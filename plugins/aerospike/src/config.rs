//! What an operator may set for this plugin in a region.

use senren_plugin::Settings;
use senren_plugin::prelude::*;
use serde::Deserialize;

/// Settings of this plugin in a region.
#[derive(Debug, Deserialize)]
pub struct Config {
    /// Registry, with a path if need be, that the image comes from. Empty: the container runtime's own.
    pub registry: String,
    /// How clients are told to connect.
    pub endpoint: EndpointKind,
}

/// How clients are told to connect.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum EndpointKind {
    /// By the Service's DNS name, for clients inside the cluster.
    Dns,
    /// By the Service's address, for clients that reach the cluster's network but not its DNS.
    ClusterIp,
}

impl Settings for Config {
    fn schema() -> Schema {
        Schema::object([
            (
                "registry",
                Schema::string().default("").describe(
                    "Registry, with a path if need be, of the image `aerospike/aerospike-server`: \
                     registry.example.com/mirror.",
                ),
            ),
            (
                "endpoint",
                Schema::one_of(["dns", "cluster-ip"])
                    .default("dns")
                    .describe("Whether `.status.host` is the Service's DNS name or its address."),
            ),
        ])
    }
}

impl Config {
    /// The image of a version of Community Edition.
    pub(crate) fn image(&self, version: &str) -> String {
        const IMAGE: &str = "aerospike/aerospike-server";
        match self.registry.trim_end_matches('/') {
            "" => format!("{IMAGE}:{version}"),
            registry => format!("{registry}/{IMAGE}:{version}"),
        }
    }
}
