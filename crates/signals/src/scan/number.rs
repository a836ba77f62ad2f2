//! Groups of digits that stand together, as phone, card and identity numbers are written.

use std::ops::Range;

use super::text::{before, byte};

/// So many digits are looked at from one group on; no number of a person is longer.
pub(crate) const DIGITS_MAX: usize = 24;
/// So many groups are looked at.
pub(crate) const GROUPS_MAX: usize = 20;
/// So many separators may stand between two groups: `) - `.
pub(crate) const SEPARATORS_MAX: usize = 3;

/// What stands between two groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Gap {
    /// This separator alone.
    Single(u8),
    /// ` - ` or ` / `
    Spaced,
    /// `)`, with or without a space, dash or dot.
    Closing,
    /// `(` or ` (`
    Opening,
    /// Others, or the last group.
    #[default]
    Other,
}

/// A run of digits within [`Run`].
#[derive(Clone, Copy, Debug, Default)]
struct Group {
    start: usize,
    end: usize,
    /// How many digits of the run end here.
    digits_to: usize,
    /// What follows.
    gap: Gap,
}

/// The groups of digits that follow each other from one place on, with at most [`SEPARATORS_MAX`] separators between.
#[derive(Debug, Default)]
pub(crate) struct Run {
    groups: [Group; GROUPS_MAX],
    count: usize,
    digits: [u8; DIGITS_MAX],
}

impl Run {
    /// Reads the run that begins at `start`, where a digit stands. It is empty if its first group is too long.
    pub(crate) fn read(&mut self, text: &[u8], start: usize) {
        self.count = 0;
        let (mut at, mut digits) = (start, 0);
        for group in &mut self.groups {
            let group_start = at;
            let mut room = self.digits.iter_mut().skip(digits);
            while let Some(digit) = text.get(at).filter(|byte| byte.is_ascii_digit()) {
                let Some(room) = room.next() else { return };
                *room = digit - b'0';
                at += 1;
            }
            if at == group_start {
                return;
            }
            digits += at - group_start;
            let (gap, len) = gap(text, at);
            *group = Group { start: group_start, end: at, digits_to: digits, gap };
            self.count += 1;
            at += len;
        }
    }

    /// How many groups there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    fn groups(&self, count: usize) -> &[Group] {
        self.groups.get(..count.min(self.count)).unwrap_or(&[])
    }

    fn last_of(&self, count: usize) -> Group {
        self.groups(count).last().copied().unwrap_or_default()
    }

    /// Where the group with this index stands.
    pub(crate) fn group(&self, index: usize) -> Range<usize> {
        self.groups(self.count).get(index).map_or(0..0, |group| group.start..group.end)
    }

    /// The length of the first group.
    pub(crate) fn first_len(&self) -> usize {
        self.group(0).len()
    }

    /// Where the run begins.
    pub(crate) fn start(&self) -> usize {
        self.groups[0].start
    }

    /// The digits of the first `count` groups, as values from 0 to 9.
    pub(crate) fn digits(&self, count: usize) -> &[u8] {
        self.digits.get(..self.last_of(count).digits_to).unwrap_or(&[])
    }

    /// All digits.
    pub(crate) fn all_digits(&self) -> &[u8] {
        self.digits(self.count)
    }

    /// Where the first `count` groups stand.
    pub(crate) fn span(&self, count: usize) -> Range<usize> {
        self.start()..self.last_of(count).end
    }

    /// The lengths of the first `count` groups.
    pub(crate) fn lens(&self, count: usize) -> impl DoubleEndedIterator<Item = usize> + '_ {
        self.groups(count).iter().map(|group| group.end - group.start)
    }

    /// Whether the first groups have exactly these lengths.
    pub(crate) fn starts_with(&self, lens: &[usize]) -> bool {
        self.count >= lens.len() && self.lens(lens.len()).eq(lens.iter().copied())
    }

    /// What stands between the first `count` groups.
    pub(crate) fn gaps(&self, count: usize) -> impl Iterator<Item = Gap> + '_ {
        self.groups(count.min(self.count).saturating_sub(1)).iter().map(|group| group.gap)
    }

    /// The one separator that stands between each of the first `count` groups; none if they differ or are longer.
    pub(crate) fn separator(&self, count: usize) -> Option<u8> {
        let mut gaps = self.gaps(count);
        let Some(Gap::Single(first)) = gaps.next() else { return None };
        gaps.all(|gap| gap == Gap::Single(first)).then_some(first)
    }

    /// Whether the same separator and another digit follow the first `count` groups or stand before them, so that these
    /// are only a part of something.
    pub(crate) fn continues(&self, text: &[u8], count: usize, separator: u8) -> bool {
        let span = self.span(count);
        let follows = byte(text, span.end) == separator && byte(text, span.end + 1).is_ascii_digit();
        let leads = before(text, span.start) == separator
            && span.start.checked_sub(2).is_some_and(|at| byte(text, at).is_ascii_digit());
        follows || leads
    }
}

/// What stands at `at` behind a group, and how long it is.
fn gap(text: &[u8], at: usize) -> (Gap, usize) {
    let is_separator = |byte: u8| matches!(byte, b' ' | b'-' | b'.' | b'/' | b'(' | b')' | b'_' | b'\t');
    let bytes: [u8; SEPARATORS_MAX] = [byte(text, at), byte(text, at + 1), byte(text, at + 2)];
    let len = bytes.iter().take_while(|byte| is_separator(**byte)).count().min(text.len().saturating_sub(at));
    let gap = match bytes.get(..len).unwrap_or(&[]) {
        [b'('] | b" (" => Gap::Opening,
        [b')'] | b") " | b")-" | b")." => Gap::Closing,
        [separator] => Gap::Single(*separator),
        b" - " | b" / " => Gap::Spaced,
        _ => Gap::Other,
    };
    (gap, len)
}

/// The number that these digits write.
pub(crate) fn value(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |value: u64, digit| value.wrapping_mul(10).wrapping_add(u64::from(*digit)))
}

/// Whether all digits are the same.
pub(crate) fn is_uniform(digits: &[u8]) -> bool {
    digits.windows(2).all(|pair| matches!(pair, [left, right] if left == right))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, start: usize) -> Run {
        let mut found = Run::default();
        found.read(text.as_bytes(), start);
        found
    }

    #[test]
    fn groups_and_separators() {
        let text = "4111-1111-1111-1111 12/26, 7";
        let found = read(text, 0);
        assert_eq!(found.lens(9).collect::<Vec<_>>(), [4, 4, 4, 4, 2, 2]);
        assert_eq!(found.separator(4), Some(b'-'));
        assert_eq!(found.separator(5), None);
        assert_eq!(found.digits(2), [4, 1, 1, 1, 1, 1, 1, 1]);
        assert_eq!(found.span(4), 0..19);
        assert!(!found.continues(text.as_bytes(), 4, b'-'));
        assert!(found.continues(text.as_bytes(), 2, b'-'));
        assert!(read(text, 5).continues(text.as_bytes(), 3, b'-'));
    }

    #[test]
    fn gaps() {
        let gaps: Vec<Gap> = read("1) 2 (0)3 - 4   5.6", 0).gaps(9).collect();
        assert_eq!(gaps, [Gap::Closing, Gap::Opening, Gap::Closing, Gap::Spaced, Gap::Other, Gap::Single(b'.')]);
    }

    #[test]
    fn what_is_too_long_is_no_number() {
        assert_eq!(read(&"1".repeat(25), 0).len(), 0);
        assert_eq!(read(&"1".repeat(24), 0).all_digits().len(), 24);
        assert_eq!(read(&"1 ".repeat(100), 0).len(), GROUPS_MAX);
        assert_eq!(read(&("12 ".to_owned() + &"1".repeat(30)), 0).all_digits(), [1, 2]);
    }
}
