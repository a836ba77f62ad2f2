//! A cursor over JSON text that is known to be valid, for reading a few fields and keeping the place of all of them.
//!
//! It copies nothing, recurses nowhere and does not validate: `serde_json` has done that before ([`validate`]). On text
//! that is not valid it stops with an error or reads nonsense, but never panics. It exists because `serde_json` tells a
//! visitor neither where a value stands in the text nor what a key looked like before unescaping.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use memchr::memchr2;
use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

mod rewrite;
pub(crate) use rewrite::{Edit, Span, rewrite};

#[cfg(test)]
mod tests;

/// Deepest nesting of arrays and objects in a request or an event. The body itself is level 1.
pub const JSON_DEPTH_MAX: usize = 100;

/// Why a walk ended early; the number is the byte offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Nested deeper than [`JSON_DEPTH_MAX`].
    TooDeep(usize),
    /// Not the text that `validate` accepts.
    Malformed(usize),
}

/// What is read from an object and from nothing else: what is derived reads an array too, its elements as the members.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members(PhantomData))
    }
}

struct Members<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
    type Value = Object<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

/// Accepts exactly one JSON value with white space around it. Numbers of any size and lone surrogates in escapes are
/// accepted, since they pass through unread. Iterative: no nesting can exhaust the stack.
pub(crate) fn validate(text: &str) -> Result<(), serde_json::Error> {
    serde_json::from_str::<IgnoredAny>(text).map(|_| ())
}

/// The line and column of a byte offset, both from 1; the column counts bytes.
pub(crate) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    let line = memchr::memchr_iter(b'\n', before).count() + 1;
    let column = before.len() - memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1) + 1;
    (line, column)
}

/// The value of a raw JSON string, borrowed when nothing is escaped; `None` when `raw` is no string or holds an escape
/// that stands for no character (a lone surrogate).
pub(crate) fn unescape(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str::<String>(raw).ok().map(Cow::Owned)
}

/// `text` as a JSON string with quotes.
pub(crate) fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A position in valid JSON text.
pub(crate) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Cursor<'a> {
    /// Starts before the first value.
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// Where the next byte stands.
    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    /// The text at `range`, empty when there is none.
    pub(crate) fn text(&self, range: Range<usize>) -> &'a str {
        self.text.get(range).unwrap_or_default()
    }

    /// The first byte of what follows, after white space.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.byte()
    }

    /// Steps over one value and gives its text.
    pub(crate) fn skip(&mut self) -> Result<&'a str, Stop> {
        let first = self.peek().ok_or(Stop::Malformed(self.at))?;
        let start = self.at;
        match first {
            b'"' => self.skip_string()?,
            b'{' | b'[' => self.skip_nested()?,
            _ => self.skip_scalar()?,
        }
        Ok(self.text(start..self.at))
    }

    /// Walks an object: calls `member` with the place of each raw key (quotes included), standing before its value,
    /// which `member` has to step over. Gives the place of the object.
    pub(crate) fn object<E: From<Stop>>(
        &mut self,
        mut member: impl FnMut(&mut Self, Range<usize>) -> Result<(), E>,
    ) -> Result<Range<usize>, E> {
        self.enclosed(b'{', b'}', |cursor| {
            cursor.peek();
            let key = cursor.at;
            cursor.skip_string()?;
            let key = key..cursor.at;
            cursor.expect(b':')?;
            cursor.peek();
            member(cursor, key)
        })
    }

    /// Walks an array: calls `element` before each element, which it has to step over. Gives the place of the array.
    pub(crate) fn array<E: From<Stop>>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<Range<usize>, E> {
        self.enclosed(b'[', b']', |cursor| {
            cursor.peek();
            element(cursor)
        })
    }

    fn enclosed<E: From<Stop>>(
        &mut self,
        open: u8,
        close: u8,
        mut item: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<Range<usize>, E> {
        self.expect(open)?;
        let start = self.at - 1;
        self.depth += 1;
        if self.depth > JSON_DEPTH_MAX {
            return Err(Stop::TooDeep(start).into());
        }
        if self.peek() != Some(close) {
            loop {
                item(self)?;
                if self.peek() != Some(b',') {
                    break;
                }
                self.at += 1;
            }
        }
        self.expect(close)?;
        self.depth -= 1;
        Ok(start..self.at)
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) -> Result<(), Stop> {
        if self.peek() != Some(byte) {
            return Err(Stop::Malformed(self.at));
        }
        self.at += 1;
        Ok(())
    }

    fn skip_string(&mut self) -> Result<(), Stop> {
        self.expect(b'"')?;
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            let found = memchr2(b'"', b'\\', rest).ok_or(Stop::Malformed(self.at))?;
            let ends = rest.get(found) == Some(&b'"');
            self.at += found + if ends { 1 } else { 2 };
            if ends {
                return Ok(());
            }
        }
    }

    fn skip_nested(&mut self) -> Result<(), Stop> {
        let mut open = 0;
        loop {
            match self.byte().ok_or(Stop::Malformed(self.at))? {
                b'"' => {
                    self.skip_string()?;
                    continue;
                }
                b'{' | b'[' => {
                    open += 1;
                    if self.depth + open > JSON_DEPTH_MAX {
                        return Err(Stop::TooDeep(self.at));
                    }
                }
                b'}' | b']' => open -= 1,
                _ => {}
            }
            self.at += 1;
            if open == 0 {
                return Ok(());
            }
        }
    }

    fn skip_scalar(&mut self) -> Result<(), Stop> {
        let start = self.at;
        while !matches!(self.byte(), None | Some(b',' | b'}' | b']' | b':' | b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        if self.at == start { Err(Stop::Malformed(start)) } else { Ok(()) }
    }
}
