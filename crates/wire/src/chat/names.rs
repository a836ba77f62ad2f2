//! Names for the messages of a request, by which what is known of one is found again, and for their beginnings, by which the next
//! request of a conversation finds the last one.
//!
//! A conversation has no id in this protocol: each request carries all messages again, and the answer to the last one
//! among them, as the client wrote it down. So what is remembered after a request is the name of all its messages, and
//! what is looked for is the longest beginning of the next request's messages that is remembered. Two conversations
//! that begin with the same messages have the same names until they differ.
//!
//! White space between JSON tokens does not matter, the order of keys and the spelling of escapes do: a client writes the same message
//! the same way each time. BLAKE3 rather than SHA-256, as it is on the way of every request: on a processor without SHA instructions 0.6 to
//! 0.9 microseconds a kilobyte instead of 8. A text is hashed once; the names of beginnings are made from those of messages.

use std::fmt;
use std::sync::Arc;

use super::request::ChatRequest;
use crate::hex;

/// Names made at either end of a request: of its first beginnings, so that a conversation is known however much is added to
/// it at once, and of its last.
pub const PREFIXES_MAX: usize = 64;
/// Bytes of the name of a beginning: enough that no two share one by accident or by search.
const PREFIX_BYTES: usize = 16;
/// Bytes of a BLAKE3.
const HASH_BYTES: usize = 32;

/// The name of one message: its BLAKE3. Tells nothing of its text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageName([u8; HASH_BYTES]);

/// The name of the first messages of a request, made from theirs. Tells nothing of their text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrefixName([u8; PREFIX_BYTES]);

impl fmt::Debug for MessageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for PrefixName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

/// One beginning of a request's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// Its name.
    pub name: PrefixName,
    /// Its length in bytes of JSON without white space between tokens: what share of the request it is.
    pub bytes: u64,
}

/// The names of one request.
#[derive(Debug)]
pub(super) struct Names {
    messages: Vec<MessageName>,
    prefixes: Arc<[Prefix]>,
}

impl ChatRequest {
    /// The name of each message, in order. Takes time in proportion to the messages, the first time that one of the names is asked for.
    #[must_use]
    pub fn message_names(&self) -> &[MessageName] {
        &self.names().messages
    }

    /// The first and the last [`PREFIXES_MAX`] beginnings of the messages, shortest first; the last is that of all. Takes as long as
    /// [`Self::message_names`].
    pub fn prefixes(&self) -> Arc<[Prefix]> {
        Arc::clone(&self.names().prefixes)
    }

    fn names(&self) -> &Names {
        self.names.get_or_init(|| Arc::new(Names::of(&self.message_slices())))
    }
}

impl Names {
    fn of(messages: &[&str]) -> Self {
        let first_of_last = messages.len().saturating_sub(PREFIXES_MAX);
        let (mut compact, mut so_far, mut bytes) = (Vec::new(), [0; HASH_BYTES], 0);
        let (mut names, mut prefixes) = (Vec::with_capacity(messages.len()), Vec::new());
        for (index, json) in messages.iter().enumerate() {
            compact.clear();
            compact.reserve(json.len());
            push_compact(&mut compact, json.as_bytes());
            let name = *blake3::hash(&compact).as_bytes();
            // Both are of one length, so that there is one way only to read them.
            so_far = *blake3::hash([so_far, name].as_flattened()).as_bytes();
            bytes += compact.len() as u64;
            names.push(MessageName(name));
            if index < PREFIXES_MAX || index >= first_of_last {
                prefixes.push(Prefix { name: PrefixName::cut(&so_far), bytes });
            }
        }
        Self { messages: names, prefixes: prefixes.into() }
    }
}

impl PrefixName {
    fn cut(hash: &[u8; HASH_BYTES]) -> Self {
        let mut bytes = [0; PREFIX_BYTES];
        bytes.copy_from_slice(&hash[..PREFIX_BYTES]);
        Self(bytes)
    }
}

/// Writes one JSON value without the white space between its tokens. Objects end where they end, so that what stands
/// behind each other cannot be taken for something else.
fn push_compact(out: &mut Vec<u8>, json: &[u8]) {
    let mut rest = json;
    while let Some((structure, string)) = split_at_quote(rest) {
        push_structure(out, structure);
        let end = string_end(string);
        let (string, after) = string.split_at_checked(end).unwrap_or((string, &[]));
        out.extend_from_slice(string);
        rest = after;
    }
    push_structure(out, rest);
}

fn split_at_quote(json: &[u8]) -> Option<(&[u8], &[u8])> {
    json.split_at_checked(memchr::memchr(b'"', json)?)
}

/// The length of the string at the beginning of `json`, quotes included.
fn string_end(json: &[u8]) -> usize {
    let mut at = 1;
    loop {
        let rest = json.get(at..).unwrap_or_default();
        let Some(found) = memchr::memchr2(b'"', b'\\', rest) else { return json.len() };
        if rest.get(found) == Some(&b'"') {
            return at + found + 1;
        }
        at += found + 2;
    }
}

fn push_structure(out: &mut Vec<u8>, json: &[u8]) {
    out.extend(json.iter().filter(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r')));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(messages: &str) -> Vec<PrefixName> {
        ChatRequest::parse(format!(r#"{{"model":"auto","messages":{messages}}}"#).into())
            .unwrap()
            .prefixes()
            .iter()
            .map(|prefix| prefix.name)
            .collect()
    }

    #[test]
    fn a_beginning_is_as_long_as_its_messages_without_white_space() {
        let body = r#"{"model":"auto","messages":[ {"role": "user"}, {"role":"a b"} ]}"#;
        let bytes: Vec<_> =
            ChatRequest::parse(body.into()).unwrap().prefixes().iter().map(|prefix| prefix.bytes).collect();
        assert_eq!(bytes, [15, 15 + 14]);
    }

    #[test]
    fn the_next_request_of_a_conversation_finds_the_last_one() {
        let first = names(r#"[{"role":"system","content":"s"},{"role":"user","content":"a \" b"}]"#);
        let next = names(
            "[ {\"role\": \"system\",\n\"content\":\"s\"}, {\"role\":\"user\" ,\"content\": \"a \\\" b\" },\n
            {\"role\":\"assistant\",\"content\":\"x\"},{\"role\":\"user\",\"content\":\"c\"}]",
        );
        assert_eq!((first.len(), next.len()), (2, 4));
        assert_eq!(first, next[..2]);
        assert!(next[2] != next[3] && !first.contains(&next[3]));
    }

    #[test]
    fn another_text_role_or_division_is_another_conversation() {
        let last = |messages: &str| *names(messages).last().unwrap();
        let all = [
            last(r#"[{"role":"user","content":"ab"}]"#),
            last(r#"[{"role":"user","content":"a b"}]"#),
            last(r#"[{"role":"system","content":"ab"}]"#),
            last(r#"[{"role":"user","content":"a"},{"role":"user","content":"b"}]"#),
            last(r#"[{"role":"user","content":["a","b"]}]"#),
            last(r#"[{"role":"user","content":"a\\","name":"b"}]"#),
        ];
        for (n, one) in all.iter().enumerate() {
            assert!(!all[n + 1..].contains(one), "{n}");
        }
    }

    #[test]
    fn of_many_messages_the_first_and_the_last_beginnings_are_named() {
        let message = |n: usize| format!(r#"{{"role":"user","content":"{n}"}}"#);
        let all: Vec<_> = (0..200).map(message).collect();
        let before = names(&format!("[{}]", all[..199].join(",")));
        let names = names(&format!("[{}]", all.join(",")));
        assert_eq!((names.len(), before.len()), (2 * PREFIXES_MAX, 2 * PREFIXES_MAX));
        assert_eq!(names[..PREFIXES_MAX], before[..PREFIXES_MAX], "however much is added");
        assert_eq!(names[2 * PREFIXES_MAX - 2], before[2 * PREFIXES_MAX - 1]);
        assert_eq!(format!("{:?}", names[0]).len(), 32);
    }
}
