//! Token counts as targets report them.
//!
//! What tokens cost is not known here.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A count above this is none: no window is near it, and whoever adds counts up would have nonsense for ever from one of them.
const TOKENS_MAX: u64 = 1 << 32;

/// The tokens of one answer. Counts that a target left out are 0 or `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens read, cached ones included.
    pub prompt_tokens: u64,
    /// Tokens written, reasoning included.
    pub completion_tokens: u64,
    /// As reported; the sum of the two when the target left it out.
    pub total_tokens: u64,
    /// Tokens of the prompt that were in the target's cache (`prompt_tokens_details.cached_tokens`).
    pub cached_prompt_tokens: Option<u64>,
    /// Tokens written as reasoning (`completion_tokens_details.reasoning_tokens`).
    pub reasoning_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Reported {
    #[serde(deserialize_with = "count")]
    prompt_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    completion_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    total_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PromptDetails {
    #[serde(deserialize_with = "count")]
    cached_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CompletionDetails {
    #[serde(deserialize_with = "count")]
    reasoning_tokens: Option<u64>,
}

impl Usage {
    /// Reads a `usage` object. `None` when it is none or reports neither prompt nor completion tokens; a count that is
    /// no integer from 0 to 2^32 counts as left out.
    #[must_use]
    pub fn parse(json: &str) -> Option<Self> {
        // What is no object stands in every chunk but the last, and an error of serde's is costly to make.
        let reported: Reported = json.starts_with('{').then(|| serde_json::from_str(json).ok())??;
        reported.prompt_tokens.or(reported.completion_tokens)?;
        let prompt_tokens = reported.prompt_tokens.unwrap_or_default();
        let completion_tokens = reported.completion_tokens.unwrap_or_default();
        Some(Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: reported.total_tokens.unwrap_or(prompt_tokens.saturating_add(completion_tokens)),
            cached_prompt_tokens: reported.prompt_tokens_details.and_then(|details| details.cached_tokens),
            reasoning_tokens: reported.completion_tokens_details.and_then(|details| details.reasoning_tokens),
        })
    }
}

fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?;
    Ok(raw.get().parse().ok().filter(|count| *count <= TOKENS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_targets_report() {
        let check = |json: &str, expected: Option<Usage>| assert_eq!(Usage::parse(json), expected, "{json}");
        let plain = |prompt_tokens, completion_tokens, total_tokens| {
            Some(Usage { prompt_tokens, completion_tokens, total_tokens, ..Usage::default() })
        };
        check(r#"{"prompt_tokens":3,"completion_tokens":4,"total_tokens":8}"#, plain(3, 4, 8));
        check(r#"{"prompt_tokens":3,"completion_tokens":4}"#, plain(3, 4, 7));
        check(r#"{"prompt_tokens":3,"completion_tokens":null,"x":[1e999]}"#, plain(3, 0, 3));
        check(
            r#"{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14,
                "prompt_tokens_details":{"cached_tokens":8,"audio_tokens":0},
                "completion_tokens_details":{"reasoning_tokens":2}}"#,
            plain(9, 5, 14).map(|usage| Usage { cached_prompt_tokens: Some(8), reasoning_tokens: Some(2), ..usage }),
        );
        check(r#"{"prompt_tokens":1,"prompt_tokens_details":null}"#, plain(1, 0, 1));
        check(r#"{"prompt_tokens":-1,"completion_tokens":2.5}"#, None);
        check(r#"{"prompt_tokens":18446744073709551615,"completion_tokens":1}"#, plain(0, 1, 1));
        check(r#"{"prompt_tokens":4294967296,"completion_tokens":4294967297}"#, plain(TOKENS_MAX, 0, TOKENS_MAX));
        check("{}", None);
        check("null", None);
        check("7", None);
    }
}
