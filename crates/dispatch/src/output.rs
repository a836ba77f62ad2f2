//! What of a stream goes to its caller: chunks become the caller's bytes here, one by one.
//!
//! Reads nothing and waits for nothing. A continuation passes only what lies beyond what the caller has.

use bytes::{Bytes, BytesMut};
use policy::{Outcome, TargetId};
use wire::sse::{DONE_FRAME, encode_comment, encode_data};
use wire::{ChatChunk, ChatRequest, SseEvent, StreamIdentity, TextSize, Usage, text_chunk, usage_chunk};

use crate::TargetFailure;
use crate::delivered::{Delivered, Proof, Unproven};
use crate::leg::Sink;

/// What a caller asked to see.
#[derive(Clone, Copy, Debug)]
struct Shown {
    usage: bool,
    progress: bool,
}

/// The bytes for one caller.
pub(crate) struct Output {
    bytes: BytesMut,
    shown: Shown,
    /// Content is in `bytes`, or was.
    is_begun: bool,
    is_usage_sent: bool,
    /// `None` where no continuation is wanted.
    delivered: Option<Delivered>,
    /// Of the first chunk with content.
    identity: Option<StreamIdentity>,
    /// Goes on under the identity of an earlier stream.
    is_continuation: bool,
    /// Goes on behind what an earlier stream delivered, which it has not reproduced.
    is_rest: bool,
    proof: Option<Proof>,
    size: TextSize,
}

impl Output {
    pub(crate) fn new(request: &ChatRequest) -> Self {
        // Log probabilities belong to the pieces of a text, which a second run cuts otherwise.
        let is_comparable = request.n() == 1 && !request.wants_logprobs();
        Self {
            bytes: BytesMut::new(),
            shown: Shown { usage: request.include_usage(), progress: request.has_member("return_progress") },
            is_begun: false,
            is_usage_sent: false,
            delivered: is_comparable.then(Delivered::default),
            identity: None,
            is_continuation: false,
            is_rest: false,
            proof: None,
            size: TextSize::default(),
        }
    }

    /// For a stream of `target` that goes on with this one: with a proof it has to reproduce what was delivered, without one it
    /// begins behind it. Says so in a comment.
    pub(crate) fn continued(&self, target: &TargetId, proof: Option<Proof>) -> Self {
        Self {
            bytes: BytesMut::from(&*encode_comment(&format!("continued by {target}"))),
            shown: self.shown,
            is_begun: false,
            // What a broken stream counted is not what this one will have.
            is_usage_sent: false,
            delivered: self.delivered.clone(),
            identity: self.identity.clone(),
            is_continuation: true,
            is_rest: proof.is_none(),
            // What was delivered is of the answer of a stream that reproduces it.
            size: if proof.is_some() { self.size } else { TextSize::default() },
            proof,
        }
    }

    /// Whether it goes on behind what an earlier stream delivered without having reproduced it: what its target counts is not of
    /// the whole answer then.
    pub(crate) fn is_rest(&self) -> bool {
        self.is_rest
    }

    /// What the caller has, where it can be continued.
    pub(crate) fn delivered(&self) -> Option<&Delivered> {
        self.delivered.as_ref()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Everything for the caller so far.
    pub(crate) fn take(&mut self) -> Bytes {
        self.bytes.split().freeze()
    }

    /// The end of a whole stream: usage where the caller asked and the target gave none, and `[DONE]`.
    pub(crate) fn done(&mut self, usage: Usage, is_estimated: bool) {
        if self.shown.usage && !self.is_usage_sent {
            let identity = self.identity.clone().unwrap_or_else(StreamIdentity::none);
            self.push(&usage_chunk(&identity, usage, is_estimated));
        }
        self.bytes.extend_from_slice(&DONE_FRAME);
    }

    /// Tokens of the texts of this stream so far, estimated.
    pub(crate) fn tokens(&self) -> u64 {
        self.size.tokens()
    }

    fn push(&mut self, data: &str) {
        self.bytes.extend_from_slice(&encode_data(data));
    }

    fn pass(&mut self, event: &SseEvent, chunk: &ChatChunk<'_>) {
        // Of a rest the target counts another prompt and not all of the answer; that of the whole goes out at the end.
        let hides_usage = !self.shown.usage || self.is_rest;
        let is_hidden = (hides_usage && chunk.is_usage_only()) || (!self.shown.progress && chunk.is_progress_only());
        if is_hidden {
            return;
        }
        let edited = match &self.identity {
            Some(identity) if self.is_continuation => chunk.under(identity, hides_usage),
            _ if hides_usage => chunk.without_usage(),
            _ => None,
        };
        match edited {
            Some(data) => self.push(&data),
            None => self.bytes.extend_from_slice(&event.raw),
        }
        self.is_usage_sent |= chunk.usage.is_some();
    }

    /// Counts and remembers what goes to the caller.
    fn record(&mut self, chunk: &ChatChunk<'_>) {
        for choice in &chunk.choices {
            choice.texts().for_each(|(_, text)| self.size.add(&text));
        }
        if let Some(delivered) = &mut self.delivered {
            delivered.take(chunk);
        }
    }

    /// Holds a chunk against what was delivered, and gives whether all of it lies beyond. Of one that lies there in part, that
    /// part is passed.
    fn prove(&mut self, mut proof: Proof, chunk: &ChatChunk<'_>) -> Result<bool, Unproven> {
        if chunk.choices.iter().any(|choice| choice.index != 0) {
            return Err(Unproven);
        }
        if proof.is_met() && (chunk.has_content() || chunk.has_finish_reason()) {
            return Ok(true);
        }
        let own = chunk.identity();
        let identity = self.identity.clone().map_or(own.clone(), |first| StreamIdentity { model: own.model, ..first });
        for choice in &chunk.choices {
            if choice.has_other {
                return Err(Unproven);
            }
            for (kind, text) in choice.texts() {
                let beyond = proof.take(kind, &text)?;
                if !beyond.is_empty() {
                    self.is_begun = true;
                    self.size.add(beyond);
                    if let Some(delivered) = &mut self.delivered {
                        delivered.push(kind, beyond);
                    }
                    self.push(&text_chunk(&identity, kind, beyond));
                }
            }
            if let Some(reason) = &choice.finish_reason {
                if !proof.is_met() {
                    return Err(Unproven);
                }
                self.is_begun = true;
                self.delivered.iter_mut().for_each(Delivered::end);
                self.push(&wire::finish_chunk(&identity, reason));
            }
        }
        if !self.is_begun {
            self.proof = Some(proof);
        }
        Ok(false)
    }
}

impl Sink for Output {
    fn comment(&mut self, raw: &Bytes) {
        // Before the first content there is nobody to keep alive for: nothing was sent yet.
        if self.is_begun {
            self.bytes.extend_from_slice(raw);
        }
    }

    fn chunk(&mut self, event: &SseEvent, chunk: &ChatChunk<'_>) -> Result<(), TargetFailure> {
        if let Some(proof) = self.proof.take() {
            let passes = self.prove(proof, chunk).map_err(|Unproven| {
                TargetFailure::new(Outcome::Unproven, "the answer is another than the one that was cut")
            })?;
            if !passes {
                return Ok(());
            }
            self.is_begun = true;
        }
        if !self.is_begun && !self.is_continuation {
            self.identity = Some(chunk.identity());
        }
        self.is_begun |= chunk.has_content();
        self.record(chunk);
        self.pass(event, chunk);
        Ok(())
    }

    fn is_begun(&self) -> bool {
        self.is_begun
    }

    fn held(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests;
