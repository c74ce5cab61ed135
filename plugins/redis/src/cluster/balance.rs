//! Which slots go where, so that each shard has its equal part and as few as possible move. Pure arithmetic.

use std::collections::BTreeMap;

use super::slots::{ALL, Slots};

/// Slots that go from one shard to another.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub from: u32,
    pub to: u32,
    pub slots: Slots,
}

/// How many slots each of `shards` is to have.
fn parts(shards: usize) -> impl Iterator<Item = usize> {
    let (part, rest) = (usize::from(ALL) / shards.max(1), usize::from(ALL) % shards.max(1));
    (0..shards).map(move |shard| part + usize::from(shard < rest))
}

/// Divides slots that are nobody's among shards that have `owned`, in one piece each as far as that goes.
pub(crate) fn shares(owned: &[Slots], mut free: Slots) -> Vec<Slots> {
    let missing = |(owned, part): (&Slots, usize)| part.saturating_sub(owned.len());
    let mut shares: Vec<Slots> =
        owned.iter().zip(parts(owned.len())).map(missing).map(|missing| free.take(missing)).collect();
    // More than is missing is there only while other shards are to go.
    if let Some(last) = shares.last_mut() {
        *last = last.union(&free);
    }
    shares
}

/// What has to move so that the first `shards` have equal parts, and all others nothing.
pub(crate) fn moves(owned: &BTreeMap<u32, Slots>, shards: u32) -> Vec<Step> {
    // With sizes that do not divide evenly, those who have more already keep one more.
    let mut order: Vec<u32> = (0..shards).collect();
    let have = |shard: &u32| owned.get(shard).map_or(0, Slots::len);
    order.sort_by_key(|shard| (usize::MAX - have(shard), *shard));
    let part: BTreeMap<u32, usize> = order.into_iter().zip(parts(shards as usize)).collect();
    let surplus = |shard: &u32| have(shard).saturating_sub(part.get(shard).copied().unwrap_or(0));
    let mut missing: Vec<(u32, usize)> =
        part.iter().map(|(shard, part)| (*shard, part.saturating_sub(have(shard)))).collect();
    missing.retain(|(_, missing)| *missing > 0);

    let mut steps = Vec::new();
    for (from, slots) in owned {
        let mut spare = slots.clone().take_last(surplus(from));
        for (to, missing) in &mut missing {
            let slots = spare.take(*missing);
            *missing -= slots.len();
            if !slots.is_empty() {
                steps.push(Step { from: *from, to: *to, slots });
            }
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn formed(shards: usize) -> BTreeMap<u32, Slots> {
        (0..).zip(shares(&vec![Slots::default(); shards], Slots::all())).collect()
    }

    fn after(mut owned: BTreeMap<u32, Slots>, shards: u32) -> (BTreeMap<u32, Slots>, usize) {
        let steps = moves(&owned, shards);
        let moved = steps.iter().map(|step| step.slots.len()).sum();
        for step in steps {
            let from = owned.get_mut(&step.from).unwrap();
            assert_eq!(from.common(&step.slots), step.slots, "only what it has");
            *from = from.minus(&step.slots);
            let to = owned.entry(step.to).or_default();
            *to = to.union(&step.slots);
        }
        assert_eq!(owned.values().map(Slots::len).sum::<usize>(), 16384, "no slot is lost or doubled");
        (owned, moved)
    }

    #[test]
    fn a_new_cluster_is_divided_into_equal_stretches() {
        let texts: Vec<String> = formed(3).values().map(Slots::to_string).collect();
        assert_eq!(texts, ["0-5461", "5462-10922", "10923-16383"]);
    }

    #[test]
    fn as_few_slots_move_as_possible() {
        for (before, shards, least) in [(3, 3, 0), (3, 4, 4096), (4, 3, 4096), (3, 6, 8191), (64, 3, 15616)] {
            let (owned, moved) = after(formed(before), shards);
            assert_eq!(moved, least, "{before} → {shards}");
            let sizes: Vec<usize> = owned.values().map(Slots::len).filter(|size| *size > 0).collect();
            assert_eq!(sizes.len(), shards as usize);
            assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{sizes:?}");
            assert_eq!(moves(&owned, shards), [], "and then there is peace");
        }
    }

    #[test]
    fn slots_of_a_lost_shard_go_to_whom_they_are_missing() {
        let mut owned: Vec<Slots> = formed(3).into_values().collect();
        let lost = std::mem::take(&mut owned[1]);
        assert_eq!(shares(&owned, lost.clone()), [Slots::default(), lost, Slots::default()]);
    }
}
