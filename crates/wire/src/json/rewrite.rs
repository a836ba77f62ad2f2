//! Rewrites one JSON object member by member, on bytes: what is kept stays byte for byte, white space and order too.
//!
//! Parses nothing: it works on places that a [`super::Cursor`] found.

use std::ops::Range;

/// Where one member of an object stands: its raw key with quotes, and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) key: Range<usize>,
    pub(crate) value: Range<usize>,
}

/// What becomes of one member.
#[derive(Debug)]
pub(crate) enum Edit {
    Keep,
    Drop,
    /// A new value under the same key.
    Replace(Vec<u8>),
}

/// The object at `object` of `text` with `edit` applied to each member (by its number) and `append`, a member's text,
/// added at the end. Of a dropped member the comma goes with it. `spans` are all members, in order.
pub(crate) fn rewrite(
    text: &[u8],
    object: Range<usize>,
    spans: &[Span],
    mut edit: impl FnMut(usize) -> Edit,
    append: Option<&[u8]>,
) -> Vec<u8> {
    let piece = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    let mut out = Vec::with_capacity(object.len() + append.map_or(0, <[u8]>::len) + 256);
    // Without members: `{` and whatever white space stands before `}`.
    let head_end = spans.first().map_or(object.start + 1, |first| first.key.start);
    let tail_start = spans.last().map_or(object.start + 1, |last| last.value.end);
    out.extend_from_slice(piece(object.start, head_end));
    let mut empty = true;
    for (index, span) in spans.iter().enumerate() {
        let edit = edit(index);
        if matches!(edit, Edit::Drop) {
            continue;
        }
        let before = index.checked_sub(1).and_then(|previous| spans.get(previous));
        if let (false, Some(before)) = (empty, before) {
            out.extend_from_slice(piece(before.value.end, span.key.start));
        }
        out.extend_from_slice(piece(span.key.start, span.value.start));
        match edit {
            Edit::Replace(value) => out.extend_from_slice(&value),
            Edit::Keep | Edit::Drop => out.extend_from_slice(piece(span.value.start, span.value.end)),
        }
        empty = false;
    }
    if let Some(append) = append {
        if !empty {
            out.push(b',');
        }
        out.extend_from_slice(append);
    }
    out.extend_from_slice(piece(tail_start, object.end));
    out
}
