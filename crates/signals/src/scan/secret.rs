//! The recognisers of secrets: published shapes, keys, tokens, addresses with passwords, and what words announce.

mod announced;
mod entropy;
mod jwt;
mod pem;
pub(super) mod shapes;
mod url;

pub(super) use announced::announced;
pub(super) use jwt::recognise as jwt;
pub(super) use pem::{putty, recognise as pem};
pub(super) use shapes::shaped;
pub(super) use url::recognise as url;

use std::ops::Range;

use super::{
    candidate::{CERTAIN, DOUBTFUL, LIKELY, Page, UNLIKELY},
    context::{NUMBERS_OF_THINGS, Topic, Topics},
    kind::{Kind, Validator},
    number::Run,
    text::{byte, is_placeholder, run, slice},
};

/// Keys that are a word of letters and digits without a prefix that is worth looking for.
pub(super) fn token(page: &mut Page<'_>, span: Range<usize>) {
    const WORDS: Topics = Topics::of(&[Topic::Key, Topic::Password]);
    let word = slice(page.text, span.clone());
    if let [b'S', b'K', digits @ ..] = word
        && digits.len() == 32
        && digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && !is_placeholder(digits)
    {
        let confidence = page.support(&span, WORDS, NUMBERS_OF_THINGS).pick(CERTAIN, LIKELY, DOUBTFUL);
        page.add(Kind::TwilioKey, span, confidence, Validator::Shape);
    }
}

/// The number of a bot, a colon, and 35 characters.
pub(super) fn telegram(page: &mut Page<'_>, found: &Run) {
    const SECRET_BYTES: usize = 35;
    let (text, number) = (page.text, found.group(0));
    if !(8..=10).contains(&number.len()) || byte(text, number.end) != b':' {
        return;
    }
    let at = number.end + 1;
    let is_secret = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let secret = slice(text, at..at + SECRET_BYTES);
    if run(text, at, SECRET_BYTES + 1, is_secret) == SECRET_BYTES && entropy::is_random(secret) {
        let confidence = if is_placeholder(secret) { UNLIKELY } else { CERTAIN };
        page.add(Kind::TelegramBotToken, number.start..at + SECRET_BYTES, confidence, Validator::Shape);
    }
}
