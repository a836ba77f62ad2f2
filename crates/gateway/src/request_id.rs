//! Names a request: the caller's own `x-request-id` where it is fit for logs and headers, else a new one.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;

use crate::unix_time::now_ms;

/// Longest id taken over from a caller, in bytes.
const CALLERS_ID_BYTES_MAX: usize = 128;

/// What a new id begins with.
const PREFIX: &str = "req_";
/// Hexadecimal digits of a new id.
const ID_DIGITS: u32 = 32;

/// The id of a request.
pub(crate) fn request_id(header: Option<&HeaderValue>) -> String {
    header.and_then(|value| value.to_str().ok()).filter(|id| is_fit(id)).map_or_else(new_id, str::to_owned)
}

fn is_fit(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    !id.is_empty() && id.len() <= CALLERS_ID_BYTES_MAX && id.bytes().all(allowed)
}

/// Unique within and, through the random keys of the standard hasher, across processes; not to be guessed by its 80 bits from there. Begins
/// with the time, so that ids come nearly in order, which an index over them likes.
fn new_id() -> String {
    static KEYS: LazyLock<(RandomState, RandomState)> = LazyLock::new(|| (RandomState::new(), RandomState::new()));
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let half = |keys: &RandomState| {
        let mut hasher = keys.build_hasher();
        hasher.write_u64(count);
        hasher.finish()
    };
    // 48 bits of time, and 80.
    let id = u128::from(now_ms()) << 80 | u128::from(half(&KEYS.1) & 0xffff) << 64 | u128::from(half(&KEYS.0));
    let digit = |place: u32| char::from_digit((id >> (4 * place)) as u32 & 0xf, 16);
    let mut text = String::with_capacity(PREFIX.len() + ID_DIGITS as usize);
    text.push_str(PREFIX);
    text.extend((0..ID_DIGITS).rev().filter_map(digit));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fit_id_is_kept_and_an_unfit_one_replaced() {
        let kept = |id: &str| request_id(HeaderValue::from_str(id).ok().as_ref()) == id;
        assert!(kept("7d9f-ab_c.1:2"));
        for unfit in ["", "a b", "a\tb", "\u{e4}", &"x".repeat(129)] {
            assert!(!kept(unfit), "{unfit:?}");
        }
    }

    #[test]
    fn new_ids_differ() {
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| request_id(None)).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.len() == 36 && is_fit(id)), "{ids:?}");
    }
}
