//! A stream read to its end and put together into one answer, for a caller who did not ask for a stream.
//!
//! Used where asking for a stream serves the caller better: llama-server notices at its next token that nobody reads a
//! stream any more, and much later that nobody waits for a whole answer.

use bytes::Bytes;
use policy::Outcome;
use wire::{AssembleError, Assembler, ChatChunk, SseEvent};

use crate::TargetFailure;
use crate::leg::{Leg, Progress, Sink};

/// Collects the chunks of one stream.
#[derive(Default)]
pub(crate) struct Assembled {
    assembler: Assembler,
    is_begun: bool,
}

impl Assembled {
    /// Reads a stream and makes one chat completion of it.
    ///
    /// # Errors
    /// Whatever breaks the stream; [`Outcome::InvalidAnswer`] also when it makes no answer.
    pub(crate) async fn read(leg: &mut Leg<'_>) -> Result<Bytes, TargetFailure> {
        let mut assembled = Self::default();
        while leg.pull(&mut assembled).await? == Progress::More {}
        assembled.assembler.finish().map_err(|error| failure(&error))
    }
}

impl Sink for Assembled {
    fn comment(&mut self, _raw: &Bytes) {}

    fn chunk(&mut self, event: &SseEvent, chunk: &ChatChunk<'_>) -> Result<(), TargetFailure> {
        self.is_begun |= chunk.has_content();
        self.assembler.push(&event.data).map_err(|error| failure(&error))
    }

    fn is_begun(&self) -> bool {
        self.is_begun
    }

    /// Everything is; the assembler has a limit of its own.
    fn held(&self) -> usize {
        0
    }
}

fn failure(error: &AssembleError) -> TargetFailure {
    TargetFailure::new(Outcome::InvalidAnswer, &error.to_string())
}
