//! Controllers
use crate::store::{Store};
pub(crate) async fn run(store: Store, stop: tokio_util::sync::CancellationToken) {
    stop.run_until_cancelled(async { loop { let _ = store.next_chore().await; } }).await;
}
