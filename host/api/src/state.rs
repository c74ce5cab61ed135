//! A region's desired state as content: which hash slot a resource lies in, and the hash that names a content.

use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::v1::{DesiredResource, RegionalState, SlotRange};

/// All 256 hash slots.
pub const ALL_SLOTS: SlotRange = SlotRange { first: 0, last: 255 };

/// The hash slot of a resource, 0 to 255: the first byte of SHA-256(`site/name`).
pub fn slot(site: &str, name: &str) -> u8 {
    let mut hash = Sha256::new();
    hash.update(site);
    hash.update("/");
    hash.update(name);
    hash.finalize()[0]
}

/// The slots that a state is complete for.
pub fn slots(state: &RegionalState) -> SlotRange {
    state.slots.unwrap_or(ALL_SLOTS)
}

/// True where `range` covers the slot of (`site`, `name`).
pub fn covers(range: &SlotRange, site: &str, name: &str) -> bool {
    (range.first..=range.last).contains(&u32::from(slot(site, name)))
}

/// Lower-case hex SHA-256 of a region's content: region, version, slots, and the resources in (site, name) order.
///
/// Protobuf's encoding of these messages is deterministic (no maps, fields in order), so the hash is too.
pub fn content_hash(region: &str, version: u64, slots: SlotRange, resources: &[DesiredResource]) -> String {
    let mut ordered: Vec<&DesiredResource> = resources.iter().collect();
    ordered.sort_by(|a, b| (&a.site, &a.name).cmp(&(&b.site, &b.name)));
    let mut hash = Sha256::new();
    hash.update(region);
    hash.update([0]);
    hash.update(version.to_be_bytes());
    hash.update(slots.encode_length_delimited_to_vec());
    for resource in ordered {
        hash.update(resource.encode_length_delimited_to_vec());
    }
    hex(&hash.finalize())
}

/// The hash that `state` should carry.
pub fn hash_of(state: &RegionalState) -> String {
    content_hash(&state.region, state.version, slots(state), &state.resources)
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(name: &str) -> DesiredResource {
        DesiredResource { site: "default".into(), name: name.into(), ..Default::default() }
    }

    #[test]
    fn slot_never_changes() {
        // Frozen: resources are routed by it in messages that outlive a release.
        assert_eq!(slot("default", "global-features"), 52);
        assert_eq!(slot("payments", "ledger"), 134);
    }

    #[test]
    fn content_hash_ignores_the_order_of_resources_and_nothing_else() {
        let ab = content_hash("aws:r", 1, ALL_SLOTS, &[resource("a"), resource("b")]);
        assert_eq!(ab, content_hash("aws:r", 1, ALL_SLOTS, &[resource("b"), resource("a")]));
        assert_ne!(ab, content_hash("aws:r", 2, ALL_SLOTS, &[resource("a"), resource("b")]));
        assert_ne!(ab, content_hash("aws:q", 1, ALL_SLOTS, &[resource("a"), resource("b")]));
        assert_ne!(ab, content_hash("aws:r", 1, ALL_SLOTS, &[resource("a")]));
    }
}
