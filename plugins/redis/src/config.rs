//! What an operator may set for this plugin in a region.

use senren_plugin::Settings;
use senren_plugin::prelude::*;
use serde::Deserialize;

/// Settings of this plugin in a region.
#[derive(Debug, Deserialize)]
pub struct Config {
    /// Registry, with a path if need be, that the image `redis` comes from. Empty: the container runtime's own.
    pub registry: String,
    /// Storage class of volumes. Empty: the cluster's default.
    pub storage_class: String,
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
                    "Registry, with a path if need be, of the image `redis`: registry.example.com/mirror.",
                ),
            ),
            (
                "storage_class",
                Schema::string()
                    .default("")
                    .describe("Storage class of volumes; empty: the cluster's default."),
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
    /// The image of a version of Redis.
    pub(crate) fn image(&self, version: &str) -> String {
        match self.registry.trim_end_matches('/') {
            "" => format!("redis:{version}"),
            registry => format!("{registry}/redis:{version}"),
        }
    }

    /// Where clients find a Service, once it is there.
    pub(crate) fn host<Spec>(&self, input: &Input<Spec, Config>, service: &str) -> Option<String> {
        match self.endpoint {
            EndpointKind::Dns => input.observed.find("Service", service).map(|_| input.dns(service)),
            EndpointKind::ClusterIp => input.observed.service_ip(service),
        }
    }

    pub(crate) fn storage_class(&self) -> Option<&str> {
        Some(self.storage_class.as_str()).filter(|class| !class.is_empty())
    }
}
