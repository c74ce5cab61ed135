//! Redis as resource types of senren: [`redis`](Redis), a primary with its replicas, and
//! [`redis-cluster`](RedisCluster), whose data is spread over shards.
//!
//! Both are written alike: `spec` says what users may want, `diff` what a change of that means, `objects` which
//! Kubernetes objects run it, `reconcile` when it is ready; what a pod does is in `scripts/`. What they share lies
//! beside them.

pub mod cluster;
mod config;
mod fields;
mod pods;
mod settings;
pub mod standalone;

pub use cluster::RedisCluster;
pub use config::{Config, EndpointKind};
pub use standalone::Redis;

senren_plugin::export! { name: "redis", config: Config, controllers: [Redis, RedisCluster], simulations: [RedisCluster] }
