//! The walk on real engines. `make e2e` runs these; `cargo test` alone lists them as ignored.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod walk;
