//! What planes say of themselves, as far as the planes have to know of it: [`trace`] hands the identity of a piece of
//! work on, from a request through topics and custom resources to the last status, and [`Readiness`] is whether a
//! plane can do its work. Who listens (exporters, log files, HTTP) is the binary's business, and none of ours.

mod ready;
pub mod trace;

pub use ready::{Readiness, State};
