//! W3C Trace Context: the headers `traceparent` and `tracestate`, read strictly and written again.
//!
//! What a caller sends is not trusted: anything but the exact form is no context at all, and nothing is guessed or mended. Makes no ids.
//! <https://www.w3.org/TR/trace-context/>

use std::fmt;
use std::sync::Arc;

/// Longest `traceparent` of a later version that is looked at, in bytes. Version 00 has exactly 55.
const PARENT_BYTES_MAX: usize = 256;
/// Bytes of a `traceparent` of version 00.
const PARENT_BYTES: usize = 55;
/// Longest `tracestate` that is passed on, all its lines together, in bytes: as much as the standard asks for.
pub const TRACE_STATE_BYTES_MAX: usize = 512;
/// Most members of a `tracestate`.
const STATE_MEMBERS_MAX: usize = 32;
/// Longest key or value of a member.
const STATE_WORD_BYTES_MAX: usize = 256;
/// The flag that says that the caller records the trace.
const SAMPLED: u8 = 1;
/// The flags that are known (the second says that the trace id is random); others are not passed on.
const KNOWN_FLAGS: u8 = 0b11;

macro_rules! id {
    ($name:ident, $bytes:literal, $what:literal) => {
        #[doc = $what]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// `None` for zeros, which name nothing.
            #[must_use]
            pub fn new(bytes: [u8; $bytes]) -> Option<Self> {
                (bytes != [0; $bytes]).then_some(Self(bytes))
            }

            /// The id itself.
            #[must_use]
            pub fn bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                crate::hex(&self.0, f)
            }
        }
    };
}

id!(TraceId, 16, "Names a trace, in all systems that take part in it.");
id!(SpanId, 8, "Names one piece of work of a trace.");

/// A place in a trace, as it goes from one system to the next. Shown as `traceparent` of version 00.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span that what follows is part of.
    pub span_id: SpanId,
    flags: u8,
    state: Option<Arc<str>>,
}

impl TraceContext {
    /// The begin of a trace.
    #[must_use]
    pub fn root(trace_id: TraceId, span_id: SpanId, is_sampled: bool) -> Self {
        Self { trace_id, span_id, flags: if is_sampled { SAMPLED } else { 0 }, state: None }
    }

    /// Reads the lines of both headers. `None` unless there is exactly one `traceparent` and it is valid; a `tracestate` that is not
    /// valid, or longer than [`TRACE_STATE_BYTES_MAX`], is left out.
    pub fn read<'a>(
        mut parents: impl Iterator<Item = &'a [u8]>,
        states: impl Iterator<Item = &'a [u8]>,
    ) -> Option<Self> {
        let mut context = Self::parse(parents.next()?)?;
        if parents.next().is_some() {
            return None;
        }
        context.state = read_state(states);
        Some(context)
    }

    /// Reads one `traceparent`, exactly. Of a version after 00 what is known of it is read, as the standard demands.
    #[must_use]
    pub fn parse(parent: &[u8]) -> Option<Self> {
        let is_separated = |at: usize| parent.get(at) == Some(&b'-');
        if parent.len() > PARENT_BYTES_MAX || ![2, 35, 52].into_iter().all(is_separated) {
            return None;
        }
        let [version] = hex(parent.get(..2)?)?;
        let is_whole = match version {
            0 => parent.len() == PARENT_BYTES,
            0xff => false,
            _ => parent.len() == PARENT_BYTES || is_separated(PARENT_BYTES),
        };
        let trace_id = TraceId::new(hex(parent.get(3..35)?)?)?;
        let span_id = SpanId::new(hex(parent.get(36..52)?)?)?;
        let [flags] = hex(parent.get(53..PARENT_BYTES)?)?;
        let flags = flags & if version == 0 { KNOWN_FLAGS } else { SAMPLED };
        is_whole.then_some(Self { trace_id, span_id, flags, state: None })
    }

    /// Another span of the same trace.
    #[must_use]
    pub fn with_span(&self, span_id: SpanId) -> Self {
        Self { span_id, ..self.clone() }
    }

    /// Whether the trace is recorded.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The trace flags.
    #[must_use]
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// `tracestate` as it came, its lines joined: visible ASCII and blanks.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace_id, span_id, flags, .. } = self;
        write!(f, "00-{trace_id}-{span_id}-{flags:02x}")
    }
}

/// Lower case digits, as many as there is room for.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

fn read_state<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<Arc<str>> {
    let mut all = Vec::new();
    for line in lines {
        if !all.is_empty() {
            all.push(b',');
        }
        if all.len() + line.len() > TRACE_STATE_BYTES_MAX {
            return None;
        }
        all.extend_from_slice(line);
    }
    let text = String::from_utf8(all).ok()?;
    let mut keys: Vec<&str> = Vec::new();
    for member in text.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|member| !member.is_empty()) {
        let (key, value) = member.split_once('=')?;
        if !is_state_key(key) || !is_state_value(value) || keys.contains(&key) || keys.len() == STATE_MEMBERS_MAX {
            return None;
        }
        keys.push(key);
    }
    (!keys.is_empty()).then(|| text.as_str().into())
}

fn is_state_key(key: &str) -> bool {
    let is_first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    key.len() <= STATE_WORD_BYTES_MAX
        && key.bytes().next().is_some_and(is_first)
        && key.bytes().all(|byte| is_first(byte) || b"_-*/@".contains(&byte))
}

/// Without its blanks at the end, which were cut off.
fn is_state_value(value: &str) -> bool {
    let is_allowed = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'=' && byte != b',';
    (1..=STATE_WORD_BYTES_MAX).contains(&value.len()) && value.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn parse(parent: &str) -> Option<TraceContext> {
        TraceContext::parse(parent.as_bytes())
    }

    fn state(lines: &[&str]) -> Option<String> {
        let lines = lines.iter().map(|line| line.as_bytes());
        let context = TraceContext::read([PARENT.as_bytes()].into_iter(), lines).unwrap();
        context.state().map(str::to_owned)
    }

    #[test]
    fn a_context_is_read_and_written_as_it_was() {
        let context = parse(PARENT).unwrap();
        assert_eq!(context.to_string(), PARENT);
        assert_eq!(context.trace_id.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert!(context.is_sampled() && context.state().is_none());
        let unsampled = parse(&PARENT.replace("-01", "-00")).unwrap();
        assert!(!unsampled.is_sampled());
        let other = SpanId::new([1; 8]).unwrap();
        assert_eq!(context.with_span(other).to_string(), "00-0af7651916cd43dd8448eb211c80319c-0101010101010101-01");
        assert_eq!(TraceContext::root(context.trace_id, other, false).flags(), 0);
    }

    #[test]
    fn flags_that_nobody_knows_are_not_passed_on() {
        assert_eq!(parse(&PARENT.replace("31-01", "31-ff")).unwrap().flags(), 0b11);
        assert_eq!(parse(&PARENT.replace("31-01", "31-fe")).unwrap().flags(), 0b10);
        assert_eq!(parse(&format!("cc{}-what", &PARENT[2..].replace("31-01", "31-ff"))).unwrap().flags(), 1);
    }

    #[test]
    fn what_is_not_exactly_a_parent_is_none() {
        let (version, rest) = PARENT.split_at(2);
        for wrong in [
            String::new(),
            "00".into(),
            "00--".into(),
            PARENT[1..].into(),
            PARENT[..54].into(),
            format!(" {PARENT}"),
            format!("{PARENT} "),
            format!("{PARENT}-"),
            format!("{PARENT}-00"),
            format!("{PARENT},{PARENT}"),
            PARENT.to_uppercase(),
            PARENT.replace("0af", "0AF"),
            PARENT.replace("0af", "0xf"),
            PARENT.replace("0af", "+af"),
            PARENT.replace('-', "_"),
            PARENT.replace("-01", "-0g"),
            PARENT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            PARENT.replace("b7ad6b7169203331", &"0".repeat(16)),
            PARENT.replace("0af", "\u{e9}f"),
            format!("ff{rest}"),
            format!("0g{rest}"),
            format!("{version}{rest}\r\nx: y"),
            format!("01{rest}."),
            format!("01{}", &rest[..52]),
            format!("01{rest}-{}", "x".repeat(PARENT_BYTES_MAX)),
        ] {
            assert_eq!(parse(&wrong), None, "{wrong:?}");
        }
        for later in [format!("01{rest}"), format!("fe{rest}-"), format!("42{rest}-anything at all")] {
            assert_eq!(parse(&later).map(|context| context.to_string()).as_deref(), Some(PARENT), "{later}");
        }
    }

    #[test]
    fn two_parents_are_none() {
        let read = |parents: &[&str]| {
            TraceContext::read(parents.iter().map(|parent| parent.as_bytes()), std::iter::empty()).is_some()
        };
        assert!(read(&[PARENT]));
        assert!(!read(&[]) && !read(&[PARENT, PARENT]) && !read(&["x", PARENT]));
    }

    #[test]
    fn a_state_is_passed_on_as_it_came_or_not_at_all() {
        for right in
            ["a=1", "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7", "fw529a3039@dt=FfffffD !~", "a=1 , ,\tb=2,", "0-_*/@=x"]
        {
            assert_eq!(state(&[right]).as_deref(), Some(right));
        }
        assert_eq!(state(&["a=1", "b=2, c=3"]).as_deref(), Some("a=1,b=2, c=3"));
        let many = |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        assert!(state(&[&many(STATE_MEMBERS_MAX)]).is_some());
        let long = |bytes: usize| format!("a={},b={}", "x".repeat(256), "y".repeat(bytes - 261));
        assert_eq!(long(512).len(), 512);
        assert!(state(&[&long(512)]).is_some());
        for wrong in [
            "",
            ",",
            "a",
            "=1",
            "a=",
            "A=1",
            "a=1,a=2",
            "a b=1",
            "a=b=c",
            "a=\u{e9}",
            "a=1\u{7f}",
            "a=1\r\nx: y",
            "a=1,b",
            &many(STATE_MEMBERS_MAX + 1),
            &long(513),
            &format!("{}=1", "a".repeat(257)),
            &format!("a={}", "x".repeat(257)),
        ] {
            assert_eq!(state(&[wrong]), None, "{wrong:?}");
        }
        assert!(state(&[&long(500), "z=123456789"]).is_some());
        assert_eq!(state(&[&long(500), "z=1234567890"]), None, "of all lines together");
        let bytes = TraceContext::read([PARENT.as_bytes()].into_iter(), [&b"a=\xff"[..]].into_iter()).unwrap();
        assert_eq!(bytes.state(), None);
    }

    proptest! {
        /// Whatever is read is written as a valid context that is read the same.
        #[test]
        fn any_bytes_are_a_context_or_none(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(context) = TraceContext::parse(&bytes) {
                prop_assert_eq!(TraceContext::parse(context.to_string().as_bytes()), Some(context));
            }
        }

        #[test]
        fn one_changed_byte_makes_no_injection(at in 0usize..55, byte in any::<u8>(), line in ".{0,40}") {
            let mut bytes = PARENT.as_bytes().to_vec();
            bytes[at] = byte;
            let read = TraceContext::read([&bytes[..]].into_iter(), [line.as_bytes()].into_iter());
            if let Some(context) = read {
                let written = format!("{context}{}", context.state().unwrap_or_default());
                prop_assert!(written.bytes().all(|byte| (b' '..=b'~').contains(&byte) || byte == b'\t'));
            }
        }
    }
}
