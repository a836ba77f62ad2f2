//! E-mail addresses, plain or written with `[at]`. Addresses that reach nobody are doubtful at most: example domains, the
//! user of an ssh remote, senders that take no answer.

use std::ops::Range;

use crate::scan::{
    candidate::{LIKELY, Page, UNLIKELY},
    kind::{Kind, Validator},
    text::{before, byte, run, run_before, slice},
};

/// The longest part before the `@`, by RFC 5321.
const LOCAL_BYTES_MAX: usize = 64;
/// The longest domain, by RFC 1035.
const DOMAIN_BYTES_MAX: usize = 253;
const CONFIDENCE: f32 = 0.97;
/// Names of files, not of hosts: `icon@2x.png`.
const FILE_ENDINGS: [&[u8]; 20] = [
    b"png", b"jpg", b"jpeg", b"gif", b"svg", b"webp", b"js", b"ts", b"jsx", b"tsx", b"css", b"json", b"html", b"mjs",
    b"vue", b"yaml", b"yml", b"xml", b"toml", b"lock",
];
/// Reserved by RFC 2606 and RFC 6761, and what documentation writes in their place.
const EXAMPLE_DOMAINS: [&[u8]; 8] = [
    b"example.com",
    b"example.org",
    b"example.net",
    b"example.edu",
    b"email.com",
    b"domain.com",
    b"yourdomain.com",
    b"test.com",
];
const RESERVED_ENDINGS: [&[u8]; 6] = [b"example", b"test", b"invalid", b"localhost", b"local", b"internal"];
const NOBODY: [&[u8]; 6] = [b"noreply", b"no-reply", b"donotreply", b"do-not-reply", b"git", b"mailer-daemon"];

fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-' | b'\'' | b'&' | b'~' | 0x80..)
}

fn is_domain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | 0x80..)
}

/// An `@`.
pub(super) fn recognise(page: &mut Page<'_>, at: usize) {
    let text = page.text;
    let Some(local) = local_before(text, at) else { return };
    if let Some(domain) = domain_after(text, at + 1) {
        judge(page, local, domain);
    }
}

/// `[at]`, `(at)` and the like, standing at `mark`.
pub(in crate::scan) fn spelled_at(page: &mut Page<'_>, mark: Range<usize>) {
    let text = page.text;
    let local_end = mark.start - run_before(text, mark.start, 2, |byte| byte == b' ');
    let domain_start = mark.end + run(text, mark.end, 2, |byte| byte == b' ');
    let Some(local) = local_before(text, local_end) else { return };
    if let Some(domain) = domain_after(text, domain_start) {
        judge(page, local, domain);
        return;
    }
    // name [at] host [dot] org
    let host = run(text, domain_start, 63, |byte| is_domain(byte) && byte != b'.');
    let dot = domain_start + host;
    let gap = run(text, dot, 2, |byte| byte == b' ');
    let Some(length) = dot_length(text, dot + gap) else { return };
    let ending = dot + gap + length + run(text, dot + gap + length, 2, |byte| byte == b' ');
    let len = run(text, ending, 24, |byte| byte.is_ascii_alphabetic());
    if host > 0 && len >= 2 {
        page.add(Kind::Email, local.start..ending + len, LIKELY, Validator::Grammar);
    }
}

/// ` dot com` and the like, standing at `mark`: `name at host dot com`.
pub(in crate::scan) fn spelled_dot(page: &mut Page<'_>, mark: Range<usize>) {
    let text = page.text;
    if byte(text, mark.end).is_ascii_alphanumeric() {
        return;
    }
    let host = mark.start - run_before(text, mark.start, 63, |byte| is_domain(byte) && byte != b'.');
    let Some(local_end) = host.checked_sub(4) else { return };
    if host == mark.start || !slice(text, local_end..host).eq_ignore_ascii_case(b" at ") {
        return;
    }
    if let Some(local) = local_before(text, local_end) {
        page.add(Kind::Email, local.start..mark.end, LIKELY, Validator::Grammar);
    }
}

fn dot_length(text: &[u8], at: usize) -> Option<usize> {
    let marks: [&[u8]; 4] = [b"[dot]", b"(dot)", b"{dot}", b"dot "];
    marks.into_iter().find(|mark| slice(text, at..at + mark.len()).eq_ignore_ascii_case(mark)).map(<[u8]>::len)
}

fn local_before(text: &[u8], at: usize) -> Option<Range<usize>> {
    let len = run_before(text, at, LOCAL_BYTES_MAX + 1, is_local);
    if len == 0 || len > LOCAL_BYTES_MAX {
        return None;
    }
    let mut start = at - len;
    // Within a character the address cannot begin, nor with punctuation of what stands before it.
    while start < at
        && (matches!(byte(text, start), b'.' | b'\'' | b'-' | b'&' | b'~' | b'%') || byte(text, start) & 0xC0 == 0x80)
    {
        start += 1;
    }
    // Scripts without spaces run into the address: 联系name@host.
    let ideograph = slice(text, start..at).iter().rposition(|byte| matches!(byte, 0xE3..=0xED));
    if let Some(index) = ideograph.filter(|index| start + index + 3 < at) {
        start += index + 3;
    }
    (start < at && before(text, at) != b'.').then_some(start..at)
}

fn domain_after(text: &[u8], at: usize) -> Option<Range<usize>> {
    let len = run(text, at, DOMAIN_BYTES_MAX + 1, is_domain);
    let mut end = at + len;
    // A sentence may go on behind it, also in a script that writes no spaces.
    while end > at && !before(text, end).is_ascii_alphanumeric() {
        end -= 1;
    }
    let domain = slice(text, at..end);
    let ending = domain.rsplit(|byte| *byte == b'.').next()?;
    let letters = ending.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let (Some(first), true) = (domain.first(), len <= DOMAIN_BYTES_MAX) else { return None };
    if letters == 0
        || ending.len() == domain.len()
        || matches!(first, b'.' | b'-')
        || domain.windows(2).any(|pair| pair == b"..")
    {
        return None;
    }
    let international = ending.starts_with(b"xn--");
    if !international {
        // name@host.com是 ends before the other script.
        end = end - ending.len() + letters;
        if byte(text, end).is_ascii_digit() || byte(text, end) == b'-' && byte(text, end + 1).is_ascii_alphanumeric() {
            return None;
        }
    }
    (international || (2..=24).contains(&letters)).then_some(at..end)
}

fn judge(page: &mut Page<'_>, local: Range<usize>, domain: Range<usize>) {
    let (name, host) = (slice(page.text, local.clone()), slice(page.text, domain.clone()));
    let is = |listed: &[&[u8]], found: &[u8]| listed.iter().any(|known| found.eq_ignore_ascii_case(known));
    let ending = host.rsplit(|byte| *byte == b'.').next().unwrap_or(host);
    if is(&FILE_ENDINGS, ending) {
        return;
    }
    let below_example = EXAMPLE_DOMAINS.iter().take(4).any(|example| {
        host.len() > example.len() && host.ends_with(example) && host.get(host.len() - example.len() - 1) == Some(&b'.')
    });
    let nobodys = below_example || is(&EXAMPLE_DOMAINS, host) || is(&RESERVED_ENDINGS, ending) || is(&NOBODY, name);
    let confidence = if nobodys { UNLIKELY } else { CONFIDENCE };
    page.add(Kind::Email, local.start..domain.end, confidence, Validator::Grammar);
}
