//! Writes the text of a record: JSON with the members of [`Record`](super::Record), in their order.
//!
//! Not by serde, as every exchange pays for it on a thread that serves others too: keys and words of closed lists are copied whole, and other
//! texts, which are names, are looked at once for what would have to be escaped. Whatever is not plain is left to `serde_json`.

use std::time::Duration;

use policy::TargetFacts;

use super::facts::{self, BASE};
use super::profiles::{numbers, prices};
use super::shared::Shared;
use crate::{AttemptMade, Decided, Settlement, Tokens};

/// What can be written as JSON.
pub(super) trait Put {
    fn put(self, out: &mut Vec<u8>);
}

/// One more member of an object that has some.
macro_rules! member {
    ($out:ident, $name:literal, $value:expr) => {
        $out.extend_from_slice(concat!(",\"", $name, "\":").as_bytes());
        Put::put($value, $out);
    };
}

/// The same, where there is a value.
macro_rules! optional {
    ($out:ident, $name:literal, $value:expr) => {
        if let Some(value) = $value {
            member!($out, $name, value);
        }
    };
}

/// The same, where it holds.
macro_rules! flag {
    ($out:ident, $name:literal, $value:expr) => {
        optional!($out, $name, $value.then_some(true));
    };
}

/// The record of a settlement, whose targets `shared` has met.
pub(super) fn write(out: &mut Vec<u8>, settlement: &Settlement, shared: &Shared) {
    let Settlement { stages, target, decided, .. } = settlement;
    out.extend_from_slice(b"{\"request_id\":");
    settlement.request_id.as_str().put(out);
    member!(out, "at_ms", settlement.settled_ms());
    member!(out, "kind", Plain(settlement.kind.as_str()));
    member!(out, "api", Plain(settlement.api.as_str()));
    member!(out, "stream", settlement.stream);
    member!(out, "outcome", Plain(settlement.outcome.as_str()));
    optional!(out, "target", target.as_ref().map(|(target, _)| Plain(target.as_str())));
    optional!(out, "locality", target.as_ref().map(|(_, locality)| Plain(locality.as_str())));
    optional!(out, "route", decided.as_ref().map(|decided| decided.plan.rule().as_str()));
    member!(out, "duration_ms", settlement.duration);
    optional!(out, "parse_ms", stages.parse);
    optional!(out, "signals_ms", stages.signals);
    optional!(out, "decide_ms", stages.decide);
    optional!(out, "ttft_ms", settlement.time_to_first_token);
    optional!(out, "tokens", settlement.tokens);
    member!(out, "request_bytes", settlement.request_bytes);
    member!(out, "response_bytes", settlement.response_bytes);
    member!(out, "cache", Plain(settlement.cache.as_str()));
    flag!(out, "left_with_another", settlement.left_with_another);
    optional!(out, "cost_usd", settlement.cost_usd);
    if let Some((target, charged)) = &settlement.reference {
        out.extend_from_slice(b",\"reference\":{\"target\":");
        Plain(target.as_str()).put(out);
        member!(out, "price", prices(*charged));
        out.push(b'}');
    }
    optional!(out, "cost_avoided_usd", settlement.cost_avoided_usd);
    if let Some(decided) = decided {
        out.extend_from_slice(b",\"decision\":");
        decision(out, decided, shared);
    }
    out.extend_from_slice(b",\"attempts\":");
    list(out, settlement.attempts.iter());
    out.push(b'}');
}

fn decision(out: &mut Vec<u8>, decided: &Decided, shared: &Shared) {
    let Decided { plan, facts, targets, policy_hash } = decided;
    out.extend_from_slice(b"{\"policy\":");
    Plain(policy_hash).put(out);
    member!(out, "reason", plan.reason().as_str());
    out.extend_from_slice(b",\"placement\":");
    list(out, plan.placement().localities().into_iter().map(|locality| Plain(locality.as_str())));
    out.extend_from_slice(b",\"plan\":");
    list(out, plan.attempts().iter().map(|attempt| Plain(attempt.target().as_str())));
    optional!(out, "ttft_slo_ms", plan.ttft_slo());
    optional!(out, "relaxed", plan.relaxed().map(|limit| Plain(limit.as_str())));
    member!(out, "base", Plain(BASE.name.as_str()));
    out.extend_from_slice(b",\"facts\":");
    facts::write(out, facts);
    out.extend_from_slice(b",\"targets\":");
    list(out, targets.iter().map(|target| (target, shared.name(&target.profile))));
    out.push(b'}');
}

impl Put for (&TargetFacts, &str) {
    /// With the name of its profile.
    fn put(self, out: &mut Vec<u8>) {
        let (target, profile) = self;
        out.extend_from_slice(b"{\"profile\":");
        Plain(profile).put(out);
        member!(out, "state", Plain(target.state.as_str()));
        optional!(out, "queue_depth", target.queue_depth);
        optional!(out, "latency", target.latency.map(numbers));
        optional!(out, "prompt_tokens", target.prompt_tokens);
        out.push(b'}');
    }
}

impl Put for &AttemptMade {
    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"target\":");
        Plain(self.target.as_str()).put(out);
        member!(out, "locality", Plain(self.locality.as_str()));
        member!(out, "outcome", Plain(self.outcome.as_str()));
        optional!(out, "status", self.outcome.status().map(u64::from));
        member!(out, "begun_after_ms", self.begun_after);
        member!(out, "duration_ms", self.duration);
        optional!(out, "ttft_ms", self.time_to_first_token);
        optional!(out, "tokens", self.tokens);
        optional!(out, "price", self.price.map(prices));
        optional!(out, "cost_usd", self.cost_usd);
        member!(out, "sent_bytes", self.sent_bytes);
        flag!(out, "hedge", self.is_hedge);
        out.push(b'}');
    }
}

impl Put for Tokens {
    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"input\":");
        self.input.put(out);
        optional!(out, "cached", Some(self.cached).filter(|cached| *cached > 0));
        member!(out, "output", self.output);
        flag!(out, "estimated", self.is_estimated);
        out.push(b'}');
    }
}

/// A word of a closed list, a hash or a target's id, in which nothing has to be escaped.
struct Plain<'a>(&'a str);

impl Put for Plain<'_> {
    fn put(self, out: &mut Vec<u8>) {
        out.push(b'"');
        out.extend_from_slice(self.0.as_bytes());
        out.push(b'"');
    }
}

impl Put for &str {
    fn put(self, out: &mut Vec<u8>) {
        // All of it, without a way out between, so that many bytes are looked at in one step.
        let is_plain =
            self.bytes().fold(true, |is_plain, byte| is_plain & (byte >= b' ' && !matches!(byte, b'"' | b'\\')));
        if is_plain {
            Plain(self).put(out);
        } else {
            // Neither this nor a number can fail in memory.
            let _ = serde_json::to_writer(out, self);
        }
    }
}

impl Put for u64 {
    fn put(self, out: &mut Vec<u8>) {
        let _ = serde_json::to_writer(out, &self);
    }
}

impl Put for f64 {
    /// What is no number is null.
    fn put(self, out: &mut Vec<u8>) {
        let _ = serde_json::to_writer(out, &self);
    }
}

impl Put for bool {
    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self { b"true" } else { b"false" });
    }
}

impl Put for Duration {
    /// In milliseconds, to the microsecond.
    fn put(self, out: &mut Vec<u8>) {
        let micros = u64::try_from(self.as_micros()).unwrap_or(u64::MAX);
        (micros / 1000).put(out);
        let digit = |of: u64| b'0' + (micros / of % 10) as u8;
        out.extend_from_slice(&[b'.', digit(100), digit(10), digit(1)]);
    }
}

impl<const N: usize> Put for [f64; N] {
    /// Null where one of them is no number: whoever reads them wants all or none.
    fn put(self, out: &mut Vec<u8>) {
        if self.iter().all(|number| number.is_finite()) {
            list(out, self.into_iter());
        } else {
            out.extend_from_slice(b"null");
        }
    }
}

/// Writes an array.
pub(super) fn list<T: Put>(out: &mut Vec<u8>, items: impl Iterator<Item = T>) {
    out.push(b'[');
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        item.put(out);
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(value: impl Put) -> String {
        let mut out = Vec::new();
        value.put(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn texts_are_what_serde_makes_of_them() {
        for text in ["", "plain-1/ü😀", "a\"b", "a\\b", "\n", "\u{1f}", "\u{7f}", "a\u{0}"] {
            assert_eq!(put(text), serde_json::to_string(text).unwrap());
        }
    }

    #[test]
    fn numbers_are_read_as_what_they_were() {
        for (micros, text) in [(0, "0.000"), (1, "0.001"), (20, "0.020"), (101_000, "101.000"), (1_234_567, "1234.567")]
        {
            assert_eq!(put(Duration::from_micros(micros)), text);
            let read: f64 = serde_json::from_str(text).unwrap();
            assert_eq!(read, micros as f64 / 1000.0);
        }
        assert_eq!(put(Duration::MAX), "18446744073709551.615");
        assert_eq!(
            (put(f64::NAN), put(0.1 + 0.2), put(u64::MAX)),
            ("null".into(), "0.30000000000000004".into(), "18446744073709551615".into())
        );
        assert_eq!((put([1.0, 0.5]), put([1.0, f64::INFINITY])), ("[1.0,0.5]".into(), "null".into()));
    }
}
