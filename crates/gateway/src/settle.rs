//! Settles an exchange exactly once: when this guard is dropped, whatever the way out was.

use std::sync::Arc;
use std::time::{Duration, Instant};

use account::{AttemptMade, CacheUse, Decided, ExchangeKind, RequestOutcome, Settlement, Tokens};
use dispatch::{AttemptRecord, Journal, Relay, Trace};
use http::HeaderMap;
use pingora_core::protocols::http::ServerSession;
use policy::{Locality, Outcome, TargetId};
use tracing::info;
use wire::{ApiError, ChatRequest, Usage};

use crate::decision::Decision;
use crate::gateway::Gateway;
use crate::recall::{self, Seat};
use crate::trace::{self, ExchangeTrace};
use crate::unix_time::now_ms;

/// The record of one exchange while it runs.
pub(crate) struct Settling<'a> {
    gateway: &'a Gateway,
    begun: Instant,
    journal: Arc<Journal>,
    settlement: Settlement,
    /// Where the answer is shared with others.
    seat: Option<Arc<Seat>>,
    /// What was tried for all who shared an answer, where this exchange has to account for it.
    tried_for_all: Vec<AttemptRecord>,
    /// `None` where no traces are exported.
    trace: Option<Box<ExchangeTrace>>,
}

impl<'a> Settling<'a> {
    /// Begins; the request counts as in flight until this is dropped. `headers` are those of its caller, where it has one.
    pub(crate) fn begin(
        gateway: &'a Gateway,
        kind: ExchangeKind,
        request_id: &str,
        headers: Option<&HeaderMap>,
    ) -> Self {
        gateway.metrics.enter();
        let (begun, (trace, told)) = (Instant::now(), trace::begin(gateway, headers));
        Self {
            gateway,
            begun,
            journal: Arc::new(Journal::traced(told)),
            settlement: Settlement::begun(kind, request_id.to_owned(), now_ms()),
            seat: None,
            tried_for_all: Vec::new(),
            trace,
        }
    }

    pub(crate) fn request_id(&self) -> &str {
        &self.settlement.request_id
    }

    /// The request was read, now.
    pub(crate) fn parsed(&mut self, request: &ChatRequest) {
        if self.settlement.kind == ExchangeKind::Request {
            self.settlement.stages.parse = Some(self.begun.elapsed());
        }
        self.settlement.stream = request.stream();
        self.settlement.request_bytes = request.body().len() as u64;
    }

    /// The request was decided.
    pub(crate) fn decided(&mut self, decision: &Decision) {
        self.settlement.stages.signals = Some(decision.signals_took);
        self.settlement.stages.decide = Some(decision.took);
        self.decided_by(decision.decided());
    }

    /// What was decided by what.
    pub(crate) fn decided_by(&mut self, decided: Decided) {
        self.settlement.api = decided.facts.request.api;
        self.settlement.decided = Some(decided);
    }

    /// When the request began.
    pub(crate) fn begun(&self) -> Instant {
        self.begun
    }

    /// The tries made so far; the dispatcher adds to them.
    pub(crate) fn journal(&self) -> Arc<Journal> {
        Arc::clone(self.seat.as_ref().map_or(&self.journal, |seat| seat.journal()))
    }

    /// What targets are told of the trace that this is part of.
    pub(crate) fn told(&self) -> Option<Box<Trace>> {
        self.journal.trace().cloned().map(Box::new)
    }

    pub(crate) fn answering(&mut self, target: &TargetId, locality: Locality) {
        self.settlement.target = Some((target.clone(), locality));
    }

    pub(crate) fn usage(&mut self, usage: Option<Usage>, is_estimated: bool) {
        self.settlement.tokens = usage.map(|usage| tokens(usage, is_estimated));
    }

    /// Takes over what a stream brought, and who ended it.
    pub(crate) fn streamed(&mut self, relay: &Relay<'_>) {
        let (target, locality) = relay.target();
        self.answering(target, *locality);
        self.usage(relay.usage(), relay.is_usage_estimated());
        self.settlement.time_to_first_token = relay.first_content_at().map(|at| at.duration_since(self.begun));
    }

    /// How the response cache was used.
    pub(crate) fn cached(&mut self, cache: CacheUse) {
        self.settlement.cache = cache;
        if let (Some(trace), true) = (&mut self.trace, cache != CacheUse::None) {
            trace.recalled(self.begun);
        }
    }

    /// Whether the caller asked for a stream.
    pub(crate) fn is_stream(&self) -> bool {
        self.settlement.stream
    }

    /// The first content of the answer came then; one that is shared may have begun before this request.
    pub(crate) fn first_content_at(&mut self, at: Option<Instant>) {
        self.settlement.time_to_first_token = at.map(|at| at.saturating_duration_since(self.begun));
    }

    /// From here on the answer is shared with others.
    pub(crate) fn sit(&mut self, seat: Arc<Seat>) {
        self.seat = Some(seat);
    }

    /// The answer is no longer shared; what was tried for all is accounted for by one of them.
    pub(crate) fn go_alone(&mut self) {
        self.leave();
        (self.settlement.target, self.settlement.tokens) = (None, None);
        self.settlement.cache = CacheUse::Missed;
    }

    fn leave(&mut self) {
        let Some(seat) = self.seat.take() else { return };
        let records = seat.leave();
        if let Some(trace) = &mut self.trace {
            trace.shares(seat.journal().trace().map(|told| &told.context));
        }
        self.settlement.cache = recall::cache_use(&seat, records.is_some());
        if records.is_none() {
            // One that still runs does not say how much is out.
            let is_away = |tried: &AttemptRecord| {
                tried.profile.locality != Locality::Device
                    && (tried.sent_bytes > 0 || tried.outcome == Outcome::CallerGone)
            };
            self.settlement.left_with_another |= seat.journal().records().iter().any(is_away);
        }
        self.tried_for_all.extend(records.unwrap_or_default());
    }

    /// The response on `session` was written to the caller.
    pub(crate) fn responded(&mut self, session: &ServerSession) {
        self.settlement.response_bytes = session.body_bytes_sent() as u64;
        if let Some(trace) = &mut self.trace {
            trace.responded(session);
        }
    }

    /// Counts that the caller gets an error of the gateway.
    pub(crate) fn refused(&self, error: &ApiError) {
        self.gateway.metrics.refused(&error.code);
    }

    pub(crate) fn end(&mut self, outcome: RequestOutcome) {
        self.settlement.outcome = outcome;
    }

    fn made(&self, record: AttemptRecord) -> AttemptMade {
        let (profile, tokens) = (record.profile, record.usage.map(|usage| tokens(usage, record.is_usage_estimated)));
        AttemptMade {
            target: profile.id.clone(),
            locality: profile.locality,
            outcome: record.outcome,
            begun_after: record.begun.saturating_duration_since(self.begun),
            duration: record.duration,
            time_to_first_token: record.time_to_first_token,
            tokens,
            price: profile.price,
            cost_usd: tokens.zip(profile.price).map(|(tokens, price)| tokens.cost_usd(&price)),
            sent_bytes: record.sent_bytes,
            skipped_events: record.skipped_events,
            is_hedge: record.is_hedge,
        }
    }

    /// Whom the answer is priced against, where that has a price.
    fn reference(&self, decided: &Decided) -> Option<(TargetId, policy::Price)> {
        let id = decided.plan.reference()?;
        self.gateway.config.price(id).map(|price| (id.clone(), price))
    }
}

fn tokens(usage: Usage, is_estimated: bool) -> Tokens {
    let Usage { prompt_tokens: input, completion_tokens: output, .. } = usage;
    let cached = usage.cached_prompt_tokens.unwrap_or_default().min(input);
    Tokens { input, cached, output, is_estimated }
}

impl Drop for Settling<'_> {
    fn drop(&mut self) {
        self.leave();
        let (shared, mut trace) = (std::mem::take(&mut self.tried_for_all), self.trace.take());
        let (shared_count, mut spans) = (shared.len(), Vec::new());
        let records = shared.into_iter().chain(self.journal.records()).enumerate();
        let attempts = records.map(|(place, mut record)| {
            if let Some(trace) = &trace {
                spans.push(trace.attempt(self.begun, &mut record, place < shared_count));
            }
            self.made(record)
        });
        let attempts = attempts.collect();
        let reference = self.settlement.decided.as_ref().and_then(|decided| self.reference(decided));
        let settlement = &mut self.settlement;
        settlement.duration = self.begun.elapsed();
        (settlement.attempts, settlement.reference) = (attempts, reference);
        settlement.add_up();
        self.gateway.metrics.settle(settlement);
        info!(
            request_id = settlement.request_id,
            kind = settlement.kind.as_str(),
            target_id = settlement.target.as_ref().map(|(target, _)| target.as_str()),
            outcome = settlement.outcome.as_str(),
            attempts = settlement.attempts.len(),
            stream = settlement.stream,
            duration_ms = millis(settlement.duration),
            output_tokens = settlement.tokens.map(|tokens| tokens.output),
            cost_usd = settlement.cost_usd,
            cache = settlement.cache.as_str(),
            trace_id = trace.as_ref().and_then(|trace| trace.id()).map(tracing::field::display),
            "request finished"
        );
        if let (Some(trace), Some(exporter)) = (trace.take(), &self.gateway.traces) {
            trace.settled(exporter, settlement, spans);
        }
        match &self.gateway.recording {
            Ok(recording) => recording.settled(settlement),
            Err(none) => none.settled(),
        }
        // Last, as a gateway that stops waits for this.
        self.gateway.metrics.leave();
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::Path;

    use account::Metrics;
    use account::ledger::{Filter, LedgerReader};
    use dispatch::{Dispatcher, Network};

    use super::*;
    use crate::classifier::{self, Source};
    use crate::config::Config;
    use crate::gateway::Workers;
    use crate::policies::{Context, Policies};
    use crate::recording::Recording;
    use crate::signals::Signals;
    use crate::token_counts::TokenCounts;

    const CONFIG: &str = "
classifier: {enabled: false}
targets: [{id: c/x, provider: openai, model: x, base_url: 'http://127.0.0.1:9/v1'}]
";

    /// One that has nobody to ask and records below `home`.
    fn gateway(home: &Path) -> Gateway {
        let config = Config::parse("t.yaml", CONFIG, &|_| None).unwrap();
        let policies = Policies::load(config.policy.clone(), &Context::of(&config)).unwrap();
        let source = Source { home: home.to_owned(), runtime: Err(String::new()), weights: Err(String::new()) };
        let signals = Signals::new(classifier::reader(&config, &source, false), source, &config);
        let network = Network::new(Vec::new(), config.network.limits, config.network.probe.clone(), None).unwrap();
        let dispatcher = Dispatcher::new(Vec::new(), config.hedging, Arc::new(network));
        let (metrics, recording) = (Metrics::new("0").unwrap(), Recording::open(config.ledger, home).unwrap());
        let (workers, counts) = (Workers::default(), TokenCounts::default());
        let mut gateway = Gateway::new(config, dispatcher, metrics, workers, policies, signals, counts);
        gateway.recording = Ok(recording);
        gateway
    }

    #[tokio::test]
    async fn what_a_panic_ends_is_settled_once() {
        let home = tempfile::tempdir().unwrap();
        let gateway = gateway(home.path());
        let served = catch_unwind(AssertUnwindSafe(|| {
            let mut settling = Settling::begin(&gateway, ExchangeKind::Request, "req_1", None);
            settling.cached(CacheUse::Missed);
            panic!("whatever serves it is wrong");
        }));
        assert!(served.is_err());
        assert_eq!(gateway.metrics.in_flight(), 0);
        let Ok(recording) = &gateway.recording else { panic!("it records") };
        assert!(recording.ledger.flush());
        let rows = LedgerReader::open(&recording.path).unwrap().rows(&Filter::default()).unwrap();
        let records: Vec<_> = rows.iter().map(|row| (&*row.record.request_id, &*row.record.outcome)).collect();
        assert_eq!(records, [("req_1", "gateway_failed")]);
    }
}
