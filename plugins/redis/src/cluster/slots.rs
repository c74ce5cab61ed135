//! Sets of hash slots.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How many there are.
pub(crate) const ALL: u16 = 16384;

/// A set of hash slots: its stretches without a gap, first and last of each, in order. Of most nodes there are none or
/// a few, and there are as many nodes to read as the square of the pods.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Slots(Vec<(u16, u16)>);

impl Slots {
    pub(crate) fn all() -> Self {
        Self(vec![(0, ALL - 1)])
    }

    /// Reads what `Display` wrote, or what `CLUSTER NODES` writes: `0-5460 7000 9000-9001`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
            (first <= last && last < ALL).then_some((first, last))
        };
        Some(Self::of(text.split_whitespace().map(range).collect::<Option<_>>()?))
    }

    /// From stretches in any order, which may overlap.
    fn of(mut ranges: Vec<(u16, u16)>) -> Self {
        ranges.sort_unstable();
        let mut slots: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match slots.last_mut() {
                Some((_, end)) if first <= *end + 1 => *end = last.max(*end),
                _ => slots.push((first, last)),
            }
        }
        Self(slots)
    }

    pub(crate) fn insert(&mut self, slot: u16) {
        if !self.contains(slot) {
            *self = self.union(&Self(vec![(slot, slot)]));
        }
    }

    pub(crate) fn contains(&self, slot: u16) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < slot);
        self.0.get(at).is_some_and(|(first, _)| *first <= slot)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|(first, last)| usize::from(last - first) + 1).sum()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.0.iter().flat_map(|(first, last)| *first..=*last)
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        match (self.is_empty(), other.is_empty()) {
            (true, _) => other.clone(),
            (_, true) => self.clone(),
            _ => Self::of(self.0.iter().chain(&other.0).copied().collect()),
        }
    }

    pub(crate) fn minus(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        let mut holes = other.0.as_slice();
        for (first, last) in &self.0 {
            let mut from = *first;
            while let Some(rest) = holes.split_first().filter(|(hole, _)| hole.1 < from) {
                holes = rest.1;
            }
            // A hole may reach into the next stretch, too, so they are only looked at here.
            let mut ended = false;
            for (hole, end) in holes.iter().take_while(|(hole, _)| hole <= last) {
                if *hole > from {
                    left.push((from, hole - 1));
                }
                ended = end >= last;
                from = end.saturating_add(1);
            }
            if !ended {
                left.push((from, *last));
            }
        }
        Self(left)
    }

    pub(crate) fn common(&self, other: &Self) -> Self {
        self.minus(&self.minus(other))
    }

    /// Takes out the lowest `count` of them.
    pub(crate) fn take(&mut self, count: usize) -> Self {
        let taken: Self = self.cut(count);
        *self = self.minus(&taken);
        taken
    }

    /// Takes out the highest `count` of them.
    pub(crate) fn take_last(&mut self, count: usize) -> Self {
        let kept = self.cut(self.len().saturating_sub(count));
        let taken = self.minus(&kept);
        *self = kept;
        taken
    }

    /// The lowest `count` of them.
    fn cut(&self, mut count: usize) -> Self {
        let mut ranges = Vec::new();
        for (first, last) in &self.0 {
            let length = usize::from(last - first) + 1;
            let Ok(part) = u16::try_from(length.min(count)) else { break };
            if part == 0 {
                break;
            }
            ranges.push((*first, first + part - 1));
            count -= usize::from(part);
        }
        Self(ranges)
    }
}

impl FromIterator<u16> for Slots {
    fn from_iter<I: IntoIterator<Item = u16>>(slots: I) -> Self {
        Self::of(slots.into_iter().map(|slot| (slot, slot)).collect())
    }
}

impl fmt::Display for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (first, last)) in self.0.iter().enumerate() {
            let space = if n == 0 { "" } else { " " };
            match first == last {
                true => write!(f, "{space}{first}")?,
                false => write!(f, "{space}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self}]")
    }
}

impl Serialize for Slots {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Slots {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("no hash slots"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn slots_are_read_as_they_are_written() {
        for text in ["", "7", "0-5460", "0-1 3 5-16383"] {
            assert_eq!(Slots::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Slots::parse("0-16383"), Some(Slots::all()));
        for wrong in ["16384", "5-4", "x", "1-", "-1"] {
            assert_eq!(Slots::parse(wrong), None, "{wrong}");
        }
    }

    /// Against sets of numbers, with stretches that touch, overlap and lie in each other.
    #[test]
    fn what_is_done_with_stretches_is_what_is_done_with_their_slots() {
        let texts =
            ["", "0-16383", "5", "0-9", "9-12", "3-4 6 8-20", "10-11 13-16383", "0 2 4 6 8-9", "7-8 19-30"];
        let set = |slots: &Slots| slots.iter().collect::<BTreeSet<u16>>();
        for (a, b) in texts.iter().flat_map(|a| texts.iter().map(move |b| (a, b))) {
            let (x, y) = (Slots::parse(a).unwrap(), Slots::parse(b).unwrap());
            let (p, q) = (set(&x), set(&y));
            assert_eq!(set(&x.union(&y)), &p | &q, "{a} and {b}");
            assert_eq!(set(&x.minus(&y)), &p - &q, "{a} less {b}");
            assert_eq!(set(&x.common(&y)), &p & &q, "{a} in {b}");
            assert_eq!(p.iter().copied().collect::<Slots>(), x);
            assert_eq!((x.len(), x.is_empty()), (p.len(), p.is_empty()));
            assert!((0..40).all(|slot| x.contains(slot) == p.contains(&slot)), "{a}");
            let (mut low, mut high) = (x.clone(), x.clone());
            let half = x.len() / 2;
            let (first, last) = (low.take(half), high.take_last(half));
            assert_eq!((first.len(), last.len()), (half, half));
            assert_eq!((first.union(&low), last.union(&high)), (x.clone(), x));
        }
    }

    #[test]
    fn slots_are_a_set() {
        let slots = |text: &str| Slots::parse(text).unwrap();
        let (a, b) = (slots("0-99"), slots("50-149 300"));
        assert_eq!((a.len(), b.len(), a.union(&b).len()), (100, 101, 151));
        assert_eq!(a.minus(&b), slots("0-49"));
        assert_eq!(a.common(&b), slots("50-99"));
        let mut rest = b;
        assert_eq!(rest.take(2), slots("50-51"));
        assert_eq!(rest.take_last(2).to_string(), "149 300");
        assert_eq!(rest, slots("52-148"));
        assert!(rest.take(1000).len() == 97 && rest.is_empty());
    }
}
