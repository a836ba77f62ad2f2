//! Private keys in PEM and PuTTY's format. Certificates and public keys are no secrets.

use std::ops::Range;

use memchr::memmem;

use crate::scan::{
    candidate::{CERTAIN, DOUBTFUL, Page},
    kind::{Kind, Validator},
    text::slice,
};

/// The longest key that is looked at; what is longer ends here.
const KEY_BYTES_MAX: usize = 16 * 1024;
/// So long is a line such as `-----BEGIN OPENSSH PRIVATE KEY-----` at most.
const LABEL_BYTES_MAX: usize = 64;
/// So much of a key has to follow its first line.
const BODY_BYTES_MIN: usize = 24;
const DASHES: &[u8] = b"-----";

/// `-----BEGIN `, standing at `mark`.
pub(in crate::scan) fn recognise(page: &mut Page<'_>, mark: Range<usize>) {
    let text = page.text;
    let label = slice(text, mark.end..mark.end + LABEL_BYTES_MAX);
    let Some(label_len) = memmem::find(label, DASHES) else { return };
    let is_private = label.get(..label_len).is_some_and(|label| memmem::find(label, b"PRIVATE KEY").is_some());
    if !is_private {
        return;
    }
    let body_at = mark.end + label_len + DASHES.len();
    let rest = slice(text, body_at..body_at + KEY_BYTES_MAX);
    let body_len = memmem::find(rest, DASHES).unwrap_or_else(|| body_len(rest));
    let body = rest.get(..body_len).unwrap_or(rest);
    let closing = rest.get(body_len..).filter(|tail| tail.starts_with(b"-----END"));
    let closing_len = closing.and_then(|tail| {
        let label = tail.get(DASHES.len()..tail.len().min(LABEL_BYTES_MAX + DASHES.len()))?;
        memmem::find(label, DASHES).map(|len| len + 2 * DASHES.len())
    });
    let end = body_at + body_len + closing_len.unwrap_or(0);
    let letters = body.iter().filter(|byte| byte.is_ascii_alphanumeric()).count();
    let digits = body.iter().any(u8::is_ascii_digit);
    let confidence = if letters >= BODY_BYTES_MIN && digits { CERTAIN } else { DOUBTFUL };
    page.add(Kind::PrivateKey, mark.start..end, confidence, Validator::Shape);
}

/// Where the characters of a key without last line end; `\n` may be written out.
fn body_len(rest: &[u8]) -> usize {
    let is_body = |byte: &&u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'+' | b'/' | b'=' | b'\n' | b'\r' | b'\\' | b' ' | b':' | b',' | b'-')
    };
    rest.iter().take_while(is_body).count()
}

/// `PuTTY-User-Key-File-`, standing at `mark`.
pub(in crate::scan) fn putty(page: &mut Page<'_>, mark: Range<usize>) {
    let rest = slice(page.text, mark.end..mark.end + KEY_BYTES_MAX);
    let Some(at) = memmem::find(rest.get(..2048).unwrap_or(rest), b"Private-Lines:") else { return };
    let end = memmem::find(rest.get(at..).unwrap_or(&[]), b"Private-MAC").map_or(rest.len(), |mac| at + mac);
    page.add(Kind::PrivateKey, mark.start..mark.end + end, CERTAIN, Validator::Shape);
}
