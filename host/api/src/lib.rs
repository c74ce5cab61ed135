//! The words that both planes and every client share: the generated `senren.v1` types, identifiers that are
//! parsed once at the edge, and the functions that must give the same answer everywhere (hash slot, content
//! hash). No I/O, no policy.

mod ids;
pub mod state;

pub use ids::{InvalidId, RegionId, ResourceKey, ResourceName, SiteName, TypeName};

/// Generated from `proto/senren/v1/`.
#[allow(missing_docs, clippy::all, unused_qualifications)]
pub mod v1 {
    tonic::include_proto!("senren.v1");

    /// Encoded `google.protobuf.FileDescriptorSet` of the package, for gRPC reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/senren.binpb"));
}

/// API group of the custom resources in a region, and prefix of every label and annotation of ours.
pub const GROUP: &str = "senren.io";

/// Version of the custom resources in a region.
pub const CR_VERSION: &str = "v1";

/// The port of the control plane's gRPC API.
pub const DEFAULT_PORT: u16 = 7443;
