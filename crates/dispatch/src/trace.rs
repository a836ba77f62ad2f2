//! The trace that the tries of a request are part of: what targets are told of it, and what each try is in it.
//!
//! Records and exports nothing: whoever settles the request has it from the journal. Of an answer it keeps the name of the model and the
//! words with which it ended, never text.

use std::time::{Duration, Instant};

use policy::Locality;
use wire::{ChatChunk, ChatCompletion, SpanId, TraceContext};

/// The headers of W3C Trace Context.
pub(crate) const TRACEPARENT: &str = "traceparent";
pub(crate) const TRACESTATE: &str = "tracestate";
/// Longest name of a model that is taken from an answer, in bytes.
const MODEL_BYTES_MAX: usize = 128;
/// Choices whose finish reason is noted.
const FINISH_REASONS_MAX: usize = 16;
/// The finish reasons of the protocol; others count as [`OTHER_REASON`], as a target can write anything there.
const FINISH_REASONS: [&str; 5] = ["stop", "length", "tool_calls", "content_filter", "function_call"];
const OTHER_REASON: &str = "other";

/// The trace that a request is part of.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Where the tries hang.
    pub context: TraceContext,
    /// Whether each try is a span of its own; else targets are told `context` as it is.
    pub is_recorded: bool,
    /// The furthest that is told of it; `None`: nobody is.
    pub told_to: Option<Locality>,
}

/// What one try is in a trace that is recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptSpan {
    /// Its id, which its target is told as well.
    pub id: SpanId,
    /// From its begin to the moment at which a worker took it, loading and queue included; `None` without a worker.
    pub led_after: Option<Duration>,
    /// The model that the target says has answered.
    pub model: Option<Box<str>>,
    /// How each choice ended, by its number: words of a closed list.
    pub finish_reasons: Vec<(u64, &'static str)>,
}

impl Trace {
    /// The span of a new try, where there are any.
    pub(crate) fn span(&self) -> Option<Box<AttemptSpan>> {
        let id = SpanId::new(fastrand::u64(1..).to_be_bytes()).filter(|_| self.is_recorded)?;
        Some(Box::new(AttemptSpan { id, led_after: None, model: None, finish_reasons: Vec::new() }))
    }

    /// What a target at `locality` is told of a try.
    pub(crate) fn told(&self, locality: Locality, span: Option<&AttemptSpan>) -> Option<TraceContext> {
        let is_told = self.told_to.is_some_and(|furthest| locality <= furthest);
        is_told.then(|| span.map_or_else(|| self.context.clone(), |span| self.context.with_span(span.id)))
    }
}

impl AttemptSpan {
    /// A worker has taken the try, which began then.
    pub(crate) fn led(&mut self, begun: Instant) {
        self.led_after = Some(begun.elapsed());
    }

    /// A piece of a stream has come.
    pub(crate) fn saw(&mut self, chunk: &ChatChunk<'_>) {
        for choice in &chunk.choices {
            if let Some(reason) = &choice.finish_reason {
                self.finished(choice.index, reason);
            }
        }
        if self.model.is_none() && chunk.has_content() {
            self.model = model(chunk.identity().model.trim_matches('"'));
        }
    }

    /// The whole answer has come.
    pub(crate) fn answered(&mut self, completion: &ChatCompletion) {
        self.model = completion.model().and_then(model);
        self.finish_reasons.clear();
        for (index, reason) in (0..).zip(completion.finish_reasons()) {
            self.finished(index, reason);
        }
    }

    fn finished(&mut self, index: u64, reason: &str) {
        let is_new = self.finish_reasons.iter().all(|(known, _)| *known != index);
        if is_new && self.finish_reasons.len() < FINISH_REASONS_MAX {
            let word = FINISH_REASONS.into_iter().find(|known| *known == reason);
            self.finish_reasons.push((index, word.unwrap_or(OTHER_REASON)));
        }
    }
}

/// What looks like the name of a model.
fn model(said: &str) -> Option<Box<str>> {
    let is_name = (1..=MODEL_BYTES_MAX).contains(&said.len())
        && said.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/@+".contains(&byte));
    is_name.then(|| said.into())
}

#[cfg(test)]
mod tests {
    use wire::TraceId;

    use super::*;

    fn trace(told_to: Option<Locality>, is_recorded: bool) -> Trace {
        let (trace_id, span_id) = (TraceId::new([1; 16]).unwrap(), SpanId::new([2; 8]).unwrap());
        Trace { context: TraceContext::root(trace_id, span_id, true), is_recorded, told_to }
    }

    #[test]
    fn nobody_further_away_is_told() {
        for (told_to, told) in [
            (None, [false; 3]),
            (Some(Locality::Device), [true, false, false]),
            (Some(Locality::Network), [true, true, false]),
            (Some(Locality::Cloud), [true; 3]),
        ] {
            let trace = trace(told_to, true);
            let span = trace.span();
            assert_eq!(Locality::ALL.map(|at| trace.told(at, span.as_deref()).is_some()), told, "{told_to:?}");
        }
    }

    #[test]
    fn each_try_is_a_span_of_its_own_or_none() {
        let recorded = trace(Some(Locality::Device), true);
        let (a, b) = (recorded.span().unwrap(), recorded.span().unwrap());
        assert_ne!(a.id, b.id);
        let told = recorded.told(Locality::Device, Some(&a)).unwrap();
        assert_eq!((told.trace_id, told.span_id), (recorded.context.trace_id, a.id));
        let passed_on = trace(Some(Locality::Device), false);
        assert_eq!(passed_on.span(), None);
        assert_eq!(passed_on.told(Locality::Device, None), Some(passed_on.context));
    }

    #[test]
    fn of_an_answer_only_words_of_a_list_and_names_are_kept() {
        let mut span = *trace(None, true).span().unwrap();
        let see = |span: &mut AttemptSpan, text: &str| span.saw(&ChatChunk::parse(text.as_bytes()).unwrap());
        see(&mut span, r#"{"model":"my secret","choices":[{"index":1,"delta":{"content":"a"}}]}"#);
        assert_eq!(span.model, None);
        see(&mut span, r#"{"model":"gpt-4o-2024","choices":[{"index":1,"delta":{"content":"a"}}]}"#);
        see(&mut span, r#"{"model":"other","choices":[{"index":1,"delta":{"content":"a"},"finish_reason":"stop"}]}"#);
        see(&mut span, r#"{"choices":[{"index":0,"finish_reason":"my secret"},{"index":1,"finish_reason":"length"}]}"#);
        assert_eq!(span.model.as_deref(), Some("gpt-4o-2024"));
        assert_eq!(span.finish_reasons, [(1, "stop"), (0, "other")]);
        let many = (0..100).map(|n| format!(r#"{{"index":{n},"finish_reason":"stop"}}"#)).collect::<Vec<_>>();
        see(&mut span, &format!(r#"{{"choices":[{}]}}"#, many.join(",")));
        assert_eq!(span.finish_reasons.len(), FINISH_REASONS_MAX);
        let whole = r#"{"model":"m-1","choices":[{"message":{"content":"x"},"finish_reason":"length"}]}"#;
        span.answered(&ChatCompletion::parse(whole.into()).unwrap());
        assert_eq!((span.model.as_deref(), span.finish_reasons), (Some("m-1"), vec![(0, "length")]));
        assert_eq!(model(&"m".repeat(MODEL_BYTES_MAX + 1)), None);
    }
}
