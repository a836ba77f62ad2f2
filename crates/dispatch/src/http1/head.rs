//! The head of a response: status, how the body that follows is delimited, and the few headers that matter here.
//!
//! Strict where two readers could disagree about where a response ends (RFC 9112, section 6.3): such a response is
//! malformed, never guessed at.

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Status};

use super::Malformed;

/// Longest head, in bytes; interim responses count towards it one by one.
pub(super) const HEAD_BYTES_MAX: usize = 64 << 10;
/// Most header lines of a head.
const HEADER_LINES_MAX: usize = 100;

/// What the head of a response says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub status: u16,
    pub content_type: Option<Box<str>>,
    pub retry_after: Option<Box<str>>,
    pub(super) framing: Framing,
    /// The target means to take another request on this connection.
    pub(super) keeps_alive: bool,
}

/// Where the body of a response ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

impl Head {
    /// Reads the head that `bytes` begins with and its length; `None` while it is not complete.
    ///
    /// # Errors
    /// [`Malformed`] for what is no HTTP/1 response, is longer than the limits or has no certain end.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let mut lines = [const { MaybeUninit::uninit() }; HEADER_LINES_MAX];
        let mut response = httparse::Response::new(&mut []);
        let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, &mut lines);
        let length = match parsed {
            Ok(Status::Complete(length)) if length <= HEAD_BYTES_MAX => length,
            Ok(Status::Partial) if bytes.len() <= HEAD_BYTES_MAX => return Ok(None),
            Ok(_) => return Err(Malformed("a response header beyond the limit")),
            Err(httparse::Error::TooManyHeaders) => return Err(Malformed("too many response header lines")),
            Err(_) => return Err(Malformed("not an HTTP/1 response")),
        };
        let status = response.code.unwrap_or_default();
        let is_http_10 = response.version == Some(0);
        let mut read = Lines::default();
        for line in response.headers.iter() {
            read.take(line)?;
        }
        let framing = match (status, read.is_chunked, read.length) {
            (100..=199 | 204 | 304, ..) => Framing::Length(0),
            (_, true, _) if is_http_10 => return Err(Malformed("a chunked body under HTTP/1.0")),
            (_, true, Some(_)) => return Err(Malformed("a body that is both chunked and of a known length")),
            (_, true, None) => Framing::Chunked,
            (_, false, Some(length)) => Framing::Length(length),
            (_, false, None) => Framing::UntilClose,
        };
        let keeps_alive = !read.closes && (!is_http_10 || read.keeps_alive) && framing != Framing::UntilClose;
        let Lines { content_type, retry_after, .. } = read;
        Ok(Some((Self { status, content_type, retry_after, framing, keeps_alive }, length)))
    }

    /// A head that another, final one follows.
    pub(super) fn is_interim(&self) -> bool {
        (100..=199).contains(&self.status)
    }
}

#[derive(Default)]
struct Lines {
    content_type: Option<Box<str>>,
    retry_after: Option<Box<str>>,
    length: Option<u64>,
    is_chunked: bool,
    closes: bool,
    keeps_alive: bool,
}

impl Lines {
    fn take(&mut self, line: &Header<'_>) -> Result<(), Malformed> {
        let is = |name: &str| line.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            let length = length(line.value)?;
            if self.length.replace(length).is_some_and(|other| other != length) {
                return Err(Malformed("two different lengths of a body"));
            }
        } else if is("transfer-encoding") {
            // Nothing else was asked for, and of several codings the last could still be unknown.
            if self.is_chunked || !line.value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err(Malformed("a transfer coding other than chunked"));
            }
            self.is_chunked = true;
        } else if is("connection") {
            for word in line.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                self.closes |= word.eq_ignore_ascii_case(b"close");
                self.keeps_alive |= word.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if is("content-type") {
            self.content_type = text(line.value);
        } else if is("retry-after") {
            self.retry_after = text(line.value);
        }
        Ok(())
    }
}

fn length(value: &[u8]) -> Result<u64, Malformed> {
    let value = value.trim_ascii();
    // `parse` alone would take a sign.
    let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or(Malformed("a length of the body that is no number"))
}

fn text(value: &[u8]) -> Option<Box<str>> {
    std::str::from_utf8(value).ok().map(Into::into)
}
