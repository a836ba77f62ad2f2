//! Chat completions: the fixed answer, whole or in chunks, with usage; crashes and stalls where it is told to.

use std::io;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::{self, Request};
use crate::{Server, Stream};

/// A moment in the past: `created` of every answer.
const CREATED: u64 = 1_700_000_000;
/// Between two looks for the file of `--fake-hold`.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Takes a slot for as long as it lives. As in the real server it is free before the end of the answer is out: who has read that may send
/// the next request.
struct Slot<'a> {
    server: &'a Server,
    id: usize,
}

impl<'a> Slot<'a> {
    /// The one that was asked for, else any; `None` when there is none: unlike the real server, the fake keeps no queue.
    fn take(server: &'a Server, asked: Option<usize>) -> Option<Self> {
        let mut busy = server.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let id = match asked {
            Some(id) => id,
            None => busy.iter().position(|busy| !busy)?,
        };
        let slot = busy.get_mut(id).filter(|busy| !**busy)?;
        *slot = true;
        Some(Self { server, id })
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut busy = self.server.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = busy.get_mut(self.id) {
            *slot = false;
        }
    }
}

impl Server {
    /// Answers a chat request.
    pub(crate) fn chat(&self, request: &Request, stream: &mut dyn Stream) -> io::Result<()> {
        let number = self.chats.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(line) = &self.arguments.say_on_chat {
            eprintln!("{line}");
        }
        if self.arguments.crash_on_chat == Some(number) {
            std::process::abort();
        }
        let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
            return http::write_json(stream, 500, &http::error(500, "server_error", "parse error"));
        };
        let asked = body["id_slot"].as_u64().and_then(|id| usize::try_from(id).ok());
        let Some(slot) = Slot::take(self, asked) else {
            eprintln!("E fake-llama-server: more requests than slots");
            return http::write_json(stream, 400, &http::error(400, "invalid_request_error", "no free slot"));
        };
        let Some(messages) = body["messages"].as_array() else {
            let error = http::error(400, "invalid_request_error", "Expected 'messages' to be an array");
            return http::write_json(stream, 400, &error);
        };
        let reply = Reply {
            id: format!("chatcmpl-fake-{number}"),
            model: self.arguments.alias.clone(),
            content: format!("fake worker answers: {number}"),
            prompt_tokens: messages.iter().map(|message| message.to_string().split_whitespace().count()).sum(),
        };
        if body["stream"] == true {
            let with_usage = body["stream_options"]["include_usage"] == true;
            self.stream(&reply, with_usage, slot, stream)
        } else {
            drop(slot);
            http::write_json(stream, 200, &reply.whole())
        }
    }

    fn stream(&self, reply: &Reply, with_usage: bool, slot: Slot<'_>, stream: &mut dyn Stream) -> io::Result<()> {
        http::begin_events(stream)?;
        let first = reply.chunk(json!({"role": "assistant", "content": null}), None);
        http::write_event(stream, &first.to_string())?;
        let parts = split(&reply.content, self.arguments.chunks);
        for sent in 0..=parts.len() {
            if self.arguments.crash_after == Some(sent as u64) {
                std::process::abort();
            }
            if self.arguments.stall_after == Some(sent as u64) {
                return http::wait_for_close(stream);
            }
            if let (Some(file), true) = (&self.arguments.hold, self.arguments.hold_after == sent as u64) {
                while !file.exists() {
                    std::thread::sleep(LOOK_AGAIN);
                }
            }
            if let Some(part) = parts.get(sent) {
                http::write_event(stream, &reply.chunk(json!({"content": part}), None).to_string())?;
            }
        }
        http::write_event(stream, &reply.chunk(json!({}), Some("stop")).to_string())?;
        if with_usage {
            let mut usage = reply.chunk(json!({}), None);
            usage["choices"] = json!([]);
            usage["usage"] = reply.usage();
            http::write_event(stream, &usage.to_string())?;
        }
        drop(slot);
        http::write_event(stream, "[DONE]")?;
        http::end_events(stream)
    }
}

struct Reply {
    id: String,
    model: String,
    content: String,
    prompt_tokens: usize,
}

impl Reply {
    fn whole(&self) -> Value {
        json!({
            "id": self.id, "object": "chat.completion", "created": CREATED, "model": self.model,
            "choices": [{
                "index": 0, "finish_reason": "stop",
                "message": {"role": "assistant", "content": self.content},
            }],
            "usage": self.usage(),
        })
    }

    fn chunk(&self, delta: Value, finish_reason: Option<&str>) -> Value {
        json!({
            "id": self.id, "object": "chat.completion.chunk", "created": CREATED, "model": self.model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
        })
    }

    fn usage(&self) -> Value {
        let completion = self.content.split_whitespace().count();
        json!({
            "prompt_tokens": self.prompt_tokens, "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
        })
    }
}

/// The text in so many parts, the last ones empty when there are more parts than letters.
fn split(text: &str, parts: u64) -> Vec<&str> {
    let parts = usize::try_from(parts.max(1)).unwrap_or(usize::MAX);
    let size = text.len().div_ceil(parts).max(1);
    let bound = |index: usize| text.len().min(index.saturating_mul(size));
    (0..parts).map(|index| &text[bound(index)..bound(index + 1)]).collect()
}
