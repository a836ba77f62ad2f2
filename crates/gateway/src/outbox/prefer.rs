//! The header `Prefer` (RFC 7240), as far as it asks for an answer later.

use http::HeaderMap;

/// The preference, as it stands in `Prefer` and `Preference-Applied`.
pub(crate) const RESPOND_ASYNC: &str = "respond-async";

/// Whether the caller would rather have an answer later than none. Names of preferences are compared without regard to case;
/// what is not understood is passed over, as the standard demands.
pub(crate) fn wants_async(headers: &HeaderMap) -> bool {
    let lines = headers.get_all("prefer").iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(preferences).any(|name| name.eq_ignore_ascii_case(RESPOND_ASYNC))
}

/// The names of the preferences of one line: what stands between commas, up to `=` or `;`. A comma inside of quotes separates
/// nothing.
fn preferences(line: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    line.split(move |c| {
        let was_escaped = std::mem::take(&mut escaped);
        match c {
            '\\' if quoted => escaped = !was_escaped,
            '"' if !was_escaped => quoted = !quoted,
            ',' => return !quoted,
            _ => {}
        }
        false
    })
    .map(|preference| preference.split(['=', ';']).next().unwrap_or_default().trim_matches([' ', '\t']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preference_is_found_where_the_standard_allows_it() {
        let wants = |lines: &[&str]| {
            let lines = lines.iter().map(|line| (http::HeaderName::from_static("prefer"), line.parse().unwrap()));
            let mut headers = HeaderMap::new();
            lines.for_each(|(name, value)| {
                headers.append(name, value);
            });
            wants_async(&headers)
        };
        for yes in [
            "respond-async",
            "Respond-Async",
            " respond-async ; foo=bar",
            "wait=10,\trespond-async",
            "respond-async=\"\"",
            "foo=\"a\\\"b, c\", respond-async",
            ",, respond-async",
        ] {
            assert!(wants(&[yes]), "{yes}");
        }
        for no in [
            "",
            "wait=10",
            "no-respond-async",
            "respond-asynchronously",
            "foo=\"x, respond-async\"",
            "foo; respond-async",
        ] {
            assert!(!wants(&[no]), "{no}");
        }
        assert!(wants(&["return=minimal", "respond-async"]) && !wants(&[]));
    }
}
