//! Independent scenarios, on as many threads as there are processors.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use parking_lot::Mutex;

/// Futures of a debug build need much room.
const STACK: usize = 16 << 20;

/// What `work` makes of each item, in their order.
pub(crate) fn each<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> anyhow::Result<R> + Sync,
) -> anyhow::Result<Vec<R>> {
    let threads = thread::available_parallelism().map_or(2, usize::from).min(items.len());
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(items.len())));
    let toil = || {
        while let Some((index, item)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            items.get(index).map(|item| (index, item))
        } {
            let result = work(item);
            done.lock().push((index, result));
        }
    };
    thread::scope(|scope| {
        let spawned: std::io::Result<Vec<_>> = (0..threads)
            .map(|_| thread::Builder::new().stack_size(STACK).spawn_scoped(scope, toil))
            .collect();
        for thread in spawned? {
            thread.join().map_err(|_| anyhow::anyhow!("a scenario ended in a panic"))?;
        }
        anyhow::Ok(())
    })?;
    let mut done = done.into_inner();
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

/// One scenario, on a thread with room for it.
pub(crate) fn one<R: Send>(work: impl Fn() -> anyhow::Result<R> + Sync) -> anyhow::Result<R> {
    let mut results = each(&[()], |()| work())?;
    results.pop().ok_or_else(|| anyhow::anyhow!("a scenario had no end"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn results_keep_their_order_and_one_failure_fails_all() {
        let items: Vec<usize> = (0..50).collect();
        assert_eq!(each(&items, |item| Ok(item * 2)).unwrap()[49], 98);
        assert!(each(&items, |item| if *item == 7 { anyhow::bail!("no") } else { Ok(()) }).is_err());
    }
}
