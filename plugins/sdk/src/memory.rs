//! Memory for a call that starts with nothing and ends with everything.
//!
//! A host makes a fresh instance for every call, so what a call allocates need never be found again: taking the
//! next bytes is all there is to it. That makes calls with a lot of JSON measurably faster than a general allocator,
//! and plugins smaller. What was allocated last is given back or grows in place, since building texts is mostly that.
//!
//! A call that allocates and drops hundreds of megabytes would do better with another allocator; it would also
//! be over the time limit.
#![allow(unsafe_code, reason = "an allocator hands out raw memory")]

use core::alloc::{GlobalAlloc, Layout};
use core::arch::wasm32::{memory_grow, memory_size};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const PAGE: usize = 65_536;
/// What memory grows by at least: growing costs a call to the host, untouched memory costs nothing.
const STEP: usize = 16 * PAGE;

/// The global allocator of plugins; [`export_plugin!`](crate::export_plugin) installs it.
pub struct Allocator {
    /// First free byte; 0 before the first allocation.
    next: AtomicUsize,
}

unsafe extern "C" {
    /// Where the linker says that the stack and the statics end.
    static __heap_base: u8;
}

impl Allocator {
    /// For the static.
    pub const fn new() -> Self {
        Self { next: AtomicUsize::new(0) }
    }

    fn next(&self) -> usize {
        match self.next.load(Relaxed) {
            0 => &raw const __heap_base as usize,
            next => next,
        }
    }

    /// Makes memory reach up to `end`; false if the host does not allow that much.
    fn reach(&self, end: usize) -> bool {
        let size = memory_size(0) * PAGE;
        if end <= size {
            return true;
        }
        let needed = (end - size).div_ceil(PAGE);
        // A host may have just a little less than a whole step left.
        memory_grow(0, needed.max(STEP / PAGE)) != usize::MAX || memory_grow(0, needed) != usize::MAX
    }
}

impl Default for Allocator {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: blocks never overlap: each begins where the last one ended, aligned upwards, and only what was handed out
// last is ever taken back. A plugin has one thread, so between load and store nobody else runs.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let start = self.next().next_multiple_of(layout.align());
        match start.checked_add(layout.size()) {
            Some(end) if self.reach(end) => {
                self.next.store(end, Relaxed);
                start as *mut u8
            }
            _ => null_mut(),
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if block as usize + layout.size() == self.next() {
            self.next.store(block as usize, Relaxed);
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let start = block as usize;
        if start + layout.size() == self.next() {
            return match start.checked_add(size) {
                Some(end) if self.reach(end) => {
                    self.next.store(end, Relaxed);
                    block
                }
                _ => null_mut(),
            };
        }
        if size <= layout.size() {
            return block;
        }
        // SAFETY: the caller vouches for `layout`, and so for its alignment with another size.
        let grown = unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
        if !grown.is_null() {
            // SAFETY: both are blocks of this allocator, of at least this size, and do not overlap.
            unsafe { block.copy_to_nonoverlapping(grown, layout.size()) };
        }
        grown
    }
}
