//! What the embedded API promises, sentence by sentence, through the ordinary `kube::Client`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod apply;
mod collect;
mod crud;
mod defaults;
mod definitions;
mod faults;
mod persistence;
mod robust;
mod scale;
mod support;
mod watch;
