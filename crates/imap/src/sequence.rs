//! Sequence sets (RFC 9051 §9, `sequence-set`).

use std::fmt;
use std::ops::RangeInclusive;

/// Message numbers or UIDs as a client gives them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SequenceSet {
    /// `$`: the result that was saved (RFC 5182).
    Saved,
    /// Ranges as they were given; `None` is `*`.
    Ranges(Vec<(Option<u32>, Option<u32>)>),
}

impl SequenceSet {
    /// A set of these numbers.
    #[must_use]
    pub fn of(ranges: impl IntoIterator<Item = RangeInclusive<u32>>) -> Self {
        Self::Ranges(ranges.into_iter().map(|range| (Some(*range.start()), Some(*range.end()))).collect())
    }

    /// The numbers as ascending disjoint ranges, with `max` for `*`; `None` for `$`, which only its owner knows.
    #[must_use]
    pub fn resolve(&self, max: u32) -> Option<Vec<RangeInclusive<u32>>> {
        let Self::Ranges(ranges) = self else { return None };
        let mut found: Vec<(u32, u32)> = ranges
            .iter()
            .map(|(from, to)| (from.unwrap_or(max), to.unwrap_or(max)))
            .map(|(from, to)| (from.min(to), from.max(to)))
            .collect();
        found.sort_unstable();
        let mut out: Vec<RangeInclusive<u32>> = Vec::with_capacity(found.len());
        for (from, to) in found {
            match out.last_mut() {
                Some(last) if from <= last.end().saturating_add(1) => *last = *last.start()..=to.max(*last.end()),
                _ => out.push(from..=to),
            }
        }
        Some(out)
    }
}

/// Writes ranges as a sequence set.
struct Ranges<'a>(&'a [RangeInclusive<u32>]);

impl fmt::Display for Ranges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, range) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            if range.start() == range.end() {
                write!(f, "{comma}{}", range.start())?;
            } else {
                write!(f, "{comma}{}:{}", range.start(), range.end())?;
            }
        }
        Ok(())
    }
}

/// Ranges as they stand in `UID` sets of responses: `1:3,5`.
#[must_use]
pub fn print_ranges(ranges: &[RangeInclusive<u32>]) -> String {
    Ranges(ranges).to_string()
}

impl fmt::Display for SequenceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Ranges(ranges) = self else { return f.write_str("$") };
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        for (at, (from, to)) in ranges.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            if from == to {
                write!(f, "{comma}{}", number(*from))?;
            } else {
                write!(f, "{comma}{}:{}", number(*from), number(*to))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_resolve_to_ascending_ranges() {
        let set =
            SequenceSet::Ranges(vec![(Some(5), Some(3)), (Some(1), Some(1)), (None, Some(9)), (Some(4), Some(6))]);
        assert_eq!(set.resolve(10), Some(vec![1..=1, 3..=6, 9..=10]));
        assert_eq!(set.resolve(7), Some(vec![1..=1, 3..=9]));
        assert_eq!(set.to_string(), "5:3,1,*:9,4:6");
        assert_eq!(SequenceSet::Saved.resolve(1), None);
        assert_eq!(SequenceSet::of([u32::MAX..=u32::MAX, 1..=2]).resolve(0), Some(vec![1..=2, u32::MAX..=u32::MAX]));
        assert_eq!(print_ranges(&[1..=3, 5..=5]), "1:3,5");
    }
}
