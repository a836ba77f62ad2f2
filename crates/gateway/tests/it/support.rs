//! What the tests share: configurations, a chat request, and a reply taken apart.

use std::fmt::Write;
use std::path::Path;

use account::ledger::LedgerReader;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use testkit::{Behaviour, Gateway, ScriptedUpstream, http_client};

/// A gateway whose only targets are scripted upstreams in the cloud, in this order: `cloud/a`, `cloud/b`, ...
pub(crate) async fn cloud_gateway(upstreams: &[&ScriptedUpstream]) -> Gateway {
    Gateway::start(&cloud_config(upstreams, "")).await
}

/// The same as configuration text, with `extra` in front.
pub(crate) fn cloud_config(upstreams: &[&ScriptedUpstream], extra: &str) -> String {
    let mut text = format!("{extra}\n{LISTEN}targets:\n");
    push_clouds(&mut text, upstreams);
    text
}

/// Ports that the system chooses, and nothing fetched. No breaker and no probe, so that upstreams see what a test sends and nothing
/// else; tests of these begin with [`BARE`].
pub(crate) const LISTEN: &str = "listen: 127.0.0.1:0\nadmin_listen: 127.0.0.1:0\nartifacts: {fetch: false}\nbreaker: {enabled: false}\nnetwork: {probe: {enabled: false}}\n";

/// Ports that the system chooses, and nothing fetched.
pub(crate) const BARE: &str = "listen: 127.0.0.1:0\nadmin_listen: 127.0.0.1:0\nartifacts: {fetch: false}\n";

/// Adds a target for each upstream to a `targets:` list.
pub(crate) fn push_clouds(text: &mut String, upstreams: &[&ScriptedUpstream]) {
    for (name, upstream) in ('a'..).zip(upstreams) {
        write!(
            text,
            "  - id: cloud/{name}\n    provider: openai\n    model: upstream-{name}\n    base_url: {}\n    timeouts: {{connect_ms: 2000, first_token_ms: 1500, idle_ms: 1500, total_ms: 3000}}\n",
            upstream.base_url()
        )
        .unwrap();
    }
}

/// A plain request for `auto`.
pub(crate) fn hello() -> Value {
    json!({"model": "auto", "messages": [{"role": "user", "content": "hello"}]})
}

/// The same as a stream.
pub(crate) fn hello_stream() -> Value {
    json!({"model": "auto", "stream": true, "messages": [{"role": "user", "content": "hello"}]})
}

/// A request to the chat endpoint, not sent yet.
pub(crate) fn chat(gateway: &Gateway, body: &Value) -> RequestBuilder {
    post(&http_client(), gateway, "/v1/chat/completions", body)
}

pub(crate) fn post(client: &Client, gateway: &Gateway, path: &str, body: &Value) -> RequestBuilder {
    client.post(gateway.url(path)).header("content-type", "application/json").body(body.to_string())
}

/// A reply with its body read.
#[derive(Debug)]
pub(crate) struct Reply {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Reply {
    pub(crate) async fn of(request: RequestBuilder) -> Self {
        Self::read(request.send().await.unwrap()).await
    }

    pub(crate) async fn read(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, text: response.text().await.unwrap() }
    }

    /// Reads a stream until `seen` has arrived, lets `upstream`, which stands still, go on, and reads the rest.
    pub(crate) async fn released(request: RequestBuilder, seen: &str, upstream: &ScriptedUpstream) -> Self {
        let mut response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut text = String::new();
        while !text.contains(seen) {
            let chunk = response.chunk().await.unwrap();
            text.push_str(std::str::from_utf8(&chunk.unwrap_or_else(|| panic!("{seen} is not in {text}"))).unwrap());
        }
        upstream.release();
        while let Some(chunk) = response.chunk().await.unwrap() {
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        Self { status, headers, text }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The text of a complete answer.
    pub(crate) fn content(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.text);
        self.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    }

    /// `error.FIELD` of an error reply.
    pub(crate) fn error(&self, field: &str) -> String {
        match &self.json()["error"][field] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

/// The metrics once every request is settled: a caller has its answer a moment before.
pub(crate) async fn settled_metrics(gateway: &Gateway) -> String {
    let settled = async {
        loop {
            let metrics = gateway.metrics().await;
            if metrics.contains("\ntidegate_in_flight_requests 0\n") {
                return metrics;
            }
        }
    };
    tokio::time::timeout(testkit::PATIENCE, settled).await.unwrap()
}

/// Where a target of a request may stand still, each with a name that may be the id of the request.
pub(crate) fn phases_of_standstill() -> [(&'static str, Behaviour, Value); 5] {
    [
        ("before-the-headers-of-a-stream", Behaviour::StallBeforeHeaders, hello_stream()),
        ("before-the-headers-of-an-answer", Behaviour::StallBeforeHeaders, hello()),
        ("within-the-body-of-an-answer", Behaviour::StallBetweenChunks { after: 1 }, hello()),
        ("before-the-first-token", Behaviour::SlowFirstToken, hello_stream()),
        ("between-tokens", Behaviour::StallBetweenChunks { after: 2 }, hello_stream()),
    ]
}

/// The ledger of a gateway with this data folder.
pub(crate) fn ledger_of(home: &Path) -> LedgerReader {
    LedgerReader::open(&home.join("ledger/ledger.sqlite3")).unwrap()
}

/// Waits until so many callers share answers.
pub(crate) async fn sharing(gateway: &Gateway, count: usize) {
    let line = format!("\ntidegate_cache_sharing_callers {count}\n");
    let there = async { while !gateway.metrics().await.contains(&line) {} };
    tokio::time::timeout(testkit::PATIENCE, there).await.unwrap();
}

/// What the gateway says of itself on its admin port.
pub(crate) async fn status(gateway: &Gateway) -> Value {
    Reply::of(http_client().get(gateway.admin_url("/readyz"))).await.json()
}

/// The state of the gateway once `holds` of it.
pub(crate) async fn status_when(gateway: &Gateway, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let found = async {
        loop {
            let status = status(gateway).await;
            if holds(&status) {
                return status;
            }
        }
    };
    let found = tokio::time::timeout(testkit::PATIENCE, found).await;
    found.unwrap_or_else(|_| panic!("never so: {what}\n{}", gateway.logs().join("\n")))
}
