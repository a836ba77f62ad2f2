//! The record of one exchange, made exactly once, however it ended.
//!
//! Filled stage by stage while the exchange runs; holds names, numbers and closed lists, never text of a prompt or an answer.

use std::sync::Arc;
use std::time::Duration;

use policy::{Api, Facts, Locality, Outcome, Plan, Price, TargetFacts, TargetId};

/// What an exchange was made for. A closed list: it is a metric label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ExchangeKind {
    /// A caller waits for it.
    #[default]
    Request,
    /// A try to answer a kept request.
    Outbox,
    /// The gateway has asked a second target, to learn from its answer; nobody waits for it.
    Comparison,
}

impl ExchangeKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Request, Self::Outbox, Self::Comparison];

    /// The word in records and labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Outbox => "outbox",
            Self::Comparison => "comparison",
        }
    }
}

/// What the response cache had to do with an exchange. A closed list: it is a metric label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CacheUse {
    /// Nothing.
    #[default]
    None,
    /// No answer was there, and the new one was not kept.
    Missed,
    /// The request, or its caller, wanted a new answer, and that was not kept.
    Bypassed,
    /// Its answer was kept for the next caller.
    Stored,
    /// It was answered from the cache, and nobody was asked.
    Hit,
    /// It shared the answer that another caller was just waiting for, who pays for it.
    Coalesced,
}

impl CacheUse {
    /// Every use.
    pub const ALL: [Self; 6] = [Self::None, Self::Missed, Self::Bypassed, Self::Stored, Self::Hit, Self::Coalesced];

    /// The word in records and labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Missed => "missed",
            Self::Bypassed => "bypassed",
            Self::Stored => "stored",
            Self::Hit => "hit",
            Self::Coalesced => "coalesced",
        }
    }

    /// Whether the answer came without asking a target, so that it cost nothing.
    #[must_use]
    pub fn is_free(self) -> bool {
        matches!(self, Self::Hit | Self::Coalesced)
    }

    /// The same of the word of a use, as it stands in a record; false for a word of another version.
    #[must_use]
    pub fn is_free_word(word: &str) -> bool {
        Self::ALL.iter().any(|used| used.is_free() && used.as_str() == word)
    }
}

/// How a request ended, seen by its caller. A closed list: it is a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestOutcome {
    /// A complete answer was delivered.
    Answered,
    /// The target refused the request itself; its error was relayed.
    RejectedByTarget,
    /// The request was not valid, or asked for what contradicts itself or does not exist.
    Invalid,
    /// A limit of the gateway was reached: body, headers, requests in flight.
    OverLimit,
    /// No target could be tried.
    NoTarget,
    /// Every attempt failed before anything was sent.
    TargetsFailed,
    /// The answer broke off after a part of it was sent.
    Interrupted,
    /// The caller left or stopped reading.
    CallerGone,
    /// The gateway itself failed.
    GatewayFailed,
    /// Nobody could answer now; the request is kept in the outbox and tried (again) later.
    Deferred,
}

impl RequestOutcome {
    /// Every outcome, for documentation and tests.
    pub const ALL: [Self; 10] = [
        Self::Answered,
        Self::RejectedByTarget,
        Self::Invalid,
        Self::OverLimit,
        Self::NoTarget,
        Self::TargetsFailed,
        Self::Interrupted,
        Self::CallerGone,
        Self::GatewayFailed,
        Self::Deferred,
    ];

    /// The label value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::RejectedByTarget => "rejected_by_target",
            Self::Invalid => "invalid",
            Self::OverLimit => "over_limit",
            Self::NoTarget => "no_target",
            Self::TargetsFailed => "targets_failed",
            Self::Interrupted => "interrupted",
            Self::CallerGone => "caller_gone",
            Self::GatewayFailed => "gateway_failed",
            Self::Deferred => "deferred",
        }
    }
}

/// Tokens of an answer, or of a part of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Of the prompt, cached ones included.
    pub input: u64,
    /// Of the prompt, those that the target had cached; 0 where it does not say.
    pub cached: u64,
    /// Of the answer.
    pub output: u64,
    /// Whether the target did not count, so that these are estimates.
    pub is_estimated: bool,
}

impl Tokens {
    /// What they cost at a price, in US dollars.
    #[must_use]
    pub fn cost_usd(&self, price: &Price) -> f64 {
        price.cost_usd(self.input as f64, self.cached.min(self.input) as f64, self.output as f64)
    }
}

/// What an exchange was decided by, and what was decided. Shared with the exchange, so that keeping it copies nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// What was decided.
    pub plan: Arc<Plan>,
    /// What was known of the request.
    pub facts: Arc<Facts>,
    /// What was known of the targets.
    pub targets: Arc<Vec<TargetFacts>>,
    /// First digits of the hash of the policy that decided.
    pub policy_hash: Arc<str>,
}

/// One attempt on one target.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptMade {
    /// The target tried.
    pub target: TargetId,
    /// Where it runs.
    pub locality: Locality,
    /// How it ended.
    pub outcome: Outcome,
    /// From the begin of the exchange to the begin of the attempt.
    pub begun_after: Duration,
    /// From its begin to its end.
    pub duration: Duration,
    /// From its begin to its first content, where it was a stream.
    pub time_to_first_token: Option<Duration>,
    /// Tokens that the target charges for: reported, else estimated where it had the request and answered, or was no longer
    /// wanted ([`Tokens::is_estimated`]). `None` for a failure, which is not charged as far as is known.
    pub tokens: Option<Tokens>,
    /// What the target charges; `None` when unknown.
    pub price: Option<Price>,
    /// What it cost in US dollars: the price by the tokens; `None` when one of them is unknown.
    pub cost_usd: Option<f64>,
    /// Bytes of the request that were written out to it.
    pub sent_bytes: u64,
    /// Events of its stream that were no answer and were skipped.
    pub skipped_events: u32,
    /// Whether it was started beside another one that had brought no token yet.
    pub is_hedge: bool,
}

impl AttemptMade {
    /// Whether it is part of what the caller was given, or would have been: not a failure, and not the one of two that lost.
    #[must_use]
    pub fn is_of_the_answer(&self) -> bool {
        matches!(self.outcome, Outcome::Answered | Outcome::Interrupted | Outcome::CallerGone)
    }
}

/// How long the stages before the first attempt took; `None` for one that was not reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTimes {
    /// Reading and parsing the request, the time included in which it came.
    pub parse: Option<Duration>,
    /// Scanning and classifying it.
    pub signals: Option<Duration>,
    /// Gathering what else is known, and deciding.
    pub decide: Option<Duration>,
}

/// One exchange, finished.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    /// What it was made for.
    pub kind: ExchangeKind,
    /// Its id, which may be the caller's own and come again.
    pub request_id: String,
    /// When it began, Unix time in milliseconds.
    pub begun_ms: u64,
    /// The protocol.
    pub api: Api,
    /// Whether the caller asked for a stream.
    pub stream: bool,
    /// What it was decided by; `None` where it was not decided.
    pub decided: Option<Decided>,
    /// Who answered, or was last answering; `None` when nobody did.
    pub target: Option<(TargetId, Locality)>,
    /// How it ended.
    pub outcome: RequestOutcome,
    /// From the first byte of the request to the end of the answer.
    pub duration: Duration,
    /// How long the stages took.
    pub stages: StageTimes,
    /// From the first byte of the request to the first content of a stream.
    pub time_to_first_token: Option<Duration>,
    /// Tokens of a whole answer, as its target reported them, else estimated. Also of one that came from the cache.
    pub tokens: Option<Tokens>,
    /// Bytes of the body of the request.
    pub request_bytes: u64,
    /// Bytes of the body of the response that were written to the caller.
    pub response_bytes: u64,
    /// What the response cache had to do with it.
    pub cache: CacheUse,
    /// Whether the same text left this device, or may have, for another caller, who shared the answer and accounts for the attempts.
    pub left_with_another: bool,
    /// Every attempt made, in order.
    pub attempts: Vec<AttemptMade>,
    /// What the answer cost in US dollars: the attempts that are of it, without hedges that lost and without failures. `None` where
    /// one of them is unknown, and where there was none. Zero for an answer from the cache.
    pub cost_usd: Option<f64>,
    /// What the target that the policy names as reference charges, where that is known.
    pub reference: Option<(TargetId, Price)>,
    /// What the reference would have charged for the tokens of the whole answer, less what it cost; below zero where it cost more.
    /// `None` unless both are known.
    pub cost_avoided_usd: Option<f64>,
}

impl Settlement {
    /// An exchange of which nothing is known yet but that it began. Its outcome stays only where the exchange panics.
    #[must_use]
    pub fn begun(kind: ExchangeKind, request_id: String, begun_ms: u64) -> Self {
        Self {
            kind,
            request_id,
            begun_ms,
            api: Api::default(),
            stream: false,
            decided: None,
            target: None,
            outcome: RequestOutcome::GatewayFailed,
            duration: Duration::ZERO,
            stages: StageTimes::default(),
            time_to_first_token: None,
            tokens: None,
            request_bytes: 0,
            response_bytes: 0,
            cache: CacheUse::None,
            left_with_another: false,
            attempts: Vec::new(),
            cost_usd: None,
            reference: None,
            cost_avoided_usd: None,
        }
    }

    /// When it was settled, Unix time in milliseconds.
    #[must_use]
    pub fn settled_ms(&self) -> u64 {
        self.begun_ms.saturating_add(u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX))
    }

    /// Adds up what it cost and avoided, once everything else is known.
    pub fn add_up(&mut self) {
        let mut of_answer = self.attempts.iter().filter(|attempt| attempt.is_of_the_answer()).peekable();
        self.cost_usd = match (self.cache.is_free(), of_answer.peek()) {
            (true, _) => Some(0.0),
            (false, None) => None,
            (false, Some(_)) => of_answer.map(|attempt| attempt.cost_usd).sum(),
        };
        let whole = self.tokens.filter(|_| self.outcome == RequestOutcome::Answered);
        self.cost_avoided_usd = match (whole, &self.reference, self.cost_usd) {
            (Some(tokens), Some((_, price)), Some(cost)) => Some(tokens.cost_usd(price) - cost),
            _ => None,
        };
    }

    /// What hedges that lost are estimated to have cost in US dollars; `None` where there were none, or one is unknown.
    #[must_use]
    pub fn lost_hedges_usd(&self) -> Option<f64> {
        let mut lost = self.attempts.iter().filter(|attempt| attempt.outcome == Outcome::HedgeLost).peekable();
        lost.peek()?;
        lost.map(|attempt| attempt.cost_usd).sum()
    }

    /// Bytes of the request that left this device.
    #[must_use]
    pub fn left_device_bytes(&self) -> u64 {
        let away = self.attempts.iter().filter(|attempt| attempt.locality != Locality::Device);
        away.map(|attempt| attempt.sent_bytes).sum()
    }

    /// Whether it is an answer for which nothing of the request left this device: made on it alone, or given again.
    #[must_use]
    pub fn has_stayed(&self) -> bool {
        self.outcome == RequestOutcome::Answered && self.left_device_bytes() == 0 && !self.left_with_another
    }

    /// From the first content to the end by the tokens that follow the first, of a streamed answer that is whole.
    #[must_use]
    pub fn time_per_output_token(&self) -> Option<Duration> {
        let (first, tokens) = (self.time_to_first_token?, self.tokens?.output);
        let steps = u32::try_from(tokens.checked_sub(1)?).ok().filter(|steps| *steps > 0)?;
        (self.outcome == RequestOutcome::Answered).then(|| self.duration.saturating_sub(first) / steps)
    }
}
