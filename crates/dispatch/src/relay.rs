//! The relay of one stream: events of the target out of its chunks, checked one by one, on to the caller.
//!
//! Pull-driven: nothing is read from the target before the caller took what came before, so a slow reader holds
//! the target back and not memory. Never ends a broken stream as if it were whole.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::time::timeout;
use wire::sse::{DONE_FRAME, encode_data};
use wire::{ChatChunk, ChoiceEnds, SseDecoder, SseEvent, UpstreamError, Usage};

use crate::egress::Response;

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// With a finish reason; everything was relayed, `[DONE]` included.
    Complete,
    /// Without one. The caller has to be told with an error, never with a clean end.
    Interrupted {
        /// One sentence without answer text.
        detail: String,
        /// The target sent the error itself, inside its stream.
        reported: bool,
        /// The silence between two pieces passed its limit.
        stalled: bool,
    },
}

/// A stream on its way to the caller.
pub struct Relay {
    response: Option<Response>,
    /// What one read brought; empty between two.
    read: BytesMut,
    decoder: SseDecoder,
    show_usage: bool,
    idle: Duration,
    generation: u64,
    choices: ChoiceEnds,
    end: Option<StreamEnd>,
    /// Our own `[DONE]`, when the target ended without.
    done_missing: bool,
    usage: Option<Usage>,
    first_content_at: Option<Instant>,
}

impl Relay {
    pub(crate) fn new(response: Response, show_usage: bool, idle: Duration, generation: u64) -> Self {
        Self {
            response: Some(response),
            read: BytesMut::new(),
            decoder: SseDecoder::new(),
            show_usage,
            idle,
            generation,
            choices: ChoiceEnds::default(),
            end: None,
            done_missing: false,
            usage: None,
            first_content_at: None,
        }
    }

    /// The next bytes for the caller: whole events, at least one. `None` after the last; then [`Self::end`] says how it
    /// ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.end.is_some() {
                if std::mem::take(&mut self.done_missing) {
                    return Some(DONE_FRAME.clone());
                }
                return None;
            }
            let out = self.relay_decoded();
            if !out.is_empty() {
                return Some(out);
            }
            if self.end.is_none() {
                self.read_chunk().await;
            }
        }
    }

    /// How the stream ended; `None` while it lasts.
    #[must_use]
    pub fn end(&self) -> Option<&StreamEnd> {
        self.end.as_ref()
    }

    /// Token counts, once the target gave them.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// When the first content (text, reasoning, tool call, refusal) arrived.
    #[must_use]
    pub fn first_content_at(&self) -> Option<Instant> {
        self.first_content_at
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Waits for bytes of the target and gives them to the decoder, or ends the stream.
    async fn read_chunk(&mut self) {
        let Some(response) = &mut self.response else { return };
        match timeout(self.idle, response.read(&mut self.read)).await {
            Ok(Ok(true)) => {
                self.decoder.push(&self.read);
                self.read.clear();
            }
            Ok(Ok(false)) => {
                self.response = None;
                let is_cut = self.decoder.is_mid_event() && !self.decoder.ends_with_done();
                if self.choices.is_whole() && !is_cut {
                    self.end = Some(StreamEnd::Complete);
                    self.done_missing = true;
                } else {
                    self.interrupt("the target closed the stream before its end");
                }
            }
            Ok(Err(error)) => {
                let detail = format!("the connection to the target broke: {error}");
                self.interrupt(&detail);
            }
            Err(_) => {
                let detail = format!("the target sent nothing for {} s", self.idle.as_secs_f32());
                self.end = Some(StreamEnd::Interrupted { detail, reported: false, stalled: true });
                self.response = None;
            }
        }
    }

    /// Everything that the decoder holds in whole events, as it goes to the caller.
    fn relay_decoded(&mut self) -> Bytes {
        let mut out = BytesMut::new();
        while self.end.is_none() {
            match self.decoder.next_event() {
                None => break,
                Some(Ok(event)) => self.relay_event(&event, &mut out),
                Some(Err(error)) => self.interrupt(&error.to_string()),
            }
        }
        out.freeze()
    }

    fn relay_event(&mut self, event: &SseEvent, out: &mut BytesMut) {
        if event.is_error() {
            return self.report(&UpstreamError::parse(event.data.as_bytes()));
        }
        if event.is_done() {
            if self.choices.is_whole() {
                out.extend_from_slice(&DONE_FRAME);
                self.end = Some(StreamEnd::Complete);
                if let Some(response) = self.response.take() {
                    response.drain();
                }
            } else {
                self.interrupt("the target ended the stream without a finish reason");
            }
            return;
        }
        if !event.has_data {
            // Comments keep the connection alive, for the caller as well.
            out.extend_from_slice(&event.raw);
            return;
        }
        let chunk = match ChatChunk::parse(event.data.as_bytes()) {
            Ok(chunk) => chunk,
            Err(error) => {
                return self.interrupt(&format!("the target sent an event that is no answer: {}", error.reason));
            }
        };
        if let Some(error) = &chunk.error {
            return self.report(error);
        }
        if let Err(error) = self.choices.take(&chunk) {
            return self.interrupt(&error.to_string());
        }
        self.note(&chunk);
        if self.show_usage {
            out.extend_from_slice(&event.raw);
        } else if !chunk.is_usage_only() {
            match chunk.without_usage() {
                Some(data) => out.extend_from_slice(&encode_data(&data)),
                None => out.extend_from_slice(&event.raw),
            }
        }
    }

    fn note(&mut self, chunk: &ChatChunk) {
        if chunk.has_content() && self.first_content_at.is_none() {
            self.first_content_at = Some(Instant::now());
        }
        if chunk.usage.is_some() {
            self.usage = chunk.usage;
        }
    }

    fn report(&mut self, error: &UpstreamError) {
        let detail = format!("the target reported an error: {}", error.message);
        self.end = Some(StreamEnd::Interrupted { detail, reported: true, stalled: false });
        self.response = None;
    }

    fn interrupt(&mut self, detail: &str) {
        self.end = Some(StreamEnd::Interrupted { detail: detail.to_owned(), reported: false, stalled: false });
        self.response = None;
    }
}
