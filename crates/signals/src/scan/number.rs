//! Groups of digits that stand together, as phone, card and identity numbers are written.

use std::ops::Range;

use super::text::{before, byte, run};

/// So many digits are looked at from one group on; no number of a person is longer.
pub(crate) const DIGITS_MAX: usize = 24;
/// So many groups are looked at.
pub(crate) const GROUPS_MAX: usize = 20;
/// So many separators may stand between two groups: `) - `.
pub(crate) const SEPARATORS_MAX: usize = 3;

/// A run of digits within [`Run`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Group {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// How many digits of the run end here.
    digits_to: usize,
}

impl Group {
    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }
}

/// The groups of digits that follow each other from one place on, with at most [`SEPARATORS_MAX`] separators between.
#[derive(Debug)]
pub(crate) struct Run {
    groups: [Group; GROUPS_MAX],
    count: usize,
    digits: [u8; DIGITS_MAX],
}

impl Run {
    /// The run that begins at `start`, where a digit stands; none if its first group is too long.
    pub(crate) fn at(text: &[u8], start: usize) -> Option<Self> {
        let mut found = Self { groups: [Group::default(); GROUPS_MAX], count: 0, digits: [0; DIGITS_MAX] };
        let (mut at, mut digits) = (start, 0);
        while found.count < GROUPS_MAX {
            let room = DIGITS_MAX - digits;
            let len = run(text, at, room + 1, |byte| byte.is_ascii_digit());
            if len == 0 || len > room {
                break;
            }
            for (to, from) in found.digits.iter_mut().skip(digits).zip(text.iter().skip(at).take(len)) {
                *to = from - b'0';
            }
            digits += len;
            if let Some(group) = found.groups.get_mut(found.count) {
                *group = Group { start: at, end: at + len, digits_to: digits };
            }
            found.count += 1;
            at += len;
            at += run(text, at, SEPARATORS_MAX, is_separator);
        }
        (found.count > 0).then_some(found)
    }

    /// The groups.
    pub(crate) fn groups(&self) -> &[Group] {
        self.groups.get(..self.count).unwrap_or(&[])
    }

    /// The first group.
    pub(crate) fn first(&self) -> Group {
        self.groups[0]
    }

    /// The digits of the first `count` groups, as values from 0 to 9.
    pub(crate) fn digits(&self, count: usize) -> &[u8] {
        let len = count.checked_sub(1).and_then(|last| self.groups().get(last)).map_or(0, |group| group.digits_to);
        self.digits.get(..len).unwrap_or(&[])
    }

    /// All digits.
    pub(crate) fn all_digits(&self) -> &[u8] {
        self.digits(self.count)
    }

    /// Where the first `count` groups stand.
    pub(crate) fn span(&self, count: usize) -> Range<usize> {
        let end =
            count.checked_sub(1).and_then(|last| self.groups().get(last)).map_or(self.first().end, |group| group.end);
        self.first().start..end
    }

    /// The lengths of the first `count` groups.
    pub(crate) fn lens(&self, count: usize) -> impl Iterator<Item = usize> + '_ {
        self.groups().iter().take(count).map(Group::len)
    }

    /// Whether the first groups have exactly these lengths.
    pub(crate) fn starts_with(&self, lens: &[usize]) -> bool {
        self.count >= lens.len() && self.lens(lens.len()).eq(lens.iter().copied())
    }

    /// The one separator that stands between each of the first `count` groups; none if they differ or are longer.
    pub(crate) fn separator(&self, text: &[u8], count: usize) -> Option<u8> {
        let mut separators = self.groups().windows(2).take(count.saturating_sub(1)).map(|pair| match pair {
            [left, right] if right.start == left.end + 1 => Some(byte(text, left.end)),
            _ => None,
        });
        let first = separators.next()??;
        separators.all(|separator| separator == Some(first)).then_some(first)
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

pub(crate) fn is_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'-' | b'.' | b'/' | b'(' | b')' | b'_' | b'\t')
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

    #[test]
    fn groups_and_separators() {
        let text = b"4111-1111-1111-1111 12/26, 7";
        let found = Run::at(text, 0).unwrap();
        assert_eq!(found.lens(9).collect::<Vec<_>>(), [4, 4, 4, 4, 2, 2]);
        assert_eq!(found.separator(text, 4), Some(b'-'));
        assert_eq!(found.separator(text, 5), None);
        assert_eq!(found.digits(2), [4, 1, 1, 1, 1, 1, 1, 1]);
        assert_eq!(found.span(4), 0..19);
        assert!(!found.continues(text, 4, b'-'));
        assert!(found.continues(text, 2, b'-'));
        assert!(Run::at(text, 5).unwrap().continues(text, 3, b'-'));
    }

    #[test]
    fn what_is_too_long_is_no_number() {
        assert!(Run::at(&[b'1'; 25], 0).is_none());
        assert_eq!(Run::at(&[b'1'; 24], 0).unwrap().all_digits().len(), 24);
        let text = "1 ".repeat(100);
        assert_eq!(Run::at(text.as_bytes(), 0).unwrap().groups().len(), GROUPS_MAX);
    }
}
