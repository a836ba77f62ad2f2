//! Prompts of a wanted length, no two with a common beginning: an engine that keeps what it has read finds nothing of it again.
//!
//! Made of common words in a random order, instructions included, as a template puts those first. Ordinary words, so that the privacy scan finds
//! nothing in them.

use serde_json::json;
use wire::{ChatRequest, RequestError};

/// Words that most tokenizers know as one token, with the space before.
const WORDS: [&str; 64] = [
    "river", "stone", "green", "house", "light", "paper", "table", "water", "music", "bread", "cloud", "field",
    "horse", "night", "plant", "sound", "train", "voice", "world", "north", "south", "sugar", "storm", "black",
    "white", "clear", "early", "fresh", "happy", "large", "small", "young", "apple", "beach", "chair", "dance",
    "earth", "fruit", "glass", "heart", "island", "garden", "window", "summer", "winter", "forest", "bridge", "market",
    "kitchen", "village", "morning", "evening", "yellow", "orange", "silver", "golden", "travel", "simple", "gentle",
    "quiet", "narrow", "bright", "little", "open",
];
/// Random words before everything else: 64^8 beginnings.
const OPENING_WORDS: usize = 8;
/// Words that say what to do, at most.
const INSTRUCTION_WORDS: usize = 40;
/// Tokens of a word at most, in any tokenizer of note.
const TOKENS_PER_WORD_MAX: u64 = 2;
/// What a template adds at most.
const FRAME_TOKENS_MAX: u64 = 64;

/// Tokens of a prompt of so many words at most, frame and instructions included.
pub(super) fn tokens_max(words: usize) -> u64 {
    (words + OPENING_WORDS + INSTRUCTION_WORDS) as u64 * TOKENS_PER_WORD_MAX + FRAME_TOKENS_MAX
}

/// A new prompt of about so many words for `target`, which answers with at most `max_tokens`. With `to_the_end` it is told to write all of them
/// whatever it thinks of it (llama-server's `ignore_eos`).
///
/// # Errors
/// None that a test does not show.
pub(super) fn request(
    target: &str,
    words: usize,
    max_tokens: u64,
    to_the_end: bool,
) -> Result<ChatRequest, RequestError> {
    let (opening, list) = (random(OPENING_WORDS), random(words));
    let mut body = json!({
        "model": target,
        "messages": [
            {"role": "system", "content": format!("{opening}. You continue lists of words.")},
            {"role": "user", "content": format!("{list}\n\nContinue this list with two hundred other words, one after another.")},
        ],
        "max_tokens": max_tokens,
        "stream": true,
        "stream_options": {"include_usage": true},
    });
    if to_the_end {
        body["ignore_eos"] = json!(true);
        body["temperature"] = json!(0);
    }
    ChatRequest::parse(body.to_string().into())
}

fn random(count: usize) -> String {
    let words: Vec<_> = (0..count).map(|_| WORDS[fastrand::usize(..WORDS.len())]).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn prompts_begin_differently_have_their_length_and_are_within_the_bound() {
        let mut beginnings = HashSet::new();
        for n in 0..500 {
            let words = if n % 2 == 0 { 32 } else { 512 };
            let request = request("local/m", words, 64, n % 3 == 0).unwrap();
            let body: serde_json::Value = serde_json::from_slice(request.body()).unwrap();
            let system = body["messages"][0]["content"].as_str().unwrap();
            let user = body["messages"][1]["content"].as_str().unwrap();
            assert!(beginnings.insert(system.split(". ").next().unwrap().to_owned()), "a beginning comes twice");
            let count = system.split_whitespace().count() + user.split_whitespace().count();
            assert!((words..=words + OPENING_WORDS + INSTRUCTION_WORDS).contains(&count), "{count}");
            assert!(request.prompt_tokens_estimate() <= tokens_max(words));
            assert_eq!((request.max_tokens(), request.stream(), request.include_usage()), (Some(64), true, true));
            assert_eq!(body.get("ignore_eos").is_some(), n % 3 == 0, "only where the engine knows it");
        }
    }

    #[test]
    fn the_privacy_scan_finds_nothing_in_them() {
        let scanner = signals::scan::Scanner::new(&signals::scan::ScanConfig::default()).unwrap();
        for _ in 0..50 {
            let request = request("local/m", 512, 64, true).unwrap();
            let found = scanner.scan(&String::from_utf8_lossy(request.body()));
            assert_eq!(found.total(), 0);
        }
    }
}
