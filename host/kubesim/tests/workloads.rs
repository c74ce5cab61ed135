//! The life of StatefulSets, Jobs and Pods in the embedded cluster: simulated, and as real processes under
//! bubblewrap.
//!
//! The tests of processes need `bwrap` and `redis-server` (packages `bubblewrap` and `redis-server`) and fail
//! without.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "workloads/common.rs"]
mod common;
#[path = "workloads/exec.rs"]
mod exec;
#[path = "workloads/freeze.rs"]
mod freeze;
#[path = "workloads/jobs.rs"]
mod jobs;
#[path = "workloads/processes.rs"]
mod processes;
#[path = "workloads/services.rs"]
mod services;
#[path = "workloads/sets.rs"]
mod sets;
#[path = "workloads/survival.rs"]
mod survival;
