//! The one clock that ends calls: a thread that advances the epoch of every engine of the process.
//!
//! Compiled code compares the epoch with its deadline at loops and function entries, which costs a load and a
//! branch; so the tick may be coarse, and the thread sleeps nearly always.

use parking_lot::Mutex;
use std::time::Duration;
use wasmtime::EngineWeak;

/// Deadlines are rounded up to it: short against the default of a second.
pub(crate) const TICK: Duration = Duration::from_millis(20);

struct Ticker {
    engines: Vec<EngineWeak>,
    running: bool,
}

static TICKER: Mutex<Ticker> = Mutex::new(Ticker { engines: Vec::new(), running: false });

/// Ticks for `engine` until it is dropped.
pub(crate) fn watch(engine: &wasmtime::Engine) -> std::io::Result<()> {
    let mut ticker = TICKER.lock();
    ticker.engines.push(engine.weak());
    if !ticker.running {
        std::thread::Builder::new().name("senren-epoch".into()).spawn(tick)?;
        ticker.running = true;
    }
    Ok(())
}

/// The epochs after which at least `deadline` has passed: the first tick may come at once.
pub(crate) fn ticks(deadline: Duration) -> u64 {
    let ticks = deadline.as_nanos().div_ceil(TICK.as_nanos());
    u64::try_from(ticks).unwrap_or(u64::MAX - 1).saturating_add(1)
}

fn tick() {
    loop {
        std::thread::sleep(TICK);
        let mut ticker = TICKER.lock();
        ticker.engines.retain(|engine| match engine.upgrade() {
            Some(engine) => {
                engine.increment_epoch();
                true
            }
            None => false,
        });
        if ticker.engines.is_empty() {
            ticker.running = false;
            return;
        }
    }
}
