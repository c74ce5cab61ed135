//! SIGINT and SIGTERM as a token: the first asks everything to end in order.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::Failure;

/// A token that is cancelled by the first SIGINT or SIGTERM. A second one ends the process at once.
pub fn on_signal() -> Result<CancellationToken, Failure> {
    let listen = |kind| signal(kind).map_err(|error| anyhow::anyhow!("cannot listen for signals: {error}"));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        for patience in [true, false] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if !patience {
                std::process::exit(130);
            }
            cancel.cancel();
        }
    });
    Ok(token)
}
