//! What is told of each way on which a request can go.

use serde_json::json;
use testkit::{Behaviour, Gateway, ScriptedUpstream, bin};

use super::*;
use crate::support::{Reply, chat, hello, hello_stream, sharing};

/// Looked for in everything that is exported.
const PROMPT: &str = "heronprompt";
const ANSWER: &str = "heronanswer";

#[tokio::test]
async fn an_answered_request_is_one_tree_below_its_callers_span_and_holds_no_text() {
    let (collector, upstream) = (collector().await, ScriptedUpstream::start().await);
    let gateway = Gateway::start(&config(&collector, &[&upstream], "log: {level: trace}")).await;
    upstream.set_default(Behaviour::answer(ANSWER));
    for (n, stream) in [false, true].into_iter().enumerate() {
        let body = json!({"model": "auto", "stream": stream, "max_tokens": 9, "user": PROMPT, "metadata": {"note": PROMPT},
                          "messages": [{"role": "user", "content": PROMPT}]});
        let request = traced(chat(&gateway, &body)).header("x-request-id", format!("r{n}"));
        let reply = Reply::of(request.header("x-tidegate-session", "heronsession")).await;
        assert!(reply.status == 200 && reply.text.contains(ANSWER), "{}", reply.text);
        let all = arrived(&collector, n + 1).await;
        let root = roots(&all)[n];
        assert_eq!((&*root.name, root.kind()), ("chat auto", SpanKind::Server));
        assert_eq!((hex(&root.trace_id), hex(&root.parent_span_id)), (TRACE_ID.into(), PARENT_ID.into()));
        assert_eq!(text(root, "tidegate.request_id"), format!("r{n}"));
        let children = below(&all, root);
        assert_eq!(names(&children), ["parse", "signals", "decide", "chat upstream-a", "relay"]);
        for pair in children.windows(2) {
            assert!(pair[0].start_time_unix_nano <= pair[1].start_time_unix_nano);
        }
        for child in &children {
            assert!(child.start_time_unix_nano >= root.start_time_unix_nano, "{child:?} in {root:?}");
            assert!(child.end_time_unix_nano <= root.end_time_unix_nano, "{child:?} in {root:?}");
            assert!(child.start_time_unix_nano <= child.end_time_unix_nano, "{child:?}");
        }
        let tried = children[3];
        assert_eq!(tried.kind(), SpanKind::Client);
        assert_eq!(told(&upstream.attempts()[n]).0, Some(&*format!("00-{TRACE_ID}-{}-01", hex(&tried.span_id))));
        for (span, key, expected) in [
            (root, "gen_ai.operation.name", AnyValue::StringValue("chat".into())),
            (root, "gen_ai.request.model", AnyValue::StringValue("auto".into())),
            (root, "gen_ai.request.max_tokens", AnyValue::IntValue(9)),
            (root, "http.request.method", AnyValue::StringValue("POST".into())),
            (root, "http.response.status_code", AnyValue::IntValue(200)),
            (root, "tidegate.outcome", AnyValue::StringValue("answered".into())),
            (root, "tidegate.target", AnyValue::StringValue("cloud/a".into())),
            (root, "tidegate.locality", AnyValue::StringValue("cloud".into())),
            (root, "tidegate.rule", AnyValue::StringValue("device-first".into())),
            (root, "tidegate.reason", AnyValue::StringValue("rule=device-first".into())),
            (root, "tidegate.privacy", AnyValue::StringValue("internal".into())),
            (tried, "gen_ai.operation.name", AnyValue::StringValue("chat".into())),
            (tried, "gen_ai.provider.name", AnyValue::StringValue("cloud".into())),
            (tried, "gen_ai.request.model", AnyValue::StringValue("upstream-a".into())),
            (tried, "gen_ai.response.model", AnyValue::StringValue("upstream-a".into())),
            (tried, "gen_ai.usage.input_tokens", AnyValue::IntValue(11)),
            (tried, "gen_ai.usage.output_tokens", AnyValue::IntValue(7)),
            (tried, "server.address", AnyValue::StringValue("127.0.0.1".into())),
            (tried, "server.port", AnyValue::IntValue(upstream.addr().port().into())),
            (tried, "tidegate.target", AnyValue::StringValue("cloud/a".into())),
        ] {
            assert_eq!(value(span, key), Some(expected), "{key} {stream}");
        }
        assert_eq!(list(tried, "gen_ai.response.finish_reasons"), ["stop"]);
        assert_eq!(list(children[2], "tidegate.plan"), ["cloud/a"]);
        assert_eq!(value(root, "gen_ai.request.stream").is_some(), stream);
        assert_eq!(value(tried, "gen_ai.response.time_to_first_chunk").is_some(), stream);
        assert!(all.iter().all(|span| span.status.is_none()));
    }
    let line = gateway.wait_for_log("request finished").await;
    assert!(line.contains(&format!("\"trace_id\":\"{TRACE_ID}\"")), "{line}");
    let exported: Vec<u8> = collector.attempts().iter().flat_map(|attempt| attempt.body.to_vec()).collect();
    let exported = String::from_utf8_lossy(&exported);
    assert!(exported.contains("device-first"));
    for word in [PROMPT, ANSWER, "heronsession"] {
        assert!(!exported.contains(word), "{word} in {exported}");
    }
    let message = ExportTraceServiceRequest::decode(&*collector.attempts()[0].body).unwrap();
    let resource = message.resource_spans[0].resource.clone().unwrap();
    assert_eq!(of(&resource.attributes, "service.name"), Some(AnyValue::StringValue("tidegate".into())));
}

#[tokio::test]
async fn each_try_is_a_span_and_a_failed_one_says_how() {
    let (collector, a, b) = (collector().await, ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let gateway = Gateway::start(&config(&collector, &[&a, &b], "")).await;
    let message = format!("cannot read {PROMPT}");
    a.set_default(Behaviour::Status { status: 429, retry_after: Some("0".into()), message });
    assert_eq!(Reply::of(chat(&gateway, &hello())).await.status, 200);
    let all = arrived(&collector, 1).await;
    let root = roots(&all)[0];
    assert!(root.parent_span_id.is_empty() && root.status.is_none(), "a trace of its own");
    let tries = clients(&all, root);
    assert_eq!(names(&tries), ["chat upstream-a", "chat upstream-b"]);
    assert_eq!((text(tries[0], "error.type"), text(tries[1], "error.type")), ("rate_limited".into(), String::new()));
    assert_eq!(value(tries[0], "http.response.status_code"), Some(AnyValue::IntValue(429)));
    assert_eq!(tries[0].status.as_ref().unwrap().message, "rate_limited");
    assert!(tries[0].end_time_unix_nano <= tries[1].start_time_unix_nano);
    for (upstream, tried) in [(&a, tries[0]), (&b, tries[1])] {
        let told = format!("00-{}-{}-01", hex(&root.trace_id), hex(&tried.span_id));
        assert_eq!(upstream.attempts()[0].header("traceparent"), Some(&*told));
    }
    // Nobody answers: an error of the gateway, and nothing of what targets said.
    b.set_default(Behaviour::ResetBeforeHeaders);
    assert_eq!(Reply::of(chat(&gateway, &hello())).await.status, 502);
    let all = arrived(&collector, 2).await;
    let root = roots(&all)[1];
    assert_eq!((text(root, "error.type"), text(root, "tidegate.target")), ("targets_failed".into(), String::new()));
    assert_eq!(root.status.as_ref().unwrap().message, "targets_failed");
    assert!(clients(&all, root).iter().any(|tried| text(tried, "error.type") == "connection_lost"));
    assert!(!all.iter().any(|span| format!("{span:?}").contains(PROMPT)));
}

#[tokio::test]
async fn a_refused_request_is_a_span_without_tries() {
    let (collector, upstream) = (collector().await, ScriptedUpstream::start().await);
    let gateway = Gateway::start(&config(&collector, &[&upstream], "")).await;
    assert_eq!(Reply::of(chat(&gateway, &json!({"model": PROMPT}))).await.status, 400);
    let secret = json!({"model": "auto", "messages": [{"role": "user", "content": "x"}]});
    let refused = Reply::of(chat(&gateway, &secret).header("x-tidegate-privacy", "restricted")).await;
    assert_eq!(refused.status, 503, "{}", refused.text);
    let all = arrived(&collector, 2).await;
    let (invalid, nobody) = (roots(&all)[0], roots(&all)[1]);
    assert_eq!((&*invalid.name, text(invalid, "tidegate.outcome")), ("chat", "invalid".into()));
    assert!(invalid.status.is_none(), "the caller's own fault is no error of a server");
    assert_eq!(value(invalid, "http.response.status_code"), Some(AnyValue::IntValue(400)));
    assert_eq!(
        (text(nobody, "error.type"), text(nobody, "tidegate.privacy")),
        ("no_target".into(), "restricted".into())
    );
    assert_eq!(list(nobody, "tidegate.placement"), ["device"]);
    let decide = below(&all, nobody).into_iter().find(|span| span.name == "decide").unwrap();
    assert_eq!(list(decide, "tidegate.dropped"), ["cloud/a: forbidden_by_privacy"]);
    assert!(clients(&all, nobody).is_empty() && upstream.connections_total() == 0);
    assert!(!all.iter().any(|span| format!("{span:?}").contains(PROMPT)));
}

#[tokio::test]
async fn a_hedge_is_a_try_beside_another() {
    let (collector, a, b) = (collector().await, ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let policy = tempfile::NamedTempFile::new().unwrap();
    let text =
        "version: 1\nroutes:\n  - {id: all, objective: in_order, candidates: ['*'], limits: {hedge_after_ms: 20}}\n";
    std::fs::write(policy.path(), text).unwrap();
    let extra = format!("hedging: {{max_share: 1.0}}\npolicy: {{file: '{}'}}\n", policy.path().display());
    let config = config(&collector, &[&a, &b], &extra).replace(
        "    model:",
        "    price: {input_usd_per_mtok: 1.0, output_usd_per_mtok: 1.0}\n    latency: {ttft_ms: 10, tokens_per_s: 100}\n    model:",
    );
    let gateway = Gateway::start(&config).await;
    a.set_default(Behaviour::SlowFirstToken);
    assert_eq!(Reply::of(chat(&gateway, &hello_stream())).await.header("x-tidegate-target"), "cloud/b");
    let all = arrived(&collector, 1).await;
    let tries = clients(&all, roots(&all)[0]);
    assert_eq!(names(&tries), ["chat upstream-a", "chat upstream-b"]);
    assert_eq!(super::text(tries[0], "tidegate.outcome"), "hedge_lost");
    assert!(tries[0].status.is_none() && value(tries[0], "tidegate.hedge").is_none());
    assert_eq!(value(tries[1], "tidegate.hedge"), Some(AnyValue::BoolValue(true)));
    assert!(tries[0].end_time_unix_nano > tries[1].start_time_unix_nano, "beside each other");
}

#[tokio::test]
async fn a_broken_stream_is_an_error_and_a_caller_who_leaves_is_none() {
    let (collector, upstream) = (collector().await, ScriptedUpstream::start().await);
    let gateway = Gateway::start(&config(&collector, &[&upstream], "")).await;
    upstream.set_default(Behaviour::ResetAfter { chunks: 2 });
    Reply::of(chat(
        &gateway,
        &json!({"model": "auto", "stream": true, "n": 2, "messages": [{"role": "user", "content": "x"}]}),
    ))
    .await;
    let all = arrived(&collector, 1).await;
    let root = roots(&all)[0];
    assert_eq!(
        (text(root, "error.type"), text(root, "tidegate.outcome")),
        ("interrupted".into(), "interrupted".into())
    );
    assert_eq!(list(clients(&all, root)[0], "gen_ai.response.finish_reasons"), ["error"]);
    upstream.set_default(Behaviour::StallBetweenChunks { after: 2 });
    let leaving = chat(&gateway, &hello_stream()).send().await.unwrap();
    upstream.wait_held(upstream.attempts().len() - 1).await;
    drop(leaving);
    let all = arrived(&collector, 2).await;
    let root = roots(&all)[1];
    assert_eq!((text(root, "tidegate.outcome"), root.status.is_none()), ("caller_gone".into(), true));
    let tried = clients(&all, root)[0];
    assert_eq!((text(tried, "tidegate.outcome"), tried.status.is_none()), ("caller_gone".into(), true));
    assert_eq!(value(tried, "tidegate.usage_estimated"), Some(AnyValue::BoolValue(true)));
}

/// A gateway that keeps and shares answers, with its policy, and a request of which it does.
async fn caching(
    collector: &ScriptedUpstream,
    upstream: &ScriptedUpstream,
) -> (tempfile::NamedTempFile, Gateway, serde_json::Value) {
    let policy = tempfile::NamedTempFile::new().unwrap();
    let cached = "version: 1\nroutes: [{id: r, objective: in_order, candidates: ['*'], cache: {ttl_s: 60}}]\n";
    std::fs::write(policy.path(), cached).unwrap();
    let extra = format!("policy: {{file: '{}'}}\n", policy.path().display());
    let gateway = Gateway::start(&config(collector, &[upstream], &extra)).await;
    let body =
        json!({"model": "auto", "temperature": 0, "stream": true, "messages": [{"role": "user", "content": "hi"}]});
    (policy, gateway, body)
}

#[tokio::test]
async fn an_answer_given_again_has_no_try_and_a_shared_one_is_linked_to_who_asked() {
    let (collector, upstream) = (collector().await, ScriptedUpstream::start().await);
    let (_policy, gateway, body) = caching(&collector, &upstream).await;
    upstream.script([Behaviour::StallBetweenChunks { after: 2 }]);
    let first = tokio::spawn(Reply::of(traced(chat(&gateway, &body))));
    upstream.wait_held(0).await;
    let second = tokio::spawn(Reply::of(chat(&gateway, &body)));
    sharing(&gateway, 2).await;
    upstream.release();
    assert_eq!((first.await.unwrap().status, second.await.unwrap().status), (200, 200));
    arrived(&collector, 2).await;
    assert_eq!(Reply::of(chat(&gateway, &body)).await.header("x-tidegate-cache"), "hit");
    let all = arrived(&collector, 3).await;
    let of = |cache: &str| roots(&all).into_iter().find(|span| text(span, "tidegate.cache") == cache).unwrap();
    let (stored, shared, hit) = (of("stored"), of("coalesced"), of("hit"));
    assert_eq!(hex(&stored.trace_id), TRACE_ID);
    let tried = clients(&all, stored);
    assert_eq!((tried.len(), upstream.attempts().len()), (1, 1));
    let told = format!("00-{TRACE_ID}-{}-01", hex(&tried[0].span_id));
    assert_eq!(upstream.attempts()[0].header("traceparent"), Some(&*told));
    assert!(clients(&all, shared).is_empty() && shared.trace_id != stored.trace_id);
    assert_eq!((&shared.links[0].trace_id, &shared.links[0].span_id), (&stored.trace_id, &stored.span_id));
    assert!(stored.links.is_empty() && hit.links.is_empty());
    assert_eq!(names(&below(&all, hit)), ["parse", "signals", "decide", "recall", "relay"]);
    assert_eq!(value(hit, "tidegate.cost_usd"), Some(AnyValue::DoubleValue(0.0)));
}

/// Who asked first leaves; the try stays in its trace, and who stays accounts for it.
#[tokio::test]
async fn a_try_stays_in_the_trace_that_its_target_was_told() {
    let (collector, upstream) = (collector().await, ScriptedUpstream::start().await);
    let (_policy, gateway, body) = caching(&collector, &upstream).await;
    upstream.script([Behaviour::StallBetweenChunks { after: 2 }]);
    let leaving = traced(chat(&gateway, &body)).send().await.unwrap();
    upstream.wait_held(0).await;
    let staying = tokio::spawn(Reply::of(chat(&gateway, &body)));
    sharing(&gateway, 2).await;
    drop(leaving);
    sharing(&gateway, 1).await;
    upstream.release();
    assert_eq!(staying.await.unwrap().status, 200);
    let all = arrived(&collector, 2).await;
    let left = roots(&all).into_iter().find(|span| hex(&span.trace_id) == TRACE_ID).unwrap();
    let stayed = roots(&all).into_iter().find(|span| hex(&span.trace_id) != TRACE_ID).unwrap();
    let tried = clients(&all, left);
    assert_eq!((tried.len(), clients(&all, stayed).len()), (1, 0));
    assert_eq!(tried[0].links[0].span_id, stayed.span_id, "who accounts for it");
    let told = format!("00-{TRACE_ID}-{}-01", hex(&tried[0].span_id));
    assert_eq!(upstream.attempts()[0].header("traceparent"), Some(&*told));
}

#[tokio::test]
async fn a_kept_request_is_a_trace_for_each_try() {
    let (collector, upstream) = (collector().await, ScriptedUpstream::start_down().await);
    let gateway = Gateway::start(&config(&collector, &[&upstream], "")).await;
    let kept = Reply::of(traced(chat(&gateway, &hello())).header("prefer", "respond-async")).await;
    assert_eq!(kept.status, 202, "{}", kept.text);
    let all = arrived(&collector, 1).await;
    assert_eq!(
        (text(roots(&all)[0], "tidegate.outcome"), hex(&roots(&all)[0].trace_id)),
        ("deferred".into(), TRACE_ID.into())
    );
    upstream.come_back().await;
    let answered = |log: &Log| {
        spans(log)
            .iter()
            .any(|span| text(span, "tidegate.kind") == "outbox" && text(span, "tidegate.outcome") == "answered")
    };
    collector.wait_for(answered).await;
    let all = spans(&collector.log());
    let sent = roots(&all).into_iter().find(|span| text(span, "tidegate.outcome") == "answered").unwrap();
    assert_eq!((sent.kind(), sent.parent_span_id.len()), (SpanKind::Internal, 0));
    assert_eq!(text(sent, "tidegate.request_id"), text(roots(&all)[0], "tidegate.request_id"));
    assert_eq!(names(&below(&all, sent)), ["signals", "decide", "chat upstream-a"]);
}

#[tokio::test]
async fn the_wait_for_a_worker_is_told_and_the_worker_is_told_of_the_trace() {
    let collector = collector().await;
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("m.gguf");
    std::fs::write(&model, "GGUF").unwrap();
    let config = format!(
        "{LISTEN}{}engine: {{path: '{}'}}\ntargets:\n  - {{id: local/m, provider: llama_cpp, model_path: '{}'}}\n",
        traces(&collector, ""),
        bin("fake-llama-server").display(),
        model.display()
    );
    let gateway = Gateway::start(&config).await;
    assert_eq!(Reply::of(chat(&gateway, &hello())).await.status, 200);
    let all = arrived(&collector, 1).await;
    let tried = clients(&all, roots(&all)[0])[0];
    assert_eq!((&*tried.name, text(tried, "gen_ai.provider.name")), ("chat m", "llama_cpp".into()));
    let wait = below(&all, tried);
    assert_eq!(names(&wait), ["wait"]);
    assert!(wait[0].end_time_unix_nano > wait[0].start_time_unix_nano, "it was started for this");
    assert!(wait[0].end_time_unix_nano <= tried.end_time_unix_nano);
    assert_eq!(list(tried, "gen_ai.response.finish_reasons"), ["stop"]);
}

#[tokio::test]
async fn an_answer_for_comparison_is_a_trace_of_its_own() {
    let (collector, near, far) = (collector().await, ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let config = format!(
        "{LISTEN}{}learning:
  enabled: true
  verifiers: [{{kind: command, command: ['true']}}]
  comparison: {{targets: [near/n, far/f], share: 1, requests_per_day: 1}}
targets:
  - {{id: near/n, provider: openai, model: n, base_url: '{}', locality: device}}
  - {{id: far/f, provider: openai, model: f, base_url: '{}'}}\n",
        traces(&collector, ""),
        near.base_url(),
        far.base_url()
    );
    let gateway = Gateway::start(&config).await;
    assert_eq!(Reply::of(traced(chat(&gateway, &hello()))).await.header("x-tidegate-target"), "near/n");
    let all = arrived(&collector, 2).await;
    let of = |kind: &str| roots(&all).into_iter().find(|span| text(span, "tidegate.kind") == kind).unwrap();
    let (asked, compared) = (of("request"), of("comparison"));
    assert_eq!((asked.kind(), compared.kind()), (SpanKind::Server, SpanKind::Internal));
    assert_eq!((hex(&asked.trace_id), compared.parent_span_id.len()), (TRACE_ID.into(), 0));
    assert_ne!(asked.trace_id, compared.trace_id);
    assert_eq!(names(&clients(&all, compared)), ["chat f"]);
    assert_eq!(told(&far.attempts()[0]), (None, None), "in the cloud");
}

/// Many at once, of every kind: as many exchanges as there were, each with the tries that its targets saw.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_told_twice() {
    const REQUESTS: usize = 240;
    let (collector, a, b) = (collector().await, ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let gateway = Gateway::start(&config(&collector, &[&a, &b], "")).await;
    a.script((0..REQUESTS).map(|n| if n % 3 == 0 { Behaviour::status(500) } else { Behaviour::answer("a") }));
    let client = testkit::http_client();
    let ask = async |n: usize| {
        let body = match n % 4 {
            0 => json!({"model": "auto"}),
            1 => hello_stream(),
            _ => hello(),
        };
        Reply::of(crate::support::post(&client, &gateway, "/v1/chat/completions", &body)).await;
    };
    for begin in (0..REQUESTS).step_by(16) {
        futures_util::future::join_all((begin..begin + 16).map(&ask)).await;
    }
    let all = arrived(&collector, REQUESTS).await;
    let ids: std::collections::HashSet<_> = all.iter().map(|span| &span.span_id).collect();
    assert_eq!((roots(&all).len(), ids.len()), (REQUESTS, all.len()));
    let tried: std::collections::BTreeSet<_> = all
        .iter()
        .filter(|span| span.kind() == SpanKind::Client)
        .map(|span| format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id)))
        .collect();
    let seen: Vec<_> = [&a, &b].iter().flat_map(|upstream| upstream.attempts()).collect();
    let told: std::collections::BTreeSet<_> = seen.iter().map(|attempt| told(attempt).0.unwrap().to_owned()).collect();
    assert_eq!((tried == told, told.len()), (true, seen.len()), "what targets were told are the spans of the tries");
    let exported = gateway.metric("tidegate_trace_exchanges_total", &[("result", "exported")]).await;
    assert!(exported.is_some_and(|count| count <= REQUESTS as f64), "{exported:?}");
}
