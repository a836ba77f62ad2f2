//! Answers given again: whether a request may have an answer that was given before, or share one that is being given now.
//!
//! Looked up after the decision: an answer is given again only where the target that gave it could have been tried for this request
//! too, or could but for the state it is in. Nothing is learnt from an answer that is given again, and no conversation is said to be
//! with its target. Kept requests (the outbox) neither have such answers nor leave any.

mod flight;
mod key;
mod share;
mod work;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use account::responses::{ResponseError, ResponseForm, ResponseKey, Responses, StoredResponse};
use account::{CacheUse, Metrics, RequestOutcome};
use bytes::Bytes;
use dispatch::Trace;
use http::HeaderMap;
use pingora_core::protocols::http::ServerSession;
use policy::{CacheRule, Locality, TargetId};
use wire::chat::{stream_of_whole, whole_of_stream, without_usage};
use wire::{ChatRequest, Usage};

use crate::config::{CacheConfig, Config};
use crate::decision::Decision;
use crate::gateway::Gateway;
use crate::reply::{self, CacheLabel, Labels};
use crate::settle::Settling;
use crate::unix_time::signed_now_ms as now_ms;
use flight::Flights;
use key::CacheControl;

pub(crate) use flight::Seat;
pub(crate) use key::Asker;
pub(crate) use share::{Shared, Sharing, cache_use, share};

/// The file of the answers, below the data folder.
const FILE: &str = "cache/responses.sqlite3";

/// How far behind the fastest of those who share an answer another one may be, in bytes.
const LAG_BYTES_MAX: usize = 8 << 20;

/// What gives answers again in a running gateway.
pub(crate) struct Recall {
    store: Responses,
    flights: Arc<Flights>,
    config: CacheConfig,
    /// What each target is; an answer of what it was before is not given again.
    versions: Vec<(TargetId, [u8; 32])>,
}

/// What became of looking for an answer.
pub(crate) enum Lookup {
    /// The route gives no answers again.
    Off,
    /// The request, or its caller, wants a new one, and it is not kept.
    Bypass,
    /// Here it is.
    Hit(Box<Hit>),
    /// There is none.
    Miss(Miss),
}

/// An answer that is given again.
pub(crate) struct Hit {
    response: Arc<StoredResponse>,
    /// In the form in which it was asked for.
    body: Bytes,
    locality: Locality,
    age: Duration,
}

/// Under what a new answer is kept and shared.
#[derive(Clone, Copy)]
pub(crate) struct Miss {
    key: ResponseKey,
    rule: CacheRule,
    /// Whether one that was begun before will do.
    may_join: bool,
}

impl Recall {
    /// Opens what is kept, in memory or below `home` as well. Blocks while it reads.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub(crate) fn open(config: &Config, home: &Path) -> Result<Self, ResponseError> {
        let cache = config.cache;
        let store = match cache.persist {
            true => Responses::open(cache.limits, &home.join(FILE), now_ms())?,
            false => Responses::new(cache.limits),
        };
        Ok(Self::of(config, store))
    }

    /// In memory alone.
    pub(crate) fn in_memory(config: &Config) -> Self {
        Self::of(config, Responses::new(config.cache.limits))
    }

    fn of(config: &Config, store: Responses) -> Self {
        let versions = config.targets.iter().map(|target| (target.id().clone(), key::version(target))).collect();
        Self { store, flights: Arc::default(), config: config.cache, versions }
    }

    /// Shows what is kept in the metrics.
    pub(crate) fn show(&self, metrics: &Metrics) {
        metrics.show_responses(&self.store.stats());
        metrics.show_sharing(self.flights.callers());
    }

    /// Waits until everything kept is on disk, where it is to be. Blocks.
    pub(crate) fn flush(&self) {
        self.store.flush();
    }

    fn version(&self, target: &TargetId) -> Option<[u8; 32]> {
        self.versions.iter().find(|(id, _)| id == target).map(|(_, version)| *version)
    }
}

impl Lookup {
    /// Looks for an answer to a request that was decided.
    pub(crate) fn of(gateway: &Gateway, headers: &HeaderMap, request: &ChatRequest, decision: &Decision) -> Self {
        let (Some(recall), Some(rule)) = (&gateway.recall, decision.plan.cache()) else { return Self::Off };
        let control = CacheControl::read(headers);
        let is_wanted = !control.no_store && (!rule.only_deterministic || request.is_deterministic());
        if !is_wanted || !request.is_repeatable() {
            return Self::Bypass;
        }
        let key = key::of(&decision.asker(), decision.plan.rule().as_str(), request);
        let age_max = control.max_age.map_or(rule.ttl, |age| age.min(rule.ttl));
        let found = recall.store.get(&key, age_max, now_ms()).filter(|_| !control.no_cache);
        match found.and_then(|response| Hit::of(recall, response, request, decision)) {
            Some(hit) => Self::Hit(Box::new(hit)),
            None => Self::Miss(Miss { key, rule, may_join: !control.no_cache && control.max_age.is_none() }),
        }
    }

    /// For the record.
    pub(crate) fn cache_use(&self) -> CacheUse {
        match self {
            Self::Off => CacheUse::None,
            Self::Bypass => CacheUse::Bypassed,
            Self::Hit(_) => CacheUse::Hit,
            Self::Miss(_) => CacheUse::Missed,
        }
    }

    /// For the caller of an answer that is new.
    pub(crate) fn label(&self) -> Option<CacheLabel> {
        match self {
            Self::Off => None,
            Self::Bypass => Some(CacheLabel::Bypass),
            Self::Hit(hit) => Some(CacheLabel::Hit { age_s: hit.age.as_secs() }),
            Self::Miss(_) => Some(CacheLabel::Miss),
        }
    }

    /// A place among those who wait for a new answer, the first of whom asks for it; `None` where this one goes by itself.
    /// `trace` is the one that its tries are part of, should it be the first.
    pub(crate) fn seat(
        &self,
        gateway: &Arc<Gateway>,
        request: &ChatRequest,
        decision: &Decision,
        trace: Option<Box<Trace>>,
    ) -> Option<Arc<Seat>> {
        let Self::Miss(miss) = self else { return None };
        let recall = gateway.recall.as_ref()?;
        if decision.plan.attempts().is_empty() {
            return None;
        }
        let targets = decision.plan.attempts().iter().map(|attempt| attempt.target().clone()).collect();
        let total = gateway.config.limits.total_timeout;
        let joining = flight::Joining {
            key: miss.key,
            is_stream: request.stream(),
            targets,
            may_join: miss.may_join,
            age_max: total,
            keep_bytes_max: usize::try_from(recall.config.limits.entry_bytes_max).unwrap_or(usize::MAX),
            lag_bytes_max: LAG_BYTES_MAX,
            trace,
        };
        // Each caller has its own limit; this one ends what the last of them could still wait for.
        let due = Instant::now() + total * 2;
        recall.flights.enter(joining, |flight| work::run(gateway, request, decision, *miss, flight, due))
    }
}

impl Hit {
    /// `None` for an answer that may not be given to this request, or not in the form that it asks for.
    fn of(recall: &Recall, response: Arc<StoredResponse>, request: &ChatRequest, decision: &Decision) -> Option<Self> {
        if !decision.plan.could_have_answered(&response.target)
            || recall.version(&response.target) != Some(response.target_version)
        {
            return None;
        }
        let kept = &response.body;
        let body = match (response.form, request.stream()) {
            (ResponseForm::Whole, false) => kept.clone(),
            (ResponseForm::Stream, false) => whole_of_stream(kept)?,
            (ResponseForm::Stream, true) => for_caller(kept, request)?,
            (ResponseForm::Whole, true) => for_caller(&stream_of_whole(kept)?, request)?,
        };
        let locality = decision.locality(&response.target)?;
        let age = Duration::from_millis(response.age_ms(now_ms()).unwrap_or_default());
        Some(Self { response, body, locality, age })
    }

    /// Gives the answer to the caller of `session`.
    pub(crate) async fn give(self, session: &mut ServerSession, settling: &mut Settling<'_>, decision: &Decision) {
        let Self { response, body, locality, age } = self;
        let (prompt_tokens, completion_tokens) = (response.input_tokens, response.output_tokens);
        let total_tokens = prompt_tokens.saturating_add(completion_tokens);
        let usage = Usage { prompt_tokens, completion_tokens, total_tokens, ..Usage::default() };
        settling.answering(&response.target, locality);
        settling.usage(Some(usage), false);
        let labels = Labels {
            request_id: settling.request_id().to_owned(),
            target: response.target.clone(),
            locality,
            reason: decision.plan.reason(),
            cache: Some(CacheLabel::Hit { age_s: age.as_secs() }),
        };
        let outcome = match settling.is_stream() {
            false => reply::whole(session, &labels, body).await,
            true => match reply::begin_stream(session, &labels).await {
                Ok(()) if session.write_response_body(body, true).await.is_ok() => RequestOutcome::Answered,
                _ => RequestOutcome::CallerGone,
            },
        };
        settling.end(outcome);
    }
}

/// Whole events as this caller wants to see them: all that are shared report usage.
fn for_caller(events: &Bytes, request: &ChatRequest) -> Option<Bytes> {
    if request.include_usage() { Some(events.clone()) } else { without_usage(events) }
}
