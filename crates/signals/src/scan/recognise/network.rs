//! Addresses of machines. Those that name no machine of a person are doubtful at most: loopback, private, link-local,
//! documentation, multicast, well-known resolvers, netmasks. So is what looks like a version.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    ops::Range,
};

use crate::scan::{
    candidate::{DOUBTFUL, LIKELY, POSSIBLE, Page, STRONG, UNLIKELY},
    context::{Support, Topic, Topics},
    kind::{Kind, Validator},
    text::{before, begins, byte, ends, run, run_before, slice},
};

const IP_WORDS: Topics = Topics::of(&[Topic::Ip, Topic::IpLoose]);
const IP_AGAINST: Topics = Topics::of(&[Topic::Version, Topic::Thing, Topic::Maths]);
const MAC_WORDS: Topics = Topics::of(&[Topic::Mac]);
const NONE: Topics = Topics::of(&[]);
/// The longest IPv6 address, with an IPv4 address at its end.
const IPV6_BYTES_MAX: usize = 45;
const MAC_BYTES: usize = 17;
/// Addresses with all numbers below this are mostly versions and sections.
const VERSION_NUMBER_MAX: u8 = 25;

/// Four numbers with dots from `at` on.
pub(super) fn ipv4(page: &mut Page<'_>, at: usize) {
    let text = page.text;
    let len = run(text, at, 16, |byte| byte.is_ascii_digit() || byte == b'.');
    let mut end = at + len;
    if before(text, end) == b'.' {
        end -= 1;
    }
    let address = std::str::from_utf8(slice(text, at..end)).ok().and_then(|text| text.parse::<Ipv4Addr>().ok());
    let Some(address) = address else { return };
    let glued = before(text, at) == b'-' && before(text, at - 1).is_ascii_alphabetic();
    if !(begins(text, at) || glued)
        || byte(text, end).is_ascii_alphanumeric()
        || matches!(before(text, at), b'.' | b'_')
    {
        return;
    }
    if byte(text, end) == b'.' && byte(text, end + 1).is_ascii_alphanumeric() {
        return;
    }
    let span = at..end;
    let support = page.support(&span, IP_WORDS, IP_AGAINST);
    let octets = address.octets();
    let network = byte(text, end) == b'/' && byte(text, end + 1).is_ascii_digit();
    let confidence = if is_nobodys_v4(address) || glued {
        UNLIKELY
    } else if network || octets.iter().all(|octet| *octet < VERSION_NUMBER_MAX) || octets[3] == 0 {
        support.pick(POSSIBLE, DOUBTFUL, UNLIKELY).min(if network || octets[3] == 0 { DOUBTFUL } else { 1.0 })
    } else {
        support.pick(STRONG, POSSIBLE, UNLIKELY)
    };
    page.add(Kind::IpAddress, span, confidence, Validator::Grammar);
}

fn is_nobodys_v4(address: Ipv4Addr) -> bool {
    const RESOLVERS: [[u8; 4]; 7] = [
        [8, 8, 8, 8],
        [8, 8, 4, 4],
        [1, 1, 1, 1],
        [1, 0, 0, 1],
        [9, 9, 9, 9],
        [208, 67, 222, 222],
        [208, 67, 220, 220],
    ];
    let shared = matches!(address.octets(), [100, 64..=127, ..]);
    let reserved = matches!(address.octets(), [0 | 240..=255, ..] | [198, 18 | 19, ..]);
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
        || shared
        || reserved
        || RESOLVERS.contains(&address.octets())
}

/// A colon: the first of a hardware or IPv6 address, if any.
pub(super) fn colon(page: &mut Page<'_>, at: usize) {
    let text = page.text;
    let start = at - run_before(text, at, 5, |byte| byte.is_ascii_hexdigit());
    let previous = before(text, start);
    if matches!(previous, b':' | b'_') || previous.is_ascii_alphanumeric() {
        return;
    }
    let belongs = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
    let mut end = start + run(text, start, IPV6_BYTES_MAX + 2, belongs);
    while end > at && matches!(before(text, end), b'.' | b':') && !slice(text, start..end).ends_with(b"::") {
        end -= 1;
    }
    if byte(text, end).is_ascii_alphanumeric() || byte(text, end) == b'_' {
        return;
    }
    if is_mac(slice(text, start..end), b':') {
        mac(page, start..end);
    } else {
        ipv6(page, start..end);
    }
}

/// A dash with a hexadecimal digit behind it: the first of a hardware address, if any.
pub(super) fn dashed_mac(page: &mut Page<'_>, at: usize) {
    let Some(start) = at.checked_sub(2).filter(|_| byte(page.text, at + 3) == b'-') else { return };
    let span = start..start + MAC_BYTES;
    if is_mac(slice(page.text, span.clone()), b'-') && begins(page.text, start) && ends(page.text, span.end) {
        mac(page, span);
    }
}

fn is_mac(text: &[u8], separator: u8) -> bool {
    text.len() == MAC_BYTES
        && text.iter().enumerate().all(|(index, byte)| match index % 3 {
            2 => *byte == separator,
            _ => byte.is_ascii_hexdigit(),
        })
}

fn mac(page: &mut Page<'_>, span: Range<usize>) {
    let text = slice(page.text, span.clone());
    let is = |head: &[u8]| text.get(..head.len()).is_some_and(|found| found.eq_ignore_ascii_case(head));
    let nobodys = is(b"00:00:5E:00:53")
        || is(b"00-00-5E-00-53")
        || text.iter().all(|byte| matches!(byte, b'0' | b'f' | b'F' | b':' | b'-'));
    let counted =
        [b"00:11:22:33:44:55", b"01:23:45:67:89:ab", b"aa:bb:cc:dd:ee:ff", b"00-11-22-33-44-55", b"aa-bb-cc-dd-ee-ff"];
    let example = counted.iter().any(|example| text.eq_ignore_ascii_case(*example));
    let decimal = !text.iter().any(u8::is_ascii_alphabetic);
    let support = page.support(&span, MAC_WORDS, NONE);
    let confidence = match support {
        _ if nobodys || example => UNLIKELY,
        Support::For => STRONG,
        _ if decimal => DOUBTFUL,
        _ => LIKELY,
    };
    page.add(Kind::MacAddress, span, confidence, Validator::Grammar);
}

fn ipv6(page: &mut Page<'_>, span: Range<usize>) {
    let text = slice(page.text, span.clone());
    if text.len() > IPV6_BYTES_MAX || text.iter().filter(|byte| **byte == b':').count() < 2 {
        return;
    }
    let Some(address) = std::str::from_utf8(text).ok().and_then(|text| text.parse::<Ipv6Addr>().ok()) else { return };
    let groups = text.split(|byte| *byte == b':').filter(|group| !group.is_empty()).count();
    let digits = text.iter().any(u8::is_ascii_digit);
    let support = page.support(&span, IP_WORDS, IP_AGAINST);
    let confidence = if is_nobodys_v6(address) {
        UNLIKELY
    } else if groups < 4 || !digits {
        // Names of code have double colons too: `dead::beef`.
        support.pick(if digits && groups > 1 { LIKELY } else { DOUBTFUL }, UNLIKELY, UNLIKELY)
    } else {
        support.pick(STRONG, LIKELY, DOUBTFUL)
    };
    page.add(Kind::IpAddress, span, confidence, Validator::Grammar);
}

fn is_nobodys_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    let documentation = first == 0x2001 && second == 0xdb8 || first == 0x3fff;
    let local = first & 0xffc0 == 0xfe80 || first & 0xfe00 == 0xfc00;
    let mapped = address.to_ipv4_mapped().is_some_and(is_nobodys_v4);
    address.is_loopback() || address.is_unspecified() || address.is_multicast() || documentation || local || mapped
}
