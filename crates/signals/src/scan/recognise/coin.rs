//! Addresses of cryptocurrencies: Bitcoin and kin by checksum, Ethereum by EIP-55 or beside a word that says so.

use std::ops::Range;

use crate::scan::{
    candidate::{CERTAIN, DOUBTFUL, LIKELY, Page, STRONG, UNLIKELY},
    check::coin::{base58check, bech32, eip55, is_base58},
    context::{NUMBERS_OF_THINGS, Topic, Topics},
    kind::{Kind, Validator},
    text::slice,
};

const WORDS: Topics = Topics::of(&[Topic::Crypto]);
/// Human-readable parts of Bitcoin and Litecoin.
const BECH32_PREFIXES: [&[u8]; 2] = [b"bc", b"ltc"];

/// A word of letters and digits.
pub(super) fn token(page: &mut Page<'_>, span: Range<usize>) {
    let word = slice(page.text, span.clone());
    match word {
        // Versions 0, 5, 30, 48 and 50: Bitcoin, Dogecoin and Litecoin.
        [b'1' | b'3' | b'D' | b'L' | b'M', ..]
            if (26..=35).contains(&word.len()) && word.iter().all(|byte| is_base58(*byte)) && base58check(word) =>
        {
            page.add(Kind::CryptoAddress, span, CERTAIN, Validator::Base58Check);
        }
        [b'0', b'x', digits @ ..] if digits.len() == 40 => ethereum(page, span, digits),
        _ if word.len() >= 26 => {
            let prefix = BECH32_PREFIXES
                .into_iter()
                .find(|prefix| word.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix)));
            if prefix.is_some_and(|prefix| bech32(word, prefix)) {
                page.add(Kind::CryptoAddress, span, CERTAIN, Validator::Bech32);
            }
        }
        _ => {}
    }
}

fn ethereum(page: &mut Page<'_>, span: Range<usize>, digits: &[u8]) {
    if !digits.iter().all(u8::is_ascii_hexdigit) || digits.iter().all(|digit| *digit == b'0') {
        return;
    }
    let mixed = digits.iter().any(u8::is_ascii_lowercase) && digits.iter().any(u8::is_ascii_uppercase);
    let support = page.support(&span, WORDS, NUMBERS_OF_THINGS);
    if mixed && eip55(digits) {
        page.add(Kind::CryptoAddress, span, support.pick(CERTAIN, STRONG, STRONG), Validator::Eip55);
    } else {
        page.add(Kind::CryptoAddress, span, support.pick(LIKELY, DOUBTFUL, UNLIKELY), Validator::Context);
    }
}
