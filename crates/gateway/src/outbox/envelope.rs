//! What is written beside a kept request and beside its answer: JSON that only the gateway reads.

use http::{HeaderMap, HeaderName, HeaderValue};
use policy::{Locality, Mode, Privacy, TargetId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use wire::ApiError;

use crate::config::Claim;
use crate::facts::Floor;

/// What a request said of itself beside its body, and what held for it then. No other header is kept: those that authenticate
/// a caller least of all.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Envelope {
    claims: Vec<(String, String)>,
    privacy: String,
    conversation_privacy: Option<String>,
    mode: String,
}

/// An envelope that cannot be read: written by another version, or damaged.
#[derive(Debug, thiserror::Error)]
#[error("what was kept beside the request cannot be read")]
pub(super) struct Unreadable;

impl Envelope {
    pub(super) fn of(headers: &HeaderMap, floor: &Floor) -> Self {
        let lines = Claim::ALL.iter().flat_map(|claim| {
            let values = headers.get_all(claim.header()).iter();
            values.map(|value| (claim.header().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        });
        Self {
            claims: lines.collect(),
            privacy: floor.privacy.as_str().to_owned(),
            conversation_privacy: floor.conversation.map(|class| class.as_str().to_owned()),
            mode: floor.mode.as_str().to_owned(),
        }
    }

    pub(super) fn to_json(&self) -> String {
        // Strings and lists of them can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The headers and what held, as they were.
    pub(super) fn read(json: &str) -> Result<(HeaderMap, Floor), Unreadable> {
        let envelope: Self = serde_json::from_str(json).map_err(|_| Unreadable)?;
        let mut headers = HeaderMap::new();
        for (name, value) in &envelope.claims {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Unreadable)?;
            headers.append(name, HeaderValue::from_str(value).map_err(|_| Unreadable)?);
        }
        let class = |word: &str| Privacy::parse(word).map_err(|_| Unreadable);
        let floor = Floor {
            privacy: class(&envelope.privacy)?,
            conversation: envelope.conversation_privacy.as_deref().map(class).transpose()?,
            mode: Mode::parse(&envelope.mode).map_err(|_| Unreadable)?,
        };
        Ok((headers, floor))
    }
}

/// What is told of the answer, or of why there is none (yet).
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Told {
    /// The status that a caller who waited would have got; none while nothing has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The body of the error reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Box<RawValue>>,
}

impl Told {
    /// Not yet, for this reason.
    pub(super) fn not_yet(error: &ApiError) -> Self {
        Self { error: raw(error), ..Self::default() }
    }

    /// Not any more, with this reply.
    pub(super) fn never(error: &ApiError) -> Self {
        Self { status_code: Some(error.status), ..Self::not_yet(error) }
    }

    /// From there, for that reason.
    pub(super) fn from(self, target: &TargetId, locality: Locality, reason: String) -> Self {
        let (target, locality) = (Some(target.as_str().to_owned()), Some(locality.as_str().to_owned()));
        Self { target, locality, reason: Some(reason), ..self }
    }

    pub(super) fn to_json(&self) -> String {
        // Strings and numbers can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What cannot be read tells nothing.
    pub(super) fn read(json: &str) -> Self {
        serde_json::from_str(json).unwrap_or_default()
    }

    /// The object inside of the error reply.
    pub(super) fn error_object(&self) -> Option<&RawValue> {
        #[derive(Deserialize)]
        struct Reply<'a> {
            #[serde(borrow)]
            error: &'a RawValue,
        }
        let reply: Reply<'_> = serde_json::from_str(self.error.as_ref()?.get()).ok()?;
        Some(reply.error)
    }

    /// The message of the error, for the news that time is over.
    pub(super) fn message(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Message {
            message: String,
        }
        Some(serde_json::from_str::<Message>(self.error_object()?.get()).ok()?.message)
    }
}

fn raw(error: &ApiError) -> Option<Box<RawValue>> {
    let json = String::from_utf8(error.to_json().to_vec()).ok()?;
    RawValue::from_string(json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_claims_are_kept_and_they_come_back_as_they_were() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer sk-1"),
            ("cookie", "a=b"),
            ("prefer", "respond-async"),
            ("x-tidegate-tags", "a, b"),
            ("x-tidegate-tags", "c"),
            ("x-tidegate-session", "s"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let floor =
            Floor { privacy: Privacy::Internal, conversation: Some(Privacy::Restricted), mode: Mode::OnlyOnDevice };
        let json = Envelope::of(&headers, &floor).to_json();
        assert!(!json.contains("sk-1") && !json.contains("cookie"), "{json}");
        let (read, held) = Envelope::read(&json).unwrap();
        assert_eq!(held, floor);
        assert_eq!(read.get_all("x-tidegate-tags").iter().collect::<Vec<_>>(), ["a, b", "c"]);
        assert_eq!((read.len(), read["x-tidegate-session"].as_bytes()), (3, &b"s"[..]));
    }

    /// A word that is not known is never read as a looser one.
    #[test]
    fn what_cannot_be_read_is_refused() {
        let floor = Floor { privacy: Privacy::Confidential, conversation: None, mode: Mode::PreferInCloud };
        let json = Envelope::of(&HeaderMap::new(), &floor).to_json();
        for (from, to) in [("confidential", "konfidential"), ("prefer_in_cloud", "x"), ("claims", "claim"), ("{", "[")]
        {
            assert!(Envelope::read(&json.replace(from, to)).is_err(), "{to}");
        }
    }

    #[test]
    fn what_is_told_is_read_again() {
        let error = ApiError::no_target_available(&["a: down".to_owned()]);
        let told = Told::read(&Told::never(&error).to_json());
        assert_eq!((told.status_code, told.message().as_deref()), (Some(503), Some(error.message.as_str())));
        assert!(told.error_object().unwrap().get().contains(r#""code":"no_target_available""#));
        let told = Told { status_code: Some(200), ..Told::default() };
        let target = TargetId::new("a/b").unwrap();
        let told = Told::read(&told.from(&target, Locality::Cloud, "rule=x".to_owned()).to_json());
        assert_eq!((told.target.as_deref(), told.locality.as_deref()), (Some("a/b"), Some("cloud")));
        assert!(told.error_object().is_none() && told.message().is_none() && Told::read("{").status_code.is_none());
    }
}
