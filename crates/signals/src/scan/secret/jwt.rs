//! JSON web tokens: three parts (or five, when encrypted) of which the first is a JSON object that names an algorithm.

use std::ops::Range;

use serde::Deserialize;

use crate::scan::{
    candidate::{CERTAIN, Page, UNLIKELY},
    kind::{Kind, Validator},
    text::{before, byte, is_placeholder, run, slice},
};

/// The longest header, encoded.
const HEADER_BYTES_MAX: usize = 4 * 1024;
/// The longest of the other parts.
const PART_BYTES_MAX: usize = 64 * 1024;

#[derive(Deserialize)]
struct Header {
    alg: String,
}

/// `eyJ`, standing at `mark`.
pub(in crate::scan) fn recognise(page: &mut Page<'_>, mark: Range<usize>) {
    let text = page.text;
    let previous = before(text, mark.start);
    if previous.is_ascii_alphanumeric()
        || matches!(previous, b'_' | b'-' | b'.' | b'+' | b'/')
        || slice(text, mark.clone()) != b"eyJ"
    {
        return;
    }
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let header_len = run(text, mark.start, HEADER_BYTES_MAX + 1, is_part);
    let mut end = mark.start + header_len;
    if header_len > HEADER_BYTES_MAX || byte(text, end) != b'.' {
        return;
    }
    let header = decode(slice(text, mark.start..end));
    let Some(algorithm) = header.and_then(|header| serde_json::from_slice::<Header>(&header).ok()) else { return };
    let mut parts = 0;
    let mut signature = 0..0;
    while parts < 4 && byte(text, end) == b'.' {
        let len = run(text, end + 1, PART_BYTES_MAX, is_part);
        signature = end + 1..end + 1 + len;
        if len == 0 && parts > 0 {
            break;
        }
        end += 1 + len;
        parts += 1;
    }
    // A token that nobody signed opens nothing.
    let unsigned = algorithm.alg.eq_ignore_ascii_case("none") || is_placeholder(slice(text, signature));
    if parts >= 2 || unsigned && parts == 1 {
        page.add(Kind::Jwt, mark.start..end, if unsigned { UNLIKELY } else { CERTAIN }, Validator::JsonHeader);
    }
}

/// Base64url without padding.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len() / 4 * 3 + 3);
    for chunk in text.chunks(4) {
        let mut bits = 0u32;
        for character in chunk {
            let value = match character {
                b'A'..=b'Z' => character - b'A',
                b'a'..=b'z' => character - b'a' + 26,
                b'0'..=b'9' => character - b'0' + 52,
                b'-' => 62,
                b'_' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        let bytes = match chunk.len() {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => return None,
        };
        bits <<= 6 * (4 - chunk.len());
        decoded.extend(bits.to_be_bytes().iter().skip(1).take(bytes));
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64url() {
        assert_eq!(decode(b"eyJhbGciOiJIUzI1NiJ9").unwrap(), br#"{"alg":"HS256"}"#);
        assert_eq!(decode(b"Zg").unwrap(), b"f");
        assert_eq!(decode(b"Zm8").unwrap(), b"fo");
        assert!(decode(b"Zm9v!").is_none() && decode(b"Zm9vY").is_none());
    }
}
