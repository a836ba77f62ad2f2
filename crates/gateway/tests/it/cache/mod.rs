//! Answers given again: to whom, in which form, for how long, and what is never given again.

mod keeping;
mod sharing;

use std::path::PathBuf;

use serde_json::{Value, json};
use testkit::{Behaviour, DEFAULT_TEXT, Gateway, ScriptedUpstream};

use crate::support::{LISTEN, Reply, chat, push_clouds, settled_metrics};

/// One route to all targets that gives answers again for a minute.
const POLICY: &str =
    "version: 1\nroutes: [{id: r, objective: in_order, candidates: ['cloud/*', 'device/*'], cache: {ttl_s: 60}}]\n";

/// A gateway under a policy in a file.
struct Setting {
    gateway: Gateway,
    policy: PathBuf,
    _folder: tempfile::TempDir,
}

/// Configuration under the policy in `file`, for targets that are listed behind it.
fn config(file: &std::path::Path, extra: &str) -> String {
    format!("{LISTEN}{extra}policy: {{file: {}}}\ntargets:\n", file.display())
}

/// `cloud/a`, `cloud/b`, ... in the cloud.
async fn setting(policy: &str, upstreams: &[&ScriptedUpstream], extra: &str) -> Setting {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.yaml");
    std::fs::write(&file, policy).unwrap();
    let mut config = config(&file, extra);
    push_clouds(&mut config, upstreams);
    // Tens of megabytes take a debug build seconds, and more beside other tests.
    let config = config.replace("total_ms: 3000", "total_ms: 60000");
    Setting { gateway: Gateway::start(&config).await, policy: file, _folder: folder }
}

/// A request for an answer that does not vary.
fn ask(text: &str) -> Value {
    json!({"model": "auto", "temperature": 0, "messages": [{"role": "user", "content": text}]})
}

fn with(mut body: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn streamed(text: &str, include_usage: bool) -> Value {
    let options = json!({"include_usage": include_usage});
    with(ask(text), &json!({"stream": true, "stream_options": options}))
}

async fn said(gateway: &Gateway, body: &Value) -> Reply {
    let reply = Reply::of(chat(gateway, body)).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply
}

fn cache(reply: &Reply) -> &str {
    reply.header("x-tidegate-cache")
}

#[tokio::test]
async fn the_same_question_has_the_same_answer_and_costs_nothing() {
    let upstream = ScriptedUpstream::start().await;
    let Setting { gateway, .. } = setting(POLICY, &[&upstream], "").await;
    let first = said(&gateway, &ask("hi")).await;
    assert_eq!((cache(&first), first.header("x-tidegate-reason")), ("miss", "rule=r"));
    assert_eq!(first.header("age"), "");
    let again = said(&gateway, &ask("hi")).await;
    assert_eq!((cache(&again), again.header("x-tidegate-reason")), ("hit", "rule=r; cache=hit"));
    assert_eq!((&again.text, again.header("age")), (&first.text, "0"));
    assert_eq!((again.header("x-tidegate-target"), again.header("x-tidegate-locality")), ("cloud/a", "cloud"));
    assert_ne!(again.header("x-request-id"), first.header("x-request-id"));
    assert_eq!(cache(&said(&gateway, &ask("ho")).await), "miss");
    assert_eq!(upstream.attempts().len(), 2);
    let metrics = settled_metrics(&gateway).await;
    for line in [
        "tidegate_cache_requests_total{result=\"hit\"} 1\n",
        "tidegate_cache_requests_total{result=\"miss\"} 2\n",
        "tidegate_cache_stored_total 2\n",
        "tidegate_cache_entries 2\n",
        "tidegate_attempts_total{outcome=\"answered\",target=\"cloud/a\"} 2\n",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    let of = |name: &str| testkit::sum_metric(&metrics, name, &[]).unwrap();
    assert_eq!((of("tidegate_input_tokens_total"), of("tidegate_output_tokens_total")), (22.0, 14.0));
    assert_eq!(of("tidegate_requests_total"), 3.0);
    assert!(of("tidegate_cache_bytes") > 600.0);
}

#[tokio::test]
async fn what_is_not_to_be_given_again_is_not() {
    let upstream = ScriptedUpstream::start().await;
    let Setting { gateway, .. } = setting(POLICY, &[&upstream], "").await;
    let varies = with(ask("hi"), &json!({"temperature": 0.7}));
    let stored = with(ask("hi"), &json!({"store": true}));
    for body in [&varies, &stored] {
        for _ in 0..2 {
            assert_eq!(cache(&said(&gateway, body).await), "bypass", "{body}");
        }
    }
    assert_eq!(upstream.attempts().len(), 4);
    // Nor errors, nor what was cut, filtered or ended too early.
    let choice = |reason: &str| {
        let message = json!({"role": "assistant", "content": "a"});
        let usage = json!({"prompt_tokens": 1, "completion_tokens": 1});
        let choices = json!([{"index": 0, "message": message, "finish_reason": reason}]);
        Behaviour::json(&json!({"object": "chat.completion", "choices": choices, "usage": usage}))
    };
    let uncounted = json!({"choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}]});
    let bad = [choice("length"), choice("content_filter"), Behaviour::json(&uncounted), Behaviour::status(400)];
    for (n, behaviour) in bad.into_iter().enumerate() {
        let question = ask(&format!("question {n}"));
        upstream.script([behaviour]);
        let first = Reply::of(chat(&gateway, &question)).await;
        assert_eq!(cache(&first), "miss");
        assert_eq!(said(&gateway, &question).await.content(), DEFAULT_TEXT);
    }
    // Log probabilities belong to the pieces of one run, so that no other one goes on with it.
    for (more, said_of_it) in [(json!({"logprobs": true}), "stream_interrupted"), (json!({}), "continued by cloud/a")] {
        let question = with(streamed("cut", true), &more);
        upstream.script([Behaviour::CutAfter { chunks: 3 }]);
        let cut = said(&gateway, &question).await;
        assert!(cut.text.contains(said_of_it), "{}", cut.text);
        assert_eq!(cache(&said(&gateway, &question).await), "miss");
        assert_eq!(cache(&said(&gateway, &question).await), "hit");
    }
}

#[tokio::test]
async fn a_route_may_give_again_what_varies_and_one_that_says_nothing_gives_nothing() {
    let upstream = ScriptedUpstream::start().await;
    let policy = "version: 1\nroutes: [{id: all, when: '\"all\" in request.tags', cache: {ttl_s: 60, only_deterministic: false}}, {id: none}]\n";
    let Setting { gateway, .. } = setting(policy, &[&upstream], "").await;
    let varies = with(ask("hi"), &json!({"temperature": 0.7}));
    let tagged = || chat(&gateway, &varies).header("x-tidegate-tags", "all");
    assert_eq!(cache(&Reply::of(tagged()).await), "miss");
    assert_eq!(cache(&Reply::of(tagged()).await), "hit");
    for _ in 0..2 {
        assert_eq!(said(&gateway, &ask("hi")).await.headers.get("x-tidegate-cache"), None);
    }
    assert_eq!(upstream.attempts().len(), 3);
    // A caller who names its target is sent there by no route.
    let pinned = with(ask("hi"), &json!({"model": "cloud/a"}));
    assert_eq!(said(&gateway, &pinned).await.headers.get("x-tidegate-cache"), None);
}

#[tokio::test]
async fn callers_say_in_cache_control_what_they_want() {
    let upstream = ScriptedUpstream::start().await;
    let Setting { gateway, .. } = setting(POLICY, &[&upstream], "").await;
    let asked = async |control: &str| {
        let reply = Reply::of(chat(&gateway, &ask("hi")).header("cache-control", control)).await;
        cache(&reply).to_owned()
    };
    assert_eq!(asked("no-store").await, "bypass");
    assert_eq!(asked("max-age=60").await, "miss", "what must not be stored was not");
    assert_eq!(asked("max-age=60").await, "hit");
    assert_eq!(asked("no-store").await, "bypass");
    upstream.set_default(Behaviour::answer("newer"));
    assert_eq!(asked("no-cache").await, "miss");
    assert_eq!(said(&gateway, &ask("hi")).await.content(), "newer", "the new answer took the place of the old");
    assert_eq!(upstream.attempts().len(), 4);
}

/// The text, the finish reason and the usage of a stream.
fn put_together(events: &str) -> (String, Value, Vec<Value>) {
    let (mut text, mut reason, mut usage) = (String::new(), Value::Null, Vec::new());
    assert!(events.ends_with("data: [DONE]\n\n"), "{events}");
    for data in events.split("\n\n").filter_map(|event| event.strip_prefix("data: {")) {
        let chunk: Value = serde_json::from_str(&format!("{{{data}")).unwrap();
        text += chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
        if !chunk["choices"][0]["finish_reason"].is_null() {
            reason = chunk["choices"][0]["finish_reason"].clone();
        }
        usage.extend(chunk.get("usage").filter(|usage| !usage.is_null()).cloned());
    }
    (text, reason, usage)
}

#[tokio::test]
async fn each_form_serves_every_other() {
    let upstream = ScriptedUpstream::start().await;
    let Setting { gateway, .. } = setting(POLICY, &[&upstream], "").await;
    // A stream again is the same, byte for byte, with usage and without.
    let first = said(&gateway, &streamed("one", true)).await;
    let again = said(&gateway, &streamed("one", true)).await;
    assert_eq!((cache(&first), cache(&again), &again.text), ("miss", "hit", &first.text));
    assert!(again.header("content-type").starts_with("text/event-stream"));
    let plain = said(&gateway, &streamed("one", false)).await;
    assert_eq!((cache(&plain), put_together(&plain.text).2), ("hit", vec![]));
    let live = said(&gateway, &streamed("other", false)).await;
    assert_eq!(cache(&live), "miss");
    let without_id = |text: &str| text.replace("scripted-1", "scripted-0");
    assert_eq!(without_id(&live.text), plain.text, "as it would have come");
    let counted = said(&gateway, &streamed("other", true)).await;
    assert_eq!((cache(&counted), without_id(&counted.text)), ("hit", first.text), "usage was asked for all the same");
    // In one piece.
    let whole = said(&gateway, &ask("one")).await;
    assert_eq!((cache(&whole), whole.content().as_str()), ("hit", DEFAULT_TEXT));
    assert_eq!(whole.json()["usage"]["total_tokens"], 18);
    assert_eq!(whole.json()["object"], "chat.completion");
    // And the other way round.
    let whole = said(&gateway, &ask("two")).await;
    let stream = said(&gateway, &streamed("two", true)).await;
    assert_eq!((cache(&whole), cache(&stream)), ("miss", "hit"));
    let (text, reason, usage) = put_together(&stream.text);
    assert_eq!((text.as_str(), reason), (DEFAULT_TEXT, json!("stop")));
    assert_eq!(usage, [whole.json()["usage"].clone()]);
    assert_eq!(put_together(&said(&gateway, &streamed("two", false)).await.text).2, Vec::<Value>::new());
    assert_eq!(upstream.attempts().len(), 3);
}

#[tokio::test]
async fn tools_and_log_probabilities_serve_both_forms() {
    let upstream = ScriptedUpstream::start().await;
    let Setting { gateway, .. } = setting(POLICY, &[&upstream], "").await;
    let call = json!({"id": "call-1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}});
    let logprobs =
        json!({"content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}], "refusal": null});
    let answer = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": {"prompt_tokens": 5,
        "completion_tokens": 2, "total_tokens": 7}, "choices": [{"index": 0, "finish_reason": "tool_calls", "logprobs": logprobs,
        "message": {"role": "assistant", "content": null, "tool_calls": [call]}}]});
    upstream.script([Behaviour::json(&answer)]);
    assert_eq!(said(&gateway, &ask("hi")).await.json(), answer);
    let stream = said(&gateway, &streamed("hi", true)).await;
    assert_eq!(cache(&stream), "hit");
    let chunk: Value =
        serde_json::from_str(stream.text.lines().next().unwrap().strip_prefix("data: ").unwrap()).unwrap();
    let delta = &chunk["choices"][0]["delta"];
    assert_eq!((&delta["tool_calls"][0]["index"], &delta["tool_calls"][0]["function"]), (&json!(0), &call["function"]));
    assert_eq!(chunk["choices"][0]["logprobs"], logprobs);
    // A content that no stream can bring is asked for anew.
    let parts = json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": [{"type": "text"}]}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2}});
    upstream.script([Behaviour::json(&parts)]);
    assert_eq!(cache(&said(&gateway, &ask("parts")).await), "miss");
    assert_eq!(cache(&said(&gateway, &ask("parts")).await), "hit");
    assert_eq!(cache(&said(&gateway, &streamed("parts", true)).await), "miss");
}

#[tokio::test]
async fn classes_modes_and_requests_that_differ_share_nothing() {
    let upstream = ScriptedUpstream::start().await;
    let Setting { gateway, .. } = setting(POLICY, &[&upstream], "defaults: {privacy: public}\n").await;
    let headers = [
        ("x-request-id", "plain"),
        ("x-tidegate-privacy", "internal"),
        ("x-tidegate-mode", "prefer_in_cloud"),
        ("x-tidegate-mode", "only_in_cloud"),
    ];
    for expected in ["miss", "hit"] {
        for (name, value) in headers {
            let reply = Reply::of(chat(&gateway, &ask("hi")).header(name, value)).await;
            assert_eq!(cache(&reply), expected, "{name}: {value}: {}", reply.text);
        }
        for more in [json!({"user": "a"}), json!({"user": "b"}), json!({"seed": 1}), json!({"max_tokens": 9})] {
            assert_eq!(cache(&said(&gateway, &with(ask("hi"), &more)).await), expected, "{more}");
        }
    }
    // Tags alone change nothing but the route.
    let tagged = Reply::of(chat(&gateway, &ask("hi")).header("x-tidegate-tags", "a")).await;
    assert_eq!(cache(&tagged), "hit");
}

/// An answer of the cloud is not given to a request that may not go there, whatever its class or the policy says now.
#[tokio::test]
async fn an_answer_is_given_again_only_where_its_target_could_have_answered() {
    let (a, b) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    b.set_default(Behaviour::answer("from b"));
    let setting = setting(POLICY, &[&a, &b], "").await;
    let (gateway, policy) = (&setting.gateway, &setting.policy);
    assert_eq!(cache(&said(gateway, &ask("hi")).await), "miss");
    assert_eq!(cache(&said(gateway, &ask("hi")).await), "hit");
    let reload = async |text: &str| {
        std::fs::write(policy, text).unwrap();
        let reply = Reply::of(gateway.client().post(gateway.admin_url("/admin/reload"))).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    };
    reload(&POLICY.replace("'cloud/*'", "'cloud/b'")).await;
    let other = said(gateway, &ask("hi")).await;
    assert_eq!((cache(&other), other.content().as_str()), ("miss", "from b"));
    // Back again, the newer answer is there, and its target is allowed.
    reload(POLICY).await;
    assert_eq!(said(gateway, &ask("hi")).await.content(), "from b");
    reload(&POLICY.replace("routes:", "placement: [{id: no-b, allow: {providers: [device]}}]\nroutes:")).await;
    let refused = Reply::of(chat(gateway, &ask("hi"))).await;
    assert_eq!(refused.status, 503, "{}", refused.text);
    let restricted = Reply::of(chat(gateway, &ask("hi")).header("x-tidegate-privacy", "restricted")).await;
    assert_eq!(restricted.status, 503, "{}", restricted.text);
}
