//! Addresses with a user's password in them: `postgres://user:password@host/db`, of any scheme.

use std::ops::Range;

use super::announced::{is_dummy, is_reference};
use crate::scan::{
    candidate::{CERTAIN, DOUBTFUL, Page, UNLIKELY},
    kind::{Kind, Validator},
    text::{before, byte, is_placeholder, run, run_before, slice},
};

const SCHEME_BYTES_MAX: usize = 24;
/// User and password together.
const USER_BYTES_MAX: usize = 320;
const HOST_BYTES_MAX: usize = 255;

/// `://`, standing at `mark`.
pub(in crate::scan) fn recognise(page: &mut Page<'_>, mark: Range<usize>) {
    let text = page.text;
    let scheme = run_before(text, mark.start, SCHEME_BYTES_MAX, |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
    });
    let is_user =
        |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'"' | b'\'' | b'`' | b'<' | b'>' | b' ' | b'?');
    let len = run(text, mark.end, USER_BYTES_MAX, is_user);
    let user = slice(text, mark.end..mark.end + len);
    let Some(at) = user.iter().rposition(|byte| *byte == b'@') else { return };
    let Some(colon) = user.get(..at).and_then(|user| user.iter().position(|byte| *byte == b':')) else { return };
    let password = user.get(colon + 1..at).unwrap_or(&[]);
    let name = user.get(..colon).unwrap_or(&[]);
    if scheme == 0 || password.is_empty() || !byte(text, mark.start - scheme).is_ascii_alphabetic() {
        return;
    }
    let host = mark.end + at + 1;
    let host_len = run(text, host, HOST_BYTES_MAX, |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'_' | b'[' | b']')
    });
    let mut end = host + host_len;
    while end > host && matches!(before(text, end), b'.' | b':' | b'-') {
        end -= 1;
    }
    let confidence = if is_reference(password) || is_placeholder(password) || end == host && password.len() < 4 {
        UNLIKELY
    } else if is_dummy(password) || password.eq_ignore_ascii_case(name) {
        DOUBTFUL
    } else {
        CERTAIN
    };
    page.add(Kind::ConnectionString, mark.start - scheme..end, confidence, Validator::Grammar);
}
