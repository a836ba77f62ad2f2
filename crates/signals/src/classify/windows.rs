//! Which pieces of a text and which messages of a conversation are looked at: all of what is short, a stated part of what
//! is long. Pure; the rules are those of `training/README.md`.

use std::ops::Range;

/// Longest text that is seen whole, in bytes.
pub const WHOLE_BYTES_MAX: usize = 4096;
/// Bytes seen at either end of a longer one.
const END_BYTES: usize = 1536;
/// Bytes of each piece between.
const BETWEEN_BYTES: usize = 256;
/// Pieces between.
const BETWEEN: usize = 4;
/// Most messages of a context that are looked at.
pub const CONTEXT_MESSAGES_MAX: usize = FIRST_MESSAGES + BETWEEN_MESSAGES + LAST_MESSAGES;
const FIRST_MESSAGES: usize = 4;
const BETWEEN_MESSAGES: usize = 8;
const LAST_MESSAGES: usize = 12;

/// The pieces of `text` that are seen, in order.
#[must_use]
pub fn pieces(text: &str) -> Vec<&str> {
    if text.len() <= WHOLE_BYTES_MAX {
        return vec![text];
    }
    let gap = text.len() - 2 * END_BYTES;
    let between = |k: usize| {
        let begin = END_BYTES + gap * (2 * k + 1) / (2 * BETWEEN) - BETWEEN_BYTES / 2;
        begin..begin + BETWEEN_BYTES
    };
    let piece = |range: Range<usize>| &text[text.floor_char_boundary(range.start)..text.floor_char_boundary(range.end)];
    let ends = [0..END_BYTES, text.len() - END_BYTES..text.len()].map(piece);
    let mut pieces = vec![ends[0]];
    pieces.extend((0..BETWEEN).map(between).map(piece));
    pieces.push(ends[1]);
    pieces
}

/// The numbers of the messages of a context that are looked at, of `count` in all.
#[must_use]
pub fn context_messages(count: usize) -> Vec<usize> {
    if count <= CONTEXT_MESSAGES_MAX {
        return (0..count).collect();
    }
    let middle = count - FIRST_MESSAGES - LAST_MESSAGES;
    let between = |k: usize| FIRST_MESSAGES + middle * (2 * k + 1) / (2 * BETWEEN_MESSAGES);
    (0..FIRST_MESSAGES).chain((0..BETWEEN_MESSAGES).map(between)).chain(count - LAST_MESSAGES..count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_is_seen_whole() {
        for text in ["", "a", &"x".repeat(WHOLE_BYTES_MAX)] {
            assert_eq!(pieces(text), [text]);
        }
    }

    #[test]
    fn of_a_long_text_both_ends_and_pieces_between_are_seen_in_order() {
        let text: String = (0..100_000).map(|n| char::from(b'a' + (n % 23) as u8)).collect();
        let seen = pieces(&text);
        assert_eq!(seen.iter().map(|piece| piece.len()).collect::<Vec<_>>(), [1536, 256, 256, 256, 256, 1536]);
        assert!(text.starts_with(seen[0]) && text.ends_with(seen[5]));
        let starts: Vec<_> = seen.iter().map(|piece| piece.as_ptr() as usize - text.as_ptr() as usize).collect();
        assert!(starts.windows(2).all(|pair| pair[0] + 256 <= pair[1]), "{starts:?}");
    }

    #[test]
    fn no_character_is_cut() {
        for lead in 0..4 {
            let text = "x".repeat(lead) + &"é世🦀".repeat(1000);
            assert!(pieces(&text).iter().all(|piece| text.contains(piece)));
        }
    }

    #[test]
    fn the_pieces_of_a_text_that_is_just_too_long_overlap_nowhere() {
        let text = "y".repeat(WHOLE_BYTES_MAX + 1);
        let (first, second) = (pieces(&text)[0].as_ptr() as usize, pieces(&text)[1].as_ptr() as usize);
        assert!(second - first <= 1536, "adjacent or overlapping pieces are allowed, gaps are not needed");
    }

    #[test]
    fn of_many_messages_the_first_the_last_and_some_between_are_seen() {
        assert_eq!(context_messages(3), [0, 1, 2]);
        assert_eq!(context_messages(24).len(), 24);
        for count in [25, 26, 100, 10_000] {
            let seen = context_messages(count);
            assert_eq!(seen.len(), CONTEXT_MESSAGES_MAX, "{count}");
            assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{count}: {seen:?}");
            assert_eq!((seen[0], seen[3], seen[12], seen[23]), (0, 3, count - 12, count - 1));
        }
    }
}
