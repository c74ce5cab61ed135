//! The addresses of services: handed out in turn, so that one that was just given back isn't given out at once.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// First address after the network's, and the last one of its lower quarter.
const FIRST: u32 = 1;
const LAST: u32 = 63 * 256 + 254;

/// Which addresses are taken.
#[derive(Debug, Clone)]
pub(crate) struct Addresses {
    network: u32,
    taken: BTreeSet<Ipv4Addr>,
    next: u32,
}

impl Addresses {
    pub fn new(network: Ipv4Addr) -> Addresses {
        Addresses { network: u32::from(network) & 0xffff_0000, taken: BTreeSet::new(), next: FIRST }
    }

    /// An address that nobody has.
    pub fn free(&mut self) -> Option<Ipv4Addr> {
        for _ in FIRST..=LAST {
            let address = Ipv4Addr::from(self.network + self.next);
            self.next = if self.next == LAST { FIRST } else { self.next + 1 };
            if !self.taken.contains(&address) {
                return Some(address);
            }
        }
        None
    }

    pub fn take(&mut self, address: Ipv4Addr) {
        self.taken.insert(address);
    }

    pub fn give_back(&mut self, address: Ipv4Addr) {
        self.taken.remove(&address);
    }

    pub fn is_taken(&self, address: Ipv4Addr) -> bool {
        self.taken.contains(&address)
    }

    /// Whether an address is one that services can have.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        let offset = u32::from(address).wrapping_sub(self.network);
        (FIRST..=LAST).contains(&offset)
    }
}
