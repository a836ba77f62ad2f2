//! The testkit under test: each behaviour as a plain client sees it, and what the log says of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod answers;
mod bench;
mod faults;
mod harness;
mod log;
mod raw;
mod stalls;

use serde_json::{Value, json};
use testkit::{Behaviour, ScriptedUpstream, Streamed, http_client};

/// A chat request, streaming or not.
fn chat(stream: bool) -> Value {
    json!({ "model": "m", "stream": stream, "messages": [{ "role": "user", "content": "hi" }] })
}

/// Starts an upstream that plays this once.
async fn playing(behaviour: Behaviour) -> ScriptedUpstream {
    let upstream = ScriptedUpstream::start().await;
    upstream.script([behaviour]);
    upstream
}

/// Posts a chat request on a fresh connection.
async fn post(upstream: &ScriptedUpstream, body: &Value) -> reqwest::Result<reqwest::Response> {
    let url = format!("{}/chat/completions", upstream.base_url());
    http_client().post(url).body(body.to_string()).send().await
}

/// The whole stream that a well-behaved client reads.
async fn streamed(upstream: &ScriptedUpstream) -> Streamed {
    Streamed::read(post(upstream, &chat(true)).await.unwrap()).await
}
