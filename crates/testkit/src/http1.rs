//! The little of HTTP/1.1 framing that the scripted upstream, the raw client and the two bench
//! programs share: decoding a chunked body as it arrives, encoding one chunk, and the facts of a head.
//!
//! It opens no socket and knows no dialect; whoever calls it owns the bytes.

use bytes::{Buf, Bytes, BytesMut};

/// Most header lines accepted in one head.
pub const HEADERS_MAX: usize = 128;

/// What the peer sent was not HTTP/1.1 as far as this module reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(pub String);

impl std::fmt::Display for Malformed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "malformed HTTP/1.1: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// How the length of a message body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// `content-length`, or no body at all (0).
    Length(u64),
    /// `transfer-encoding: chunked`.
    Chunked,
    /// A response without either: the body ends when the connection does.
    UntilClose,
}

/// One step of [`ChunkedDecoder::next`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Some bytes of the body; a chunk may come in several pieces.
    Data(Bytes),
    /// Nothing more can be said until more bytes arrive.
    NeedMore,
    /// The last chunk and its trailer were read.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    Data(u64),
    DataEnd,
    Trailer,
    Done,
}

/// Decodes a chunked body as its bytes arrive. Holds only its place, never the body.
#[derive(Debug, Clone)]
pub struct ChunkedDecoder {
    state: State,
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkedDecoder {
    /// A decoder that stands before the first chunk size.
    pub fn new() -> Self {
        Self { state: State::Size }
    }

    /// Takes the next piece off the front of `input`. Call again until it says [`Piece::NeedMore`] or
    /// [`Piece::End`].
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Piece, Malformed> {
        loop {
            match self.state {
                State::Size => match httparse::parse_chunk_size(input) {
                    Ok(httparse::Status::Complete((used, size))) => {
                        input.advance(used);
                        self.state = if size == 0 { State::Trailer } else { State::Data(size) };
                    }
                    Ok(httparse::Status::Partial) => return Ok(Piece::NeedMore),
                    Err(_) => return Err(Malformed("bad chunk size".to_owned())),
                },
                State::Data(left) => {
                    if input.is_empty() {
                        return Ok(Piece::NeedMore);
                    }
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    let left = left - taken as u64;
                    self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                    return Ok(Piece::Data(input.split_to(taken).freeze()));
                }
                State::DataEnd => {
                    if input.len() < 2 {
                        return Ok(Piece::NeedMore);
                    }
                    if &input[..2] != b"\r\n" {
                        return Err(Malformed("chunk longer than its size".to_owned()));
                    }
                    input.advance(2);
                    self.state = State::Size;
                }
                State::Trailer => {
                    let Some(end) = input.iter().position(|&byte| byte == b'\n') else {
                        return Ok(Piece::NeedMore);
                    };
                    let line_is_empty = input[..end].iter().all(|&byte| byte == b'\r');
                    input.advance(end + 1);
                    if line_is_empty {
                        self.state = State::Done;
                    }
                }
                State::Done => return Ok(Piece::End),
            }
        }
    }
}

/// `data` as one chunk of a chunked body. Empty data gives no bytes, for an empty chunk would end the body.
pub fn chunk(data: &[u8]) -> Bytes {
    if data.is_empty() {
        return Bytes::new();
    }
    let mut out = format!("{:x}\r\n", data.len()).into_bytes();
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
    out.into()
}

/// The end of a chunked body.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// How the body that follows these headers is framed; `without` is the answer when no header tells.
pub fn framing(headers: &[httparse::Header<'_>], without: Framing) -> Result<Framing, Malformed> {
    let find = |name: &str| headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    if find("transfer-encoding").is_some_and(|header| header.value.to_ascii_lowercase().ends_with(b"chunked")) {
        return Ok(Framing::Chunked);
    }
    let Some(length) = find("content-length") else { return Ok(without) };
    std::str::from_utf8(length.value)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .map(Framing::Length)
        .ok_or_else(|| Malformed("bad content-length".to_owned()))
}

/// Where the first `needle` begins in `haystack`.
pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len().max(1)).position(|window| window == needle)
}
