//! (interface first)
#![allow(clippy::todo)]
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use crate::Reconciler;
/// Reconciles everything until `shutdown`.
pub async fn run(_reconciler: Arc<Reconciler>, _shutdown: CancellationToken) -> anyhow::Result<()> { todo!() }
