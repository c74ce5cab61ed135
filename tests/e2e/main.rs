//! The walk on real engines. `make e2e` runs these; `cargo test` alone lists them as ignored.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod control;
mod deploy_chart;
mod deploy_image;
mod deploy_rights;
mod kafka;
mod region;
mod sdk;
mod types;
