//! A stream read to its end and put together into one answer, for a caller who did not ask for a stream.
//!
//! Used where asking for a stream serves the caller better: llama-server notices at its next token that nobody reads a
//! stream any more, and much later that nobody waits for a whole answer.

use bytes::{Bytes, BytesMut};
use policy::Outcome;
use wire::{AssembleError, Assembler, SseDecoder, UpstreamError};

use crate::TargetFailure;
use crate::egress::Response;

/// Reads the events of `response` and makes one chat completion of them.
///
/// # Errors
/// [`Outcome::ConnectionLost`] when the connection breaks in the middle of it, [`Outcome::InvalidAnswer`] when the stream
/// is none or not whole.
pub(crate) async fn assemble(mut response: Response) -> Result<Bytes, TargetFailure> {
    let (mut decoder, mut assembler, mut read) = (SseDecoder::new(), Assembler::new(), BytesMut::new());
    loop {
        while let Some(event) = decoder.next_event() {
            let event = event.map_err(|error| invalid(&error.to_string()))?;
            if event.is_error() {
                return Err(failure(AssembleError::Upstream(UpstreamError::parse(event.data.as_bytes()))));
            }
            if event.is_done() {
                response.drain();
                return assembler.finish().map_err(failure);
            }
            if event.has_data {
                assembler.push(&event.data).map_err(failure)?;
            }
        }
        match response.read(&mut read).await {
            Ok(true) => {
                decoder.push(&read);
                read.clear();
            }
            Ok(false) if decoder.is_mid_event() && !decoder.ends_with_done() => {
                return Err(invalid("the stream ended within an event"));
            }
            Ok(false) => return assembler.finish().map_err(failure),
            Err(error) => return Err(TargetFailure::new(Outcome::ConnectionLost, &error)),
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

#[cfg(test)]
mod tests {
    use testkit::{Behaviour, ScriptedUpstream};

    use super::*;

    const PIECE: &str = r#"data: {"choices":[{"delta":{"content":"a"}}]}"#;
    const FINISH: &str = r#"data: {"choices":[{"delta":{},"finish_reason":"stop"}]}"#;

    #[tokio::test]
    async fn only_a_stream_that_is_whole_makes_an_answer() {
        let upstream = ScriptedUpstream::start().await;
        let client = testkit::http_client();
        let url = format!("{}/chat/completions", upstream.base_url());
        let whole =
            r#"{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}],"object":"chat.completion"}"#;
        let cases = [
            (format!("{PIECE}\n\n{FINISH}\n\ndata: [DONE]\n\n"), true),
            (format!("{PIECE}\n\n{FINISH}\n\n"), true),
            (format!("{PIECE}\n\n{FINISH}\n\ndata: [DONE]"), true),
            (format!("{PIECE}\n\n{FINISH}\n\ndata: [DON"), false),
            (format!("{PIECE}\n\ndata: [DONE]\n\n"), false),
            (format!("{PIECE}\n\n{FINISH}\n\n{PIECE}\n\ndata: [DONE]\n\n"), false),
            (format!("{PIECE}\n\nevent: error\ndata: {{\"message\":\"gone\"}}\n\n{FINISH}\n\ndata: [DONE]\n\n"), false),
        ];
        for (body, is_whole) in cases {
            upstream.set_default(Behaviour::event_stream(body.clone()));
            let answer = assemble(Response::General(client.post(&url).body("{}").send().await.unwrap())).await;
            match answer {
                Ok(answer) => assert!(is_whole && answer == whole, "{body}: {answer:?}"),
                Err(failure) => assert!(!is_whole && failure.outcome == Outcome::InvalidAnswer, "{body}: {failure:?}"),
            }
        }
    }
}
