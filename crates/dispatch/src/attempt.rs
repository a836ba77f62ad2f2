//! One try on one target: sent, its status sorted, its answer read up to the first content. Until then it may be replaced.

use std::pin::pin;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use policy::{Attempt, Outcome, Plan};
use tokio::time::{Instant, timeout_at};
use wire::{ChatCompletion, ChatRequest, CompletionError, StreamForm, TextSize, UpstreamError, UpstreamForm, Usage};

use crate::admission::Seat;
use crate::assemble::Assembled;
use crate::counted::estimated;
use crate::egress::{self, Message, Response, Wait};
use crate::journal::{Journal, Try};
use crate::leg::{Leg, Limits, Progress};
use crate::output::Output;
use crate::refusal::{of_error, retry_after};
use crate::way::{Cut, NETWORK_WENT, Way};
use crate::{Asking, Dispatcher, Lead, Target, TargetFailure};

/// Longest body of an answer that is not a stream, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Longest error body read from a target, in bytes.
const ERROR_BYTES_MAX: usize = 64 << 10;
/// How long an error body is awaited whose status has come.
const ERROR_BODY_WAIT: Duration = Duration::from_secs(5);

/// Members of a request whose answer can be continued behind its beginning.
const PREFIXABLE: [&str; 16] = [
    "model",
    "messages",
    "stream",
    "stream_options",
    "metadata",
    "n",
    "seed",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "service_tier",
    "store",
];

/// What is asked for, whoever is tried.
#[derive(Clone, Copy)]
pub(crate) struct Order<'a> {
    pub(crate) dispatcher: &'a Dispatcher,
    pub(crate) plan: &'a Plan,
    pub(crate) request: &'a ChatRequest,
    pub(crate) asking: &'a Asking,
    pub(crate) journal: &'a Journal,
    /// When the request has to be answered, whatever the targets allow.
    pub(crate) due: Instant,
}

/// What a try is made for.
#[derive(Clone, Copy)]
pub(crate) enum Purpose<'p> {
    /// An answer from its beginning.
    Answer {
        /// No other attempt follows, so that no objective cuts this one.
        is_last: bool,
        /// It runs beside another one.
        is_hedge: bool,
    },
    /// The rest of an answer of which the caller has what `Output` delivered.
    Continue(&'p Output),
}

/// An answer that may go to the caller.
pub(crate) enum Begun<'a> {
    Whole { body: Bytes, usage: Usage, is_usage_estimated: bool },
    Stream(Box<Opened<'a>>),
}

/// A stream whose first content is in `output`.
pub(crate) struct Opened<'a> {
    pub(crate) leg: Leg<'a>,
    pub(crate) output: Output,
    pub(crate) progress: Progress,
}

impl<'a> Order<'a> {
    /// Tries one attempt of the plan. The journal has it from the beginning, and learns its end here, or from the stream that
    /// is handed over.
    pub(crate) async fn attempt(self, attempt: &Attempt, purpose: Purpose<'_>) -> Result<Begun<'a>, TargetFailure> {
        let Some(target) = self.dispatcher.target(attempt.target()) else {
            return Err(TargetFailure::worker("the target is not configured any more"));
        };
        debug_assert_eq!(attempt.locality(), target.profile.locality, "a plan is made of this dispatcher's facts");
        let is_hedge = matches!(purpose, Purpose::Answer { is_hedge: true, .. });
        let admitted = match target.health.way().is_gone() {
            true => Err(TargetFailure::network_gone("there is no network")),
            false => target.health.admit().map_err(TargetFailure::left_alone),
        };
        let (permit, barred) = match admitted {
            Ok(permit) => (Some(permit), None),
            Err(failure) => (None, Some(failure)),
        };
        let mut tried = Try::begin(self.journal, target, permit, self.prompt_tokens(target, purpose), is_hedge);
        if let Some(failure) = barred {
            tried.fail(&failure);
            return Err(failure);
        }
        let asked = self.ask(attempt, target, purpose, &mut tried).await;
        let begun = match asked {
            Ok(Asked::Stream(response, limits)) => {
                let leg = Leg::new(tried, *response, limits, self.request.n());
                return match self.request.stream() {
                    true => self.begin(leg, purpose).await,
                    false => self.assemble(leg).await,
                };
            }
            Ok(Asked::Whole(body)) => self.whole(body, &mut tried),
            Err(failure) => Err(failure),
        };
        conclude(tried, begun)
    }

    /// Reads a stream up to its first content.
    async fn begin(self, mut leg: Leg<'a>, purpose: Purpose<'_>) -> Result<Begun<'a>, TargetFailure> {
        let target = leg.tried.target();
        let mut output = match purpose {
            Purpose::Answer { .. } => Output::new(self.request),
            Purpose::Continue(so_far) => so_far.continued(&target.profile.id, self.proof(target, so_far)),
        };
        match leg.begin(&mut output).await {
            Ok(progress) => Ok(Begun::Stream(Box::new(Opened { leg, output, progress }))),
            Err(failure) => {
                leg.tried.fail(&failure);
                Err(failure)
            }
        }
    }

    /// Reads a stream to its end and makes a whole answer of it.
    async fn assemble(self, mut leg: Leg<'a>) -> Result<Begun<'a>, TargetFailure> {
        let assembled = Assembled::read(&mut leg).await.and_then(|body| self.whole(body, &mut leg.tried));
        conclude(leg.tried, assembled)
    }

    /// Sends the request and reads what has to be read before it is known to be an answer.
    async fn ask(
        self,
        attempt: &Attempt,
        target: &'a Target,
        purpose: Purpose<'_>,
        tried: &mut Try<'a>,
    ) -> Result<Asked, TargetFailure> {
        let slo = self.objective(attempt, purpose);
        let total = self.due.min(Instant::now() + target.timeouts.connect + target.timeouts.total);
        // An objective cuts the waiting as well; without one, fetching and loading have limits of their own.
        let lead_due = slo.map_or(total, |due| due.min(total));
        let Ok(lead) = timeout_at(lead_due, target.provider.lead(self.asking)).await else {
            return Err(TargetFailure::new(Outcome::FirstTokenTimeout, "the target was not ready within the limit"));
        };
        let Lead { destination, generation, seat } = lead?;
        let first_token = slo.unwrap_or(Instant::now() + target.timeouts.first_token).min(total);
        let limits = Limits { first_token, idle: target.timeouts.idle, total };
        tried.generation = generation;
        let form = target.provider.form(self.request);
        let slot = seat.as_ref().and_then(Seat::slot).map(|slot| slot.to_string());
        let extra = slot.as_deref().map(|slot| [("return_progress", "true"), ("id_slot", slot)]);
        // Of an answer that is no stream, the first word is the last.
        let streams = self.request.stream() || form.stream == StreamForm::Always;
        tried.sent.unheard = seat.as_ref().filter(|_| streams).map(Seat::unheard);
        tried.sit(seat);
        let extra = extra.as_ref().map_or(form.extra, |extra| extra);
        let form = UpstreamForm { prefix: self.prefix(target, purpose), extra, ..form };
        if !streams {
            tried.hide();
        }
        let body = self.request.for_upstream(&form).into();
        let way = target.health.way();
        let wait = match streams {
            true => Wait { due: limits.first_token, late: Outcome::FirstTokenTimeout, way },
            false => Wait { due: limits.total, late: Outcome::TotalTimeout, way },
        };
        let message = Message { body, stream: streams, trace: tried.told() };
        let sent = egress::send(self.plan.placement(), &target.profile, &destination, message, &tried.sent, wait);
        let response = sent.await?;
        if response.status() != 200 {
            // Refused before it had a slot, or after it.
            tried.rise();
            return Err(refused(response, limits.total).await);
        }
        if streams {
            expect_event_stream(&response)?;
            return Ok(Asked::Stream(Box::new(response), limits));
        }
        let body = read_body(response, ANSWER_BYTES_MAX, limits.total, way).await?;
        tried.rise();
        Ok(Asked::Whole(body))
    }

    /// When the first token is due by the objective of the route, which counts from the begin of the try, loading a model
    /// included.
    fn objective(self, attempt: &Attempt, purpose: Purpose<'_>) -> Option<Instant> {
        match purpose {
            Purpose::Answer { is_last: false, .. } => attempt.ttft_deadline().map(|slo| Instant::now() + slo),
            Purpose::Answer { .. } | Purpose::Continue(_) => None,
        }
    }

    /// The text behind which `target` is asked to go on, where it may continue by that. Not where the end of the answer may
    /// depend on its beginning, as with all members of a request that are not known to be harmless: a limit of tokens and a
    /// grammar would begin anew, a stop sequence can lie across, tools may have been chosen differently. Nor behind a
    /// beginning of the caller's own.
    fn prefix<'p>(self, target: &Target, purpose: Purpose<'p>) -> Option<&'p str> {
        let Purpose::Continue(so_far) = purpose else { return None };
        let is_plain = self.request.has_only_members(&PREFIXABLE) && !self.request.messages().ends_in_answer;
        if !is_plain || !target.provider.continues_prefix() || !self.same_model(target) {
            return None;
        }
        so_far.delivered()?.content_only()
    }

    /// What `target` has to read, estimated.
    fn prompt_tokens(self, target: &Target, purpose: Purpose<'_>) -> u64 {
        let mut size = TextSize::default();
        size.add(self.prefix(target, purpose).unwrap_or_default());
        self.request.prompt_tokens_estimate().saturating_add(size.tokens())
    }

    /// What a continuation of `target` has to reproduce; nothing where it is asked to go on behind it.
    fn proof(self, target: &Target, so_far: &Output) -> Option<crate::delivered::Proof> {
        match self.prefix(target, Purpose::Continue(so_far)) {
            Some(_) => None,
            None => so_far.delivered()?.proof(),
        }
    }

    /// Whether `target` serves the model whose answer broke off: the text of two models is never joined.
    fn same_model(self, target: &Target) -> bool {
        let answered = self.journal.interrupted().and_then(|id| self.dispatcher.target(&id));
        answered.is_some_and(|answered| {
            answered.profile.id == target.profile.id
                || answered.provider.form(self.request).model == target.provider.form(self.request).model
        })
    }

    fn whole(self, body: Bytes, tried: &mut Try<'_>) -> Result<(Bytes, Usage, bool), TargetFailure> {
        match ChatCompletion::parse(body) {
            Ok(completion) => {
                tried.saw_whole(&completion);
                let counted = completion.usage();
                let prompt_tokens = self.request.prompt_tokens_estimate();
                let usage =
                    counted.unwrap_or_else(|| estimated(prompt_tokens, completion.completion_tokens_estimate()));
                Ok((completion.into_body(), usage, counted.is_none()))
            }
            Err(CompletionError::Upstream(error)) => {
                let failure = of_error(None, &error);
                Err(TargetFailure { detail: "an error under a success status".to_owned(), ..failure })
            }
            Err(error) => Err(TargetFailure::new(Outcome::InvalidAnswer, &error.to_string())),
        }
    }
}

/// What a target gave that has begun to answer.
enum Asked {
    Whole(Bytes),
    Stream(Box<Response>, Limits),
}

/// Ends a try with its whole answer, or with its failure.
fn conclude<'a>(
    mut tried: Try<'a>,
    answer: Result<(Bytes, Usage, bool), TargetFailure>,
) -> Result<Begun<'a>, TargetFailure> {
    match answer {
        Ok((body, usage, is_estimated)) => {
            tried.count(Some(usage), is_estimated);
            tried.succeed();
            Ok(Begun::Whole { body, usage, is_usage_estimated: is_estimated })
        }
        Err(failure) => {
            tried.fail(&failure);
            Err(failure)
        }
    }
}

fn expect_event_stream(response: &Response) -> Result<(), TargetFailure> {
    let content_type = response.content_type().unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("text/event-stream") {
        return Ok(());
    }
    let failure = TargetFailure::new(Outcome::InvalidAnswer, "asked for a stream, got another content type");
    Err(failure.quoting(content_type))
}

/// Sorts an error status: the caller's to mend, or a failure of the target. Its body is awaited until `due` at most.
async fn refused(response: Response, due: Instant) -> TargetFailure {
    let status = response.status();
    let retry_after = response.retry_after().and_then(|text| retry_after(text, SystemTime::now()));
    let due = due.min(Instant::now() + ERROR_BODY_WAIT);
    let body = read_body(response, ERROR_BYTES_MAX, due, Way::new(None)).await;
    let error = UpstreamError::parse(&body.unwrap_or_default());
    TargetFailure { retry_after, ..of_error(Some(status), &error) }
}

async fn read_body(mut response: Response, limit: usize, due: Instant, way: Way<'_>) -> Result<Bytes, TargetFailure> {
    let mut body = BytesMut::new();
    loop {
        let read = way.within(due, pin!(response.read(&mut body))).await;
        match read {
            Ok(Ok(_)) if body.len() > limit => {
                let detail = format!("the body is longer than {limit} bytes");
                return Err(TargetFailure::new(Outcome::InvalidAnswer, &detail));
            }
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return Ok(body.freeze()),
            Ok(Err(error)) => return Err(TargetFailure::new(Outcome::ConnectionLost, &error)),
            Err(Cut::Late) => {
                return Err(TargetFailure::new(Outcome::TotalTimeout, "the answer did not end within its limit"));
            }
            Err(Cut::NetworkGone) => return Err(TargetFailure::network_gone(NETWORK_WENT)),
        }
    }
}
