//! Turns a behaviour and what was asked into the acts that play it: a pure function.
//!
//! No socket and no clock here. The order of the acts is the whole meaning of a behaviour, so a test of
//! one can be read in this file.

use super::request::Ask;
use super::{Behaviour, Usage, text_pieces};
use crate::http1::{LAST_CHUNK, chunk};
use bytes::Bytes;
use serde_json::{Value, json};

/// How many bytes [`Behaviour::ShortBody`] promises and does not send.
const SHORT_BY_BYTES: usize = 64;

/// One act on the connection. The last one is always `Finish`, `Close`, `Reset` or `Repeat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// One write.
    Send(Bytes),
    /// As many writes as bytes.
    SendByteByByte(Bytes),
    /// Stand still until released.
    Hold,
    /// This write, for ever.
    Repeat(Bytes),
    /// The answer is complete; the connection may be used again.
    Finish,
    /// FIN.
    Close,
    /// RST.
    Reset,
}

/// The text and counts of behaviours that bring none, and the number of the answer.
#[derive(Debug, Clone)]
pub(super) struct Defaults {
    pub(super) text: String,
    pub(super) usage: Usage,
    pub(super) index: usize,
}

/// The acts of `behaviour` for this request.
pub(super) fn steps(behaviour: &Behaviour, ask: &Ask, defaults: &Defaults) -> Vec<Step> {
    let (behaviour, held_after) = match behaviour {
        Behaviour::HeldAfter { after, then } => (&**then, Some(*after)),
        other => (other, None),
    };
    match behaviour {
        Behaviour::ResetOnAccept | Behaviour::ResetBeforeHeaders => return vec![Step::Reset],
        Behaviour::CloseBeforeHeaders => return vec![Step::Close],
        Behaviour::Raw { status, headers, body } => return whole(*status, headers, body),
        Behaviour::Status { status, retry_after, message } => {
            let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
            headers.extend(retry_after.iter().map(|value| ("retry-after".to_owned(), value.clone())));
            return whole(*status, &headers, &error_body(*status, message).to_string());
        }
        _ => {}
    }
    let (text, usage) = match behaviour {
        Behaviour::Answer { text, usage } => (text.as_str(), *usage),
        _ => (defaults.text.as_str(), defaults.usage),
    };
    let answer = Answer { ask, text, usage, index: defaults.index };
    match behaviour {
        Behaviour::ShortBody => answer.short(),
        Behaviour::Endless { chunk } => answer.endless(chunk),
        _ if ask.stream => answer.streamed(behaviour, held_after),
        _ => answer.document(behaviour),
    }
}

struct Answer<'a> {
    ask: &'a Ask,
    text: &'a str,
    usage: Usage,
    index: usize,
}

impl Answer<'_> {
    /// A stream: head, role chunk, pieces, and the end, with the fault of `behaviour` in its place, and a stop before it.
    fn streamed(&self, behaviour: &Behaviour, held_after: Option<usize>) -> Vec<Step> {
        let mut steps = Vec::new();
        if *behaviour == Behaviour::StallBeforeHeaders {
            steps.push(Step::Hold);
        }
        steps.push(Step::Send(stream_head()));
        if *behaviour == Behaviour::StallAfterHeaders {
            steps.push(Step::Hold);
        }
        let mut body = vec![event(&self.role())];
        let pieces = text_pieces(self.text);
        let count = pieces.len();
        for (at, piece) in pieces.iter().enumerate() {
            if held_after == Some(at) {
                steps.extend(body.drain(..).map(Step::Send));
                steps.push(Step::Hold);
            }
            if let Some(end) = fault_at(behaviour, at, count) {
                steps.extend(body.drain(..).map(Step::Send));
                steps.extend(end);
                if !matches!(steps.last(), Some(Step::Hold)) {
                    return steps;
                }
            }
            match behaviour {
                Behaviour::Keepalives => body.push(chunk(b": keepalive\n\n")),
                Behaviour::MalformedFrame { at: bad } if (*bad).min(count - 1) == at => {
                    body.push(chunk(b"data: {\"choices\": [{\"delta\": {\"content\": \"torn\n\n"));
                    continue;
                }
                _ => {}
            }
            body.push(event(&self.delta(&json!({ "content": piece }), None)));
        }
        if let Some(end) = fault_at(behaviour, count, count) {
            steps.extend(body.drain(..).map(Step::Send));
            steps.extend(end);
            if !matches!(steps.last(), Some(Step::Hold)) {
                return steps;
            }
        }
        if *behaviour != Behaviour::EndWithoutFinish {
            body.push(event(&self.delta(&json!({}), Some("stop"))));
        }
        if self.ask.include_usage {
            body.push(event(&self.usage_chunk()));
        }
        if *behaviour != Behaviour::EndWithoutDone {
            body.push(chunk(b"data: [DONE]\n\n"));
        }
        body.push(Bytes::from_static(LAST_CHUNK));
        let write = if *behaviour == Behaviour::OneBytePieces { Step::SendByteByByte } else { Step::Send };
        steps.extend(body.into_iter().map(write));
        steps.push(Step::Finish);
        steps
    }

    /// One JSON document, cut into as many pieces as the text has, with the fault in its place.
    fn document(&self, behaviour: &Behaviour) -> Vec<Step> {
        let body = match behaviour {
            Behaviour::MalformedFrame { .. } => "{\"choices\": [{\"message\": ".to_owned(),
            Behaviour::ErrorInStream { body, .. } => body.to_string(),
            _ => self.completion().to_string(),
        };
        let mut steps = Vec::new();
        if *behaviour == Behaviour::StallBeforeHeaders {
            steps.push(Step::Hold);
        }
        steps.push(Step::Send(head(200, &[], "application/json", body.len())));
        if *behaviour == Behaviour::StallAfterHeaders {
            steps.push(Step::Hold);
        }
        let size = body.len().div_ceil(text_pieces(self.text).len().max(1));
        let pieces: Vec<&[u8]> = body.as_bytes().chunks(size).collect();
        for (at, piece) in pieces.iter().enumerate() {
            if !matches!(behaviour, Behaviour::ErrorInStream { .. }) {
                steps.extend(fault_at(behaviour, at, pieces.len() - 1).into_iter().flatten());
            }
            if matches!(steps.last(), Some(Step::Close | Step::Reset)) {
                return steps;
            }
            let piece = Bytes::copy_from_slice(piece);
            steps.push(match behaviour {
                Behaviour::OneBytePieces => Step::SendByteByByte(piece),
                _ => Step::Send(piece),
            });
        }
        steps.push(Step::Finish);
        steps
    }

    fn short(&self) -> Vec<Step> {
        let (kind, body) = if self.ask.stream {
            let delta = self.delta(&json!({ "content": self.text }), None);
            ("text/event-stream", format!("data: {}\n\ndata: {delta}\n\n", self.role()))
        } else {
            ("application/json", self.completion().to_string())
        };
        vec![Step::Send(head(200, &[], kind, body.len() + SHORT_BY_BYTES)), Step::Send(body.into()), Step::Close]
    }

    fn endless(&self, content: &str) -> Vec<Step> {
        let delta = event(&self.delta(&json!({ "content": content }), None));
        vec![Step::Send(stream_head()), Step::Send(event(&self.role())), Step::Repeat(delta)]
    }

    fn completion(&self) -> Value {
        json!({
            "id": self.id(), "object": "chat.completion", "created": 0, "model": self.ask.model,
            "choices": [{
                "index": 0, "finish_reason": "stop", "logprobs": null,
                "message": { "role": "assistant", "content": self.text, "refusal": null },
            }],
            "usage": usage_body(self.usage),
        })
    }

    fn role(&self) -> Value {
        self.delta(&json!({ "role": "assistant", "content": "" }), None)
    }

    fn delta(&self, delta: &Value, finish_reason: Option<&str>) -> Value {
        let choice = json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason });
        self.chunk(&json!([choice]), &Value::Null)
    }

    fn usage_chunk(&self) -> Value {
        self.chunk(&json!([]), &usage_body(self.usage))
    }

    fn chunk(&self, choices: &Value, usage: &Value) -> Value {
        let mut chunk = json!({
            "id": self.id(), "object": "chat.completion.chunk", "created": 0, "model": self.ask.model,
            "choices": choices,
        });
        if self.ask.include_usage {
            chunk["usage"] = usage.clone();
        }
        chunk
    }

    fn id(&self) -> String {
        format!("chatcmpl-scripted-{}", self.index)
    }
}

/// What interrupts an answer once `at` pieces are out, if anything does. A fault placed beyond `last`
/// comes there: a scripted fault never fails to happen.
fn fault_at(behaviour: &Behaviour, at: usize, last: usize) -> Option<Vec<Step>> {
    match behaviour {
        Behaviour::SlowFirstToken if at == 0 => Some(vec![Step::Hold]),
        Behaviour::StallBetweenChunks { after } if (*after).min(last) == at => Some(vec![Step::Hold]),
        Behaviour::CutAfter { chunks } if (*chunks).min(last) == at => Some(vec![Step::Close]),
        Behaviour::ResetAfter { chunks } if (*chunks).min(last) == at => Some(vec![Step::Reset]),
        Behaviour::ErrorInStream { after, body } if (*after).min(last) == at => {
            Some(vec![Step::Send(event(body)), Step::Send(Bytes::from_static(LAST_CHUNK)), Step::Finish])
        }
        _ => None,
    }
}

fn whole(status: u16, headers: &[(String, String)], body: &str) -> Vec<Step> {
    vec![Step::Send(head(status, headers, "", body.len())), Step::Send(body.to_owned().into()), Step::Finish]
}

/// A head with `content-length`; an empty `content_type` leaves that line to `headers`.
fn head(status: u16, headers: &[(String, String)], content_type: &str, length: usize) -> Bytes {
    let mut head = format!("HTTP/1.1 {status} Scripted\r\n");
    if !content_type.is_empty() {
        head.push_str(&format!("content-type: {content_type}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {length}\r\n\r\n"));
    head.into()
}

fn stream_head() -> Bytes {
    Bytes::from_static(
        b"HTTP/1.1 200 Scripted\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n\
          transfer-encoding: chunked\r\n\r\n",
    )
}

fn event(data: &Value) -> Bytes {
    chunk(format!("data: {data}\n\n").as_bytes())
}

fn usage_body(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": { "cached_tokens": usage.cached_tokens },
    })
}

/// An error body shaped as OpenAI's for this status.
fn error_body(status: u16, message: &str) -> Value {
    let (kind, code) = match status {
        401 => ("invalid_request_error", Some("invalid_api_key")),
        404 => ("invalid_request_error", Some("model_not_found")),
        429 => ("requests", Some("rate_limit_exceeded")),
        400..=499 => ("invalid_request_error", None),
        _ => ("server_error", None),
    };
    json!({ "error": { "message": message, "type": kind, "param": null, "code": code } })
}
