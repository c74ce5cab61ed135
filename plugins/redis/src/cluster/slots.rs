//! Sets of hash slots.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How many there are.
pub(crate) const ALL: u16 = 16384;
const WORDS: usize = ALL as usize / 64;

/// A set of hash slots.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Slots(Box<[u64; WORDS]>);

impl Default for Slots {
    fn default() -> Self {
        Self(Box::new([0; WORDS]))
    }
}

impl Slots {
    pub(crate) fn all() -> Self {
        Self(Box::new([u64::MAX; WORDS]))
    }

    /// Reads what `Display` wrote, or what `CLUSTER NODES` writes: `0-5460 7000 9000-9001`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut slots = Self::default();
        for part in text.split_whitespace() {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
            if last >= ALL || first > last {
                return None;
            }
            slots.insert_range(first, last);
        }
        Some(slots)
    }

    /// From `first` up to and with `last`, a word at a time.
    fn insert_range(&mut self, first: u16, last: u16) {
        let (low, high) = (usize::from(first / 64), usize::from(last / 64));
        for (n, word) in self.0.iter_mut().enumerate().take(high + 1).skip(low) {
            let from = if n == low { u64::MAX << (first % 64) } else { u64::MAX };
            let to = if n == high { u64::MAX >> (63 - last % 64) } else { u64::MAX };
            *word |= from & to;
        }
    }

    pub(crate) fn insert(&mut self, slot: u16) {
        if let Some(word) = self.0.get_mut(usize::from(slot / 64)) {
            *word |= 1 << (slot % 64);
        }
    }

    pub(crate) fn contains(&self, slot: u16) -> bool {
        self.0.get(usize::from(slot / 64)).is_some_and(|word| word & (1 << (slot % 64)) != 0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        (0..ALL).step_by(64).zip(self.0.iter()).flat_map(|(first, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = u16::try_from(left.trailing_zeros()).ok().filter(|bit| *bit < 64)?;
                left &= left - 1;
                Some(first + bit)
            })
        })
    }

    fn zip(&self, other: &Self, with: impl Fn(u64, u64) -> u64) -> Self {
        let mut slots = self.clone();
        slots.0.iter_mut().zip(other.0.iter()).for_each(|(word, other)| *word = with(*word, *other));
        slots
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a | b)
    }

    pub(crate) fn minus(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a & !b)
    }

    pub(crate) fn common(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a & b)
    }

    /// Takes out the lowest `count` of them.
    pub(crate) fn take(&mut self, count: usize) -> Self {
        let mut taken = Self::default();
        self.iter().take(count).for_each(|slot| taken.insert(slot));
        *self = self.minus(&taken);
        taken
    }

    /// Takes out the highest `count` of them.
    pub(crate) fn take_last(&mut self, count: usize) -> Self {
        let low = self.len().saturating_sub(count);
        let kept = self.take(low);
        std::mem::replace(self, kept)
    }

    /// First and last of each stretch without a gap.
    pub(crate) fn ranges(&self) -> Vec<(u16, u16)> {
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        let mut extend = |first: u16, last: u16| match ranges.last_mut() {
            Some((_, end)) if *end + 1 == first => *end = last,
            _ => ranges.push((first, last)),
        };
        for (first, word) in (0..ALL).step_by(64).zip(self.0.iter()) {
            let mut at = 0;
            // A run of ones, and the zeros before it; whole words are one step.
            while at < 64 && word >> at != 0 {
                let start = at + (word >> at).trailing_zeros();
                let run = (!(word >> start)).trailing_zeros().min(64 - start);
                let slot = |bit: u32| first + u16::try_from(bit).unwrap_or_default();
                extend(slot(start), slot(start + run - 1));
                at = start + run;
            }
        }
        ranges
    }
}

impl FromIterator<u16> for Slots {
    fn from_iter<I: IntoIterator<Item = u16>>(slots: I) -> Self {
        let mut set = Self::default();
        slots.into_iter().for_each(|slot| set.insert(slot));
        set
    }
}

impl fmt::Display for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (first, last)) in self.ranges().into_iter().enumerate() {
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

    #[test]
    fn stretches_do_not_mind_where_words_end() {
        for text in ["63", "64", "63-64", "0-127", "1-62 64-190 192", "16320-16383", "127-128 16383"] {
            let slots = Slots::parse(text).unwrap();
            assert_eq!(slots.to_string(), text);
            assert_eq!(slots.iter().collect::<Slots>(), slots);
            let listed: usize =
                slots.ranges().iter().map(|(first, last)| usize::from(last - first) + 1).sum();
            assert_eq!((slots.iter().count(), listed), (slots.len(), slots.len()));
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
