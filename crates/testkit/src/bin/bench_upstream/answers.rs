//! The fixed answers, rendered once: one JSON document and one stream of frames.

use bytes::Bytes;
use serde_json::{Value, json};
use testkit::http1::{LAST_CHUNK, chunk};

/// Content chunks in the stream; with role, finish, usage and `[DONE]` there are four more frames.
const CONTENT_CHUNKS: usize = 32;
/// One content chunk; a token or two of a real model.
const PIECE: &str = "every tide turns ";

/// The bytes of each answer, head included.
pub(crate) struct Answers {
    pub(crate) document: Bytes,
    /// Head and role frame together, then one frame each.
    pub(crate) frames: Vec<Bytes>,
    pub(crate) models: Bytes,
    document_bytes: usize,
    frame_count: usize,
}

impl Answers {
    pub(crate) fn render() -> Self {
        let text = PIECE.repeat(CONTENT_CHUNKS);
        let usage = json!({ "prompt_tokens": 100, "completion_tokens": CONTENT_CHUNKS, "total_tokens": 132 });
        let document = json!({
            "id": "chatcmpl-bench", "object": "chat.completion", "created": 0, "model": "bench",
            "choices": [{
                "index": 0, "finish_reason": "stop", "logprobs": null,
                "message": { "role": "assistant", "content": text, "refusal": null },
            }],
            "usage": usage,
        })
        .to_string();

        let delta = |delta: Value, finish: Value| json!([{ "index": 0, "delta": delta, "finish_reason": finish }]);
        let mut events = vec![event(&delta(json!({ "role": "assistant", "content": "" }), Value::Null), None)];
        for _ in 0..CONTENT_CHUNKS {
            events.push(event(&delta(json!({ "content": PIECE }), Value::Null), None));
        }
        events.push(event(&delta(json!({}), json!("stop")), None));
        events.push(event(&json!([]), Some(&usage)));
        events.push("data: [DONE]\n\n".to_owned());

        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        let mut frames: Vec<Bytes> = events.iter().map(|event| chunk(event.as_bytes())).collect();
        frames[0] = [head.as_bytes(), &frames[0]].concat().into();
        frames.push(Bytes::from_static(LAST_CHUNK));
        let models = json!({ "object": "list", "data": [{ "id": "bench", "object": "model" }] }).to_string();
        Self {
            document_bytes: document.len(),
            document: whole(&document),
            frames,
            models: whole(&models),
            frame_count: events.len(),
        }
    }

    /// What a complete answer looks like, for those who check.
    pub(crate) fn facts(&self, addr: std::net::SocketAddr) -> Value {
        json!({
            "addr": addr.to_string(),
            "document_bytes": self.document_bytes,
            "frames": self.frame_count,
            "content_bytes": PIECE.len() * CONTENT_CHUNKS,
        })
    }
}

fn event(choices: &Value, usage: Option<&Value>) -> String {
    let chunk = json!({
        "id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 0, "model": "bench",
        "choices": choices, "usage": usage,
    });
    format!("data: {chunk}\n\n")
}

fn whole(body: &str) -> Bytes {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    (head + body).into()
}
