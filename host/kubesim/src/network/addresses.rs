//! Addresses of pods: handed out in order, so that an address is reused as late as possible and a client that
//! holds on to an old one notices, as it would in a cluster.

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
};

use parking_lot::Mutex;

/// First third octet of pods; those below belong to services.
const FIRST: u16 = 64 << 8;

/// The pod addresses of one cluster's /16.
#[derive(Debug)]
pub struct Addresses {
    network: [u8; 2],
    state: Mutex<State>,
}

#[derive(Debug, Clone)]
struct State {
    next: u16,
    by_owner: HashMap<String, u16>,
    taken: HashSet<u16>,
}

impl Addresses {
    /// All free.
    #[must_use]
    pub fn new(network: Ipv4Addr) -> Self {
        let [a, b, ..] = network.octets();
        let state = State { next: FIRST + 1, by_owner: HashMap::new(), taken: HashSet::new() };
        Self { network: [a, b], state: Mutex::new(state) }
    }

    /// The same addresses with the same owners.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self { network: self.network, state: Mutex::new(self.state.lock().clone()) }
    }

    /// The address of this owner: the one it has, the one it had before if that is still free, or a new one.
    pub fn allocate(&self, owner: &str, before: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        let mut state = self.state.lock();
        if let Some(host) = state.by_owner.get(owner) {
            return Some(self.address(*host));
        }
        let before = before.and_then(|address| self.host(address)).filter(|host| !state.taken.contains(host));
        let host = match before {
            Some(host) => host,
            None => state.next_free()?,
        };
        state.by_owner.insert(owner.to_owned(), host);
        state.taken.insert(host);
        Some(self.address(host))
    }

    /// Gives an owner's address back.
    pub fn release(&self, owner: &str) {
        let mut state = self.state.lock();
        if let Some(host) = state.by_owner.remove(owner) {
            state.taken.remove(&host);
        }
    }

    fn address(&self, host: u16) -> Ipv4Addr {
        let [c, d] = host.to_be_bytes();
        Ipv4Addr::new(self.network[0], self.network[1], c, d)
    }

    fn host(&self, address: Ipv4Addr) -> Option<u16> {
        let [a, b, c, d] = address.octets();
        let host = u16::from_be_bytes([c, d]);
        ([a, b] == self.network && usable(host)).then_some(host)
    }
}

impl State {
    fn next_free(&mut self) -> Option<u16> {
        for _ in 0..=(u16::MAX - FIRST) {
            let host = self.next;
            self.next = if host == u16::MAX { FIRST } else { host + 1 };
            if usable(host) && !self.taken.contains(&host) {
                return Some(host);
            }
        }
        None
    }
}

/// Not a service's, and neither `.0` nor `.255`, which some programs take for a network or a broadcast.
fn usable(host: u16) -> bool {
    let last = host & 0xff;
    host >= FIRST && last != 0 && last != 0xff
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn an_address_is_stable_while_held_and_not_reused_at_once() {
        let addresses = Addresses::new(Ipv4Addr::new(127, 80, 0, 0));
        let first = addresses.allocate("a", None).unwrap();
        assert_eq!(first, Ipv4Addr::new(127, 80, 64, 1));
        assert_eq!(addresses.allocate("a", None), Some(first));
        addresses.release("a");
        assert_eq!(addresses.allocate("b", None), Some(Ipv4Addr::new(127, 80, 64, 2)));
    }

    #[test]
    fn a_pod_that_comes_back_gets_its_address_unless_it_is_taken_or_not_ours() {
        let check = |before: [u8; 4], wanted: [u8; 4]| {
            let addresses = Addresses::new(Ipv4Addr::new(127, 80, 0, 0));
            addresses.allocate("other", Some(Ipv4Addr::new(127, 80, 70, 7)));
            let got = addresses.allocate("a", Some(before.into()));
            assert_eq!(got, Some(wanted.into()), "{before:?}");
        };
        check([127, 80, 99, 9], [127, 80, 99, 9]);
        check([127, 80, 70, 7], [127, 80, 64, 1]);
        check([127, 81, 99, 9], [127, 80, 64, 1]);
        check([127, 80, 1, 9], [127, 80, 64, 1]);
    }

    #[test]
    fn a_full_network_says_so() {
        let addresses = Addresses::new(Ipv4Addr::new(127, 80, 0, 0));
        let mut count = 0;
        while addresses.allocate(&count.to_string(), None).is_some() {
            count += 1;
        }
        assert_eq!(count, 192 * 254);
    }
}
