//! A whole senren in one process, for end-to-end tests: a control plane on a real PostgreSQL, topics in memory,
//! and per region the production regional plane on an embedded Kubernetes API with simulated pods.
//!
//! Tests talk to it as a client does, over gRPC, and look at a region's cluster through its Kubernetes API. The
//! planes can be stopped and started one by one, which is how a test takes one away.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cluster;
pub mod real;
mod site;
mod world;

pub use cluster::Cluster;
pub use world::{Plane, World, database};
