//! `traceparent`: whose is taken, who is told.

use testkit::{Gateway, ScriptedUpstream};

use super::*;
use crate::support::{Reply, chat, cloud_config, hello, hello_stream};

const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

#[tokio::test]
async fn an_invalid_parent_begins_a_new_trace() {
    let (collector, upstream) = (collector().await, ScriptedUpstream::start().await);
    let gateway = Gateway::start(&config(&collector, &[&upstream], "")).await;
    let zeros = PARENT.replace(TRACE_ID, &"0".repeat(32));
    let wrong = [
        "",
        "00",
        &PARENT.to_uppercase(),
        &zeros,
        &format!("{PARENT}-01"),
        &format!("ff{}", &PARENT[2..]),
        &"a".repeat(4000),
    ];
    for wrong in wrong {
        assert_eq!(Reply::of(chat(&gateway, &hello()).header("traceparent", wrong)).await.status, 200, "{wrong}");
    }
    let twice = chat(&gateway, &hello()).header("traceparent", PARENT).header("traceparent", PARENT);
    assert_eq!(Reply::of(twice).await.status, 200);
    let all = arrived(&collector, wrong.len() + 1).await;
    for (root, attempt) in roots(&all).into_iter().zip(upstream.attempts()) {
        assert!(hex(&root.trace_id) != TRACE_ID && root.parent_span_id.is_empty(), "{root:?}");
        assert!(told(&attempt).0.unwrap().starts_with("00-") && told(&attempt).1.is_none(), "{attempt:?}");
    }
}

#[tokio::test]
async fn a_state_goes_along_unchanged_where_it_is_valid() {
    let (collector, upstream) = (collector().await, ScriptedUpstream::start().await);
    let gateway = Gateway::start(&config(&collector, &[&upstream], "")).await;
    let many = "a=1,".repeat(200);
    for (state, expected) in
        [("a=1, b@c=2", Some("a=1, b@c=2")), ("a=1,a=2", None), (many.as_str(), None), ("A=b", None)]
    {
        let request = traced(chat(&gateway, &hello())).header("tracestate", state).header("baggage", "user=me");
        assert_eq!(Reply::of(request).await.status, 200);
        let attempt = upstream.attempts().pop().unwrap();
        assert_eq!((told(&attempt).1, attempt.header("baggage")), (expected, None));
        assert!(told(&attempt).0.unwrap().contains(TRACE_ID));
    }
    let all = arrived(&collector, 4).await;
    assert_eq!(roots(&all)[0].trace_state, "a=1, b@c=2");
    assert_eq!(clients(&all, roots(&all)[0])[0].trace_state, "a=1, b@c=2");
}

#[tokio::test]
async fn what_a_caller_does_not_record_is_not_recorded_and_passed_on_as_it_came() {
    let (collector, upstream) = (collector().await, ScriptedUpstream::start().await);
    let gateway = Gateway::start(&config(&collector, &[&upstream], "")).await;
    for body in [hello(), hello_stream()] {
        let request = chat(&gateway, &body).header("traceparent", UNSAMPLED).header("tracestate", "a=1");
        assert_eq!(Reply::of(request).await.status, 200);
        assert_eq!(told(&upstream.attempts().pop().unwrap()), (Some(UNSAMPLED), Some("a=1")));
    }
    // The one behind them arrives, and they did not.
    assert_eq!(Reply::of(chat(&gateway, &hello())).await.status, 200);
    let all = arrived(&collector, 1).await;
    assert!(all.iter().all(|span| hex(&span.trace_id) != TRACE_ID));
    assert_eq!(roots(&all).len(), 1);
}

#[tokio::test]
async fn a_trace_that_begins_here_and_is_not_sampled_is_told_to_be_so() {
    let (collector, upstream) = (collector().await, ScriptedUpstream::start().await);
    let config = config(&collector, &[&upstream], "").replace("flush_ms: 1", "flush_ms: 1, sample: 0");
    let gateway = Gateway::start(&config).await;
    assert_eq!(Reply::of(chat(&gateway, &hello())).await.status, 200);
    assert!(told(&upstream.attempts()[0]).0.unwrap().ends_with("-00"));
    assert_eq!(Reply::of(traced(chat(&gateway, &hello()))).await.status, 200);
    let all = arrived(&collector, 1).await;
    assert!(all.iter().all(|span| hex(&span.trace_id) == TRACE_ID), "only where the caller says so");
}

/// Two targets on this machine, of which one counts as in the cloud.
fn near_and_far(extra: &str, near: &ScriptedUpstream, far: &ScriptedUpstream) -> String {
    let target = |id: &str, upstream: &ScriptedUpstream, locality: &str| {
        format!(
            "  - {{id: {id}, provider: openai, model: m, base_url: '{}', locality: {locality}}}\n",
            upstream.base_url()
        )
    };
    format!("{LISTEN}{extra}targets:\n{}{}", target("near/m", near, "device"), target("far/m", far, "cloud"))
}

#[tokio::test]
async fn strangers_are_told_of_no_trace_unless_the_operator_says_so() {
    let (collector, near, far) = (collector().await, ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let mut exported = 0;
    for (extra, near_is_told, far_is_told, is_exported) in [
        (String::new(), true, false, false),
        ("traces: {propagate: cloud}\n".to_owned(), true, true, false),
        ("traces: {propagate: none}\n".to_owned(), false, false, false),
        (traces(&collector, ""), true, false, true),
        (traces(&collector, ", propagate: device"), true, false, true),
        (traces(&collector, ", propagate: none"), false, false, true),
    ] {
        let gateway = Gateway::start(&near_and_far(&extra, &near, &far)).await;
        for (id, upstream, is_told) in [("near/m", &near, near_is_told), ("far/m", &far, far_is_told)] {
            let mut body = hello();
            body["model"] = id.into();
            let request = traced(chat(&gateway, &body)).header("tracestate", "a=1");
            assert_eq!(Reply::of(request).await.status, 200);
            let attempt = upstream.attempts().pop().unwrap();
            let (parent, state) = told(&attempt);
            assert_eq!((parent.is_some(), state.is_some()), (is_told, is_told), "{id} with {extra:?}");
            if is_told && !is_exported {
                assert_eq!((parent, state), (Some(PARENT), Some("a=1")), "as it came");
            } else if is_told {
                assert!(parent.unwrap().contains(TRACE_ID) && parent != Some(PARENT), "{attempt:?}");
            }
        }
        exported += if is_exported { 2 } else { 0 };
        arrived(&collector, exported).await;
    }
    assert_eq!(roots(&spans(&collector.log())).len(), 6);
}

#[tokio::test]
async fn nothing_is_made_up_or_sent_where_no_traces_are_exported() {
    let (collector, upstream) = (collector().await, ScriptedUpstream::start().await);
    let config =
        cloud_config(&[&upstream], &format!("traces: {{endpoint: 'http://{}', propagate: cloud}}", collector.addr()));
    let builder = Gateway::builder(&config).env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", collector.addr()));
    let mut gateway = builder.start().await;
    assert_eq!(Reply::of(chat(&gateway, &hello())).await.status, 200);
    assert_eq!(told(&upstream.attempts()[0]), (None, None));
    assert!(!gateway.wait_for_log("request finished").await.contains("trace_id"));
    assert_eq!(gateway.metric("tidegate_trace_export_up", &[]).await, None);
    assert!(gateway.terminate().await.success());
    assert_eq!(collector.connections_total(), 0);
}

/// What goes through the system's proxy takes the other client; the collector on this machine does not.
#[tokio::test]
async fn a_target_behind_a_proxy_is_told_and_a_collector_on_this_machine_needs_none() {
    let (collector, proxy) = (collector().await, ScriptedUpstream::start().await);
    let config = format!(
        "{LISTEN}{}targets:\n  - {{id: far/m, provider: openai, model: m, base_url: 'http://model.invalid/v1'}}\n",
        traces(&collector, ", propagate: cloud")
    );
    let gateway = Gateway::builder(&config).env("ALL_PROXY", format!("http://{}", proxy.addr())).start().await;
    let request = traced(chat(&gateway, &hello())).header("tracestate", "a=1");
    assert_eq!(Reply::of(request).await.status, 200);
    let all = arrived(&collector, 1).await;
    let tried = clients(&all, roots(&all)[0])[0];
    let expected = format!("00-{TRACE_ID}-{}-01", hex(&tried.span_id));
    let attempts = proxy.attempts();
    assert_eq!((attempts.len(), told(&attempts[0])), (1, (Some(&*expected), Some("a=1"))));
    assert_eq!(text(tried, "server.address"), "model.invalid");
}
