//! A stream read to its end and put together into one answer, for a caller who did not ask for a stream.
//!
//! Used where asking for a stream serves the caller better: llama-server notices at its next token that nobody reads a
//! stream any more, and much later that nobody waits for a whole answer.

use std::time::Duration;

use bytes::Bytes;
use policy::Outcome;
use tokio::time::timeout;
use wire::{AssembleError, Assembler, SseDecoder};

use crate::TargetFailure;
use crate::egress::root_cause;

/// How long the end of the connection is awaited after the last event, so that it can be used again.
const DRAIN_LIMIT: Duration = Duration::from_millis(50);

/// Reads the events of `response` and makes one chat completion of them.
///
/// # Errors
/// [`Outcome::ConnectionLost`] when the connection breaks, [`Outcome::InvalidAnswer`] when the stream is none or not whole.
pub(crate) async fn assemble(mut response: reqwest::Response) -> Result<Bytes, TargetFailure> {
    let (mut decoder, mut assembler) = (SseDecoder::new(), Assembler::new());
    loop {
        while let Some(event) = decoder.next_event() {
            let event = event.map_err(|error| invalid(&error.to_string()))?;
            if event.is_done() {
                let _ = timeout(DRAIN_LIMIT, response.chunk()).await;
                return assembler.finish().map_err(failure);
            }
            if event.has_data {
                assembler.push(&event.data).map_err(failure)?;
            }
        }
        match response.chunk().await {
            Ok(Some(chunk)) => decoder.push(&chunk),
            Ok(None) if decoder.is_mid_event() => return Err(invalid("the stream ended within an event")),
            Ok(None) => return assembler.finish().map_err(failure),
            Err(error) => return Err(TargetFailure::new(Outcome::ConnectionLost, &root_cause(&error))),
        }
    }
}

fn invalid(detail: &str) -> TargetFailure {
    TargetFailure::new(Outcome::InvalidAnswer, detail)
}

fn failure(error: AssembleError) -> TargetFailure {
    match error {
        AssembleError::Upstream(error) => invalid("an error within the stream").quoting(&error.message),
        other => invalid(&other.to_string()),
    }
}
