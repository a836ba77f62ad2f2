//! What a request says about itself beside its prompt: `x-tidegate-*` headers and `metadata.tidegate_*`.
//!
//! Knows nothing of what the configuration demands; `intake` joins both.

use std::borrow::Cow;

use http::HeaderMap;
use policy::{Mode, Privacy};
use wire::{ApiError, ChatRequest};

use crate::config::{CallerTrust, Claim};
use crate::tags;

/// Longest name of a session in bytes.
const SESSION_BYTES_MAX: usize = 128;
/// What every header of ours begins with, without `x-` and with hyphens for underscores.
const OWN_PREFIX: &str = "tidegate";
/// Headers of answers. From a caller they mean nothing and are passed over, so that a reply's headers may be sent back.
/// They are read nowhere and sent on to no target.
const ANSWER_HEADERS: [&str; 4] = ["x-tidegate-target", "x-tidegate-locality", "x-tidegate-reason", "x-tidegate-cache"];

/// The claims of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    /// All modes that were said, combined, and the last place that said one.
    pub mode: Option<(Mode, &'static str)>,
    /// The strictest of all classes that were said.
    pub privacy: Option<Privacy>,
    /// All tags of all places, sorted, without duplicates.
    pub tags: Vec<String>,
    /// The name of its conversation.
    pub session: Option<String>,
}

impl Claims {
    /// Reads headers and metadata of a caller that is trusted as `trust` says. Of several privacy classes the strictest
    /// wins; of modes see [`Mode::combine`].
    ///
    /// # Errors
    /// 400 naming the header or field: one that this caller may not set, one that holds an unknown word, a header of
    /// ours that does not exist (a misspelt privacy header must not pass for none), modes that exclude each other, two
    /// different sessions.
    pub(crate) fn read(headers: &HeaderMap, request: &ChatRequest, trust: &CallerTrust) -> Result<Self, Box<ApiError>> {
        if let Some(unknown) = headers.keys().map(http::HeaderName::as_str).find(|name| is_unknown(name)) {
            let known = Claim::list(Claim::header);
            return Err(invalid(unknown, &format!("{unknown} is no header of Tidegate; there are {known}")));
        }
        // Most requests carry none, and looking for a name costs more than looking at them.
        let own = headers.keys().any(|name| is_ours(name.as_str())).then_some(headers);
        let said = |claim: Claim, metadata| statements(own, claim, metadata, trust);
        let mut claims = Self::default();
        for (place, word) in said(Claim::Mode, request.tidegate_mode())? {
            let mode = Mode::parse(&word).map_err(|error| invalid(place, &error.to_string()))?;
            let combined = claims.mode.map_or(Ok(mode), |(earlier, _)| earlier.combine(mode));
            let combined = combined.map_err(|error| Box::new(ApiError::contradiction(&error.to_string(), place)))?;
            claims.mode = Some((combined, place));
        }
        for (place, word) in said(Claim::Privacy, request.tidegate_privacy())? {
            let class = Privacy::parse(&word).map_err(|error| invalid(place, &error.to_string()))?;
            claims.privacy = claims.privacy.max(Some(class));
        }
        claims.tags = tags(said(Claim::Tags, request.tidegate_tags())?)?;
        claims.session = session(said(Claim::Session, request.tidegate_session())?)?;
        Ok(claims)
    }
}

/// What was said, each with its place.
type Said<'a> = Vec<(&'static str, Cow<'a, str>)>;

/// Comma separated words, with or without blanks around them.
fn tags(said: Said<'_>) -> Result<Vec<String>, Box<ApiError>> {
    let mut all = Vec::new();
    for (place, list) in said {
        for word in list.split(',').map(|word| word.trim_matches([' ', '\t'])) {
            tags::check(word).map_err(|what| invalid(place, &format!("{place} is a list of tags; {what}")))?;
            all.push(word.to_owned());
        }
        all = tags::ordered(all).map_err(|what| invalid(place, &what))?;
    }
    Ok(all)
}

fn session(said: Said<'_>) -> Result<Option<String>, Box<ApiError>> {
    let mut session: Option<Cow<'_, str>> = None;
    for (place, name) in said {
        let is_visible = name.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_visible || !(1..=SESSION_BYTES_MAX).contains(&name.len()) {
            let message = format!("{place} is 1 to {SESSION_BYTES_MAX} visible ASCII characters without blanks");
            return Err(invalid(place, &message));
        }
        if session.as_ref().is_some_and(|earlier| *earlier != name) {
            return Err(invalid(place, &format!("{place} names another session than an earlier place of the request")));
        }
        session = Some(name);
    }
    Ok(session.map(Cow::into_owned))
}

/// Names of headers come in lower case.
fn is_ours(name: &str) -> bool {
    name.strip_prefix("x-").or_else(|| name.strip_prefix("x_")).unwrap_or(name).starts_with(OWN_PREFIX)
}

fn is_unknown(name: &str) -> bool {
    let is_known = || Claim::ALL.iter().any(|claim| claim.header() == name);
    is_ours(name) && !is_known() && !ANSWER_HEADERS.contains(&name)
}

/// Everything a request says on one matter, with its place: each header line, then the metadata.
fn statements<'a>(
    headers: Option<&HeaderMap>,
    claim: Claim,
    metadata: Option<&'a str>,
    trust: &CallerTrust,
) -> Result<Said<'a>, Box<ApiError>> {
    let lines = headers.into_iter().flat_map(|headers| headers.get_all(claim.header()));
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut said: Vec<_> = lines.map(|value| (claim.header(), text(value).into())).collect();
    said.extend(metadata.map(|word| (claim.field(), word.into())));
    match said.first() {
        Some((place, _)) if !trust.may_set.contains(&claim) => {
            let message = format!("{place} may not be set by this caller; the configuration of the gateway says so");
            Err(invalid(place, &message))
        }
        _ => Ok(said),
    }
}

fn invalid(place: &str, message: &str) -> Box<ApiError> {
    Box::new(ApiError::invalid_value(place, message))
}
