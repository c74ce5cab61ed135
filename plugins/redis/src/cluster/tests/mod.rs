//! The plugin as a host sees it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod host;
mod simulated;
