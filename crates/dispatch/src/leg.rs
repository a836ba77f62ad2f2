//! One stream of a target, read and checked event by event, into whatever takes its chunks.
//!
//! Knows when a stream is whole, when it is broken and when it has been silent for too long; not what follows from that.
//! Pull-driven: nothing is read from the target before what came before was taken.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use policy::Outcome;
use tokio::time::Instant;
use wire::{ChatChunk, ChoiceEnds, SseDecoder, SseEvent, UpstreamError, Usage};

use crate::TargetFailure;
use crate::counted::Counted;
use crate::egress::Response;
use crate::journal::Try;
use crate::way::{Cut, NETWORK_WENT};

/// How long the rest (usage, `[DONE]`) of a stream is awaited whose every choice has ended, whatever comes meanwhile.
const REST_WAIT: Duration = Duration::from_millis(500);
/// Longest such rest, in bytes.
const REST_BYTES_MAX: usize = 64 << 10;
/// Most that is held before the first content, in bytes.
const HELD_BYTES_MAX: usize = 1 << 20;
/// Most events in one stream that are no chunks and are skipped.
const SKIPPED_MAX: u32 = 16;

/// Takes the chunks of a stream.
pub(crate) trait Sink {
    /// A comment of the target, or an event without data, which keeps connections alive.
    fn comment(&mut self, raw: &Bytes);

    /// The next chunk; consistent with those before.
    ///
    /// # Errors
    /// When the stream is of no use with this chunk.
    fn chunk(&mut self, event: &SseEvent, chunk: &ChatChunk<'_>) -> Result<(), TargetFailure>;

    /// Whether the first content for the caller has come.
    fn is_begun(&self) -> bool;

    /// Bytes held.
    fn held(&self) -> usize;
}

/// The limits of one stream in time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// When the first content is due.
    pub(crate) first_token: Instant,
    /// The longest time without a piece of the answer after that; comments are none.
    pub(crate) idle: Duration,
    /// When all of it is due.
    pub(crate) total: Instant,
}

/// One stream.
pub(crate) struct Leg<'a> {
    pub(crate) tried: Try<'a>,
    response: Option<Response>,
    /// What one read brought; empty between two.
    read: BytesMut,
    decoder: SseDecoder,
    limits: Limits,
    choices: ChoiceEnds,
    /// Choices that the caller asked for.
    choices_due: u64,
    usage: Option<Usage>,
    /// Nothing was written since the target counted.
    is_count_current: bool,
    skipped: u32,
    /// When the wait for the next piece of the answer began.
    waits_since: Option<Instant>,
    /// Until when the rest is awaited, and how much of it came, once every choice has ended.
    rest: Option<(Instant, usize)>,
}

/// Whether more may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Something was taken; the stream goes on.
    More,
    /// The stream is whole.
    Whole,
}

impl<'a> Leg<'a> {
    pub(crate) fn new(tried: Try<'a>, response: Response, limits: Limits, choices_due: u64) -> Self {
        Self {
            tried,
            response: Some(response),
            read: BytesMut::new(),
            decoder: SseDecoder::new(),
            limits,
            choices: ChoiceEnds::default(),
            choices_due,
            usage: None,
            is_count_current: false,
            skipped: 0,
            waits_since: None,
            rest: None,
        }
    }

    /// Token counts, once the target gave them.
    pub(crate) fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// Token counts of what came of a stream that broke off: most targets count at the end alone. A piece is taken for a token
    /// then.
    pub(crate) fn counted_so_far(&self) -> Counted {
        match self.usage {
            Some(usage) if self.is_count_current => Counted::reported(usage),
            Some(usage) => Counted::outdated(usage, self.tried.pieces()),
            None => Counted::estimated(self.tried.prompt_tokens(), self.tried.pieces()),
        }
    }

    /// Pulls until the first content is in `sink`, or the stream is whole without any.
    ///
    /// # Errors
    /// Whatever breaks the stream, and [`Outcome::FirstTokenTimeout`].
    pub(crate) async fn begin(&mut self, sink: &mut impl Sink) -> Result<Progress, TargetFailure> {
        loop {
            let progress = self.pull(sink).await?;
            if sink.is_begun() || progress == Progress::Whole {
                return Ok(progress);
            }
            if sink.held() > HELD_BYTES_MAX {
                let detail = format!("more than {HELD_BYTES_MAX} bytes came before the first content");
                return Err(TargetFailure::new(Outcome::InvalidAnswer, &detail));
            }
        }
    }

    /// Gives what has arrived to `sink`, waiting for one read where nothing has. Not cancel-safe with regard to the limits:
    /// a new call begins the wait for silence anew.
    ///
    /// # Errors
    /// Whatever breaks the stream. It ends there.
    pub(crate) async fn pull(&mut self, sink: &mut impl Sink) -> Result<Progress, TargetFailure> {
        // Behind a read there may be events of before; only without any is there something to wait for.
        let mut taken = self.take_decoded(sink)?;
        while taken.is_none() {
            if self.read(sink.is_begun()).await? == Progress::Whole {
                return Ok(Progress::Whole);
            }
            taken = self.take_decoded(sink)?;
            // A long piece may come slowly; a comment is none.
            if !matches!(self.decoder.remainder().first(), None | Some(b':')) {
                self.waits_since = None;
            }
        }
        Ok(taken.unwrap_or(Progress::More))
    }

    /// Waits for bytes of the target and gives them to the decoder; `Whole` when no more are needed.
    async fn read(&mut self, is_begun: bool) -> Result<Progress, TargetFailure> {
        let (due, late) = self.due(is_begun);
        let Some(response) = &mut self.response else {
            return Err(TargetFailure::new(Outcome::ConnectionLost, "the stream was over"));
        };
        let way = self.tried.target().health.way();
        let read = way.within(due, pin!(response.read(&mut self.read))).await;
        if let Some((_, bytes)) = &mut self.rest {
            *bytes += self.read.len();
            if !matches!(read, Ok(Ok(true))) || *bytes > REST_BYTES_MAX {
                // All of the answer has come, whatever becomes of the connection.
                self.response = None;
                return Ok(Progress::Whole);
            }
        }
        match read {
            Ok(Ok(true)) => {
                self.decoder.push(&self.read);
                self.read.clear();
                Ok(Progress::More)
            }
            Ok(Ok(false)) => {
                self.response = None;
                // Fewer choices than were asked for, and the target says that these are all.
                if self.choices.is_whole() && self.decoder.ends_with_done() {
                    return Ok(Progress::Whole);
                }
                Err(TargetFailure::new(Outcome::ConnectionLost, "the target closed the stream before its end"))
            }
            Ok(Err(error)) => {
                let detail = format!("the connection to the target broke: {error}");
                Err(TargetFailure::new(Outcome::ConnectionLost, &detail))
            }
            Err(Cut::Late) => Err(self.silent(late)),
            Err(Cut::NetworkGone) => Err(TargetFailure::network_gone(NETWORK_WENT)),
        }
    }

    /// Whether every choice that was asked for has ended.
    fn is_over(&self) -> bool {
        self.choices.is_whole() && self.choices.ended() >= self.choices_due
    }

    /// Until when the next bytes have to come, and what it means when they do not.
    fn due(&mut self, is_begun: bool) -> (Instant, Outcome) {
        let (Limits { first_token, idle, total }, now) = (self.limits, Instant::now());
        if self.is_over() {
            let (due, _) = *self.rest.get_or_insert((now + REST_WAIT, 0));
            return (due, Outcome::Answered);
        }
        let next = match is_begun {
            true => (*self.waits_since.get_or_insert(now) + idle, Outcome::IdleTimeout),
            false => (first_token, Outcome::FirstTokenTimeout),
        };
        if total < next.0 { (total, Outcome::TotalTimeout) } else { next }
    }

    fn silent(&self, late: Outcome) -> TargetFailure {
        let detail = match late {
            Outcome::FirstTokenTimeout => "no first token within its limit".to_owned(),
            Outcome::TotalTimeout => "the answer did not end within its limit".to_owned(),
            _ => format!("the target sent nothing for {} s", self.limits.idle.as_secs_f32()),
        };
        TargetFailure::new(late, &detail)
    }

    /// Gives all whole events to `sink`; `None` where there are none.
    fn take_decoded(&mut self, sink: &mut impl Sink) -> Result<Option<Progress>, TargetFailure> {
        let mut taken = None;
        while let Some(event) = self.decoder.next_event() {
            let event = event.map_err(|error| TargetFailure::new(Outcome::InvalidAnswer, &error.to_string()))?;
            if event.is_error() {
                return Err(reported(&UpstreamError::parse(event.data.as_bytes())));
            }
            if event.is_done() {
                return self.done().map(Some);
            }
            match event.data.is_empty() {
                true => sink.comment(&event.raw),
                false => self.take_event(&event, sink)?,
            }
            taken = Some(Progress::More);
            // A provider that sends without end is cut here too, however fast it sends.
            if Instant::now() >= self.limits.total && !self.is_over() {
                return Err(self.silent(Outcome::TotalTimeout));
            }
        }
        Ok(taken)
    }

    fn done(&mut self) -> Result<Progress, TargetFailure> {
        if !self.choices.is_whole() {
            let detail = "the target ended the stream without a finish reason";
            return Err(TargetFailure::new(Outcome::InvalidAnswer, detail));
        }
        if let Some(response) = self.response.take() {
            response.drain();
        }
        Ok(Progress::Whole)
    }

    fn take_event(&mut self, event: &SseEvent, sink: &mut impl Sink) -> Result<(), TargetFailure> {
        let chunk = match ChatChunk::parse(event.data.as_bytes()) {
            Ok(chunk) => chunk,
            // What holds nothing of an object cannot have been a piece of the answer, and nothing can after its end.
            Err(_) if self.skipped < SKIPPED_MAX && (!event.data.contains(['{', '}']) || self.is_over()) => {
                self.skipped += 1;
                self.tried.skipped_event();
                return Ok(());
            }
            Err(error) => {
                let detail = format!("the target sent an event that is no answer: {}", error.reason);
                return Err(TargetFailure::new(Outcome::InvalidAnswer, &detail));
            }
        };
        if let Some(error) = &chunk.error {
            return Err(reported(error));
        }
        let taken = self.choices.take(&chunk);
        taken.map_err(|error| TargetFailure::new(Outcome::InvalidAnswer, &error.to_string()))?;
        self.waits_since = None;
        self.tried.saw(&chunk);
        if chunk.usage.is_some() {
            (self.usage, self.is_count_current) = (chunk.usage, true);
        } else if chunk.has_content() {
            self.is_count_current = false;
        }
        sink.chunk(event, &chunk)
    }
}

/// An error that the target put into its stream, as the status that it would have been.
fn reported(error: &UpstreamError) -> TargetFailure {
    let failure = crate::refusal::of_error(None, error);
    TargetFailure { detail: "the target reported an error within its answer".to_owned(), ..failure }
}

#[cfg(test)]
mod tests;
