//! Where the actions that a pattern shows lie among all texts in byte order.

use super::{Pattern, Term};

/// The texts from `low` on and before `high`, in byte order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The least text in it; empty for the very beginning.
    pub low: Vec<u8>,
    /// The least text after it; `None` if it goes to the very end.
    pub high: Option<Vec<u8>>,
}

impl Range {
    /// Whether `text` lies in it.
    pub fn contains(&self, text: &[u8]) -> bool {
        *self.low <= *text && self.high.as_deref().is_none_or(|high| text < high)
    }

    /// Whether nothing lies between it and `other`, which does not begin before it.
    fn reaches(&self, other: &Self) -> bool {
        self.high.as_ref().is_none_or(|high| *high >= other.low)
    }
}

impl Pattern {
    /// The ranges that hold every action the pattern shows, ascending and apart from one another.
    ///
    /// ```
    /// use audit_core::pattern::Pattern;
    /// let ranges = Pattern::parse(b"score.created, entity.*").unwrap().ranges();
    /// assert_eq!((&*ranges[0].low, ranges[0].high.as_deref()), (&b"entity."[..], Some(&b"entity/"[..])));
    /// assert_eq!((&*ranges[1].low, ranges[1].high.as_deref()), (&b"score.created"[..], Some(&b"score.created\0"[..])));
    /// ```
    pub fn ranges(&self) -> Vec<Range> {
        let mut ranges: Vec<Range> = self.include.iter().map(Term::range).collect();
        ranges.sort_by(|a, b| a.low.cmp(&b.low));
        let mut apart: Vec<Range> = Vec::new();
        for range in ranges {
            match apart.last_mut() {
                Some(last) if last.reaches(&range) => {
                    last.high = last.high.take().zip(range.high).map(|(one, other)| one.max(other));
                }
                _ => apart.push(range),
            }
        }
        apart
    }

    /// Whether the pattern shows everything in its ranges, so that what lies there need not be matched.
    pub fn is_its_ranges(&self) -> bool {
        self.exclude.is_empty() && self.include.iter().all(Term::is_its_range)
    }

    /// Whether the pattern shows everything.
    pub fn shows_all(&self) -> bool {
        self.exclude.is_empty()
            && self.include.iter().any(|term| term.is_its_range() && term.range().high.is_none())
    }

    /// Whether what it shows may be anywhere: some term begins with a star, or all are exclusions.
    pub fn is_wide(&self) -> bool {
        self.include.iter().any(|term| term.range().high.is_none())
    }

    /// All that the pattern shows, in byte order, where that is a list: without a star in an included term.
    pub fn exact(&self) -> Option<Vec<&[u8]>> {
        if self.include.iter().any(|term| term.suffix.is_some()) {
            return None;
        }
        let mut shown: Vec<&[u8]> =
            self.include.iter().map(|term| &*term.prefix).filter(|text| self.matches(text)).collect();
        shown.sort_unstable();
        shown.dedup();
        Some(shown)
    }
}

impl Term {
    fn range(&self) -> Range {
        let low = self.prefix.to_vec();
        let high = match (&self.suffix, low.split_last()) {
            (None, _) => Some([&*low, b"\0"].concat()),
            // A term is ASCII, so every character has a next one.
            (Some(_), Some((last, rest))) => Some([rest, &[last + 1]].concat()),
            (Some(_), None) => None,
        };
        Range { low, high }
    }

    /// Whether all texts in its range match: without a star, or with one at the end only.
    fn is_its_range(&self) -> bool {
        self.suffix.as_ref().is_none_or(|suffix| suffix.is_empty() && self.pieces.is_empty())
    }
}
