//! The trace that an exchange is part of: taken over from its caller or begun, told to targets, and handed to the exporter once the
//! exchange is settled.
//!
//! Where no traces are exported nothing is made up: what a valid `traceparent` says is passed on as it came, and that is all.

use std::time::{Duration, Instant};

use account::Settlement;
use dispatch::{AttemptRecord, AttemptSpan, Trace};
use http::HeaderMap;
use pingora_core::protocols::http::ServerSession;
use traces::{Described, Exporter, TracedAttempt, TracedExchange};
use url::Url;
use wire::{SpanId, TraceContext, TraceId};

use crate::config::{OpenAiConfig, ProviderConfig, TargetConfig};
use crate::gateway::Gateway;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// The place of one exchange in its trace, while traces are exported.
pub(crate) struct ExchangeTrace {
    context: TraceContext,
    parent: Option<SpanId>,
    status: Option<u16>,
    recalled_after: Option<Duration>,
    /// The exchange for which the answer is made that this one shares.
    shared: Option<TraceContext>,
}

/// What an exchange knows of its trace, and what its targets are told of it.
pub(crate) type Begun = (Option<Box<ExchangeTrace>>, Option<Box<Trace>>);

/// Begins an exchange; `headers` are those of its caller, where it has one.
pub(crate) fn begin(gateway: &Gateway, headers: Option<&HeaderMap>) -> Begun {
    let config = &gateway.config.traces;
    let caller = headers.and_then(context);
    let told =
        |context: TraceContext, is_recorded| Some(Box::new(Trace { context, is_recorded, told_to: config.told_to }));
    if gateway.traces.is_none() {
        return (None, caller.and_then(|context| told(context, false)));
    }
    let parent = caller.as_ref().map(|context| context.span_id);
    let (own, passed_on) = match caller {
        Some(context) if context.is_sampled() => (context.with_span(new_span_id()), None),
        // Recorded by nobody here, so that the caller's span stays the parent of whoever records it.
        Some(context) => (context.with_span(new_span_id()), Some(context)),
        None => (root(config.sample), None),
    };
    let told = told(passed_on.unwrap_or_else(|| own.clone()), own.is_sampled());
    let exchange = ExchangeTrace { context: own, parent, status: None, recalled_after: None, shared: None };
    (Some(Box::new(exchange)), told)
}

/// What the headers of a caller say, if that is valid.
fn context(headers: &HeaderMap) -> Option<TraceContext> {
    let lines = |name| headers.get_all(name).iter().map(http::HeaderValue::as_bytes);
    // Most requests carry none.
    headers.get(TRACEPARENT)?;
    TraceContext::read(lines(TRACEPARENT), lines(TRACESTATE))
}

/// A trace of one's own, one in so many of which is recorded: by its id, as others would decide who see it.
fn root(sample: f64) -> TraceContext {
    let (high, low) = (fastrand::u64(..), fastrand::u64(1..));
    let id = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
    let is_sampled = ((low >> 1) as f64) < sample * (1_u64 << 63) as f64;
    // It is never zero.
    TraceId::new(id).map_or_else(|| root(sample), |id| TraceContext::root(id, new_span_id(), is_sampled))
}

fn new_span_id() -> SpanId {
    loop {
        if let Some(id) = SpanId::new(fastrand::u64(1..).to_be_bytes()) {
            return id;
        }
    }
}

impl ExchangeTrace {
    /// The trace, where it is recorded.
    pub(crate) fn id(&self) -> Option<TraceId> {
        self.context.is_sampled().then_some(self.context.trace_id)
    }

    /// It was looked for an answer given before, in an exchange that began then.
    pub(crate) fn recalled(&mut self, begun: Instant) {
        self.recalled_after = Some(begun.elapsed());
    }

    /// The response is out.
    pub(crate) fn responded(&mut self, session: &ServerSession) {
        self.status = session.response_written().map(|response| response.status.as_u16());
    }

    /// Its answer is made for the exchange at `context`.
    pub(crate) fn shares(&mut self, context: Option<&TraceContext>) {
        self.shared = context.filter(|context| context.is_sampled() && **context != self.context).cloned();
    }

    /// One of the tries, of an exchange that began then; `is_shared`: one that was made for all who share the answer.
    pub(crate) fn attempt(&self, begun: Instant, record: &mut AttemptRecord, is_shared: bool) -> Option<TracedAttempt> {
        let AttemptSpan { id, led_after, model, finish_reasons } = *record.span.take()?;
        let parent = self.shared.as_ref().filter(|_| is_shared).unwrap_or(&self.context).clone();
        let begun_before = begun.saturating_duration_since(record.begun);
        Some(TracedAttempt { parent, id, begun_before, led_after, model, finish_reasons })
    }

    /// Hands the settled exchange to the exporter, where any of it is recorded.
    pub(crate) fn settled(self, exporter: &Exporter, settlement: &Settlement, attempts: Vec<Option<TracedAttempt>>) {
        if !self.context.is_sampled() && attempts.iter().all(Option::is_none) {
            return;
        }
        let Self { context, parent, status, recalled_after, shared } = self;
        let exchange = TracedExchange::new(settlement, context, parent);
        exporter.settled(TracedExchange { status, recalled_after, shared, attempts, ..exchange });
    }
}

/// What spans tell of a target.
pub(crate) fn described(target: &TargetConfig) -> Described {
    let id = target.id().as_str();
    let (provider, name) = id.split_once('/').unwrap_or((id, id));
    match &target.provider {
        ProviderConfig::LlamaCpp(_) => {
            Described { model: name.to_owned(), provider: "llama_cpp".to_owned(), server: None }
        }
        ProviderConfig::OpenAi(OpenAiConfig { model, base_url, .. }) => {
            let url = Url::parse(base_url).ok();
            let server = url.and_then(|url| Some((url.host_str()?.to_owned(), url.port_or_known_default()?)));
            Described { model: model.clone(), provider: provider.to_owned(), server }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_share_of_the_traces_that_begin_here_is_recorded() {
        let recorded = |sample: f64| (0..2000).filter(|_| root(sample).is_sampled()).count();
        assert_eq!((recorded(0.0), recorded(1.0)), (0, 2000));
        assert!((100..400).contains(&recorded(0.125)));
        assert_ne!(root(1.0).trace_id, root(1.0).trace_id);
    }

    #[test]
    fn two_lines_or_a_wrong_one_are_no_context() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let of = |parents: &[&str]| {
            let mut headers = HeaderMap::new();
            for parent in parents {
                headers.append(TRACEPARENT, HeaderValue::from_str(parent).unwrap());
            }
            headers.append(TRACESTATE, HeaderValue::from_static("a=1"));
            headers.append(TRACESTATE, HeaderValue::from_static("b=2"));
            context(&headers)
        };
        let read = of(&[parent]).unwrap();
        assert_eq!((read.to_string().as_str(), read.state()), (parent, Some("a=1,b=2")));
        assert_eq!((of(&[]), of(&[parent, parent]), of(&["00-0-0-01"])), (None, None, None));
    }
}
