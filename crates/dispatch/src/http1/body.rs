//! Takes the body of a response out of the bytes of its connection, and tells where it ends.
//!
//! Holds only its place, never the body.

use bytes::{Buf, BytesMut};
use httparse::{Status, parse_chunk_size};

use super::Malformed;
use super::head::Framing;

/// Longest line with the size of a chunk, extensions included, in bytes.
const SIZE_LINE_BYTES_MAX: usize = 4 << 10;
/// Longest trailer section, in bytes. It is read and dropped.
const TRAILER_BYTES_MAX: usize = 16 << 10;

/// The place in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes are missing.
    Length(u64),
    /// Ends with the connection.
    UntilClose,
    /// Before the size of a chunk.
    Size,
    /// Within a chunk; so many bytes of it are missing.
    Data(u64),
    /// Before the line end behind a chunk.
    DataEnd,
    /// Before a line of the trailer section; so many bytes of it may still come.
    Trailer(usize),
}

impl Body {
    pub(super) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Size,
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Moves what `inbox` holds of the body to `out`, as much as there is.
    ///
    /// # Errors
    /// [`Malformed`] when it is not chunked as it should be; what came before may be in `out` then.
    pub(super) fn take(&mut self, inbox: &mut BytesMut, out: &mut BytesMut) -> Result<(), Malformed> {
        loop {
            match *self {
                Self::Length(left) => {
                    *self = Self::Length(left - move_bytes(inbox, out, left));
                    return Ok(());
                }
                Self::UntilClose => {
                    move_bytes(inbox, out, u64::MAX);
                    return Ok(());
                }
                Self::Size => {
                    let Some(size) = take_size(inbox)? else { return Ok(()) };
                    *self = if size == 0 { Self::Trailer(TRAILER_BYTES_MAX) } else { Self::Data(size) };
                }
                Self::Data(left) => match left - move_bytes(inbox, out, left) {
                    0 => *self = Self::DataEnd,
                    left => {
                        *self = Self::Data(left);
                        return Ok(());
                    }
                },
                Self::DataEnd => match inbox.get(..2) {
                    Some(b"\r\n") => {
                        inbox.advance(2);
                        *self = Self::Size;
                    }
                    Some(_) => return Err(Malformed("a chunk longer than its size")),
                    None => return Ok(()),
                },
                Self::Trailer(left) => {
                    let Some(end) = memchr::memchr(b'\n', inbox) else {
                        return if inbox.len() < left { Ok(()) } else { Err(Malformed("a trailer beyond the limit")) };
                    };
                    let is_blank = matches!(&inbox[..end], b"" | b"\r");
                    inbox.advance(end + 1);
                    if is_blank {
                        *self = Self::Length(0);
                        return Ok(());
                    }
                    let left = left.checked_sub(end + 1).ok_or(Malformed("a trailer beyond the limit"))?;
                    *self = Self::Trailer(left);
                }
            }
        }
    }

    /// Nothing of the body is missing. A body that ends with the connection is never known to be whole before.
    pub(super) fn is_whole(self) -> bool {
        self == Self::Length(0)
    }

    /// Whether the end of the connection is an end of the body.
    pub(super) fn may_end(self) -> bool {
        matches!(self, Self::Length(0) | Self::UntilClose)
    }
}

/// Moves at most `limit` bytes and says how many.
fn move_bytes(inbox: &mut BytesMut, out: &mut BytesMut, limit: u64) -> u64 {
    let count = usize::try_from(limit).unwrap_or(usize::MAX).min(inbox.len());
    out.extend_from_slice(&inbox[..count]);
    inbox.advance(count);
    count as u64
}

fn take_size(inbox: &mut BytesMut) -> Result<Option<u64>, Malformed> {
    const BAD: Malformed = Malformed("a chunk without a size");
    // The parser takes a line without digits for 0, which would end the body.
    if inbox.first().is_some_and(|byte| !byte.is_ascii_hexdigit()) {
        return Err(BAD);
    }
    match parse_chunk_size(inbox) {
        Ok(Status::Complete((used, size))) if used <= SIZE_LINE_BYTES_MAX => {
            inbox.advance(used);
            Ok(Some(size))
        }
        Ok(Status::Partial) if inbox.len() < SIZE_LINE_BYTES_MAX => Ok(None),
        Ok(_) => Err(Malformed("a chunk size beyond the limit")),
        Err(_) => Err(BAD),
    }
}
